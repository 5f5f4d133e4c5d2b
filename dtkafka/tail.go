package main

import "context"

// What is done is what a topic says. So its last messages are read: each partition backward, in pieces.

const (
	tailMessages = 32      // of the last piece of a partition; each before it has twice as many
	tailBytes    = 1 << 20 // are asked for at a time
)

// A tail is a partition that is read backward.
type tail struct {
	cluster   *cluster
	topic     string
	partition int
	first     int64 // offset of its first message
	at        int64 // what is behind it was read
	size      int64 // of the next piece
}

// tail begins at the end of a partition.
func (l *cluster) tail(ctx context.Context, topic string, partition int) (*tail, error) {
	first, end, err := l.span(ctx, topic, partition)
	return &tail{l, topic, partition, first, end, tailMessages}, err
}

// more reads the piece before what was read, its messages in their order. They belong to more.
func (t *tail) more(ctx context.Context, each func(m *message) error) error {
	from := max(t.first, t.at-t.size)
	err := t.cluster.stretch(ctx, t.topic, t.partition, from, t.at, each)
	t.at, t.size = from, 2*t.size
	return err
}

// over reports whether all was read.
func (t *tail) over() bool { return t.at <= t.first }

// backward reads a partition backward until enough says, behind a piece, that it is.
func (l *cluster) backward(ctx context.Context, topic string, partition int, each func(m *message) error, enough func() bool) error {
	t, err := l.tail(ctx, topic, partition)
	for err == nil && !t.over() {
		if err = t.more(ctx, each); enough() {
			break
		}
	}
	return err
}

// span is offsets, however often that takes.
func (l *cluster) span(ctx context.Context, topic string, partition int) (first, end int64, err error) {
	retry := l.retrier("")
	for {
		if first, end, err = l.offsets(ctx, topic, partition); err == nil {
			retry.ok()
			return first, end, nil
		}
		if err := retry.failed(ctx, err); err != nil {
			return 0, 0, err
		}
	}
}

// stretch reads the messages of a partition from one offset up to another.
func (l *cluster) stretch(ctx context.Context, topic string, partition int, from, until int64, each func(m *message) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived, ended := make(chan *fetched), make(chan error, 1)
	f := newFetcher(l, topic, partition, 1, from, until, arrived)
	f.most = tailBytes
	go func() { ended <- f.run(ctx) }()
	for {
		select {
		case to := <-arrived:
			for i := range to.messages {
				if err := each(&to.messages[i]); err != nil {
					cancel()
					<-ended
					return err
				}
			}
			to.release()
		case err := <-ended:
			if err == nil {
				err = ctx.Err()
			}
			return err
		}
	}
}
