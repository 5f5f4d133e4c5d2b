package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dt/internal/wire"

	"github.com/segmentio/kafka-go"
)

var (
	kafkaPartitions = []int{1, 2, 4, 8}
	kafkaCodecs     = []string{"none", "gzip", "zstd"}
	kafkaCodecBits  = map[string]int{"none": 0, "gzip": 1, "zstd": 4}
)

// throughTopics runs a pipeline in three parts, each of which ends before the next begins, with topics of so many partitions between
// them, and returns what the last topic has.
func (k *kafkaCluster) throughTopics(t testing.TB, stream []byte, partitions int, codec string, filter []stage, last stage) []byte {
	t.Helper()
	words, chambers, lines := k.topic(t, partitions), k.topic(t, partitions), k.topic(t, 1)
	with := []string{"--compression", codec}
	pipeline(t, bytes.NewReader(stream), k.produce(words, with...)).ok(t)
	pipeline(t, nil, slices.Concat([]stage{k.toEnd(words)}, filter, []stage{k.produce(chambers, with...)})...).ok(t)
	pipeline(t, nil, k.toEnd(chambers), last, k.produce(lines, with...)).ok(t)
	return pipeline(t, nil, k.toEnd(lines)).ok(t)
}

// wholeLines returns lines without what may differ however they came to be.
func wholeLines(t testing.TB, out []byte) []string {
	t.Helper()
	var list []string
	for _, l := range parse(t, out) {
		delete(l, "Index")
		delete(l, "Source")
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(text))
	}
	return list
}

// sumOfLedgers sums up the ledgers of all lines, key by key.
func sumOfLedgers(t testing.TB, out []byte) map[string]int {
	t.Helper()
	total := map[string]int{}
	for _, l := range parse(t, out) {
		addUp(t, total, "", l.at(t, "Ledger"))
	}
	maps.DeleteFunc(total, func(_ string, n int) bool { return n == 0 })
	return total
}

// sameRun fails the test unless two lists of lines say the same of a run, which was one stream: in one lane in every key but Index and
// Source, in several but for which of the lines a word is in the ledger of.
func sameRun(t testing.TB, what string, partitions int, got, want []byte) {
	t.Helper()
	if partitions == 1 {
		sameLines(t, what, wholeLines(t, got), wholeLines(t, want))
	}
	sameLines(t, what, results(t, got), results(t, want))
	if a, b := sumOfLedgers(t, got), sumOfLedgers(t, want); !maps.Equal(a, b) {
		t.Errorf("%s: the ledgers sum to %v, want %v", what, a, b)
	}
}

var cleansing = []stage{{"dtfilter"}, {"dtchamber"}}

func TestKafkaPipeOfTopics(t *testing.T) {
	k := sharedKafka(t)
	eachRun(t, func(t *testing.T, s streamed) {
		stream := s.stream(t)
		want := pipeline(t, bytes.NewReader(stream), append(slices.Clone(cleansing), s.dthist())...).ok(t)
		for i := range 2 {
			partitions, codec := kafkaPartitions[(s.seed+2*i)%4], kafkaCodecs[(s.seed+i)%3]
			what := fmt.Sprintf("%d partitions, compression %s", partitions, codec)
			got := k.throughTopics(t, stream, partitions, codec, cleansing, s.dthist())
			sameRun(t, what, partitions, got, want)
			if read := inLedgers(t, got, "Read"); read != s.records() {
				t.Errorf("%s: Read is %d in all, want %d", what, read, s.records())
			}
			for _, l := range parse(t, got) {
				if l.int(t, "Complete") != 1 {
					t.Errorf("%s: a line is not complete", what)
				}
			}
		}
	})
}

func TestKafkaPipeOnTheRealStream(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	for i, window := range []string{"all", "5s"} {
		t.Run(window, func(t *testing.T) {
			t.Parallel()
			stream := pipeline(t, nil, append(dtcat, data(t, "stream_990.csv"))).ok(t)
			hist := stage{"dthist", "--window", window}
			want := pipeline(t, bytes.NewReader(stream), append(slices.Clone(cleansing), hist)...).ok(t)
			for _, partitions := range []int{1, 8} {
				got := k.throughTopics(t, stream, partitions, kafkaCodecs[i], cleansing, hist)
				sameRun(t, fmt.Sprintf("%d partitions", partitions), partitions, got, want)
			}
			if total := parse(t, want)[0].int(t, "Total Count"); window == "all" && total != 492 {
				t.Errorf("%d hits, 492 are known", total)
			}
		})
	}
}

