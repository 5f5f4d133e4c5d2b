package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// A message is one record of a partition, as it was fetched.
type message struct {
	offset int64
	time   int64  // unix, ms, as the producer or the broker set it
	value  []byte // nil: a null value; memory of what was fetched
}

// A fetched is consecutive messages of one partition. It belongs to whoever received it until release is called.
type fetched struct {
	partition int
	messages  []message
	next      int64 // offset to read next, behind the messages; also where there are none
	high      int64 // the end of the partition, as the broker said with them
	gap       int64 // so many offsets before the first message are gone: retention, or deleted records
	buf       []byte
	home      chan<- *fetched
}

// release gives the memory back.
func (f *fetched) release() {
	select {
	case f.home <- f:
	default:
	}
}

const (
	// fetchMemory bounds what all partitions together have fetched and not handed on; each may have two pieces, and kafka-go a third.
	fetchMemory = 48 << 20
	fetchMost   = 4 << 20
	fetchLeast  = 64 << 10
	// fetchWait is how long a broker waits for messages before it says that there are none; for words, whose partitions wait for each other, that is
	// wordsWait. fetchTimeout is how long we wait for an answer.
	fetchWait    = 500 * time.Millisecond
	wordsWait    = 40 * time.Millisecond
	fetchTimeout = 6 * time.Second
	// Tries of a batch that arrives damaged, or empty though there is more.
	fetchTries = 5
)

// A fetcher reads one partition, in order, from an offset on.
type fetcher struct {
	cluster   *cluster
	retry     *retrier
	topic     string
	partition int
	offset    int64
	until     int64 // stop there; −1: never
	latest    int64 // and at the first message of this time, unix ms, or later; 0: never
	most      int64 // bytes to ask for
	wait      time.Duration
	out       chan<- *fetched
	home      chan *fetched // two, which take turns
}

func newFetcher(c *cluster, topic string, partition, partitions int, from, until int64, out chan<- *fetched) *fetcher {
	f := &fetcher{cluster: c, retry: c.retrier(""), topic: topic, partition: partition, offset: from, until: until, out: out, wait: fetchWait,
		most: min(max(fetchMemory/3/int64(partitions), fetchLeast), fetchMost), home: make(chan *fetched, 2)}
	f.home <- new(fetched)
	f.home <- new(fetched)
	return f
}

// place names an offset of the partition.
func (f *fetcher) place() string { return placeOf(f.topic, f.partition, f.offset) }

// run reads until ctx is over, until is reached, or reading on is no use, which it returns.
func (f *fetcher) run(ctx context.Context) error {
	tries := 0
	for f.until < 0 || f.offset < f.until {
		var to *fetched
		select {
		case to = <-f.home:
		case <-ctx.Done():
			return nil
		}
		*to = fetched{partition: f.partition, messages: to.messages[:0], buf: to.buf[:0], home: f.home}
		err := f.fetch(ctx, to)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, kafka.OffsetOutOfRange):
			err = f.seek(ctx, to)
		case err == nil && to.next == f.offset && to.high > f.offset:
			// Something is there that is no record: skip it at last. But not what only needs a moment.
			if tries++; tries < fetchTries {
				to.release()
				_ = pause(ctx, shortestWait)
				continue
			}
			to.next++
			to.gap = 1
		}
		var damaged *damagedError
		if errors.As(err, &damaged) {
			if tries++; tries >= fetchTries {
				return err
			}
		}
		if err != nil {
			to.release()
			if err := f.retry.failed(ctx, err); err != nil && ctx.Err() == nil {
				return err
			}
			continue
		}
		tries = 0
		f.retry.ok()
		f.offset = to.next
		select {
		case f.out <- to:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// damagedError is a batch that does not fit its checksum, or what cannot be taken apart.
type damagedError struct {
	place string
	err   error
}

func (e *damagedError) Error() string { return fmt.Sprintf("%s: %v", e.place, e.err) }
func (e *damagedError) Unwrap() error { return e.err }

// fetch asks once.
func (f *fetcher) fetch(ctx context.Context, to *fetched) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := f.cluster.client.Fetch(ctx, &kafka.FetchRequest{Topic: f.topic, Partition: f.partition, Offset: f.offset, MinBytes: 1, MaxBytes: f.most, MaxWait: f.wait})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		return err
	}
	to.high, to.next = r.HighWatermark, f.offset
	first := true
	for {
		rec, err := r.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return &damagedError{f.place(), err}
		}
		if err := f.keep(to, rec, &first); err != nil {
			return err
		}
	}
	f.skipControl(r.Records, to)
	size := 0
	for i := range to.messages {
		size += len(to.messages[i].value)
	}
	if int64(size) > 2*f.most { // they were compressed, and memory is bounded as they are now
		f.most = max(f.most/2, fetchLeast)
	}
	return nil
}

