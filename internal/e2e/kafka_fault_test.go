package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaRequest is how long dtkafka waits for an answer before it asks again.
const kafkaRequest = 10 * time.Second

// kafkaMemory is what a program may take while a broker is away.
const kafkaMemory = 128 << 20

// soon lets a broker that was killed be back sooner: it waits until its session of before is over.
const soon = "broker.session.timeout.ms=1500\nbroker.heartbeat.interval.ms=300\n"

// kafkaSeed is a seed for what happens to brokers; DT_KAFKA_SEED says one of before.
func kafkaSeed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("DT_KAFKA_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal("DT_KAFKA_SEED:", err)
		}
	}
	t.Logf("DT_KAFKA_SEED=%d", seed)
	return seed
}

// inLong is a in the tests of full length, otherwise b.
func inLong[T any](a, b T) T {
	if kafkaLong() {
		return a
	}
	return b
}

// leader returns the broker that leads a partition.
func (k *kafkaCluster) leader(t testing.TB, topic string, partition int) int {
	t.Helper()
	id := 0
	attempt(t, "leader of "+topic, func(ctx context.Context) error {
		m, err := k.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		if len(m.Topics) != 1 || partition >= len(m.Topics[0].Partitions) {
			return errors.New("no metadata")
		}
		p := m.Topics[0].Partitions[partition]
		id = p.Leader.ID
		return p.Error
	})
	return id
}

// healthy waits until all replicas of a topic are in step.
func (k *kafkaCluster) healthy(t testing.TB, topic string) {
	t.Helper()
	attempt(t, "all replicas of "+topic, func(ctx context.Context) error {
		m, err := k.client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		for _, p := range m.Topics[0].Partitions {
			if len(p.Isr) < len(p.Replicas) {
				return fmt.Errorf("partition %d has %d of %d", p.ID, len(p.Isr), len(p.Replicas))
			}
		}
		return nil
	})
}

// With three brokers, of which any one may fail, nothing is lost and nothing doubled: neither while one is killed and comes back nor
// while one hangs.
func TestKafkaFaults(t *testing.T) {
	t.Parallel()
	needKafka(t, "")
	r := rand.New(rand.NewPCG(kafkaSeed(t), 0))
	k := startKafka(t, 3, kafkaOptions{})
	hist := stage{"dthist", "--window=5s"}
	kill := func(words string, _, _ *running) {
		for range inLong(3, 1) {
			i := k.leader(t, words, r.IntN(3))
			time.Sleep(time.Second + time.Duration(r.IntN(1000))*time.Millisecond)
			t.Logf("broker %d is killed", i)
			k.kill9(i)
			time.Sleep(time.Duration(r.IntN(2000)) * time.Millisecond)
			k.restart(t, i)
			k.healthy(t, words)
		}
	}
	hang := func(words string, _, _ *running) {
		i := k.leader(t, words, r.IntN(3))
		time.Sleep(time.Second + time.Duration(r.IntN(500))*time.Millisecond)
		t.Logf("broker %d hangs", i)
		k.pause(i)
		time.Sleep(inLong(20*time.Second, 6*time.Second))
		k.resume(i)
		k.healthy(t, words)
	}
	for _, c := range []struct {
		name    string
		seconds int // the source's
		happens func(words string, writer, reader *running)
	}{
		{"killed", inLong(40, 7), kill},
		{"hangs", inLong(30, 9), hang},
	} {
		for i := range inLong(3, 1) {
			t.Run(fmt.Sprintf("%s %d", c.name, i), func(t *testing.T) {
				rate := []int{20000, 2000, 100000}[i]
				source := fmt.Sprintf("sim:?seed=%d&hits=%d&triggers=10&late=0.001", r.IntN(1000), c.seconds*rate/2)
				plain := slices.Concat([]stage{append(dtcat, source)}, cleansing, []stage{hist})
				want := pipeline(t, nil, plain...).ok(t)
				k.live(t, append(dtcat, source, "--rate", strconv.Itoa(rate)), 3, hist, c.happens, want)
			})
		}
	}
}