func TestKafkaPipeOnTheLCPRun(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	stream := pipeline(t, nil, stage{"dtcat", "--run", "591", "--from", "lcp", data(t, "run591_lcp.dat.gz")}).ok(t)
	filter := []stage{{"dtfilter", "HEAD == 2"}, {"dtchamber", "--map", "lcp"}}
	for i, window := range []string{"all", "2s"} {
		t.Run(window, func(t *testing.T) {
			t.Parallel()
			hist := stage{"dthist", "--window", window, "--hist2", "auto"}
			want := pipeline(t, bytes.NewReader(stream), append(slices.Clone(filter), hist)...).ok(t)
			for _, partitions := range []int{1, 4} {
				got := k.throughTopics(t, stream, partitions, kafkaCodecs[1+i], filter, hist)
				sameRun(t, fmt.Sprintf("%d partitions", partitions), partitions, got, want)
			}
		})
	}
}

// What comes out of several partitions is what a plain Python script says, in one process and by partial lines that are merged.
func TestKafkaAgreesWithTheCheck(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	python(t)
	for i, mode := range trapModes {
		for seed := range seeds(t, 1) {
			t.Run(fmt.Sprintf("%s %d", mode, seed), func(t *testing.T) {
				t.Parallel()
				file := traps(t, mode, 200+seed, 4000)
				hist := []string{"--window=1s", "--hist2=600000:9000001:123457"}
				want := write(t, "want", script(t, nil, check, append(hist, file)...))
				compare := func(what string, got []byte) {
					t.Helper()
					r := pipeline(t, nil, stage{python(t), "check/dtcompare.py", want, write(t, "got", got)})
					if r.Codes[0] != 0 {
						t.Errorf("%s\n%s%s", what, r.Out, r.Errs[0])
					}
				}
				cat := stage{"dtcat", "--run", "check", file}
				dthist := append(stage{"dthist"}, hist...)
				partitions := kafkaPartitions[1+(i+seed)%3]
				what := fmt.Sprintf("%d partitions", partitions)
				words := k.topic(t, partitions)
				pipeline(t, nil, cat, k.produce(words)).ok(t)
				compare(what, pipeline(t, nil, slices.Concat([]stage{k.toEnd(words)}, cleansing, []stage{dthist})...).ok(t))
				partial := k.topic(t, 1)
				pipeline(t, nil, slices.Concat([]stage{k.toEnd(words)}, cleansing, []stage{append(dthist, "--partial"), k.produce(partial)})...).ok(t)
				merged := pipeline(t, nil, k.toEnd(partial), stage{"dthist", "--merge"}).ok(t)
				compare(what+", merged", merged)
			})
		}
	}
}

// What is on its way while all parts run is the same.
func TestKafkaLive(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	for i, partitions := range []int{1, 4} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			t.Parallel()
			source := simulated(20+i, 12000)
			hist := stage{"dthist", "--window=500ms"}
			want := pipeline(t, nil, slices.Concat([]stage{append(dtcat, source)}, cleansing, []stage{hist})...).ok(t)
			k.live(t, append(dtcat, source, "--rate", "10000"), partitions, hist, nil, want)
		})
	}
}

// live runs a source through two topics while all parts run and something happens, and compares the result with that of the plain
// pipe. The reader begins before the source.
func (k *kafkaCluster) live(t *testing.T, source stage, partitions int, hist stage, happens func(words string, writer, reader *running), want []byte) {
	t.Helper()
	words, lines := k.topic(t, partitions), k.topic(t, 1)
	reader := start(t, nil, nil, slices.Concat([]stage{k.consume(words, "--from", "start")}, cleansing, []stage{hist, k.produce(lines)})...)
	writer := start(t, nil, nil, source, k.produce(words))
	t.Cleanup(func() {
		if t.Failed() {
			k.show(t, words, lines)
			writer.show()
			reader.show()
		}
	})
	if happens != nil {
		happens(words, writer, reader)
	}
	writer.wait().ok(t)
	wanted := results(t, want)
	k.until(t, lines, len(wanted))
	reader.Cmds[0].Process.Signal(syscall.SIGTERM)
	reader.wait().ok(t)
	got := pipeline(t, nil, k.toEnd(lines)).ok(t)
	sameLines(t, fmt.Sprintf("live, %d partitions", partitions), results(t, got), wanted)
	if a, b := sumOfLedgers(t, got), sumOfLedgers(t, want); !maps.Equal(a, b) {
		t.Errorf("the ledgers sum to %v, want %v", a, b)
	}
	k.seamless(t, words)
}

