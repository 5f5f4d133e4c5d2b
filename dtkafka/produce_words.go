package main

import (
	"time"

	"dt/internal/hit"
)

// A wordSpreader sends words one in a message, as the first producers to Kafka wrote them, without a key, spread over the partitions. Messages of
// one ms are all in one partition, and times never step back, so that their order is that of their times: who merges the partitions by these has
// the words in order again.
type wordSpreader struct {
	to     wordSender
	append func(dst []byte, w uint64) []byte
	now    func() int64 // ms

	partition int
	ms        int64 // of the last message
	sent      int   // bytes to this partition in a row
	count     uint64
	text      []byte
}

// A wordSender is what a wordSpreader needs of a producer.
type wordSender interface {
	partitions() int
	send(partition int, ms int64, value []byte, tail uint64) error
}

const (
	// spreadBytes go to a partition before the next has its turn: as much as Kafka's own producers collect for a batch.
	spreadBytes = 16 << 10
	// spreadWords are sent before the clock is looked at again.
	spreadWords = 64
)

func newWordSpreader(to wordSender, as string) *wordSpreader {
	s := &wordSpreader{to: to, append: hit.AppendCSV, now: func() int64 { return time.Now().UnixMilli() }}
	if as == "json" {
		s.append = hit.AppendJSON
	}
	return s
}

// words sends words in this order.
func (s *wordSpreader) words(ws []uint64) error {
	for i, w := range ws {
		if i%spreadWords == 0 {
			s.turn()
		}
		s.text = s.append(s.text[:0], w)
		value := s.text[:len(s.text)-1] // without the line end
		s.count++
		s.sent += len(value)
		if err := s.to.send(s.partition, s.ms, value, s.count); err != nil {
			return err
		}
	}
	return nil
}

// turn looks at the clock, and goes to the next partition if it has moved and this one had its share.
func (s *wordSpreader) turn() {
	ms := s.now()
	if ms <= s.ms {
		return
	}
	s.ms = ms
	if s.sent >= spreadBytes {
		s.sent = 0
		s.partition = (s.partition + 1) % s.to.partitions()
	}
}
