package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"dt/internal/tool"
)

// A producer writes messages to a topic, each once: every batch waits for all in-sync replicas, and carries the number that makes the
// broker drop it if it comes twice. One batch of a partition is under way at a time, so order holds; behind it the next one collects, and
// when that is full, send blocks: the pipe is the buffer.
type producer struct {
	env     *tool.Env
	cluster *cluster
	topic   *topicInfo
	codec   codec
	ctx     context.Context // over when the producer has failed, or is to give up
	fail    context.CancelCauseFunc
	lanes   []*sender
	most    int // bytes of a batch
	wait    sync.WaitGroup

	messages, bytes atomic.Int64 // acknowledged
}

// A sender writes to one partition.
type sender struct {
	p         *producer
	partition int
	retry     *retrier

	mu      sync.Mutex
	changed *sync.Cond
	open    *batch // collects
	spare   *batch // empty
	ready   bool   // open is to go out, full or not
	closed  bool   // nothing more comes

	session  session
	known    bool
	sequence int32
	packed   bytes.Buffer
	acked    uint64 // the tail of what was acknowledged last
	any      bool   // something was

	alone  atomic.Bool // what is sent now is for one producer of the partition to write
	behind int64       // offset behind what was written last while that was so, or 0
	told   bool        // that there is another
}

const (
	// batchMemory bounds what all partitions together collect; a batch is collected while another is under way, and kafka-go keeps a
	// copy of that.
	batchMemory  = 60 << 20
	batchLargest = 8 << 20
	// stopGrace is how long a producer that is stopped waits for what is not acknowledged yet.
	stopGrace = 10 * time.Second
)

// newProducer returns a producer whose session the brokers know, if they can be asked before starting is over.
func newProducer(ctx, starting context.Context, env *tool.Env, c *cluster, topic *topicInfo, codec codec) (*producer, error) {
	p := &producer{env: env, cluster: c, topic: topic, codec: codec}
	p.ctx, p.fail = context.WithCancelCause(ctx)
	p.most = min(topic.maxMessage, batchLargest, max(batchMemory/3/topic.partitions, 64<<10))
	s, err := p.newSession(starting, c.retrier(topic.name))
	if err != nil {
		p.fail(err)
		return nil, err
	}
	for i := range topic.partitions {
		l := &sender{p: p, partition: i, retry: c.retrier(fmt.Sprintf("%s[%d]", topic.name, i)), open: new(batch), spare: new(batch), session: s, known: true}
		l.changed = sync.NewCond(&l.mu)
		p.lanes = append(p.lanes, l)
		p.wait.Go(l.run)
	}
	context.AfterFunc(p.ctx, func() {
		for _, l := range p.lanes {
			l.mu.Lock()
			l.changed.Broadcast()
			l.mu.Unlock()
		}
	})
	return p, nil
}

func (p *producer) partitions() int { return len(p.lanes) }

// limit is the largest value of one message.
func (p *producer) limit() int { return p.most - batchMost }

// newSession asks the brokers for a producer id.
func (p *producer) newSession(ctx context.Context, retry *retrier) (session, error) {
	for {
		r, err := p.cluster.client.InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1, TransactionTimeoutMs: 60_000})
		if err == nil {
			err = r.Error
		}
		if err == nil {
			retry.ok()
			return session{int64(r.Producer.ProducerID), int16(r.Producer.ProducerEpoch)}, nil
		}
		if errors.Is(err, kafka.ClusterAuthorizationFailed) {
			err = &topicError{p.topic.name, kafka.TopicAuthorizationFailed} // whoever may write to no topic gets no session
		}
		if err := retry.failed(ctx, err); err != nil {
			return session{}, err
		}
	}
}

// send puts a message behind those of a partition, and blocks while that has as much waiting as it may. It keeps no part of value. tail is
// what is said to be acknowledged when this message is.
func (p *producer) send(partition int, ms int64, value []byte, tail uint64) error {
	l := p.lanes[partition]
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.open.fits(len(value), p.most) {
		l.ready = true
		l.changed.Broadcast()
		if err := p.failed(); err != nil {
			return err
		}
		l.changed.Wait()
	}
	if err := p.failed(); err != nil {
		return err
	}
	l.open.add(ms, value)
	l.open.tail = tail
	return nil
}

// failed returns why the producer has failed, or nil.
func (p *producer) failed() error {
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx)
	}
	return nil
}

// flush sends out all there is, also in batches that are not full.
func (p *producer) flush() {
	for _, l := range p.lanes {
		l.mu.Lock()
		if l.open.count > 0 && !l.ready {
			l.ready = true
			l.changed.Broadcast()
		}
		l.mu.Unlock()
	}
}

// close waits until all is acknowledged, or the producer has failed.
func (p *producer) close() error {
	for _, l := range p.lanes {
		l.mu.Lock()
		l.closed = true
		l.changed.Broadcast()
		l.mu.Unlock()
	}
	p.wait.Wait()
	return p.failed()
}