// show ends what still runs, and shows what all stages said.
func (p *running) show() {
	p.cancel()
	for i, cmd := range p.Cmds {
		cmd.Wait() // or it was waited for
		if said := p.errs[i].String(); said != "" {
			p.t.Logf("%s said:\n%s", filepath.Base(cmd.Path), said)
		}
	}
}

// show shows what the brokers think of topics.
func (k *kafkaCluster) show(t testing.TB, topics ...string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	m, err := k.client.Metadata(ctx, &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		t.Log(err)
		return
	}
	for _, topic := range m.Topics {
		for _, p := range topic.Partitions {
			t.Logf("%s[%d]: leader %d, replicas %v, in step %v, %v", topic.Name, p.ID, p.Leader.ID, ids(p.Replicas), ids(p.Isr), p.Error)
		}
	}
}

func ids(brokers []kafka.Broker) (list []int) {
	for _, b := range brokers {
		list = append(list, b.ID)
	}
	return list
}

// seamless fails the test unless the words of each partition of a topic follow each other by their numbers: none was left out, or
// written again.
func (k *kafkaCluster) seamless(t testing.TB, topic string) {
	t.Helper()
	first, _ := k.offsets(t, topic)
	for p := range first {
		values, _ := k.values(t, topic, p)
		next := uint64(0)
		for i, v := range values {
			for r := wire.NewReader(bytes.NewReader(v)); ; {
				f, err := r.Next()
				if err != nil {
					break // a message has no end
				}
				if f.Kind != wire.KindWords && f.Kind != wire.KindLate {
					continue
				}
				if f.First != next {
					t.Errorf("%s[%d]: message %d has words from %d on, %d is next", topic, p, i, f.First, next)
				}
				next = f.Next
			}
		}
	}
}

// Batches are compressed as asked, and what is not asked for is not compressed: the published readers take gzip or none.
func TestKafkaCompression(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	csv := pipeline(t, nil, stage{"dtcat", simulated(3, 2000), "--to", "csv"}).ok(t)
	lines := pipeline(t, bytes.NewReader(csv), stage{"dtcat"}, stage{"dthist", "--window=500ms"}).ok(t)
	for _, codec := range append(kafkaCodecs, "") {
		var flags []string
		if codec != "" {
			flags = []string{"--compression", codec}
		}
		for what, stages := range map[string][]stage{
			"frames": {dtcat, k.produce(k.topic(t, 1), flags...)},
			"words":  {dtcat, k.produce(k.topic(t, 1), append([]string{"--as", "json"}, flags...)...)},
			"lines":  {k.produce(k.topic(t, 1), flags...)},
		} {
			in := csv
			if what == "lines" {
				in = lines
			}
			pipeline(t, bytes.NewReader(in), stages...).ok(t)
			topic := stages[len(stages)-1][2]
			if got := k.codecs(t, topic, 0); !slices.Equal(got, []int{kafkaCodecBits[codec]}) {
				t.Errorf("%s, compression %q: batches of codec %v", what, codec, got)
			}
		}
	}
}

// Words as the producers of the published pipelines send them.
func TestKafkaWordsOfTheProducers(t *testing.T) {
	k := sharedKafka(t)
	eachRun(t, func(t *testing.T, s streamed) {
		rows := write(t, "rows.csv", s.csv)
		want := pipeline(t, bytes.NewReader(s.csv), slices.Concat([]stage{dtcat}, cleansing, []stage{s.dthist()})...).ok(t)
		for i, form := range []string{"json", "csv"} {
			topic := k.topic(t, 16)
			kafkaClient(t, "send", k.bootstrap(), topic, "--as", form, "--rows", rows, "--seed", strconv.Itoa(s.seed), "--compression", kafkaCodecs[(s.seed+i)%2])
			flags := [][]string{nil, {"--as", form}}[(s.seed/2+i)%2]
			got := pipeline(t, nil, slices.Concat([]stage{k.toEnd(topic, flags...)}, cleansing, []stage{s.dthist()})...).ok(t)
			what := fmt.Sprintf("%s %v", form, flags)
			sameLines(t, what, results(t, unended(t, got)), results(t, unended(t, want)))
			if a, b := inLedgers(t, got, "Read"), s.records(); a != b {
				t.Errorf("%s: Read is %d in all, want %d", what, a, b)
			}
			back := pipeline(t, nil, k.toEnd(topic, flags...), stage{"dtcat", "--to", "csv"}).ok(t)
			sameRows(t, what, back, pipeline(t, bytes.NewReader(s.csv), dtcat, stage{"dtcat", "--to", "csv"}).ok(t))
		}
	})
}

