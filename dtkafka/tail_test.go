package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/fetch"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
)

// A fakeTopics answers for topics as a broker does. What retention has deleted is nil.
type fakeTopics struct {
	logs    map[string]testLog
	fetched int // messages
}

func (f *fakeTopics) RoundTrip(_ context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	switch r := req.(type) {
	case *listoffsets.Request:
		res := &listoffsets.Response{Topics: []listoffsets.ResponseTopic{{Topic: r.Topics[0].Topic}}}
		for _, p := range r.Topics[0].Partitions {
			log := f.logs[r.Topics[0].Topic][p.Partition]
			offset := len(log)
			if p.Timestamp == kafka.FirstOffset {
				offset = slices.IndexFunc(append(log, message{value: []byte{}}), func(m message) bool { return m.value != nil })
			}
			res.Topics[0].Partitions = append(res.Topics[0].Partitions, listoffsets.ResponsePartition{Partition: p.Partition, Timestamp: p.Timestamp, Offset: int64(offset)})
		}
		return res, nil
	case *fetch.Request:
		t, p := r.Topics[0].Topic, r.Topics[0].Partitions[0]
		log := f.logs[t][p.Partition]
		var records []protocol.Record
		for _, m := range log[p.FetchOffset:min(int(p.FetchOffset)+7, len(log))] {
			f.fetched++
			records = append(records, protocol.Record{Offset: m.offset, Time: time.UnixMilli(m.time), Value: protocol.NewBytes(m.value)})
		}
		return &fetch.Response{Topics: []fetch.ResponseTopic{{Topic: t, Partitions: []fetch.ResponsePartition{{Partition: p.Partition, HighWatermark: int64(len(log)),
			RecordSet: protocol.RecordSet{Version: 2, Records: protocol.NewRecordReader(records...)}}}}}}, nil
	}
	return nil, fmt.Errorf("%T", req)
}

// cluster returns one of these topics.
func (f *fakeTopics) cluster() (*cluster, *bytes.Buffer) {
	env, said := testEnv()
	return &cluster{client: &kafka.Client{Addr: kafka.TCP("h:1"), Timeout: requestTimeout, Transport: f}, brokers: []string{"h:1"}, env: env, lately: map[string]error{}}, said
}

func linesLog(n int) *fakeTopics {
	log := make(testLog, 1)
	for i := range n {
		log.add(0, int64(i), fmt.Append(nil, i))
	}
	return &fakeTopics{logs: map[string]testLog{"t": log}}
}

// Backward everything is read once, each piece in its order, and no more than is wanted.
func TestBackward(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 500} {
		f := linesLog(n)
		l, _ := f.cluster()
		var pieces [][]int64
		var piece []int64
		each := func(m *message) error {
			if string(m.value) != fmt.Sprint(m.offset) {
				t.Errorf("message %d: %q", m.offset, m.value)
			}
			piece = append(piece, m.offset)
			return nil
		}
		enough := func() bool {
			pieces, piece = append(pieces, piece), nil
			return false
		}
		must(t, l.backward(t.Context(), "t", 0, each, enough))
		slices.Reverse(pieces)
		all := slices.Concat(pieces...)
		if len(all) != n || !slices.IsSorted(all) {
			t.Errorf("of %d: %v", n, pieces)
		}
		f.fetched = 0
		must(t, l.backward(t.Context(), "t", 0, each, func() bool { return true }))
		if f.fetched > tailMessages+7 {
			t.Errorf("of %d messages %d were fetched for one piece", n, f.fetched)
		}
	}
	l, _ := linesLog(100).cluster()
	wrong := fmt.Errorf("wrong")
	if err := l.backward(t.Context(), "t", 0, func(*message) error { return wrong }, func() bool { return true }); err != wrong { //nolint:errorlint // itself
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := l.backward(ctx, "t", 0, func(*message) error { cancel(); return nil }, func() bool { return false }); err == nil {
		t.Error("it went on when it was stopped")
	}
}

// partialLine is a line of dthist --partial that ends where its states say.
func partialLine(settings string, states ...string) []byte {
	return fmt.Appendf(nil, `{"Index": 1, "Partial": 1, "Lane": [1,2], "Settings": "%s", "Resume": [%s]}`, settings, strings.Join(states, ", "))
}

func stateText(run string, k, n int, orbit, next int64, end bool, topic string, partition, offset, number int) string {
	return fmt.Sprintf(`{"Run": "%s", "Lane": [%d,%d], "Epoch": 0, "Orbit": %d, "Next": %d, "End": %d, "Place": {"Name": "%s", "Partition": %d, "Offset": %d, "Number": %d}}`,
		run, k, n, orbit, next, bit(end), topic, partition, offset, number)
}

