package hit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// benchRows is about size bytes of rows with the frequencies and the order of the real stream: cycles of 4 hits
// of each FPGA and then the ancillary words. With onlyHits these are left out.
func benchRows(size int, onlyHits bool) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	orbit := 10_000_000
	for len(b) < size {
		for i := range 8 {
			orbit += r.IntN(40)
			b = fmt.Appendf(b, "2,%d,%d,%d,%d,%d\n", i/4, r.IntN(128), orbit-r.IntN(2), r.IntN(3564), r.IntN(30))
		}
		if onlyHits {
			continue
		}
		for range 8 {
			o, f := orbit+r.IntN(2000), r.IntN(2)
			switch r.IntN(16) {
			default:
				b = fmt.Appendf(b, "%d,%d,0,%d,0,%.6f\n", 4+r.IntN(2), f, o, HalfToFloat(uint16(0x3000+r.IntN(0x2800)|r.IntN(2)<<15)))
			case 0, 1, 2:
				b = fmt.Appendf(b, "0,%d,%d,%d,%d,%d\n", f, r.IntN(32), o, r.IntN(3564), r.IntN(30))
			case 3, 4:
				b = fmt.Appendf(b, "1,%d,0,%d,0,%d\n", f, o, r.IntN(256))
			case 5, 6:
				b = fmt.Appendf(b, "3,%d,0,%d,%d,0\n", f, o, r.IntN(65536))
			}
		}
	}
	return b
}

func benchDecode(b *testing.B, src []byte, lcp bool) {
	dst, bad := DecodeCSV(nil, nil, src, lcp)
	if len(bad) > 0 {
		b.Fatal(bad[0].Reason)
	}
	b.SetBytes(int64(len(src)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = DecodeCSV(dst[:0], nil, src, lcp)
	}
	b.ReportMetric(float64(len(dst))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mwords/s")
}

func BenchmarkDecodeCSV(b *testing.B) {
	b.Run("hits", func(b *testing.B) { benchDecode(b, benchRows(1<<20, true), false) })
	b.Run("stream", func(b *testing.B) { benchDecode(b, benchRows(1<<20, false), false) })
	b.Run("crlf", func(b *testing.B) {
		benchDecode(b, bytes.ReplaceAll(benchRows(1<<20, false), []byte("\n"), []byte("\r\n")), false)
	})
	b.Run("real", func(b *testing.B) {
		text, err := os.ReadFile("../../../shared/data/stream_990.csv")
		if err != nil {
			b.Skip(err)
		}
		benchDecode(b, bytes.Repeat(text[len(Header)+1:], 46), false)
	})
}
