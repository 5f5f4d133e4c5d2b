package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A codec is how the records of a batch are compressed; its value is what Kafka calls it.
type codec uint16

const (
	codecNone codec = 0
	codecGzip codec = 1
	codecZstd codec = 4
)

func parseCodec(name string) codec {
	return map[string]codec{"none": codecNone, "gzip": codecGzip, "zstd": codecZstd}[name]
}

// A batch is a record batch of Kafka's (message format 2) that is being built: its header, and records that have no key and no headers.
type batch struct {
	b     []byte // room for the 4 bytes of its size, the header, the records
	count int
	first int64 // time of the first record, ms
	last  int64 // the latest
	tail  uint64
}

const (
	sizeLen      = 4 // that stands before the batches of a request
	batchHeader  = 61
	recordMost   = 5 + 1 + 10 + 5 + 1 + 5 + 1 // bytes of a record beside its value
	batchMost    = batchHeader + recordMost   // bytes of a batch of one record beside its value
	crcFrom      = 21                         // the checksum covers the header from here on
	batchMagic   = 2
	batchNoEpoch = -1 // of the partition's leader; the broker sets it
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fits reports whether a value can be added without the batch becoming larger than limit.
func (b *batch) fits(value, limit int) bool {
	return b.count == 0 || len(b.b)-sizeLen+value+recordMost <= limit
}

// add adds a record.
func (b *batch) add(ms int64, value []byte) {
	if b.count == 0 {
		b.b = append(b.b[:0], make([]byte, sizeLen+batchHeader)...)
		b.first, b.last = ms, ms
	}
	var head [recordMost]byte
	h := append(head[:0], 0) // attributes
	h = binary.AppendVarint(h, ms-b.first)
	h = binary.AppendVarint(h, int64(b.count))
	h = binary.AppendVarint(h, -1) // no key
	h = binary.AppendVarint(h, int64(len(value)))
	b.b = binary.AppendVarint(b.b, int64(len(h)+len(value)+1))
	b.b = append(b.b, h...)
	b.b = append(b.b, value...)
	b.b = append(b.b, 0) // headers
	b.count++
	b.last = max(b.last, ms)
}

// A session is what makes an idempotent producer known to the brokers.
type session struct {
	id    int64
	epoch int16
}

// encode finishes the batch, with the number of its first record since the session began, and returns it as a request carries it. What it
// returns is valid as long as the batch is not changed, or until out, where compressed batches are put, is.
func (b *batch) encode(c codec, s session, sequence int32, out *bytes.Buffer) ([]byte, error) {
	records := b.b[sizeLen+batchHeader:]
	to := b.b
	if c != codecNone {
		out.Reset()
		out.Write(b.b[:sizeLen+batchHeader])
		if err := compress(c, out, records); err != nil {
			return nil, err
		}
		to = out.Bytes()
	}
	be := binary.BigEndian
	size := len(to) - sizeLen
	be.PutUint32(to, uint32(size))
	h := to[sizeLen:]
	be.PutUint64(h, 0)                   // offset of the first record; the broker sets it
	be.PutUint32(h[8:], uint32(size-12)) // bytes that follow
	noEpoch := int32(batchNoEpoch)
	be.PutUint32(h[12:], uint32(noEpoch))
	h[16] = batchMagic
	be.PutUint16(h[21:], uint16(c))
	be.PutUint32(h[23:], uint32(b.count-1))
	be.PutUint64(h[27:], uint64(b.first))
	be.PutUint64(h[35:], uint64(b.last))
	be.PutUint64(h[43:], uint64(s.id))
	be.PutUint16(h[51:], uint16(s.epoch))
	be.PutUint32(h[53:], uint32(sequence))
	be.PutUint32(h[57:], uint32(b.count))
	be.PutUint32(h[17:], crc32.Checksum(h[crcFrom:], castagnoli))
	return to, nil
}

var (
	gzipWriters sync.Pool
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true))
	})
)

// compress appends the compressed records to out.
func compress(c codec, out *bytes.Buffer, records []byte) error {
	switch c {
	case codecGzip:
		w, _ := gzipWriters.Get().(*gzip.Writer)
		if w == nil {
			var err error
			if w, err = gzip.NewWriterLevel(out, gzip.BestSpeed); err != nil {
				return err
			}
		} else {
			w.Reset(out)
		}
		defer gzipWriters.Put(w)
		if _, err := w.Write(records); err != nil {
			return err
		}
		return w.Close()
	case codecZstd:
		e, err := zstdEncoder()
		if err != nil {
			return err
		}
		out.Grow(len(records)/2 + 1024)
		b := e.EncodeAll(records, out.AvailableBuffer())
		out.Write(b)
		return nil
	}
	return fmt.Errorf("unknown compression %d", c)
}