// unended returns lines without what says whether they are complete: a topic of words does not say whether its run is over, so
// that the last ones are not.
func unended(t testing.TB, out []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	for _, l := range parse(t, out) {
		delete(l, "Complete")
		if err := e.Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// sameRows fails the test unless two CSVs have the same rows in the same order; they may have a header or not.
func sameRows(t testing.TB, what string, got, want []byte) {
	t.Helper()
	a, b := rowsOf(got), rowsOf(want)
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Errorf("%s: word %d is %s, want %s", what, i, a[i], b[i])
			break
		}
	}
	if len(a) != len(b) {
		t.Errorf("%s: %d words come back, %d went in", what, len(a), len(b))
	}
}

// rowsOf returns the rows of a CSV without the header.
func rowsOf(csv []byte) []string {
	rows := strings.Split(strings.TrimSuffix(string(csv), "\n"), "\n")
	return slices.DeleteFunc(rows, func(r string) bool { return strings.HasPrefix(r, "HEAD,") || r == "" })
}

// sorted returns the rows of a CSV, sorted, without the header.
func sorted(csv []byte) []string {
	rows := rowsOf(csv)
	slices.Sort(rows)
	return rows
}

// Where many words have one time, or are sent as a client likes, their order is lost, but no word is.
func TestKafkaBurstOfWords(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	for i, how := range [][]string{{"--per-ms", "50"}, {"--clock"}} {
		t.Run(how[0], func(t *testing.T) {
			t.Parallel()
			csv := pipeline(t, nil, stage{"dtcat", simulated(30+i, 20000), "--to", "csv"}).ok(t)
			rows := write(t, "rows.csv", csv)
			form := []string{"json", "csv"}[i]
			topic := k.topic(t, 16)
			kafkaClient(t, "send", append([]string{k.bootstrap(), topic, "--as", form, "--rows", rows}, how...)...)
			back := pipeline(t, nil, k.toEnd(topic), stage{"dtcat", "--to", "csv"}).ok(t)
			if got, want := sorted(back), sorted(csv); !slices.Equal(got, want) {
				t.Errorf("%d words come back, %d went in, or they differ", len(got), len(want))
			}
			got := pipeline(t, nil, slices.Concat([]stage{k.toEnd(topic)}, cleansing, []stage{{"dthist", "--window=all"}})...).ok(t)
			want := pipeline(t, bytes.NewReader(csv), slices.Concat([]stage{dtcat}, cleansing, []stage{{"dthist", "--window=all"}})...).ok(t)
			results(t, got)
			if a, b := inLedgers(t, got, "Read"), inLedgers(t, want, "Read"); a != b {
				t.Errorf("Read is %d, want %d", a, b)
			}
			for c := 1; c <= 4; c++ {
				name := "Chamber_" + strconv.Itoa(c)
				if a, b := parse(t, got)[0].int(t, name, "Count"), parse(t, want)[0].int(t, name, "Count"); a != b {
					t.Errorf("%s has %d hits, want %d", name, a, b)
				}
			}
			if a, b := parse(t, got)[0].int(t, "Total Count"), parse(t, want)[0].int(t, "Total Count"); a != b {
				t.Errorf("%d hits, want %d", a, b)
			}
		})
	}
}

// What produce --as writes is what the producers wrote, for a client of another make, and comes back as it was.
func TestKafkaWordsForTheReaders(t *testing.T) {
	k := sharedKafka(t)
	eachRun(t, func(t *testing.T, s streamed) {
		// What is no word does not become a message.
		csv := pipeline(t, bytes.NewReader(s.csv), dtcat, stage{"dtcat", "--to", "csv"}).ok(t)
		rows := write(t, "rows.csv", csv)
		for i, form := range []string{"json", "csv"} {
			topic := k.topic(t, []int{1, 4, 16}[(s.seed+i)%3])
			pipeline(t, bytes.NewReader(csv), dtcat, k.produce(topic, "--as", form, "--compression", kafkaCodecs[(s.seed+i)%3])).ok(t)
			t.Logf("%s: %s", form, kafkaClient(t, "words", k.bootstrap(), topic, "--as", form, "--rows", rows))
			got := pipeline(t, nil, slices.Concat([]stage{k.toEnd(topic)}, cleansing, []stage{s.dthist()})...).ok(t)
			want := pipeline(t, bytes.NewReader(csv), slices.Concat([]stage{dtcat}, cleansing, []stage{s.dthist()})...).ok(t)
			sameLines(t, form, results(t, unended(t, got)), results(t, unended(t, want)))
		}
	})
}

