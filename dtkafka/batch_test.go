package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/segmentio/kafka-go/protocol"
)

// What encode writes, kafka-go's reader reads, checksum included.
func TestBatchesAreWhatReadersRead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []codec{codecNone, codecGzip, codecZstd} {
		var out bytes.Buffer
		b := new(batch)
		for round := range 30 {
			b.count = 0
			n := 1 + r.IntN(1+40*round)
			var values [][]byte
			var times []int64
			for i := range n {
				v := make([]byte, r.IntN(1+r.IntN(3000)))
				for k := range v {
					v[k] = byte(r.IntN(7))
				}
				ms := 1_700_000_000_000 + int64(i*r.IntN(3)) - int64(r.IntN(5))
				values, times = append(values, v), append(times, ms)
				b.add(ms, v)
			}
			s := session{r.Int64(), int16(r.IntN(30000))}
			sequence := r.Int32()
			raw, err := b.encode(c, s, sequence, &out)
			if err != nil {
				t.Fatal(err)
			}
			if got := binary.BigEndian.Uint32(raw); int(got) != len(raw)-4 {
				t.Fatalf("the size says %d of %d bytes", got, len(raw)-4)
			}
			var set protocol.RecordSet
			if _, err := set.ReadFrom(bytes.NewReader(raw)); err != nil {
				t.Fatal(err)
			}
			stream := set.Records.(*protocol.RecordStream)
			head := stream.Records[0].(*protocol.RecordBatch)
			if head.ProducerID != s.id || head.ProducerEpoch != s.epoch || head.BaseSequence != sequence || head.Attributes != protocol.Attributes(c) {
				t.Fatalf("header %+v, want session %v, sequence %d, codec %d", head, s, sequence, c)
			}
			for i := 0; ; i++ {
				rec, err := set.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					if i != n {
						t.Fatalf("%d records, want %d", i, n)
					}
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				v, err := protocol.ReadAll(rec.Value)
				if err != nil || !bytes.Equal(v, values[i]) || rec.Time.UnixMilli() != times[i] || rec.Offset != int64(i) || rec.Key != nil || len(rec.Headers) > 0 {
					t.Fatalf("record %d of %d: %d bytes at %v, want %d at %d: %v", i, n, len(v), rec.Time, len(values[i]), times[i], err)
				}
			}
		}
	}
}

// A batch is never larger than it may be, but for one record alone.
func TestBatchFits(t *testing.T) {
	const limit = 1000
	b := new(batch)
	for i := range 200 {
		value := make([]byte, i*5)
		if !b.fits(len(value), limit) {
			b.count = 0
		}
		b.add(math.MaxInt64>>20+int64(i), value)
		if size := len(b.b) - sizeLen; size > limit && b.count > 1 || size > len(value)+batchMost && b.count == 1 {
			t.Fatalf("%d bytes with %d records", size, b.count)
		}
	}
}

func BenchmarkBatch(b *testing.B) {
	for _, c := range []struct {
		name string
		codec
	}{{"none", codecNone}, {"gzip", codecGzip}, {"zstd", codecZstd}} {
		for _, size := range []int{90, 512 << 10} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				value := bytes.Repeat([]byte(`{"HEAD": 2, "FPGA": 0, "TDC_CHANNEL": 5, "ORBIT_CNT": 617000.0, "BX_COUNTER": 100}  `), size/80+1)[:size]
				var out bytes.Buffer
				t := new(batch)
				b.SetBytes(int64(size))
				for b.Loop() {
					if !t.fits(size, 1<<20) {
						if _, err := t.encode(c.codec, session{1, 0}, 0, &out); err != nil {
							b.Fatal(err)
						}
						t.count = 0
					}
					t.add(1_700_000_000_000, value)
				}
			})
		}
	}
}