// testResume is a resume of topic s, of which each partition has a hundred messages, by the lines in topic p.
func testResume(lines testLog) (*resume, *bytes.Buffer) {
	s := make(testLog, 4)
	for i := range 400 {
		value := []byte("x")
		if i < 40 {
			value = nil
		}
		s.add(i%4, 0, value)
	}
	f := &fakeTopics{logs: map[string]testLog{"s": s, "p": lines}}
	l, said := f.cluster()
	r := &consume{env: l.env, cluster: l, retry: l.retrier(""), topic: &topicInfo{name: "s", partitions: 4}, ctx: context.Background(), from: where{kind: "start"}}
	r.resume = &resume{r: r, topic: &topicInfo{name: "p", partitions: len(lines)}}
	return r.resume, said
}

func TestResumePlaces(t *testing.T) {
	lines := make(testLog, 3)
	add := func(p int, value []byte) { lines.add(p%3, 0, value) }
	add(0, partialLine("d", stateText("old", 1, 4, 100, 10, false, "s", 0, 12, 5))) // far back: not looked at
	for range 100 {
		add(0, []byte(`{"Progress": 1, "Run": "demo"}`))
	}
	add(3, partialLine("d", stateText("demo", 4, 4, 50, 5, false, "s", 3, 77, 4)))
	add(0, partialLine("d", stateText("demo", 1, 4, 200, 20, false, "s", 0, 30, 15), stateText("done", 1, 4, 900, 90, true, "s", 0, 40, 90)))
	add(0, partialLine("d", stateText("demo", 1, 4, 150, 15, false, "s", 0, 20, 10), stateText("next", 1, 4, 10, 3, false, "s", 0, 50, 3))) // of one that woke up
	add(0, []byte(`{"Resume": 5}`))
	add(1, partialLine("e", stateText("demo", 2, 4, 900, 90, true, "s", 1, 60, 90), stateText("x", 2, 4, 900, 90, true, "s", 1, 80, 90)))
	add(2, partialLine("e", `{"Run": "demo", "Lane": [3,4], "Epoch": 0, "Orbit": 0, "Next": 0}`, stateText("y", 3, 4, 1, 2, false, "s", 2, 60, 1)))
	s, said := testResume(lines)
	s.r.out = newTestFrames(nil).framesOutput
	given, err := s.places(all(4, -1))
	must(t, err)
	for p, want := range []struct {
		offset int64
		lanes  int
	}{{30, 3}, {80, 2}, {10, 2}, {77, 1}} { // of 2 the first 10 messages are gone
		if at := given[p]; at.Offset != want.offset || at.resumed == nil || len(at.resumed.lanes) != want.lanes || at.resumed.settings == "" {
			t.Errorf("partition %d begins at %+v, with %+v", p, at, at.resumed)
		}
	}
	if at := given[0].resumed; at.settings != "d" {
		t.Errorf("settings %q", at.settings)
	}
	if want := "dtkafka: p[0]@104: in Resume: the whole: number does not belong there; this line is passed over\n"; !strings.HasPrefix(said.String(), want) {
		t.Errorf("said %q, want %q", said, want)
	}
	// A partition that is held goes on as it is; of one that no line is about only the settings are known.
	s.topic.partitions = 1
	o := newTestFrames(nil)
	must(t, o.begin(map[int]place{1: {Offset: 33}}))
	s.r.out = o.framesOutput
	given, err = s.places(map[int]place{1: {Offset: 33, Meta: "m"}, 2: {Offset: 44, Meta: "m"}})
	must(t, err)
	if at := given[1]; at.Offset != 33 || at.Meta != "m" || at.resumed != nil {
		t.Errorf("what is held begins at %+v", at)
	}
	if at := given[2]; at.Offset != -1 || at.resumed == nil || at.resumed.settings == "" {
		t.Errorf("what nothing is known of begins at %+v", at)
	}
}

