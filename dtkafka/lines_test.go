package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/hist"
	"dt/internal/tool"
	"dt/internal/wire"
)

// wholeLines is an output that fails the test if a write is not of whole lines.
type wholeLines struct {
	t testing.TB
	bytes.Buffer
	most int
}

func (w *wholeLines) Write(b []byte) (int, error) {
	if len(b) == 0 || b[len(b)-1] != '\n' {
		w.t.Errorf("a write of %d bytes that ends in %q", len(b), b[max(0, len(b)-10):])
	}
	w.most = max(w.most, len(b))
	return w.Buffer.Write(b)
}

func TestLinesMerge(t *testing.T) {
	for seed := range seeds(40) {
		r := newRand(seed)
		log := make(testLog, 1+r.IntN(8))
		type sent struct {
			partition int
			ms        int64
			line      string
		}
		var all []sent
		ms := int64(1000)
		for i := range r.IntN(3000) {
			ms += r.Int64N(3)
			all = append(all, sent{r.IntN(len(log)), ms, fmt.Sprintf(`{"Index": %d, "x": "%s"}`, i, strings.Repeat("y", r.IntN(200)))})
		}
		for _, s := range all {
			log.add(s.partition, s.ms, []byte(s.line))
		}
		slices.SortStableFunc(all, func(a, b sent) int { return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(a.partition, b.partition)) })
		var want strings.Builder
		for _, s := range all {
			want.WriteString(s.line + "\n")
		}
		env, said := testEnv()
		to := &wholeLines{t: t}
		out := newLinesOutput(env, to, "t")
		from := start(log)
		must(t, out.begin(from))
		f := newFeeder(r, log, nil, 1+r.IntN(100))
		if !f.run(t, out, 1+r.IntN(100)) {
			// It is interrupted, and another goes on where it was.
			_, err := out.idle()
			must(t, err)
			from = out.places()
			must(t, out.end("stopped"))
			out = newLinesOutput(env, to, "t")
			must(t, out.begin(from))
			f = newFeeder(r, log, from, 1+r.IntN(100))
			f.run(t, out, -1)
		}
		must(t, out.end(""))
		f.recycle()
		if to.String() != want.String() || said.Len() > 0 {
			t.Fatalf("seed %d: %d bytes, want %d; %s", seed, to.Len(), want.Len(), said)
		}
		for p, at := range out.places() {
			if at.Offset != int64(len(log[p])) {
				t.Errorf("partition %d: place %d of %d", p, at.Offset, len(log[p]))
			}
		}
		if f.given != f.back {
			t.Errorf("%d of %d pieces are held", f.given-f.back, f.given)
		}
		if to.most > linesBuffer+1000 {
			t.Errorf("a write of %d bytes", to.most)
		}
	}
}

func TestLinesPoison(t *testing.T) {
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: "x", K: 1, N: 1}, "dtcat", 0)
	must(t, err)
	must(t, s.End(wire.End{}, false))
	log := make(testLog, 1)
	for i, v := range [][]byte{
		[]byte("one\n"), {}, nil, []byte("\n\r\n"), []byte("two\r\n three\n\nfour"), bytes.Repeat([]byte{0}, 5<<20), stream.Bytes(),
		[]byte("fünf"), []byte("a\x00b"), []byte("\xff\xfe\xfd\xfc garbage"), []byte("caf\xe9 is what older programs write"), {0x1f, 0x8b, 8, 0, 1, 2, 3},
		bytes.Repeat([]byte("z"), hist.MaxLine+1), []byte("\x01\x02\x03"), []byte("six"),
	} {
		log.add(0, int64(i), v)
	}
	env, said := testEnv()
	to := &wholeLines{t: t}
	out := newLinesOutput(env, to, "t")
	must(t, out.begin(start(log)))
	newFeeder(newRand(1), log, nil, 100).run(t, out, -1)
	must(t, out.end(""))
	if want := "one\ntwo   three  four\nfünf\ncaf\xe9 is what older programs write\nsix\n"; to.String() != want {
		t.Errorf("%q\nwant\n%q", to.String(), want)
	}
	want := `dtkafka: t[0]@5: 5242880 bytes that are no text
dtkafka: t[0]@6: a piece of a hit stream, among lines
dtkafka: t[0]@8: 3 bytes that are no text
dtkafka: t[0]@9: 12 bytes that are no text
dtkafka: t[0]@11: 7 bytes that are no text
dtkafka: t[0]@12: a line of 67108865 bytes is longer than 67108864
dtkafka: t[0]@13: 3 bytes that are no text
dtkafka: t: 7 messages are no lines
`
	if said.String() != want {
		t.Errorf("said\n%s\nwant\n%s", said, want)
	}
}

