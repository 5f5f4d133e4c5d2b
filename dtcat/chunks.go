package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"dt/internal/hit"
)

// A chunk is a piece of an input, of whole records, on its way from the reader through a decoder to the consumer. Chunks are
// decoded by as many goroutines as there are cores and consumed in order; they are used again.
type chunk struct {
	in      *input
	data    []byte
	records int    // that data has, known once it is decoded
	offset  uint64 // in the input, uncompressed, behind data
	done    chan struct{}

	words []uint64
	bad   []hit.Bad
	odd   []byte // bytes behind the last whole raw word
	piece []byte // of a line too long for a chunk
	whole bool   // the last piece

	opened bool  // the first chunk of its input
	err    error // why its input ends here; nil: there is more; io.EOF
}

const (
	chunkSize = 256 << 10
	inFlight  = 8 // chunks at most
)

// read reads all inputs and sends their chunks to order, each also to a decoder. It returns when the consumer stops it.
func (c *cat) read(sources []source, order chan<- *chunk) {
	defer close(order)
	jobs := make(chan *chunk, inFlight)
	defer close(jobs)
	for range runtime.GOMAXPROCS(0) {
		go func() {
			for k := range jobs {
				k.decode()
				close(k.done)
			}
		}()
	}
	folder := c.newFolderFollower()
	for {
		found := false
		for i, s := range sources {
			for {
				c.net.plan(c.env, sources[i:])
				in, more := c.readOne(s, c.cli.Follow && folder == nil && i == len(sources)-1, jobs, order)
				if !more {
					return
				}
				found = found || in.found
				if in.follow == nil || !in.follow.replaced {
					break
				}
				s.from = nil
			}
		}
		if folder != nil {
			sources = folder.next()
		}
		if folder == nil && (!c.cli.Loop || !found) || len(sources) == 0 {
			return // also where there is nothing to be had a second time
		}
	}
}

// get returns a chunk to fill, or nil when the consumer has had enough.
func (c *cat) get() *chunk {
	var k *chunk
	select {
	case k = <-c.free:
	case <-c.enough:
		return nil
	}
	*k = chunk{data: k.data[:0], words: k.words[:0], bad: k.bad[:0], done: make(chan struct{})}
	return k
}

// send hands a chunk on.
func (c *cat) send(k *chunk, jobs chan<- *chunk, order chan<- *chunk) {
	jobs <- k
	order <- k
}

// readOne reads one source. It returns false when the consumer has had enough.
func (c *cat) readOne(s source, follow bool, jobs, order chan<- *chunk) (*input, bool) {
	in, err := c.open(s, c.cli.From, follow)
	if err != nil {
		in = &input{name: s.name}
		k := c.get()
		if k == nil {
			return in, false
		}
		if s.from != nil {
			err = &broken{err} // what comes behind it would be taken for what is missing
		}
		k.in, k.err = in, err
		c.send(k, jobs, order)
		return in, true
	}
	defer in.Close()
	if in.format == formatStream {
		k := c.get()
		if k == nil {
			return in, false
		}
		k.in, k.opened, k.err = in, true, io.EOF
		c.send(k, jobs, order)
		select {
		case <-c.streamed: // the consumer has read it by itself
		case <-c.enough:
			return in, false
		}
		in.found = true
		return in, true
	}
	raw := in.raw()
	var rest []byte // an unfinished record
	long := false   // inside a line that is too long for a chunk
	offset := in.skipped
	for first := true; ; first = false {
		k := c.get()
		if k == nil {
			return in, false
		}
		k.in, k.opened = in, first
		if k.data == nil {
			k.data = make([]byte, 0, chunkSize)
		}
		k.data = append(k.data, rest...)
		n, err := in.r.Read(k.data[len(k.data):chunkSize])
		k.data = k.data[:len(k.data)+n]
		in.found = in.found || n > 0
		if err != nil && !errors.Is(err, io.EOF) {
			err = in.failure(err)
		}
		k.err = err
		whole := len(k.data)
		switch {
		case raw:
			whole -= whole % 8
		case err == nil || !errors.Is(err, io.EOF):
			whole = bytes.LastIndexByte(k.data, '\n') + 1
		}
		rest = append(rest[:0], k.data[whole:]...)
		if err != nil && in.broke == nil {
			if raw {
				k.odd = append([]byte(nil), rest...)
			} else if !errors.Is(err, io.EOF) && len(rest) > 0 {
				// The source broke in the middle of a line; what there is of it is a bad record, not lost.
				k.data, whole, rest = append(k.data, '\n'), len(k.data)+1, nil
			}
		}
		if !raw && (long || whole == 0 && len(k.data) == chunkSize) {
			long = k.cutLong(long, &rest)
			if err != nil && len(rest) > 0 {
				err, k.err = nil, nil // there is more behind the long line; the end comes again
			}
		} else {
			k.data = k.data[:whole]
		}
		offset += uint64(len(k.data) + len(k.odd) + len(k.piece))
		k.offset = offset
		c.send(k, jobs, order)
		if err != nil {
			return in, true
		}
	}
}

