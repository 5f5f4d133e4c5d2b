package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dt/internal/e2e/torture"
)

// BenchmarkKafkaResumeCost reads a topic of 20 000 000 words to its end, through dthist --partial, as it is, and with a group, its results' topic and all that is written for taking the work
// up, in turn. It reports the medians of the turns, in millions of words a second, and how much more time the second takes. Run it with -benchtime 7x.
func BenchmarkKafkaResumeCost(b *testing.B) {
	const words = 20_000_000
	k := startKafka(b, 1, kafkaOptions{heap: "1g", jvm: "-XX:TieredStopAtLevel=4"})
	topic, lines := k.topic(b, 8, "max.message.bytes=8388608"), k.topic(b, 8)
	pipeline(b, nil, stage{"dtcat", fmt.Sprintf("sim:?seed=1&stale=0&corrupt=0&words=%d", words)}, k.produce(topic)).ok(b)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	run := func(consume stage) float64 {
		begin := time.Now()
		startTo(b, nil, nil, null, consume, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--partial"}).wait().ok(b)
		return time.Since(begin).Seconds()
	}
	var plain, resumed, ratio []float64
	for turn := range b.N + 1 {
		one := run(k.toEnd(topic))
		other := run(k.toEnd(topic, "--group", fmt.Sprintf("g%d", turn), "--resume-from", lines))
		if turn > 0 { // the first warms up
			plain, resumed, ratio = append(plain, one), append(resumed, other), append(ratio, other/one)
		}
	}
	median := func(list []float64) float64 {
		slices.Sort(list)
		return list[len(list)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(words/median(plain)/1e6, "plain-Mwords/s")
	b.ReportMetric(words/median(resumed)/1e6, "resumed-Mwords/s")
	b.ReportMetric(median(ratio), "ratio")
}

// BenchmarkKafkaRecover kills programs of nodes, which a loop starts again, and whole nodes, whose lanes others take over when the session of 2 s is over. It reports how long it
// takes from there until the lanes go on: until the next line of them. Run it with -benchtime 3x.
func BenchmarkKafkaRecover(b *testing.B) {
	k := startKafka(b, 1, kafkaOptions{properties: shortSessions, jvm: "-XX:TieredStopAtLevel=4"})
	recovered := map[string][]time.Duration{}
	for i := range b.N {
		c := torture.Config{
			Bin: binaries, Bootstrap: k.bootstrap(), Seed: uint64(i), Time: 24 * second, Nodes: 3, Session: 2 * second, Patience: time.Minute, Limit: 90 * second, Grace: 50 * time.Millisecond,
			Runs: []*torture.Run{streamOf(b, torture.Stream{Name: "run", Seed: 1, Records: 96000, Sort: "sim", Window: "0.5s"})},
		}
		for at := 2 * second; at < 14*second; at += 2 * second {
			c.Plan, c.At = append(c.Plan, "one of a node killed"), append(c.At, at)
		}
		c.Plan, c.At = append(c.Plan, "newest node removed", "newest node removed"), append(c.At, 15*second, 19*second)
		r, err := torture.Go(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		if !r.OK() {
			b.Fatalf("%s\n%s", strings.Join(r.Errors(), "\n"), r.State)
		}
		b.Log(r)
		for what, took := range r.Recovered {
			recovered[what] = append(recovered[what], took...)
		}
	}
	b.ReportMetric(0, "ns/op")
	for what, unit := range map[string]string{"a program was killed": "program", "a node was killed": "node"} {
		took := recovered[what]
		if len(took) == 0 {
			b.Fatalf("nothing is known of how it goes on when %s", what)
		}
		slices.Sort(took)
		b.ReportMetric(took[len(took)/2].Seconds(), unit+"-s")
		b.ReportMetric(took[len(took)-1].Seconds(), unit+"-longest-s")
	}
}