// keep copies a record.
func (f *fetcher) keep(to *fetched, rec *kafka.Record, first *bool) error {
	if rec.Key != nil {
		rec.Key.Close()
	}
	if rec.Value != nil {
		defer rec.Value.Close()
	}
	if f.latest > 0 && rec.Time.UnixMilli() >= f.latest && rec.Offset >= f.offset && (f.until < 0 || rec.Offset < f.until) {
		f.until = rec.Offset
	}
	if rec.Offset < f.offset || f.until >= 0 && rec.Offset >= f.until {
		if rec.Offset >= f.offset {
			to.next = max(to.next, f.until)
		}
		return nil // of the same batch as those that we want
	}
	if *first {
		*first = false
		to.gap = rec.Offset - f.offset
	}
	m := message{offset: rec.Offset, time: rec.Time.UnixMilli()}
	if rec.Value != nil {
		n := rec.Value.Len()
		at := len(to.buf)
		if at+n > cap(to.buf) {
			// What points into the old memory goes on doing so.
			to.buf = make([]byte, 0, max(n, int(f.most)+int(f.most)/4))
			at = 0
		}
		to.buf = to.buf[:at+n]
		m.value = to.buf[at : at+n : at+n]
		if _, err := io.ReadFull(rec.Value, m.value); err != nil {
			return &damagedError{f.place(), err}
		}
	}
	to.messages = append(to.messages, m)
	to.next = rec.Offset + 1
	return nil
}

// skipControl goes past what the brokers write for themselves.
func (f *fetcher) skipControl(records kafka.RecordReader, to *fetched) {
	s, ok := records.(*protocol.RecordStream)
	if !ok {
		return
	}
	for _, b := range s.Records {
		c, ok := b.(*protocol.ControlBatch)
		if !ok {
			continue
		}
		for {
			r, err := c.ReadControlRecord()
			if err != nil {
				break
			}
			to.next = max(to.next, r.Offset+1)
		}
	}
}

// seek finds where to go on when the offset is not in the partition.
func (f *fetcher) seek(ctx context.Context, to *fetched) error {
	first, end, err := f.cluster.offsets(ctx, f.topic, f.partition)
	switch {
	case err != nil:
		return err
	case f.offset > end:
		return beyond(f.topic, f.partition, f.offset, end)
	case f.offset < first:
		to.next, to.high = first, end
		if f.until >= 0 {
			to.next = min(to.next, f.until)
		}
		to.gap = to.next - f.offset
		return nil
	}
	return &explained{text: f.place() + ": the log has moved", lasts: passing} // in between
}

// beyond is the error of a place behind the end of a partition: trying again is no use.
func beyond(topic string, partition int, offset, end int64) error {
	return &explained{text: fmt.Sprintf("%s: the partition ends at %d", placeOf(topic, partition, offset), end),
		hint: "was the topic deleted and made anew? a new --group or --state begins at --from", lasts: forever}
}

// offsets returns the offset of the first message of a partition, and the one behind the last.
func (l *cluster) offsets(ctx context.Context, topic string, partition int) (first, end int64, err error) {
	r, err := l.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(partition), kafka.LastOffsetOf(partition)},
	}})
	if err != nil {
		return 0, 0, err
	}
	for _, p := range r.Topics[topic] {
		if p.Partition == partition {
			return p.FirstOffset, p.LastOffset, p.Error
		}
	}
	return 0, 0, kafka.UnknownTopicOrPartition
}

// offsetAt returns the offset of the first message of a partition that is not older than a time, or the end.
func (l *cluster) offsetAt(ctx context.Context, topic string, partition int, at time.Time) (int64, error) {
	r, err := l.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.TimeOffsetOf(partition, at)},
	}})
	if err != nil {
		return 0, err
	}
	for _, p := range r.Topics[topic] {
		if p.Partition != partition {
			continue
		}
		if p.Error != nil {
			return 0, p.Error
		}
		for offset := range p.Offsets {
			if offset >= 0 {
				return offset, nil
			}
		}
	}
	_, end, err := l.offsets(ctx, topic, partition)
	return end, err
}
