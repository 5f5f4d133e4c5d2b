package e2e

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"dt/internal/wire"
)

// frames reads all frames of a stream, each with memory of its own.
func frames(t testing.TB, stream []byte) []*wire.Frame {
	t.Helper()
	r := wire.NewReader(bytes.NewReader(stream))
	var list []*wire.Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, clone(f))
	}
}

// clone copies a frame, but for the bytes it was read from.
func clone(f *wire.Frame) *wire.Frame {
	c := &wire.Frame{Kind: f.Kind, Flags: f.Flags, Count: f.Count, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open, Lane: f.Lane, Mark: f.Mark, End: f.End}
	c.Words = append(c.Words, f.Words...)
	c.Present = append(c.Present, f.Present...)
	return c
}

// A record is what a stream says of one number.
type record struct {
	number uint64
	kind   wire.Kind // 0: set aside
	epoch  uint32
	word   uint64
	newest uint32
}

// records returns what a stream of one lane says of all its numbers.
func records(t testing.TB, stream []byte) []record {
	t.Helper()
	var list []record
	for _, f := range frames(t, stream) {
		if f.Kind != wire.KindWords && f.Kind != wire.KindLate {
			continue
		}
		k := 0
		for n := f.First; n < f.Next; n++ {
			r := record{number: n}
			if i := n - f.First; f.Present == nil || f.Present[i/64]>>(i%64)&1 != 0 {
				r.kind, r.epoch, r.word = f.Kind, f.Epoch, f.Words[k]
				if f.Kind == wire.KindLate {
					r.newest = f.Newest[k]
				}
				k++
			}
			list = append(list, r)
		}
	}
	return list
}
