package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// A fake is a store in memory, with faults.
type fake struct {
	mu    sync.Mutex
	data  map[string][]byte
	tag   map[string]string
	plan  func(o *Object, from int64, n int) fault // of the nth request for an object
	asked map[string]int
	froms map[string][]int64
	open  int // connections
	most  int // of them
}

// A fault is how one connection goes. The zero one is fine.
type fault struct {
	err   error         // of get
	wait  time.Duration // before it answers
	hang  bool          // it never does
	from  int64         // where the body begins, −1: 0
	whole bool          // the range is ignored
	more  int           // surplus bytes behind the body
	cut   int           // after so many bytes, unless 0
	with  error         // what the cut shows as; nil: as the end
	soon  bool          // it shows with the last bytes
	stall int           // nothing comes after so many bytes, unless 0
	piece int           // at most so many bytes come at once, unless 0
	pause time.Duration // before each piece
	tag   string        // another version, of other bytes
	size  int64         // another size, unless 0
}

func newFake() *fake {
	return &fake{data: map[string][]byte{}, tag: map[string]string{}, asked: map[string]int{}, froms: map[string][]int64{}}
}

// add makes an object of random bytes.
func (s *fake) add(name string, size int, seed uint64) Object {
	data := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(len(name))})
	random.Read(data)
	s.data[name], s.tag[name] = data, "v"+strconv.FormatUint(seed, 10)
	return Object{Name: name, Path: name, Size: int64(size), Tag: s.tag[name], store: s, ranges: true}
}

func (s *fake) get(ctx context.Context, o *Object, from, to int64) (got, error) {
	s.mu.Lock()
	n := s.asked[o.Name]
	s.asked[o.Name]++
	s.froms[o.Name] = append(s.froms[o.Name], from)
	data, tag := s.data[o.Name], s.tag[o.Name]
	var f fault
	if s.plan != nil {
		f = s.plan(o, from, n)
	}
	s.open++
	s.most = max(s.most, s.open)
	s.mu.Unlock()
	closed := func() {
		s.mu.Lock()
		s.open--
		s.mu.Unlock()
	}
	if f.hang {
		<-ctx.Done()
	}
	rest(ctx, f.wait)
	if ctx.Err() != nil {
		closed()
		return got{}, ctx.Err()
	}
	if f.err != nil {
		closed()
		return got{}, f.err
	}
	g := got{from: from, size: int64(len(data)), tag: tag}
	switch {
	case f.from != 0:
		g.from = max(f.from, 0)
	case f.whole:
		g.from, to = 0, -1
	}
	if to < 0 {
		to = int64(len(data))
	}
	to = min(to, int64(len(data)))
	bytes := bytes.Clone(data[min(g.from, to):to])
	if o.Size < 0 {
		g.size = -1
	}
	if f.tag != "" {
		g.tag = f.tag
		for i := range bytes {
			bytes[i] ^= 0x55
		}
	}
	if f.size != 0 {
		g.size = f.size
	}
	if g.size >= 0 {
		bytes = append(bytes, make([]byte, f.more)...)
	}
	g.body = &fakeBody{ctx: ctx, fault: f, data: bytes, closed: closed}
	return g, nil
}

type fakeBody struct {
	ctx    context.Context
	fault  fault
	data   []byte
	at     int
	closed func()
}

func (b *fakeBody) Read(p []byte) (int, error) {
	f := b.fault
	rest(b.ctx, f.pause)
	if b.ctx.Err() != nil {
		return 0, b.ctx.Err()
	}
	if f.stall > 0 && b.at >= f.stall {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	left := b.data[b.at:]
	for _, most := range []int{f.stall, f.cut} {
		if most > 0 {
			left = left[:min(len(left), max(0, most-b.at))]
		}
	}
	if f.piece > 0 {
		left = left[:min(len(left), f.piece)]
	}
	n := copy(p, left)
	b.at += n
	switch {
	case f.soon && b.at == f.cut:
		return n, f.with
	case n > 0 || len(p) == 0:
		return n, nil
	case b.at == len(b.data) || f.with == nil:
		return 0, io.EOF
	}
	return 0, f.with
}

func (b *fakeBody) Close() error {
	b.closed()
	return nil
}

// rest is pause, without a timer of no time: those are more than the race detector can bear inside of synctest.
func rest(ctx context.Context, d time.Duration) {
	if d > 0 {
		pause(ctx, d, nil)
	}
}

var errReset = errors.New("the server cut the connection")

// testSettings are those of the tests. Said lines come to said.
func testSettings(said func(format string, args ...any)) *Settings {
	return &Settings{Connections: 8, Tries: 10, Stall: 10 * time.Second, Say: said}
}

// fetch is what Client.Fetch is, with parts of another size.
func fetch(ctx context.Context, s *Settings, size int64, items ...Item) *Fetch {
	f := newFetch(ctx, s, size)
	f.Add(items...)
	return f
}