// Result lines as the pages of the published pipelines read them.
func TestKafkaResultsForThePages(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	csv := write(t, "run.csv", pipeline(t, nil, stage{"dtcat", simulated(5, 20000), "--to", "csv"}).ok(t))
	for i, codec := range []string{"none", "gzip"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			plain, cosmo := k.topic(t, 1), k.topic(t, 1)
			head := slices.Concat([]stage{{"dtcat", "--run", "demo", csv}}, cleansing)
			want := pipeline(t, nil, append(slices.Clone(head), stage{"dthist", "--window=500ms"})...).ok(t)
			pipeline(t, bytes.NewReader(want), k.produce(plain, "--compression", codec)).ok(t)
			sameLines(t, "as a Python literal", wholeLines(t, kafkaClient(t, "results", k.bootstrap(), plain)), wholeLines(t, want))

			pipeline(t, nil, append(slices.Clone(head), stage{"dthist", "--format", "cosmo"}, k.produce(cosmo, "--compression", codec))...).ok(t)
			sums := parse(t, kafkaClient(t, "cosmo", k.bootstrap(), cosmo))[0]
			all := parse(t, pipeline(t, nil, append(slices.Clone(head), stage{"dthist", "--window=all"})...).ok(t))[0]
			var hits, drifts []int
			for c := 1; c <= 4; c++ {
				name := "Chamber_" + strconv.Itoa(c)
				hits = append(hits, all.int(t, name, "Count"))
				h4 := all.at(t, name, "Hist_4").(map[string]any)
				drifts = append(drifts, sum(all.ints(t, name, "Hist_4", "Counts"))+toInt(t, h4["Underflow"])+toInt(t, h4["Overflow"]))
			}
			if got := sums.ints(t, "hits"); !slices.Equal(got, hits) {
				t.Errorf("cosmo: the chambers have %v hits, want %v", got, hits)
			}
			if got := sums.ints(t, "drifts"); !slices.Equal(got, drifts) {
				t.Errorf("cosmo: the chambers have %v drift times, want %v", got, drifts)
			}
			if got, want := sums.int(t, "n"), all.int(t, "Ledger", "Read"); got != want {
				t.Errorf("cosmo: n is %d in all, want %d", got, want)
			}
			if got := k.codecs(t, plain, 0); !slices.Equal(got, []int{i}) {
				t.Errorf("batches of codec %v", got)
			}
		})
	}
}

// copyTopic writes the messages of a topic into another, partition by partition; change may leave out, change and add some.
func (k *kafkaCluster) copyTopic(t testing.TB, from, to string, change func(partition, i, n int, value []byte) [][]byte) {
	t.Helper()
	first, _ := k.offsets(t, from)
	for p := range first {
		values, _ := k.values(t, from, p)
		var out [][]byte
		for i, v := range values {
			out = append(out, change(p, i, len(values), v)...)
		}
		k.sendAll(t, to, p, out)
	}
}

// sendAll sends each message by itself, so that a large one is no bother to the others.
func (k *kafkaCluster) sendAll(t testing.TB, topic string, partition int, values [][]byte) {
	t.Helper()
	for _, v := range values {
		codec := kafka.Compression(0)
		if len(v) > 1<<20 {
			codec = kafka.Gzip
		}
		k.send(t, topic, partition, codec, v)
	}
}

// numbers returns how many numbers the words of a message cover.
func numbers(t testing.TB, value []byte) int {
	t.Helper()
	n := 0
	r := wire.NewReader(bytes.NewReader(value))
	for {
		f, err := r.Next()
		if err != nil {
			return n // a message has no end
		}
		if f.Kind == wire.KindWords || f.Kind == wire.KindLate {
			n += int(f.Next - f.First)
		}
	}
}

// inPieces produces a run into a topic in many messages: in as small ones as dtkafka writes.
func (k *kafkaCluster) inPieces(t testing.TB, csv []byte, partitions int) string {
	t.Helper()
	limit := wire.MinMessage + 1000
	if partitions == 1 {
		limit = 70 << 10 // there a frame goes on as it is
	}
	topic := k.topic(t, partitions, "max.message.bytes="+strconv.Itoa(limit))
	pipeline(t, bytes.NewReader(csv), dtcat, k.produce(topic)).ok(t)
	if n := k.size(t, topic); n < 5*partitions {
		t.Fatalf("%d messages in %d partitions only", n, partitions)
	}
	return topic
}