// cutLong makes of a chunk that begins inside, or is nothing but, a line too long for a chunk: the piece of that line, and leaves
// what is behind it in rest. It reports whether the line goes on.
func (k *chunk) cutLong(inside bool, rest *[]byte) bool {
	i := bytes.IndexByte(k.data, '\n')
	switch {
	case i >= 0:
		k.piece, k.whole = append([]byte(nil), k.data[:i+1]...), true
		*rest = append((*rest)[:0], k.data[i+1:]...)
	case k.err != nil:
		k.piece, k.whole = append([]byte(nil), k.data...), true
		*rest = nil
	default:
		k.piece = append([]byte(nil), k.data...)
		*rest = nil
	}
	k.data = k.data[:0]
	return !k.whole
}

// decode turns the data into words and records that are none.
func (k *chunk) decode() {
	if len(k.data) > 0 {
		k.decodeData()
	}
	k.records = len(k.words) + len(k.bad)
	last := hit.Bad{Record: k.records, Line: k.records}
	switch {
	case len(k.odd) > 0:
		last.Text, last.Class = k.odd, "cut word"
		last.Reason = fmt.Sprintf("%d bytes left over, a word has 8", len(k.odd))
	case k.whole: // its text are the pieces
		last.Class, last.Reason = hit.BadLength, fmt.Sprintf("a line of more than %d bytes", chunkSize)
	default:
		return
	}
	k.bad = append(k.bad, last)
	k.records++
}

func (k *chunk) decodeData() {
	switch k.in.format {
	case formatCSV:
		k.words, k.bad = hit.DecodeCSV(k.words, k.bad, k.data, false)
	case formatLCP:
		k.words, k.bad = hit.DecodeCSV(k.words, k.bad, k.data, true)
	case formatJSON:
		k.words, k.bad = hit.DecodeJSON(k.words, k.bad, k.data, false)
	case formatRaw:
		k.words = decodeRaw(k.words, k.data)
	case formatLCPRaw:
		k.decodeLCP()
	}
}

// decodeLCP decodes raw v1 words.
func (k *chunk) decodeLCP() {
	for i := 0; i+8 <= len(k.data); i += 8 {
		if w, ok := hit.FromLCP(binary.LittleEndian.Uint64(k.data[i:])); ok {
			k.words = append(k.words, w)
			continue
		}
		k.bad = append(k.bad, hit.Bad{Record: i / 8, Line: i / 8, Text: k.data[i : i+8], Class: "no v1 word",
			Reason: fmt.Sprintf("%016x is no v1 word", binary.LittleEndian.Uint64(k.data[i:]))})
	}
}

// decodeRaw decodes whole raw words, four at a time.
func decodeRaw(words []uint64, data []byte) []uint64 {
	words = slices.Grow(words[:0], len(data)/8)
	for ; len(data) >= 32; data = data[32:] {
		words = append(words, binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:]),
			binary.LittleEndian.Uint64(data[16:]), binary.LittleEndian.Uint64(data[24:]))
	}
	for ; len(data) >= 8; data = data[8:] {
		words = append(words, binary.LittleEndian.Uint64(data))
	}
	return words
}