// stopping gives what is still to be acknowledged some time.
func (p *producer) stopping() {
	time.AfterFunc(stopGrace, func() {
		p.fail(fmt.Errorf("%s: stopped, but not all was acknowledged within %v", p.topic.name, stopGrace))
	})
}

// acknowledged says how much was, and up to which what (message, record) of each partition, for the last words of a producer that gives up.
func (p *producer) acknowledged(what string) string {
	var parts []string
	for _, l := range p.lanes {
		if l.any {
			parts = append(parts, fmt.Sprintf("[%d] to %s %d", l.partition, what, l.acked))
		}
	}
	const most = 16
	if len(parts) > most {
		parts = append(parts[:most], "…")
	}
	if len(parts) == 0 {
		return "nothing was acknowledged"
	}
	return fmt.Sprintf("acknowledged: %d messages: %s", p.messages.Load(), strings.Join(parts, ", "))
}

// run writes batches until there are no more.
func (l *sender) run() {
	for {
		b := l.take()
		if b == nil {
			return
		}
		size := len(b.b)
		if err := l.write(b); err != nil {
			l.p.fail(err)
			return
		}
		l.p.messages.Add(int64(b.count))
		l.p.bytes.Add(int64(size))
		l.acked, l.any = b.tail, true
		b.count = 0
		l.mu.Lock()
		l.spare = b
		l.changed.Broadcast()
		l.mu.Unlock()
	}
}

// take waits for a batch that is to go out; nil: there will be none.
func (l *sender) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.open.count == 0 || !l.ready && !l.closed {
		if l.closed || l.p.ctx.Err() != nil {
			return nil
		}
		l.changed.Wait()
	}
	if l.p.ctx.Err() != nil {
		return nil
	}
	b := l.open
	l.open, l.spare = l.spare, nil
	l.ready = false
	l.changed.Broadcast()
	return b
}

// write writes one batch, however often that takes.
func (l *sender) write(b *batch) error {
	p := l.p
	unsure := false // an answer was missing: it may have been written all the same
	lent := false   // a request that was given up may still be read from the batch's memory, which is left to it
	var raw []byte
	for {
		if !l.known {
			s, err := p.newSession(p.ctx, l.retry)
			if err != nil {
				return cmp.Or(p.failed(), err)
			}
			l.session, l.known, l.sequence = s, true, 0
			if lent {
				b.b, l.packed, lent = bytes.Clone(b.b), bytes.Buffer{}, false
			}
			raw = nil
		}
		if raw == nil {
			var err error
			if raw, err = b.encode(p.codec, l.session, l.sequence, &l.packed); err != nil {
				return err
			}
		}
		r, err := p.cluster.client.RawProduce(p.ctx, &kafka.RawProduceRequest{
			Topic: p.topic.name, Partition: l.partition, RequiredAcks: kafka.RequireAll,
			RawRecords: protocol.RawRecordSet{Reader: bytes.NewReader(raw)},
		})
		if err == nil {
			err = r.Error
		}
		switch {
		case err == nil, errors.Is(err, kafka.DuplicateSequenceNumber):
			l.retry.ok()
			// The numbers go round behind the largest.
			l.sequence = int32((uint32(l.sequence) + uint32(b.count)) & (1<<31 - 1))
			l.follow(r, b.count, err == nil && !unsure)
			if lent {
				b.b, l.packed = nil, bytes.Buffer{}
			}
			return nil
		case l.sequence > 0 && isForgotten(err):
			// The brokers keep a session for a week, or have lost what they had acknowledged. All before this batch was, so a new session goes on here.
			twice := ""
			if unsure {
				twice = fmt.Sprintf("; %d messages may be there twice", b.count)
			}
			p.env.Say("%s[%d]: the brokers do not know this producer any more (%v); going on with a new session%s", p.topic.name, l.partition, short(err), twice)
			l.known = false
			continue
		}
		var answer kafka.Error
		lent = lent || !errors.As(err, &answer)
		unsure = unsure || lent || errors.Is(err, kafka.RequestTimedOut) || errors.Is(err, kafka.NotEnoughReplicasAfterAppend)
		if err := l.retry.failed(p.ctx, err); err != nil {
			return cmp.Or(p.failed(), err)
		}
	}
}

// follow looks whether a batch stands behind the one before, and says once if it does not.
func (l *sender) follow(r *kafka.ProduceResponse, count int, sure bool) {
	if !sure || !l.alone.Load() {
		l.behind = 0
		return
	}
	if l.behind > 0 && r.BaseOffset > l.behind && !l.told {
		l.told = true
		l.p.env.Say("%s[%d]: another program writes result lines here too (two merges?)", l.p.topic.name, l.partition)
	}
	l.behind = r.BaseOffset + int64(count)
}

// isForgotten reports whether an answer means that the brokers do not know the session, or not as far as it came.
func isForgotten(err error) bool {
	return errors.Is(err, kafka.OutOfOrderSequenceNumber) || errors.Is(err, kafka.UnknownProducerId) || errors.Is(err, kafka.InvalidProducerEpoch)
}
