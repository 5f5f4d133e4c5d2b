package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"dt/internal/wire"
)

// sentLog is a producer that keeps what it is given.
type sentLog struct {
	testLog
	tail uint64
	fail error
}

func (s *sentLog) partitions() int { return len(s.testLog) }

func (s *sentLog) send(p int, ms int64, value []byte, tail uint64) error {
	s.add(p, ms, bytes.Clone(value))
	s.tail = tail
	return s.fail
}

// What is spread over partitions is merged to exactly what it was, whatever the clock does.
func TestWordSpreader(t *testing.T) {
	for seed := range seeds(30) {
		r := newRand(seed)
		words := detector(r, 1+r.IntN(20_000))
		as := []string{"json", "csv"}[seed%2]
		n := 1 + r.IntN(16)
		to := &sentLog{testLog: make(testLog, n)}
		s := newWordSpreader(to, as)
		s.now = clockOf(r)
		for rest := words; len(rest) > 0; {
			k := min(1+r.IntN(1000), len(rest))
			must(t, s.words(rest[:k]))
			rest = rest[k:]
		}
		if to.tail != uint64(len(words)) {
			t.Fatalf("%d words were sent; want %d", to.tail, len(words))
		}
		if k := len(words) * 30 / spreadBytes; n > 1 && k > 4 && len(to.testLog[1]) == 0 {
			t.Errorf("%d words, and none in partition 1 of %d", len(words), n)
		}
		env, said := testEnv()
		var buf bytes.Buffer
		out := newWordsOutput(env, wire.NewWriter(&buf), "t", content(as), newTestClock().options("demo"))
		must(t, out.begin(start(to.testLog)))
		newFeeder(r, to.testLog, nil, 300).run(t, out, -1)
		readLane(t, buf.Bytes()).same(t, plain(t, words))
		if said.Len() > 0 {
			t.Error(said)
		}
	}
}

// clockOf is a clock in ms that goes on by fits and starts, and sometimes back.
func clockOf(r *rand.Rand) func() int64 {
	at := int64(1_700_000_000_000)
	return func() int64 {
		if r.IntN(3) == 0 {
			at += r.Int64N(4)
		}
		return at - r.Int64N(3)
	}
}

// The messages are those of the first producers to Kafka.
func TestWordSpreaderText(t *testing.T) {
	w := plainWord(t, "2,1,36,3387200956,2165,28")
	half := plainWord(t, "4,0,0,3387339329,0,-0.562500")
	for as, want := range map[string][2]string{
		"json": {
			`{"HEAD": 2, "FPGA": 1, "TDC_CHANNEL": 36, "ORBIT_CNT": 3387200956.0, "BX_COUNTER": 2165, "TDC_MEAS": 28.0}`,
			`{"HEAD": 4, "FPGA": 0, "TDC_CHANNEL": 0, "ORBIT_CNT": 3387339329.0, "BX_COUNTER": 0, "TDC_MEAS": -0.5625}`,
		},
		"csv": {"2,1,36,3387200956,2165,28", "4,0,0,3387339329,0,-0.562500"},
	} {
		to := &sentLog{testLog: make(testLog, 1)}
		must(t, newWordSpreader(to, as).words([]uint64{w, half}))
		for i, m := range to.testLog[0] {
			if string(m.value) != want[i] {
				t.Errorf("%s: %q; want %q", as, m.value, want[i])
			}
		}
	}
	fail := errors.New("no broker")
	if err := newWordSpreader(&sentLog{testLog: make(testLog, 1), fail: fail}, "csv").words([]uint64{w}); !errors.Is(err, fail) {
		t.Error(err)
	}
}

type nowhere struct{ bytes int }

func (*nowhere) partitions() int { return 16 }

func (n *nowhere) send(_ int, _ int64, value []byte, _ uint64) error {
	n.bytes += len(value)
	return nil
}

func BenchmarkWordSpreader(b *testing.B) {
	words := simulated(100_000)
	for _, as := range []string{"json", "csv"} {
		b.Run(as, func(b *testing.B) {
			to := new(nowhere)
			s := newWordSpreader(to, as)
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				must(b, s.words(words))
			}
			b.SetBytes(int64(to.bytes / b.N))
			b.ReportMetric(float64(len(words))*float64(b.N)/(cpuTime()-cpu).Seconds()/1e6, "Mwords/cpu-s")
		})
	}
}
