package main

import "time"

// A place is how far a partition has been handed on: everything before Offset is in our output. Meta is the output's own text
// (at most 4000 bytes, one line, printable), from which it goes on there: next numbers of lanes, a judgement.
type place struct {
	Offset int64  `json:"offset"`
	Meta   string `json:"meta,omitempty"`

	middle  bool     // we begin in the middle of what there is, on purpose
	resumed *resumed // lanes begin where their results end
}

// An output turns what is fetched into our standard output; one for each content (frames, words, lines).
type output interface {
	// begin says which partitions are read from now on, and where from (with the Meta of before, if there is any). It is called again
	// after each rebalance; partitions that were read before and are not in it have been given up: their lanes get a stopped end.
	begin(from map[int]place) error
	// take hands on what was fetched. It may keep it and release it later.
	take(f *fetched) error
	// idle is called when nothing more is there at the moment, before waiting: what can be written is flushed. It returns after how
	// long it wants to be called again though nothing comes (0: not).
	idle() (time.Duration, error)
	// done says that no more will come of a partition (--until).
	done(partition int) error
	// end ends all lanes that have no end yet, as stopped because of why, and flushes.
	end(why string) error
	// places returns how far each partition that is read now has been handed on and flushed.
	places() map[int]place
}
