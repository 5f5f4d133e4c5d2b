package main

import "context"

// An assignment is the partitions that this process reads, until lost is closed.
type assignment struct {
	from map[int]place // partition → where to begin; Offset −1: nothing is known, --from decides
	lost <-chan struct{}
	// save keeps the places, in the group or the state file. It is safe to call after lost is closed, until release.
	save func(ctx context.Context, places map[int]place) error
	// release says that nothing of this assignment is read, written or saved any more.
	release func()
}

// A membership hands out assignments.
type membership interface {
	// next waits for the next assignment. It returns ctx's error when that is over.
	next(ctx context.Context) (*assignment, error)
	// whole says that the topic must be read by one member, in all its partitions (word messages). The present assignment is lost
	// if it is not so already.
	whole()
	close() error
}
