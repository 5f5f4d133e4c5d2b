package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"dt/internal/hit"
)

var hexLine = regexp.MustCompile(`(?m)^ *((?:[0-9A-F]{2} )*[0-9A-F]{2})(?:  .*)?$`)

// parseHex returns the bytes at the beginnings of lines; what follows them after two spaces is for people.
func parseHex(t testing.TB, text string) (b []byte) {
	t.Helper()
	for _, m := range hexLine.FindAllStringSubmatch(text, -1) {
		line, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, line...)
	}
	return b
}

func formatExample(t testing.TB) []byte {
	t.Helper()
	page, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(page), "\n## An example\n")
	if !ok {
		t.Fatal("FORMAT.md has no example")
	}
	b := parseHex(t, example)
	if len(b) < 300 {
		t.Fatalf("FORMAT.md's example has %d bytes", len(b))
	}
	return b
}

var exampleWords = []uint64{hit.NewHit(0, 5, 617_000, 100, 7), hit.NewHit(1, 70, 617_000, 101, 12)}

// What a lane frame says comes back as it was.
func TestLaneFrame(t *testing.T) {
	r := newRand(1)
	text := func(least int) string { return strings.Repeat("x", least+r.IntN(MaxRun+1-least)) }
	for range 500 {
		n := uint32(1 + r.IntN(MaxLanes))
		want := Lane{Run: text(1), K: 1 + r.Uint32N(n), N: n, Map: r.Uint64(), Form: text(0), FloorEpoch: r.Uint32(), FloorOrbit: r.Uint64(), FloorNumber: r.Uint64(),
			Anew: r.IntN(2) == 0, Settings: text(0), Start: r.Uint64()}
		rd := NewReader(bytes.NewReader(build(t, func(w *Writer) {
			w.Preamble()
			w.Lane(&Frame{Next: want.Start}, &want)
		})))
		rd.Next()
		if f, err := rd.Next(); err != nil || *f.Lane != want || f.Next != want.Start {
			t.Fatalf("%v: %+v, want %+v", err, f.Lane, want)
		}
	}
}

