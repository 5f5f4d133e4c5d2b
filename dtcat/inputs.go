package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// format is how the records of an input are to be decoded.
type format string

const (
	formatCSV    format = "csv"
	formatJSON   format = "json"
	formatRaw    format = "raw"
	formatLCP    format = "lcp"    // CSV of v1 words
	formatLCPRaw format = "lcpraw" // v1 words
	formatStream format = "stream"
)

// sniffSize is how much of an input is looked at to recognise it.
const sniffSize = 4096

// An input is one opened source, behind its decompression.
type input struct {
	name   string
	tag    string // the version of an object
	file   *os.File
	r      *bufio.Reader
	count  *counter // what was read of the file itself
	close  []func()
	what   tool.Content
	format format
	packed string // "gzip", "zstd", or nothing
	follow *follower
	header bool // the first line is the header
	found  bool // there is something behind it

	skipped uint64 // bytes of it, and of a byte order mark, or of all that is left out
	from    uint64 // where it is taken up; 0: it is read from its beginning

	sim      bool          // simulated
	broke    *broken       // why it can't be read on, if it is on the network
	pipeFrom *objectReader // if a pipe is between
	piped    chan struct{} // closed when nothing more comes from there
}

// counter counts what is read through it.
type counter struct {
	r    io.Reader
	wait func() error // if not nil, called before each read
	n    atomic.Int64 // read by the progress line
}