// Messages that were written again are cut by the number, and those that are missing are told.
func TestKafkaDoubledAndMissing(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	csv := pipeline(t, nil, stage{"dtcat", simulated(6, 50000), "--to", "csv"}).ok(t)
	hist := stage{"dthist", "--window=5s"}
	want := pipeline(t, bytes.NewReader(csv), slices.Concat([]stage{dtcat}, cleansing, []stage{hist})...).ok(t)
	for _, partitions := range []int{1, 4} {
		from := k.inPieces(t, csv, partitions)
		consume := func(topic string) result {
			return pipeline(t, nil, slices.Concat([]stage{k.toEnd(topic)}, cleansing, []stage{hist})...)
		}
		t.Run(fmt.Sprintf("doubled, %d partitions", partitions), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, uint64(partitions)))
			again, doubled := k.topic(t, partitions), 0
			var before [][]byte
			k.copyTopic(t, from, again, func(_, i, _ int, v []byte) [][]byte {
				if i == 0 {
					before = nil
				}
				out := [][]byte{v}
				if r.IntN(3) == 0 { // this one, or a few of those before, again
					back := before[max(0, len(before)-r.IntN(4)):]
					out = slices.Concat(out, back, [][]byte{v})
					for _, w := range append(slices.Clone(back), v) {
						doubled += numbers(t, w)
					}
				}
				before = append(before, v)
				return out
			})
			got := consume(again)
			out := got.ok(t)
			sameLines(t, "doubled", results(t, out), results(t, want))
			if n := inLedgers(t, out, "Read"); n != bytes.Count(csv, []byte("\n"))-1 {
				t.Errorf("Read is %d in all, want %d", n, bytes.Count(csv, []byte("\n"))-1)
			}
			if doubled == 0 || !strings.Contains(got.Errs[0], strconv.Itoa(doubled)) {
				t.Errorf("%d words were written again, and the reader says:\n%s", doubled, got.Errs[0])
			}
		})
		t.Run(fmt.Sprintf("missing, %d partitions", partitions), func(t *testing.T) {
			less, lost := k.topic(t, partitions), 0
			k.copyTopic(t, from, less, func(p, i, n int, v []byte) [][]byte {
				if m := numbers(t, v); p == partitions-1 && i >= n/2 && lost == 0 && m > 0 {
					lost = m
					return nil
				}
				return [][]byte{v}
			})
			got := consume(less)
			if got.Codes[0] != 1 {
				t.Errorf("exit %d, want 1\n%s", got.Codes[0], got.Errs[0])
			}
			missing, incomplete := inLedgers(t, got.Out, "Missing"), 0
			for _, l := range parse(t, got.Out) {
				incomplete += 1 - l.int(t, "Complete")
			}
			if missing != lost || incomplete == 0 {
				t.Errorf("%d words are missing, the ledgers say %d; %d lines are incomplete\n%s", lost, missing, incomplete, strings.Join(got.Errs, ""))
			}
		})
	}
}

