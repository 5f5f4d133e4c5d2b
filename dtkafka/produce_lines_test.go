package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/initproducerid"
	produceapi "github.com/segmentio/kafka-go/protocol/produce"
	"github.com/segmentio/kafka-go/protocol/rawproduce"

	"dt/internal/tool"
	"dt/internal/wire"
)

// A fakeLog takes what is produced, and counts it.
type fakeLog struct {
	mu    sync.Mutex
	end   map[int32]int64
	texts map[int32]string // whole batches
}

func (f *fakeLog) RoundTrip(_ context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r := req.(type) {
	case *initproducerid.Request:
		return &initproducerid.Response{ProducerID: 1}, nil
	case *rawproduce.Request:
		p := r.Topics[0].Partitions[0]
		b, err := io.ReadAll(p.RecordSet.Reader)
		if err != nil {
			return nil, err
		}
		base := f.end[p.Partition]
		f.end[p.Partition] += int64(binary.BigEndian.Uint32(b[sizeLen+57:]))
		f.texts[p.Partition] += string(b)
		return &produceapi.Response{Topics: []produceapi.ResponseTopic{{Topic: "t", Partitions: []produceapi.ResponsePartition{{Partition: p.Partition, BaseOffset: base}}}}}, nil
	}
	return nil, fmt.Errorf("%T", req)
}

// produceLines sends a text to a topic of n partitions.
func produceLines(t *testing.T, text string, n int) (*fakeLog, string, error) {
	t.Helper()
	f := &fakeLog{end: map[int32]int64{}, texts: map[int32]string{}}
	env, said := testEnv()
	l := &cluster{client: &kafka.Client{Addr: kafka.TCP("h:1"), Timeout: requestTimeout, Transport: f}, brokers: []string{"h:1"}, env: env, lately: map[string]error{}}
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	go func() {
		_, _ = w.WriteString(text)
		w.Close()
	}()
	p := &produce{env: env, cmd: &produceCmd{Topic: "t"}, in: wire.NewInput(r, -1), show: newProgress(env, "no")}
	p.out, err = newProducer(t.Context(), t.Context(), env, l, &topicInfo{name: "t", partitions: n, maxMessage: defaultMaxBatch}, codecNone)
	must(t, err)
	err = p.textLines()
	must(t, p.finish())
	return f, said.String(), err
}

// Lines of a lane go where the lane comes from, or by the lane's number; all others stay together.
func TestLinesToPartitions(t *testing.T) {
	state := func(partition string) string {
		return `, "Resume": [{"Run": "a, \"Resume\": [{", "Lane": [5,9], "Epoch": 0, "Orbit": 0, "Next": 1, "Place": {"Name": "s"` + partition + `, "Offset": 1, "Number": 1}}, {"Place": {"Partition": 1}}]}`
	}
	for _, c := range []struct {
		line string
		want int32
	}{
		{`{"Index": 1}`, 0},
		{`text`, 0},
		{`{"Index": 1, "Partial": 1, "Lane": [5,9], "Settings": "x"` + state(`, "Partition": 7`), 7 % 3},
		{`{"Progress": 1, "Run": "r", "Lane": [5,9]` + state(`, "Partition": 5`), 5 % 3},
		{`{"Index": 1, "Lane": [5,9]` + state(`, "Partition": 7`), 0},
		{`{"Progress": 1, "Run": "r", "Lane": [6,9], "Epoch": 0, "Number": 3, "End": 0` + state(``), 0}, // no line of ours
	} {
		f, said, err := produceLines(t, c.line+"\n", 3)
		if err != nil || f.end[c.want] != 1 || !strings.Contains(f.texts[c.want], c.line) || said != "" {
			t.Errorf("%s: %v, %v, %s", c.line, f.end, err, said)
		}
	}
	if _, ok := resumesFrom([]byte(`{"Progress": 1, "Resume": [{"Run": "x"}]}`)); ok {
		t.Error("without a place")
	}
	if _, ok := resumesFrom([]byte(`{"Progress": 1, "Resume": [{"Run`)); ok {
		t.Error("torn")
	}
}

// A last line without its end is sent if it may be whole.
func TestTornLine(t *testing.T) {
	for text, want := range map[string]int64{
		"{\"a\": 1}\n{\"b\": 2}\n":  2,
		"{\"a\": 1}\n{\"b\": 2}":    2,
		"{\"a\": 1}\n{\"b\": 2":     1,
		"{\"a\": 1}\n{\"b\": 2\n":   2, // its writer did not stop there
		"{\"a\": 1}\n{":             1,
		"text\nmore":                2,
		"{\"a\": 1}\n{\"b\": 2}   ": 2,
	} {
		f, said, err := produceLines(t, text, 1)
		torn := want == 1
		if f.end[0] != want || torn != errors.Is(err, tool.ErrTold) || torn != strings.Contains(said, "standard input:2: the last line is torn, and left out") {
			t.Errorf("%q: %d, %v, %s", text, f.end[0], err, said)
		}
	}
}

// Another producer of whole lines is told once; of lanes' lines there may be many.
func TestProduceBesideAnother(t *testing.T) {
	env, said := testEnv()
	l := &sender{p: &producer{env: env, topic: &topicInfo{name: "t"}}}
	write := func(base int64, n int, sure bool) { l.follow(&kafka.ProduceResponse{BaseOffset: base}, n, sure) }
	write(0, 5, true)
	write(7, 1, true)
	l.alone.Store(true)
	write(20, 5, true)
	write(25, 1, true)
	write(30, 1, false) // it may have been written twice
	write(40, 2, true)
	write(42, 2, true)
	if said.Len() > 0 {
		t.Errorf("said %s", said)
	}
	write(45, 2, true)
	write(50, 2, true)
	if want := "dtkafka: t[0]: another program writes result lines here too (two merges?)\n"; said.String() != want {
		t.Errorf("said %s", said)
	}
}