func TestFormatExample(t *testing.T) {
	example := formatExample(t)
	head := Frame{First: 2, Next: 2, Horizon: 616_984, Count: 1}
	lane := &Lane{Run: "demo", K: 1, N: 1, Form: "csv"}
	mark, end := head, head
	mark.Kind, mark.Mark = KindMark, Mark{Newest: 617_000, Time: 1_700_000_000_000_000_000, Serial: 1, Partition: NoPartition, State: []byte{}}
	end.Kind, end.End = KindEnd, End{Read: 2}
	want := []Frame{
		{Kind: KindStream},
		{Kind: KindLane, Count: 1},
		{Kind: KindWords, Count: 2, Next: 2, Horizon: 616_984, Words: exampleWords},
		mark,
		end,
	}
	r := NewReader(bytes.NewReader(example))
	for i, w := range want {
		f, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && !reflect.DeepEqual(f.Lane, lane) {
			t.Errorf("frame %d: lane %+v", i, f.Lane)
		}
		got := Frame{Kind: f.Kind, Flags: f.Flags, Count: f.Count, First: f.First, Next: f.Next, Horizon: f.Horizon, Epoch: f.Epoch, Open: f.Open}
		switch f.Kind {
		case KindWords:
			got.Words, got.Present, got.Chambers = f.Words, f.Present, f.Chambers
		case KindMark:
			got.Mark = f.Mark
		case KindEnd:
			got.End = f.End
		}
		if !reflect.DeepEqual(got, w) {
			t.Errorf("frame %d is\n%+v, want\n%+v", i, got, w)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("behind the end: %v", err)
	}

	// What the lines say of the header, without the code that is tested.
	le := binary.LittleEndian
	if example[0] != 0xD7 || example[8] != 1 || le.Uint32(example[12:]) != 56 || le.Uint64(example[14*8:]) != 2|16<<32 {
		t.Error("the headers do not lie where the page says")
	}

	// The Source writes these bytes, and so does the Writer.
	var buf bytes.Buffer
	s := newTestSource(t, &buf, DefaultLateness)
	if err := errors.Join(s.Add(exampleWords, nil), s.End(End{}, false)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), example) {
		t.Errorf("a Source writes\n%s", dump(buf.Bytes()))
	}
	buf.Reset()
	w := NewWriter(&buf)
	if err := errors.Join(w.Preamble(), w.Lane(&Frame{}, lane), w.Words(&want[2]), w.Mark(&want[3]), w.End(&want[4]), w.Flush()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(buf.Bytes(), example) {
		t.Errorf("a Writer writes\n%s", dump(buf.Bytes()))
	}
}

// dump shows a stream as the vectors and FORMAT.md have it.
func dump(b []byte) string {
	var s strings.Builder
	names := map[Kind]string{KindLane: "lane", KindWords: "words", KindLate: "late", KindLedger: "ledger", KindMark: "mark", KindMap: "map", KindEnd: "end"}
	for left, head := 0, 0; len(b) > 0; {
		line := b[:min(8, len(b))]
		note := ""
		switch {
		case left == 0 && (len(b) < 8 || b[0] == preamble[0]):
			note = "  preamble"
			left = len(line)
		case left == 0:
			name := names[Kind(b[0])]
			if name == "" {
				name = "unknown"
			}
			note = fmt.Sprintf("  %s: kind %d, flags %#02x, %d bytes of payload", name, b[0], b[1], binary.LittleEndian.Uint32(b[4:]))
			left, head = HeaderSize+int(min(binary.LittleEndian.Uint32(b[4:]), 1<<20)), 1
		case head > 0:
			note = "  " + []string{"count, CRC-32C", "first", "next", "horizon", "epoch, open"}[head-1]
			if head++; head > 5 {
				head = 0
			}
		}
		fmt.Fprintf(&s, "% X%s\n", line, note)
		left -= len(line)
		b = b[len(line):]
	}
	return s.String()
}

// A vector is a small stream in testdata, with what a reader finds in it.
type vector struct {
	name, about string
	expect      string // the kinds of the frames, in words
	err         string // part of the error that ends the reading; empty: its end
	stream      []byte
}

var update = flag.Bool("update", false, "write the vectors in testdata anew")

var kindNames = map[Kind]string{
	KindStream: "stream", KindCut: "cut", KindLane: "lane", KindWords: "words", KindLate: "late",
	KindLedger: "ledger", KindMark: "mark", KindMap: "map", KindEnd: "end",
}

func readVector(t testing.TB, path string) vector {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
	head, body, _ := strings.Cut(string(b), "\n\n")
	for _, line := range strings.Split(head, "\n") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "about":
			v.about = value
		case "expect":
			v.expect = value
		case "error":
			v.err = value
		default:
			t.Fatalf("%s: %q", path, line)
		}
	}
	v.stream = parseHex(t, body)
	return v
}

func vectorFiles(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d vectors in testdata, %v", len(files), err)
	}
	return files
}

