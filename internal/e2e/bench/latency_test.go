// Package bench measures the programs as they are used: whole processes in real pipes.
package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dt/internal/wire"
)

// gap is the time between two hits: slow enough that each finds all programs waiting.
const gap = 2 * time.Millisecond

// BenchmarkLatency sends one CSV row after the other, b.N in all, through dtcat | dtfilter | dtchamber, and reports how long
// after its write each hit comes out. Run it with -benchtime 2000x. The programs are those of $BENCH_BIN, or are built.
func BenchmarkLatency(b *testing.B) {
	bin := os.Getenv("BENCH_BIN")
	if bin == "" {
		bin = b.TempDir()
		build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "dt/dtcat", "dt/dtfilter", "dt/dtchamber")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
	in, out := pipeline(b, filepath.Join(bin, "dtcat"), filepath.Join(bin, "dtfilter"), filepath.Join(bin, "dtchamber"))
	src := wire.NewReader(out)
	took := make([]time.Duration, 0, b.N)
	const warm = 20 // the first hits wait for the programs to start
	for i := range b.N + warm {
		time.Sleep(gap)
		start := time.Now()
		if _, err := fmt.Fprintf(in, "2,%d,%d,%d,%d,%d\n", i%2, i%128, 620000+i*20, i%3564, i%30); err != nil {
			b.Fatal(err)
		}
		w, err := nextWord(src)
		if err != nil {
			b.Fatal(err)
		}
		if d := time.Since(start); i >= warm {
			took = append(took, d)
		}
		if got := int(uint32(w >> 17)); got != 620000+i*20 {
			b.Fatalf("hit %d: orbit %d arrived", i, got)
		}
	}
	in.Close()
	slices.Sort(took)
	at := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1e6 }
	b.ReportMetric(0, "ns/op") // it is mostly the gap
	b.ReportMetric(at(0.5), "p50-µs")
	b.ReportMetric(at(0.99), "p99-µs")
	b.ReportMetric(at(1), "max-µs")
}

// nextWord returns the word of the next frame with words, which must have one only.
func nextWord(src *wire.Reader) (uint64, error) {
	for {
		f, err := src.Next()
		switch {
		case err != nil:
			return 0, err
		case f.Kind != wire.KindWords || len(f.Words) == 0:
		case len(f.Words) > 1:
			return 0, fmt.Errorf("%d words at once", len(f.Words))
		case len(f.Chambers) != 1:
			return 0, fmt.Errorf("a word without its chamber")
		default:
			return f.Words[0], nil
		}
	}
}

// pipeline starts the programs, each reading what the one before writes.
func pipeline(b *testing.B, programs ...string) (io.WriteCloser, io.Reader) {
	b.Helper()
	first, in, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	next := first
	for _, program := range programs {
		out, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		cmd := exec.Command(program)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = next, w, os.Stderr
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		next.Close()
		w.Close()
		next = out
		b.Cleanup(func() {
			if err := cmd.Wait(); err != nil {
				b.Errorf("%s: %v", program, err)
			}
		})
	}
	last := next
	b.Cleanup(func() { in.Close(); io.Copy(io.Discard, last) })
	return in, last
}
