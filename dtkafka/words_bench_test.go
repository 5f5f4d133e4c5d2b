package main

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"dt/internal/wire"
)

// simulated are words in the manner of the stream run, without corrupt ones; of some cycles, as often as wanted.
func simulated(n int) []uint64 {
	r := newRand(1)
	return detector(r, n)
}

// benchLog are fetched pieces of 10 000 messages of each partition, words being spread over them as the old producers do: each to any, or
// many in a row to one.
func benchLog(partitions, perMS, inARow int, as content) [][]*fetched {
	const pieces, size = 2, 10_000
	words := simulated(partitions * pieces * size)
	log := make([][]*fetched, partitions)
	home := make(chan *fetched, 1)
	home <- nil // what is released is not taken back
	for p := range log {
		for range pieces {
			log[p] = append(log[p], &fetched{partition: p, home: home, high: 1 << 60})
		}
	}
	r := newRand(2)
	count := make([]int, partitions)
	p, row := 0, 0
	for i, w := range words {
		for row == 0 || count[p] == pieces*size {
			p, row = r.IntN(partitions), inARow
		}
		row--
		f := log[p][count[p]/size]
		f.messages = append(f.messages, message{offset: int64(count[p]), time: int64(i / perMS), value: textOf(as, w)})
		count[p]++
		f.next = int64(count[p])
	}
	for _, pieces := range log {
		for _, f := range pieces {
			var buf []byte // as a fetcher has them
			for i := range f.messages {
				buf = append(buf, f.messages[i].value...)
			}
			for i := range f.messages {
				v := &f.messages[i].value
				*v, buf = buf[:len(*v)], buf[len(*v):]
			}
		}
	}
	return log
}

// cpuTime is what the process has used of all cores, so that what else runs on the machine does not count.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkWordsOutput(b *testing.B) {
	for _, c := range []struct {
		name                      string
		partitions, perMS, inARow int
		as                        content
	}{
		{"json", 16, 1000, 1, contentJSON},
		{"json/one-a-ms", 16, 1, 1, contentJSON},
		{"json/rows", 16, 1000, 180, contentJSON},
		{"json/1-partition", 1, 1000, 1, contentJSON},
		{"csv", 16, 1000, 1, contentCSV},
		{"csv/rows", 16, 1000, 180, contentCSV},
	} {
		b.Run(c.name, func(b *testing.B) {
			log := benchLog(c.partitions, c.perMS, c.inARow, c.as)
			bytes, n := 0, 0
			for _, pieces := range log {
				for _, f := range pieces {
					for i := range f.messages {
						bytes += len(f.messages[i].value)
					}
					n += len(f.messages)
				}
			}
			b.SetBytes(int64(bytes))
			b.ReportAllocs()
			cpu := cpuTime()
			for b.Loop() {
				env, _ := testEnv()
				out := newWordsOutput(env, wire.NewWriter(io.Discard), "t", c.as, wordOptions{lateness: wire.DefaultLateness})
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
				if at := out.places()[0].Offset; at != int64(len(log[0])*len(log[0][0].messages)) {
					b.Fatal(fmt.Sprint("read up to ", at))
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/(cpuTime()-cpu).Seconds()/1e6, "Mwords/cpu-s")
		})
	}
}

func BenchmarkAppendRow(b *testing.B) {
	var values [][]byte
	for _, w := range simulated(10_000) {
		values = append(values, textOf(contentJSON, w))
	}
	var text []byte
	cpu := cpuTime()
	for b.Loop() {
		text = text[:0]
		for _, v := range values {
			text = appendRow(text, v)
		}
	}
	b.ReportMetric((cpuTime()-cpu).Seconds()*1e9/float64(b.N*len(values)), "cpu-ns/word")
}