// Messages that nobody can read are counted, told and passed, and the result is exact.
func TestKafkaPoisonedMessages(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	hist := stage{"dthist", "--window=5s"}
	run := func(hits int) (csv, lines []byte) {
		csv = pipeline(t, nil, stage{"dtcat", simulated(7, hits), "--to", "csv"}).ok(t)
		return csv, pipeline(t, bytes.NewReader(csv), slices.Concat([]stage{dtcat}, cleansing, []stage{hist})...).ok(t)
	}
	garbage := make([]byte, 700)
	for i := range garbage {
		garbage[i] = byte(i*i*7 + i)
	}
	large := "max.message.bytes=16777216"
	t.Run("frames", func(t *testing.T) {
		t.Parallel()
		csv, want := run(50000)
		for _, partitions := range []int{1, 4} {
			from, to := k.inPieces(t, csv, partitions), k.topic(t, partitions, large)
			bad := 0
			k.copyTopic(t, from, to, func(p, i, n int, v []byte) [][]byte {
				if i != n/2 && i != 0 {
					return [][]byte{v}
				}
				broken := slices.Clone(v) // a wrong checksum
				broken[len(broken)-1] ^= 0x10
				bad += 5
				return [][]byte{garbage, broken, make([]byte, 5<<20), {}, nil, v}
			})
			r := pipeline(t, nil, slices.Concat([]stage{k.toEnd(to)}, cleansing, []stage{hist})...)
			sameRun(t, fmt.Sprintf("%d partitions", partitions), 2, r.Out, want)
			told(t, r, to, bad)
		}
	})
	t.Run("a good message replaced", func(t *testing.T) {
		t.Parallel()
		csv, _ := run(50000)
		from, to := k.inPieces(t, csv, 1), k.topic(t, 1)
		lost := 0
		k.copyTopic(t, from, to, func(p, i, n int, v []byte) [][]byte {
			if m := numbers(t, v); i >= n/2 && lost == 0 && m > 0 {
				lost = m
				v = slices.Clone(v)
				v[len(v)/2] ^= 1
			}
			return [][]byte{v}
		})
		r := pipeline(t, nil, slices.Concat([]stage{k.toEnd(to)}, cleansing, []stage{hist})...)
		if got := inLedgers(t, r.Out, "Missing"); r.Codes[0] != 1 || got != lost {
			t.Errorf("exit %d, %d words missing; want 1, %d\n%s", r.Codes[0], got, lost, r.Errs[0])
		}
	})
	for _, form := range []string{"json", "csv"} {
		t.Run(form+" words", func(t *testing.T) {
			t.Parallel()
			csv, want := run(4000)
			rows := write(t, "rows.csv", csv)
			topic := k.topic(t, 4, large)
			kafkaClient(t, "send", k.bootstrap(), topic, "--as", form, "--rows", rows)
			poison := [][]byte{garbage, make([]byte, 5<<20), {}, nil, []byte("HEAD"), []byte(`{"HEAD": 2}`), []byte("2,0,5")}
			for p := range 4 {
				k.sendAll(t, topic, p, poison)
			}
			bad := 4 * len(poison)
			r := pipeline(t, nil, slices.Concat([]stage{k.toEnd(topic)}, cleansing, []stage{hist})...)
			sameLines(t, form, results(t, unended(t, r.Out)), results(t, unended(t, want)))
			if read := inLedgers(t, r.Out, "Read"); read != bytes.Count(csv, []byte("\n"))-1+bad {
				t.Errorf("Read is %d in all, want %d words and %d others", read, bytes.Count(csv, []byte("\n"))-1, bad)
			}
			told(t, r, topic, bad)
		})
	}
	t.Run("lines", func(t *testing.T) {
		t.Parallel()
		_, want := run(4000)
		topic := k.topic(t, 1, large)
		lines := bytes.SplitAfter(bytes.TrimSuffix(want, []byte("\n")), []byte("\n"))
		half := len(lines) / 2
		pipeline(t, bytes.NewReader(bytes.Join(lines[:half], nil)), k.produce(topic)).ok(t)
		k.sendAll(t, topic, 0, [][]byte{garbage, make([]byte, 5<<20), {}, nil})
		pipeline(t, bytes.NewReader(bytes.Join(lines[half:], nil)), k.produce(topic)).ok(t)
		r := pipeline(t, nil, k.toEnd(topic))
		if got := linesOfJSON(r.Out); !slices.Equal(got, linesOfJSON(want)) {
			t.Errorf("%d lines come out, %d went in, or they differ\n%s", len(got), len(linesOfJSON(want)), r.Errs[0])
		}
		if r.Codes[0] != 0 {
			t.Errorf("exit %d\n%s", r.Codes[0], r.Errs[0])
		}
	})
}

// told fails the test unless the reader ended well and told of so many messages, naming the topic.
func told(t testing.TB, r result, topic string, bad int) {
	t.Helper()
	if r.Codes[0] != 0 || !strings.Contains(r.Errs[0], topic) || !strings.Contains(r.Errs[0], strconv.Itoa(bad)) {
		t.Errorf("%d messages are none: exit %d, and the reader says:\n%s", bad, r.Codes[0], r.Errs[0])
	}
}

// linesOfJSON returns the lines that are JSON objects.
func linesOfJSON(out []byte) []string {
	var list []string
	for _, l := range strings.Split(string(out), "\n") {
		if json.Valid([]byte(l)) && strings.HasPrefix(l, "{") {
			list = append(list, l)
		}
	}
	return list
}