func (c *counter) Read(p []byte) (int, error) {
	if c.wait != nil {
		if err := c.wait(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

const stdinName = "standard input"

func (in *input) raw() bool { return in.format == formatRaw || in.format == formatLCPRaw }

// open opens a source and recognises what is in it. from is what --from says.
func (c *cat) open(s source, from string, follow bool) (*input, error) {
	in := &input{name: s.name}
	var err error
	switch {
	case s.object != nil:
		err = c.net.open(in, s.object)
	case s.name == "-":
		in.name = stdinName
		in.file = c.env.Stdin
		wire.Enlarge(in.file)
		in.count = &counter{r: in.file}
	default:
		err = c.openFile(in, follow)
	}
	switch {
	case err != nil:
	case s.from != nil && s.from.like != nil:
		like := s.from.like
		in.what, in.format, in.header, in.skipped, in.from = like.what, like.format, like.header, s.from.offset, s.from.offset
		in.count.n.Store(int64(in.from))
		in.r = bufio.NewReaderSize(in.count, sniffSize)
	default:
		err = in.begin(from)
		if err == nil && s.from != nil {
			err = in.goOn(s.from)
		}
	}
	if err == nil && in.format == formatStream && s.object != nil {
		err = in.pipe()
	}
	if err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

// hintScheme adds a hint if what is no file looks like an address: s3:/bucket, ftp://host.
func hintScheme(name string, err error) error {
	scheme, _, found := strings.Cut(strings.ToLower(name), ":")
	if strings.Contains(name, "://") || found && (scheme == "s3" || scheme == "http" || scheme == "https") {
		return tool.Hint(err, "addresses are s3://BUCKET/KEY and https://HOST/PATH")
	}
	return err
}

// openFile opens a file.
func (c *cat) openFile(in *input, follow bool) error {
	f, err := os.Open(in.name)
	if err != nil {
		return hintScheme(in.name, tool.Plain(err))
	}
	in.file = f
	in.close = append(in.close, func() { f.Close() })
	info, err := f.Stat()
	switch {
	case err != nil:
		return tool.Plain(err)
	case info.IsDir():
		return fmt.Errorf("%s: a folder", in.name)
	}
	in.count = &counter{r: f}
	if follow {
		in.follow = &follower{f: f, name: in.name, c: c}
		in.count.r = in.follow
	}
	return nil
}

// begin unpacks an input and recognises what is in it.
func (in *input) begin(from string) error {
	in.r = bufio.NewReaderSize(in.count, sniffSize)
	for range 2 { // what a server packs may be a packed file
		packed, err := in.unpack()
		if err != nil {
			return in.failure(err)
		}
		if !packed {
			break
		}
	}
	return in.recognise(from)
}

// Close closes the source.
func (in *input) Close() {
	for _, f := range slices.Backward(in.close) {
		f()
	}
}

// peek returns the beginning of what is there. Of a slow input that may be little, but enough to tell what it is.
func (in *input) peek() ([]byte, error) {
	for n := 1; ; n = min(in.r.Buffered()+1, sniffSize) {
		head, err := in.r.Peek(n)
		if all, _ := in.r.Peek(in.r.Buffered()); len(all) > len(head) {
			head = all
		}
		switch {
		case errors.Is(err, io.EOF), err == nil && len(head) >= sniffSize:
			return head, nil
		case err != nil:
			return nil, err
		}
		line := strings.IndexByte(string(head), '\n') >= 0
		switch tool.Sniff(head) {
		case tool.Stream, tool.Gzip, tool.Zstd:
			return head, nil
		case tool.CSV, tool.JSON, tool.Results:
			if line {
				return head, nil
			}
		case tool.Binary:
			const someWords = 64
			if len(head) >= someWords {
				return head, nil
			}
		}
	}
}

// failure says that the source can't be read on.
func (in *input) failure(err error) error {
	var path *fs.PathError
	switch {
	case in.broke != nil:
		return in.broke // whatever the decompressor makes of it
	case errors.As(err, &path):
		return tool.Plain(path)
	case in.packed != "" && errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: the %s file is cut, its end is missing", in.name, in.packed)
	case in.packed != "":
		return fmt.Errorf("%s: %s: %w", in.name, in.packed, err)
	}
	return fmt.Errorf("%s: %w", in.name, err)
}

// unpack puts a decompressor before a source that needs one.
func (in *input) unpack() (bool, error) {
	head, err := in.peek()
	if err != nil {
		return false, err
	}
	switch tool.Sniff(head) {
	case tool.Gzip:
		in.packed = "gzip"
		z, err := gzip.NewReader(in.r)
		if err != nil {
			return false, err
		}
		in.r = bufio.NewReaderSize(z, sniffSize)
	case tool.Zstd:
		in.packed = "zstd"
		z, err := zstd.NewReader(in.r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(16<<20))
		if err != nil {
			return false, fmt.Errorf("zstd: %w", err)
		}
		in.close = append(in.close, z.Close)
		in.r = bufio.NewReaderSize(z, sniffSize)
	default:
		return false, nil
	}
	return true, nil
}

// recognise decides the format, by content and by what --from says.
func (in *input) recognise(from string) error {
	head, err := in.peek()
	if err != nil {
		return in.failure(err)
	}
	in.what = tool.Sniff(head)
	switch {
	case in.what == tool.Stream:
		in.format = formatStream
	case from == "lcp" && in.what == tool.Binary:
		in.format = formatLCPRaw
	case from == "lcp":
		in.format = formatLCP
	case from != "auto":
		in.format = format(from)
	case in.what == tool.CSV, in.what == tool.Empty:
		in.format = formatCSV
	case in.what == tool.JSON:
		in.format = formatJSON
	case in.what == tool.Binary && plausible(head):
		in.format = formatRaw
	case in.what == tool.Results:
		return tool.Hint(fmt.Errorf("%s: result lines, not words", in.name), "dthist --merge reads them")
	case isPage(head):
		return tool.Hint(fmt.Errorf("%s: a web page, and no words", in.name), "the address of a file is wanted; or does the server ask for a login?")
	default:
		return tool.Hint(fmt.Errorf("%s: %s, and no words that can be recognised", in.name, in.what), "if there are, say --from csv, json, raw or lcp")
	}
	if in.format == formatCSV || in.format == formatLCP {
		return in.skipHeader(head)
	}
	return nil
}

// isPage reports whether a text begins as HTML does.
func isPage(head []byte) bool {
	start := strings.ToLower(string(bytes.TrimSpace(head[:min(len(head), 100)])))
	return strings.HasPrefix(start, "<!doctype html") || strings.HasPrefix(start, "<html")
}

// skipHeader takes a byte order mark and the header from the beginning of a text.
func (in *input) skipHeader(head []byte) error {
	const bom = "\xef\xbb\xbf"
	if strings.HasPrefix(string(head), bom) {
		if _, err := in.r.Discard(len(bom)); err != nil {
			return err
		}
		in.skipped += uint64(len(bom))
		head = head[len(bom):]
	}
	line, _, whole := strings.Cut(string(head), "\n")
	if !hit.IsHeader([]byte(line)) {
		return nil
	}
	in.header = true
	n := len(line)
	if whole {
		n++
	}
	in.skipped += uint64(n)
	_, err := in.r.Discard(n)
	return err
}

// plausible reports whether binary data may be raw v2 words: nearly all of the first are hits with possible counts, or
// ancillary.
func plausible(head []byte) bool {
	n, good := 0, 0
	for ; len(head) >= 8 && n < 256; head = head[8:] {
		w := uint64(0)
		for i := range 8 {
			w |= uint64(head[i]) << (8 * i)
		}
		n++
		if h := hit.Head(w); h <= 5 && (!hit.IsHit(w) || hit.BX(w) < hit.BXPerOrbit && hit.FPGA(w) < 2) {
			good++
		}
	}
	return n > 0 && good*10 >= n*9
}

// A follower reads a file that grows, without end, or until another is there in its place. It polls, because changes on a network
// mount raise no event.
type follower struct {
	f        *os.File
	name     string
	c        *cat
	at       int64
	replaced bool // the end was that of a file that is there no more, or was cut
}

const followPoll = 100 * time.Millisecond

func (r *follower) Read(p []byte) (int, error) {
	for {
		n, err := r.f.Read(p)
		r.at += int64(n)
		if n > 0 || len(p) == 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}
		if r.replaced {
			return 0, io.EOF
		}
		select {
		case <-r.c.stopped:
			return 0, io.EOF
		case <-r.c.enough:
			return 0, io.EOF
		case <-time.After(followPoll):
		}
		now, err := os.Stat(r.name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it may come back
		}
		if err != nil {
			return 0, tool.Plain(err)
		}
		old, err := r.f.Stat()
		if err != nil {
			return 0, tool.Plain(err)
		}
		switch {
		case !os.SameFile(old, now):
			r.c.env.Say("%s: the file was replaced; reading the new one", r.name)
			r.replaced = true // the old one is read to its end, which may have come only now
		case now.Size() < r.at:
			r.c.env.Say("%s: the file became shorter; reading it from the beginning", r.name)
			r.replaced = true
		}
	}
}