// A line does not wait for a partition that is at its end, and only a moment for one that does not answer.
func TestLinesPatience(t *testing.T) {
	env, _ := testEnv()
	to := &wholeLines{t: t}
	o := newLinesOutput(env, to, "t")
	must(t, o.begin(map[int]place{0: {}, 1: {}}))
	clock := newTestClock()
	o.now = clock.now
	line := func(p int, ms, offset, high int64) {
		must(t, o.take(&fetched{partition: p, next: offset + 1, high: high, messages: []message{{offset: offset, time: ms, value: fmt.Append(nil, p, ms)}}}))
	}
	is := func(wait time.Duration, want string) {
		t.Helper()
		got, err := o.idle()
		must(t, err)
		if got = got.Round(time.Millisecond); to.String() != want || got != wait {
			t.Errorf("%q, waits %v; want %q, %v", to.String(), got, want, wait)
		}
	}
	line(0, 5, 0, 1)
	is(time.Second, "")
	clock.wait(600 * time.Millisecond)
	line(1, 4, 0, 5)
	is(400*time.Millisecond, "1 4\n") // there are more
	clock.wait(400 * time.Millisecond)
	is(0, "1 4\n0 5\n")
	line(1, 6, 1, 2)
	is(0, "1 4\n0 5\n1 6\n")
	line(0, 3, 1, 2)
	is(0, "1 4\n0 5\n1 6\n0 3\n")
}

// What is given up is not written, and what is kept not twice.
func TestLinesRebalance(t *testing.T) {
	env, said := testEnv()
	to := &wholeLines{t: t}
	out := newLinesOutput(env, to, "t")
	log := make(testLog, 3)
	for i := range 30 {
		log.add(i%3, int64(i), fmt.Append(nil, i))
	}
	must(t, out.begin(map[int]place{0: {}, 1: {}, 2: {}}))
	f := newFeeder(newRand(1), log, nil, 5)
	must(t, out.take(f.piece(0)))
	must(t, out.take(f.piece(1))) // 2 has nothing yet
	must(t, out.begin(map[int]place{0: {}, 2: {Offset: 5}}))
	f = newFeeder(newRand(1), log[:1], nil, 1)
	f.run(t, out, -1)
	x := &fetched{partition: 2, next: 10, high: 10, gap: 2, messages: log[2][7:]}
	must(t, out.take(x))
	must(t, out.done(2))
	if err := out.end(""); !errors.Is(err, tool.ErrTold) {
		t.Error(err)
	}
	if want := "0\n3\n6\n9\n12\n15\n18\n21\n23\n24\n26\n27\n29\n"; to.String() != want {
		t.Errorf("%q; want %q", to.String(), want)
	}
	if want := "dtkafka: t[2]@5: 2 messages from here on are gone (retention?)\n"; said.String() != want {
		t.Errorf("%q; want %q", said, want)
	}
	if got := fmt.Sprint(out.places()); got != fmt.Sprint(map[int]place{0: {Offset: 10}, 2: {Offset: 10}}) {
		t.Error(got)
	}
}

// Each message makes one line or none.
func FuzzLines(f *testing.F) {
	f.Add([]byte(`{"Index": 1.5}`), []byte("a\r\nb\n"))
	f.Add([]byte{0}, []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		log := make(testLog, 1)
		for i, v := range [][]byte{a, b, []byte("end")} {
			log.add(0, int64(i), v)
		}
		env, said := testEnv()
		to := &wholeLines{t: t}
		out := newLinesOutput(env, to, "t")
		must(t, out.begin(start(log)))
		newFeeder(newRand(len(a)), log, nil, 2).run(t, out, -1)
		must(t, out.end(""))
		lines := strings.Count(to.String(), "\n")
		told := strings.Count(said.String(), "dtkafka: t[0]@")
		empty := 0
		for _, v := range [][]byte{a, b} {
			if len(bytes.TrimSpace(v)) == 0 {
				empty++
			}
		}
		if lines+told+empty < 3 || lines+told > 3 || !strings.HasSuffix(to.String(), "end\n") {
			t.Errorf("%q, said %q", to.String(), said)
		}
	})
}

func BenchmarkLinesOutput(b *testing.B) {
	log := benchLog(16, 1000, 1, contentJSON)
	bytes := 0
	for _, pieces := range log {
		for _, f := range pieces {
			for i := range f.messages {
				bytes += len(f.messages[i].value) + 1
			}
		}
	}
	b.SetBytes(int64(bytes))
	b.ReportAllocs()
	cpu := cpuTime()
	for b.Loop() {
		env, _ := testEnv()
		out := newLinesOutput(env, discard{}, "t")
		from := map[int]place{}
		for p := range log {
			from[p] = place{}
		}
		must(b, out.begin(from))
		for i := range log[0] {
			for p := range log {
				must(b, out.take(log[p][i]))
			}
		}
		for p := range log {
			must(b, out.done(p))
		}
		must(b, out.end(""))
	}
	b.ReportMetric(16*20_000*float64(b.N)/(cpuTime()-cpu).Seconds()/1e6, "Mlines/cpu-s")
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