// The wrong topic is found out, either way.
func TestResumeFromTheWrongLines(t *testing.T) {
	partial := partialLine("d", stateText("demo", 1, 4, 100, 10, false, "s", 0, 12, 5))
	merged := []byte(`{"Index": 1, "Settings": "d", "Merge": {"Places": [{"Name": "s", "Partition": 1, "Offset": 17, "Number": 0}], "Runs": []}}`)
	_, stream := testRun(t, "demo", 1, 10, 1)
	for _, c := range []struct {
		value  []byte
		frames bool
		want   string
	}{
		{partial, true, ""}, {merged, false, ""},
		{merged, true, "p[0]@0: a line of dthist --merge, where those of dthist --partial are wanted"},
		{partial, false, "p[0]@0: a line of dthist --partial, where those of dthist --merge are wanted"},
		{stream[0][0], true, "p[0]@0: a piece of a hit stream, where lines of dthist are wanted"},
		{stream[0][0], false, "p[0]@0: a piece of a hit stream, where lines of dthist are wanted"},
	} {
		s, _ := testResume(testLog{{{value: c.value}}})
		s.r.out = newTestFrames(nil).framesOutput
		if !c.frames {
			s.r.out = newLinesOutput(s.r.env, discard{}, "s")
		}
		if _, err := s.places(all(1, -1)); c.want == "" && err != nil || err != nil && !strings.HasPrefix(err.Error(), c.want) || c.want != "" && err == nil {
			t.Errorf("%.40q, frames %v: %v", c.value, c.frames, err)
		}
	}
}

// A merge gets the last line that is its own, and what comes behind the places in it; when it is given the partitions again, it begins anew.
func TestResumeMerge(t *testing.T) {
	lines := make(testLog, 1)
	lines.add(0, 0, []byte(`{"Index": 1, "Merge": {"Places": [{"Name": "s", "Partition": 0, "Offset": 98, "Number": 0}, {"Name": "s", "Partition": 1, "Offset": 97, "Number": 0}], "Runs": []}}`))
	lines.add(0, 0, []byte(`{"Index": 2, "Merge": {"Places": [{"Name": "other", "Partition": 0, "Offset": 5, "Number": 0}], "Runs": []}}`))
	lines.add(0, 0, []byte(`{"Index": 3}`))
	s, _ := testResume(lines)
	to := &wholeLines{t: t}
	out := newLinesOutput(s.r.env, to, "s")
	s.r.out = out
	given, err := s.places(all(3, -1))
	must(t, err)
	if given[0].Offset != 98 || given[1].Offset != 97 || given[2].Offset != 10 {
		t.Errorf("it begins at %v", given)
	}
	must(t, out.begin(given))
	must(t, out.take(&fetched{partition: 0, next: 100, high: 100, messages: []message{{98, 1, []byte("{\"a\": 1}\n")}, {99, 2, []byte(`{}`)}}}))
	must(t, out.done(0))
	must(t, out.done(1))
	must(t, out.done(2))
	_, err = out.idle()
	must(t, err)
	floor := strings.TrimSuffix(string(lines[0][0].value), "}") + ", \"Floor\": 1}\n"
	want := floor + `{"a": 1, "From": {"Name": "s", "Partition": 0, "Offset": 98}}` + "\n" + `{"From": {"Name": "s", "Partition": 0, "Offset": 99}}` + "\n"
	if to.String() != want {
		t.Errorf("%s\nwant\n%s", to, want)
	}
	// Nobody had it in between: nothing to say.
	held := out.places()
	again, err := s.places(held)
	must(t, err)
	must(t, out.begin(again))
	_, err = out.idle()
	must(t, err)
	if to.String() != want {
		t.Errorf("it said more: %s", to)
	}
	// Somebody had.
	must(t, out.begin(nil))
	if again, err = s.places(held); err != nil {
		t.Fatal(err)
	}
	must(t, out.begin(again))
	must(t, out.end(""))
	if to.String() != want+floor {
		t.Errorf("%s\nwant\n%s", to, want+floor)
	}
	// Without a line it begins with nothing.
	s, _ = testResume(make(testLog, 1))
	to.Reset()
	out = newLinesOutput(s.r.env, to, "s")
	s.r.out = out
	if given, err = s.places(all(2, -1)); err != nil || given[0].Offset != -1 {
		t.Errorf("%v %v", given, err)
	}
	must(t, out.begin(all(2, 0)))
	must(t, out.end(""))
	if to.String() != "{\"Floor\": 1}\n" {
		t.Errorf("%s", to)
	}
}

func TestResumeOfWords(t *testing.T) {
	s, _ := testResume(make(testLog, 1))
	for c, good := range map[content]bool{contentFrames: true, contentLines: true, contentJSON: false, contentCSV: false} {
		if err := s.checkContent(c); (err == nil) != good {
			t.Errorf("%s: %v", c, err)
		}
	}
	for _, c := range []consumeCmd{{Topic: "s", ResumeFrom: "s"}, {Topic: "s", Member: "m"}} {
		if _, _, err := c.check(); err == nil {
			t.Errorf("%+v is possible", c)
		}
	}
	if from, _, err := (&consumeCmd{Topic: "s", ResumeFrom: "p"}).check(); err != nil || from.kind != "start" {
		t.Errorf("from %v, %v", from, err)
	}
}