func TestVectors(t *testing.T) {
	if *update {
		for _, v := range makeVectors(t) {
			text := fmt.Sprintf("about: %s\nexpect: %s\n", v.about, v.expect)
			if v.err != "" {
				text += "error: " + v.err + "\n"
			}
			if err := os.WriteFile("testdata/"+v.name+".txt", []byte(text+"\n"+dump(v.stream)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, path := range vectorFiles(t) {
		v := readVector(t, path)
		t.Run(v.name, func(t *testing.T) {
			kinds, err := frames(NewReader(bytes.NewReader(v.stream)))
			var names []string
			for _, k := range kinds {
				names = append(names, kindNames[k])
			}
			if got := strings.Join(names, " "); got != v.expect {
				t.Errorf("frames %q, want %q", got, v.expect)
			}
			switch {
			case err == nil && v.err == "":
			case err == nil || v.err == "" || !strings.Contains(err.Error(), v.err):
				t.Errorf("error %v, want %q", err, v.err)
			}
		})
	}
}

// The files in testdata are what makeVectors says, so that no one changes them by accident.
func TestVectorsAreAsMade(t *testing.T) {
	made := map[string]vector{}
	for _, v := range makeVectors(t) {
		made[v.name] = v
	}
	files := vectorFiles(t)
	for _, path := range files {
		v := readVector(t, path)
		if want := made[v.name]; !reflect.DeepEqual(v, want) {
			t.Errorf("%s is not as made (go test -run TestVectors -update writes it anew)", path)
		}
	}
	if len(files) != len(made) {
		t.Errorf("%d files, %d are made", len(files), len(made))
	}
}

// build makes a stream with a Writer.
func build(t testing.TB, fill func(w *Writer)) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := NewWriter(&buf)
	fill(w)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// sealed makes a frame out of a header's fields and any payload, with a good checksum.
func sealed(f Frame, payload []byte) []byte {
	b := append(make([]byte, HeaderSize), payload...)
	putHeader(b, &f, len(payload))
	return b
}

// seal puts the right checksum on a frame that was changed.
func seal(frame []byte) []byte {
	binary.LittleEndian.PutUint32(frame[12:], checksum(frame))
	return frame
}

func makeVectors(t testing.TB) []vector {
	demo := &Lane{Run: "demo", K: 1, N: 1, Form: FormCSV}
	head := build(t, func(w *Writer) { w.Preamble(); w.Lane(&Frame{}, demo) })
	end := func(number uint64) []byte {
		return build(t, func(w *Writer) {
			w.End(&Frame{Next: number, Horizon: 616_984, End: End{Read: number}})
		})
	}
	words := func(first uint64) []byte {
		return build(t, func(w *Writer) {
			w.Words(&Frame{Kind: KindWords, First: first, Next: first + 2, Horizon: 616_984, Words: exampleWords})
		})
	}
	good := join(head, words(0), end(2))
	changed := func(change func(words []byte)) []byte {
		w := words(0)
		change(w)
		return join(head, seal(w), end(2))
	}
	frame := func(f Frame, payload ...byte) []byte { return join(head, sealed(f, payload)) }
	zeros := func(n int) []byte { return make([]byte, n) }
	other := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{}, &Lane{Run: "other", K: 2, N: 3})
		w.End(&Frame{End: End{Stopped: true, Why: "stopped by a signal"}})
	})
	newer := bytes.Clone(good)
	newer[7] = 2
	flipped := bytes.Clone(good)
	flipped[len(head)+HeaderSize] ^= 1

	full := build(t, func(w *Writer) {
		w.Preamble()
		lane := *demo
		lane.Map, lane.FloorEpoch, lane.FloorOrbit, lane.FloorNumber = 0x1122334455667788, 3, 617_000, 10
		w.Lane(&Frame{Next: 10}, &lane)
		w.Map(&Frame{Next: 10}, []byte("{}\n"))
		f := &Frame{First: 10, Next: 14, Horizon: 616_984, Epoch: 1, Open: 1, Ledger: Ledger{Stage: "dtfilter", Read: 4, Kept: 2, Entries: []Entry{
			{"HEAD == 2", 1, []uint64{0b0001}}, {"TDC_CHANNEL <= 128", 1, []uint64{0b0100}},
		}}}
		w.Ledger(f)
		w.Words(&Frame{Kind: KindWords, First: 10, Next: 14, Horizon: 616_984, Epoch: 1, Open: 1, Words: exampleWords, Present: []uint64{0b1010}, Chambers: []uint8{1, 4}})
		w.Words(&Frame{Kind: KindLate, First: 14, Next: 15, Horizon: 616_984, Epoch: 1, Open: 1, Words: exampleWords[:1], Newest: []uint32{700_000}, Chambers: []uint8{255}})
		w.Mark(&Frame{Next: 15, Horizon: 616_984, Epoch: 1, Open: 1, Mark: Mark{
			Newest: 700_000, Time: 1_700_000_000_000_000_000, Number: 15, Offset: 4096, Source: 30, Serial: 7, Partition: 2, Name: "topic", Tag: "tag",
		}})
		w.End(&Frame{Next: 15, Horizon: 616_984, Epoch: 1, Open: 1, End: End{Read: 15, Late: 1, Why: "--limit 15"}})
	})
	anew := Lane{Run: "demo", K: 2, N: 3, FloorEpoch: 3, FloorOrbit: 617_000, FloorNumber: 12, Anew: true, Settings: "0123456789abcdef"}
	resumed := build(t, func(w *Writer) {
		w.Preamble()
		w.Lane(&Frame{Next: 11}, &anew)
		w.Words(&Frame{Kind: KindWords, First: 11, Next: 13, Horizon: 616_984, Epoch: 3, Open: 3, Words: exampleWords})
		w.End(&Frame{Next: 13, Horizon: 616_984, Epoch: 3, Open: 3, End: End{Read: 13}})
	})
	odd := anew
	odd.Settings = "a\x1b[m"
	ledger := func(change func(l *Ledger)) []byte {
		l := Ledger{Stage: "s", Read: 4, Kept: 1, Entries: []Entry{{"a", 2, []uint64{0b0011}}, {"b", 1, []uint64{0b0100}}}}
		b := build(t, func(w *Writer) { w.Ledger(&Frame{Next: 4, Ledger: l}) })
		change(&l)
		p := b[HeaderSize:HeaderSize]
		p = append(p, 1, l.Stage[0])
		p = binary.LittleEndian.AppendUint32(p, uint32(l.Read))
		p = binary.LittleEndian.AppendUint32(p, uint32(l.Kept))
		for _, e := range l.Entries {
			p = append(p, 1, e.Reason[0])
			p = binary.LittleEndian.AppendUint32(p, uint32(e.Count))
			p = binary.LittleEndian.AppendUint64(p, e.Numbers[0])
		}
		return join(head, seal(b))
	}

	return []vector{
		{"good", "two hits of one orbit", "stream lane words end", "", good},
		{"good-all-kinds", "every kind of frame, with chambers, a presence bitmap, a late word and a ledger", "stream lane map ledger words late mark end", "", full},
		{"good-no-words", "a lane and its end", "stream lane end", "", join(head, end(0))},
		{"good-resumed", "a lane that is resumed below its floor number, anew, with settings", "stream lane words end", "", resumed},
		{"good-two-streams", "two streams of two runs, one after the other", "stream lane words end stream lane end", "", join(good, other)},
		{"good-continued", "the second stream goes on where the first, without an end, was left", "stream lane words stream lane words end", "",
			join(head, words(0), head[:8], sealedLane(demo, 2), words(2), end(4))},
		{"good-cut-inside-continued", "the first stream is cut inside its second words frame, and the second goes on with the lane", "stream lane words stream lane words end", "",
			join(head, words(0), words(2)[:53], head[:8], sealedLane(demo, 2), words(2), end(4))},
		{"good-cut-at-the-end-continued", "the first stream is cut in the last bytes of a frame, and the second goes on with the lane", "stream lane words stream lane words end", "",
			join(head, words(0), words(2)[:60], head[:8], sealedLane(demo, 2), words(2), end(4))},
		{"good-cut-inside-large-continued", "the first stream is cut inside a frame larger than all that follows, and the second goes on with the lane", "stream lane words stream lane words end", "",
			join(head, words(0), sealed(Frame{Kind: KindWords, Count: 1000, First: 2, Next: 1002}, zeros(8000))[:51], head[:8], sealedLane(demo, 2), words(2), end(4))},
		{"good-skippable", "a frame of kind 99 that may be skipped", "stream lane words end", "",
			join(head, sealed(Frame{Kind: 99, Flags: 0x84, Count: 1 << 20}, zeros(16)), words(0), end(2))},
		{"good-stopped", "an end that says stopped", "stream lane end", "", other},

		{"bad-empty", "no bytes at all", "", "empty input, not a hit stream", nil},
		{"bad-magic", "the third byte of the preamble is wrong", "", "not a hit stream", join([]byte{0xD7, 'd', 'T'}, good[3:])},
		{"bad-text", "the first 16 bytes of a CSV file", "", "not a hit stream", []byte("HEAD,FPGA,TDC_CH")},
		{"bad-newer", "version 2", "", "at byte 0: stream of version 2; this program reads version 1", newer},
		{"bad-newer-second", "a good stream, and behind it one of version 2", "stream lane words end", "stream of version 2", join(good, newer)},
		{"bad-second-magic", "a good stream, and behind it another preamble, damaged", "stream lane words end", "neither a frame nor the beginning of a stream",
			join(good, []byte{0xD7, 'd', 'X'}, good[3:])},
		{"bad-preamble-only", "a stream of a preamble", "stream", "a stream without a lane frame", head[:8]},
		{"bad-preamble-twice", "a preamble, and behind it a good stream", "stream", "a stream without a lane frame", join(head[:8], good)},
		{"bad-before-lane", "words before the lane frame", "stream", "a frame before the stream's lane frame", join(head[:8], words(0))},
		{"bad-behind-end", "words behind the lane's end", "stream lane words end", "a frame behind the end of run demo", join(good, words(2))},
		{"bad-flipped", "one bit of a word is wrong", "stream lane", "the stream is damaged", flipped},
		{"bad-4GB", "a frame of 4 GB", "stream lane", "a frame of 4294967288 bytes; at most 983040 are possible",
			changed(func(w []byte) { copy(w[4:], "\xF8\xFF\xFF\xFF") })},
		{"bad-length", "a length that is no multiple of 8", "stream lane", "no multiple of 8", changed(func(w []byte) { w[4]-- })},
		{"bad-reserved", "a reserved byte is not 0", "stream lane", "reserved bytes", changed(func(w []byte) { w[2] = 1 })},
		{"bad-unknown", "a frame of kind 99 that may not be skipped", "stream lane", "a frame of unknown kind 99", frame(Frame{Kind: 99})},
		{"bad-kind-0", "a frame of kind 0", "stream lane", "a frame of unknown kind 0", frame(Frame{})},
		{"bad-flags", "a flag that does not exist", "stream lane", "flags 0x04 of a frame of kind 2", changed(func(w []byte) { w[1] = 4 })},
		{"bad-flags-end", "an end frame with chambers", "stream lane", "flags 0x01 of a frame of kind 7", frame(Frame{Kind: KindEnd, Flags: 1, Count: 1}, join([]byte{1}, zeros(31))...)},
		{"bad-closed", "words of an epoch that is closed", "stream lane", "words of epoch 0, which is closed", changed(func(w []byte) { w[44] = 1 })},
		{"bad-numbers", "next is below first", "stream lane", "a frame covers the numbers 3 to 2", changed(func(w []byte) { w[16] = 3 })},
		{"bad-cover", "a frame that covers 65 537 numbers", "stream lane", "at most 65536 are possible",
			changed(func(w []byte) { copy(w[24:], "\x01\x00\x01\x00") })},
		{"bad-count", "three words with the payload of two", "stream lane", "a frame of 3 words", changed(func(w []byte) { w[8], w[24] = 3, 3 })},
		{"bad-absent", "two words for three numbers, and no presence bitmap", "stream lane", "a frame of 2 words that covers 3 numbers", changed(func(w []byte) { w[24] = 3 })},
		{"bad-presence", "a presence bitmap that says one word, and there are two", "stream lane", "the presence bitmap does not say 2 words of 3",
			frame(Frame{Kind: KindWords, Flags: FlagPresence, Count: 2, Next: 3}, join(words(0)[HeaderSize:], []byte{1}, zeros(7))...)},
		{"bad-presence-tail", "a presence bitmap with a bit past the last number", "stream lane", "the presence bitmap does not say 2 words of 3",
			frame(Frame{Kind: KindWords, Flags: FlagPresence, Count: 2, Next: 3}, join(words(0)[HeaderSize:], []byte{9}, zeros(7))...)},
		{"bad-chamber", "a word in chamber 33", "stream lane", "a chamber that is neither 0 to 32 nor 255",
			frame(Frame{Kind: KindWords, Flags: FlagChambers, Count: 2, Next: 2}, join(words(0)[HeaderSize:], []byte{1, 33}, zeros(6))...)},
		{"bad-padding", "padding that is not 0", "stream lane", "a frame of 2 words with bytes left over",
			frame(Frame{Kind: KindWords, Flags: FlagChambers, Count: 2, Next: 2}, join(words(0)[HeaderSize:], []byte{1, 2, 1}, zeros(5))...)},
		{"bad-ledger-sum", "a ledger whose sum is not what was read", "stream lane", "a ledger that does not balance", ledger(func(l *Ledger) { l.Kept = 2 })},
		{"bad-ledger-cover", "a ledger that read more than it covers", "stream lane", "a ledger that does not balance", ledger(func(l *Ledger) { l.Read, l.Kept = 5, 2 })},
		{"bad-ledger-bits", "a ledger whose bitmap has another number of bits", "stream lane", "reason 1 does not fit", ledger(func(l *Ledger) { l.Entries[0].Numbers[0] = 1 })},
		{"bad-ledger-tail", "a ledger with a number past its stretch", "stream lane", "reason 2 names numbers past its stretch", ledger(func(l *Ledger) { l.Entries[1].Numbers[0] = 16 })},
		{"bad-ledger-twice", "a ledger that sets a number aside twice", "stream lane", "reason 2 names a number again", ledger(func(l *Ledger) { l.Entries[1].Numbers[0] = 1 })},
		{"bad-ledger-reasons", "a ledger of 65 reasons", "stream lane", "a ledger of 65 reasons", frame(Frame{Kind: KindLedger, Count: 65}, zeros(400)...)},
		{"bad-lane-number", "lane 2 of 1", "stream", "lane 2 of 1", join(head[:8], sealedLane(&Lane{Run: "demo", K: 2, N: 1}, 0))},
		{"bad-lane-name", "a run without a name", "stream", "a run's name has 1 to 64 bytes", join(head[:8], sealedLane(&Lane{K: 1, N: 1}, 0))},
		{"bad-lane-escape", "a run's name with an escape character", "stream", "is not printable text", join(head[:8], sealedLane(&Lane{Run: "a\x1b[m", K: 1, N: 1}, 0))},
		{"bad-lane-flags", "a lane frame with a flag that does not exist", "stream", "flags 0x02 in a lane frame",
			join(head[:8], seal(changedByte(sealedLane(demo, 0), HeaderSize+20, 2)))},
		{"bad-lane-settings", "settings with an escape character", "stream", "are longer than 64 bytes or not printable text", join(head[:8], sealedLane(&odd, 0))},
		{"bad-lane-size", "a lane frame with 8 bytes of padding", "stream", "a lane frame of the wrong size",
			join(head[:8], sealed(Frame{Kind: KindLane, Count: 1}, join(sealedLane(demo, 0)[HeaderSize:], zeros(8))))},
		{"bad-map", "a map of zero bytes", "stream lane", "a map frame without text", frame(Frame{Kind: KindMap, Count: 1}, zeros(8)...)},
		{"bad-mark", "a mark for a number behind its own", "stream lane", "a mark frame that makes no sense",
			frame(Frame{Kind: KindMark, Count: 1}, join(zeros(16), []byte{1}, zeros(47))...)},
		{"bad-end", "an end that is neither exhausted nor stopped", "stream lane", "an end frame that makes no sense", frame(Frame{Kind: KindEnd, Count: 1}, join([]byte{3}, zeros(31))...)},
		{"bad-point", "an end frame that covers a number", "stream lane", "the end frame has count 1 and covers the numbers 0 to 1", frame(Frame{Kind: KindEnd, Count: 1, Next: 1}, join([]byte{1}, zeros(31))...)},

		{"cut-no-end", "the end frame is missing", "stream lane words cut", "", join(head, words(0))},
		{"cut-inside-words", "the stream ends inside a words frame", "stream lane cut", "", join(head, words(0)[:60])},
		{"cut-inside-header", "the stream ends inside a header", "stream lane words cut", "", join(head, words(0), end(2)[:47])},
		{"cut-inside-preamble", "the stream ends inside its preamble", "", "not a hit stream", head[:5]},
		{"cut-inside-lane", "the stream ends inside its lane frame", "stream", "cut inside a frame", head[:80]},
		{"cut-before-another-run", "the end frame is missing, and another run follows", "stream lane words stream lane cut end", "", join(head, words(0), other)},
		{"cut-inside-before-another-run", "the stream ends inside a frame, and another run follows", "stream lane stream lane cut end", "", join(head, words(0)[:51], other)},
		{"cut-two-lanes", "two lanes take turns; one has no end", "stream lane lane words end lane cut", "",
			join(head[:8], sealedLane(&Lane{Run: "demo", K: 2, N: 2}, 0), sealedLane(&Lane{Run: "demo", K: 1, N: 2}, 0), words(0), end(2), sealedLane(&Lane{Run: "demo", K: 2, N: 2}, 0))},
	}
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func changedByte(b []byte, at int, to byte) []byte {
	b[at] = to
	return b
}

// sealedLane is a lane frame at a number, whatever the lane.
func sealedLane(l *Lane, number uint64) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, l.K)
	b = le.AppendUint32(b, l.N)
	b = le.AppendUint64(b, l.Map)
	b = append(b, make([]byte, 24)...)
	b = append(b, uint8(len(l.Run)))
	b = append(b, l.Run...)
	b = append(b, uint8(len(l.Form)))
	b = append(b, l.Form...)
	if l.Settings != "" {
		b = append(b, uint8(len(l.Settings)))
		b = append(b, l.Settings...)
	}
	for len(b)%8 != 0 {
		b = append(b, 0)
	}
	return sealed(Frame{Kind: KindLane, Count: 1, First: number, Next: number}, b)
}