// Retention cuts what a reader had not read while it was away: that is told, with the offsets, and counted.
func TestKafkaRetention(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	csv := pipeline(t, nil, stage{"dtcat", simulated(8, 50000), "--to", "csv"}).ok(t)
	from := k.inPieces(t, csv, 2)
	for _, keeper := range []string{"--state", "--group"} {
		t.Run(keeper, func(t *testing.T) {
			t.Parallel()
			to := k.topic(t, 2)
			place := filepath.Join(t.TempDir(), "place")
			if keeper == "--group" {
				place = "g-" + to
			}
			consume := k.toEnd(to, keeper, place)
			hist := stage{"dthist", "--window=5s"}
			// The first half is read, then the second written, of which partition 0 loses some.
			var second [2][][]byte
			for p := range second {
				values, _ := k.values(t, from, p)
				k.sendAll(t, to, p, values[:len(values)/2])
				second[p] = values[len(values)/2:]
			}
			first := pipeline(t, nil, slices.Concat([]stage{consume}, cleansing, []stage{hist})...)
			_, at := k.offsets(t, to)
			for p := range second {
				k.sendAll(t, to, p, second[p])
			}
			lost := 0
			cut := at[0] + int64(len(second[0])/2)
			for _, v := range second[0][:cut-at[0]] {
				lost += numbers(t, v)
			}
			k.cut(t, to, 0, cut)
			r := pipeline(t, nil, slices.Concat([]stage{consume}, cleansing, []stage{hist})...)
			if r.Codes[0] != 1 || !strings.Contains(r.Errs[0], to) || !strings.Contains(r.Errs[0], strconv.FormatInt(at[0], 10)) || !strings.Contains(r.Errs[0], strconv.FormatInt(cut, 10)) {
				t.Errorf("offsets %d to %d of %s are gone: exit %d, and the reader says:\n%s(and before that:\n%s)", at[0], cut, to, r.Codes[0], r.Errs[0], first.Errs[0])
			}
			incomplete := 0
			for _, l := range parse(t, r.Out) {
				incomplete += 1 - l.int(t, "Complete")
			}
			missing := inLedgers(t, r.Out, "Missing")
			if missing != lost || incomplete == 0 {
				t.Errorf("%d words are missing, the ledgers say %d; %d lines are incomplete", lost, missing, incomplete)
			}
			if a, b := inLedgers(t, first.Out, "Read")+inLedgers(t, r.Out, "Read")+missing, bytes.Count(csv, []byte("\n"))-1; a != b {
				t.Errorf("read and missing are %d words, want %d", a, b)
			}
		})
	}
}

// A topic that is deleted while it is read ends the reader, which says so.
func TestKafkaTopicDeleted(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	csv := pipeline(t, nil, stage{"dtcat", simulated(9, 1000), "--to", "csv"}).ok(t)
	topic := k.topic(t, 2)
	pipeline(t, bytes.NewReader(csv), dtcat, k.produce(topic)).ok(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p := startTo(t, nil, nil, w, k.consume(topic, "--from", "start"))
	w.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	k.drop(t, topic)
	got := p.wait()
	if got.Codes[0] != 1 || !strings.Contains(got.Errs[0], topic) {
		t.Errorf("exit %d\n%s", got.Codes[0], got.Errs[0])
	}
}

// The published systems' versions of Kafka, and one between.
func TestKafkaOldVersions(t *testing.T) {
	t.Parallel()
	stream := pipeline(t, nil, append(dtcat, simulated(10, 3000))).ok(t)
	hist := stage{"dthist", "--window=500ms"}
	want := pipeline(t, bytes.NewReader(stream), append(slices.Clone(cleansing), hist)...).ok(t)
	for _, version := range []string{"2.8.2", "3.9.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			k := startKafka(t, 1, kafkaOptions{version: version})
			topics := func(args ...string) string {
				return string(pipeline(t, nil, slices.Concat(stage{"dtkafka", "topics"}, args, []string{"--bootstrap", k.bootstrap()})).ok(t))
			}
			topics("create", "words", "--partitions", "3", "--replication", "1", "--retention", "1h")
			if list := topics("list"); !strings.Contains(list, "words") {
				t.Errorf("topics list:\n%s", list)
			}
			pipeline(t, bytes.NewReader(stream), k.produce("words")).ok(t)
			got := pipeline(t, nil, slices.Concat([]stage{k.toEnd("words", "--group", "g")}, cleansing, []stage{hist})...).ok(t)
			sameRun(t, version, 3, got, want)
			got = k.throughTopics(t, stream, 1, "gzip", cleansing, hist)
			sameRun(t, version, 1, got, want)
			if lag := topics("lag", "g"); !strings.Contains(lag, "words") {
				t.Errorf("topics lag:\n%s", lag)
			}
			topics("delete", "words", "--yes")
			attempt(t, "words is gone", func(context.Context) error {
				if strings.Contains(topics("list"), "words") {
					return errors.New("it is there")
				}
				return nil
			})
		})
	}
}