// While the only broker is away or hangs, all waits for it, in bounded memory, and all arrives when it is back.
func TestKafkaAway(t *testing.T) {
	t.Parallel()
	k := startKafka(t, 1, kafkaOptions{properties: soon})
	t.Run("while a source pushes", func(t *testing.T) {
		hist := stage{"dthist", "--window=10s"}
		source := "sim:?seed=4&triggers=10&hits=" + inLong("12000000", "3000000")
		want := pipeline(t, nil, slices.Concat([]stage{append(dtcat, source)}, cleansing, []stage{hist})...).ok(t)
		var peaks []func() int64
		var names []string
		k.live(t, append(dtcat, source, "--rate", "1500000"), 4, hist, func(_ string, writer, reader *running) {
			for _, p := range []*running{writer, reader} {
				for _, cmd := range p.Cmds {
					peaks = append(peaks, peak(t, cmd))
					names = append(names, strings.Join(cmd.Args, " "))
				}
			}
			time.Sleep(time.Second)
			k.kill9(1)
			time.Sleep(inLong(time.Minute, 4*time.Second))
			k.restart(t, 1)
		}, want)
		for i, f := range peaks {
			n := f()
			t.Logf("%s: %d MiB", names[i], n>>20)
			if n > kafkaMemory && os.Getenv("DT_RACE") == "" { // the race detector takes several times as much
				t.Errorf("%s took %d MiB, %d are allowed", names[i], n>>20, kafkaMemory>>20)
			}
		}
	})
	// What the broker was sent before it hung it does when it goes on, though it was sent again by then.
	t.Run("hanging", func(t *testing.T) {
		hist := stage{"dthist", "--window=1s"}
		source := "sim:?seed=5&triggers=10&hits=150000"
		want := pipeline(t, nil, slices.Concat([]stage{append(dtcat, source)}, cleansing, []stage{hist})...).ok(t)
		k.live(t, append(dtcat, source, "--rate", "100000"), 2, hist, func(string, *running, *running) {
			time.Sleep(time.Second)
			k.pause(1)
			time.Sleep(kafkaRequest + 2*time.Second)
			k.resume(1)
		}, want)
	})
	t.Run("from the start", func(t *testing.T) {
		topic := k.topic(t, 2)
		k.kill9(1)
		source := append(dtcat, simulated(3, 3000))
		hist := stage{"dthist", "--window=500ms"}
		want := pipeline(t, nil, slices.Concat([]stage{source}, cleansing, []stage{hist})...).ok(t)
		writer := start(t, nil, nil, source, k.produce(topic))
		time.Sleep(1500 * time.Millisecond)
		k.restart(t, 1)
		writer.wait().ok(t)
		k.kill9(1)
		reader := start(t, nil, nil, slices.Concat([]stage{k.toEnd(topic)}, cleansing, []stage{hist})...)
		time.Sleep(1500 * time.Millisecond)
		k.restart(t, 1)
		sameRun(t, "a broker that comes later", 2, reader.wait().ok(t), want)
	})
	t.Run("for too long", func(t *testing.T) {
		topic := k.topic(t, 1)
		p := start(t, nil, nil, append(dtcat, simulated(3, 100000), "--rate", "20000"), k.produce(topic, "--give-up", "2s"))
		k.until(t, topic, 30)
		k.kill9(1)
		begin := time.Now()
		r := p.wait()
		if took := time.Since(begin); r.Codes[1] != 1 || took > 15*time.Second {
			t.Errorf("exit %d after %v, want 1 after about 2 s\n%s", r.Codes[1], took, r.Errs[1])
		}
		acknowledged := regexp.MustCompile(topic + `: acknowledged: (\d+) messages: \[0\] to record (\d+)`).FindStringSubmatch(r.Errs[1])
		if acknowledged == nil {
			t.Fatalf("it does not say what was acknowledged:\n%s", r.Errs[1])
		}
		// So much is in the topic, and perhaps what no answer came for.
		k.restart(t, 1)
		messages, _ := strconv.Atoi(acknowledged[1])
		record, _ := strconv.Atoi(acknowledged[2])
		values, _ := k.values(t, topic, 0)
		if len(values) < messages {
			t.Fatalf("%d messages are there, %d were acknowledged", len(values), messages)
		}
		n := 0
		for _, v := range values[:messages] {
			n += numbers(t, v)
		}
		if n != record {
			t.Errorf("%d messages have %d records, %d were acknowledged", messages, n, record)
		}
	})
}
