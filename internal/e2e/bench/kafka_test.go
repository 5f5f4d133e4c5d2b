package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// Of the live run that BenchmarkKafkaLatency makes: the detector's clock runs as ours does.
const (
	orbitTime = 89_100 * time.Nanosecond
	winOrbits = 1122 // 100 ms
	firstWin  = 700
	slack     = 16 // orbits that the horizon is behind the slower FPGA
)

// BenchmarkKafkaLatency sends words, at a rate, through two topics and the whole pipe, until b.N windows are in the second, and reports
// how long after the word that let it close each was there. The broker is that of $DT_KAFKA_BOOTSTRAP, the programs those of
// $BENCH_BIN. Run it with -benchtime 40x.
func BenchmarkKafkaLatency(b *testing.B) {
	bin, broker := os.Getenv("BENCH_BIN"), os.Getenv("DT_KAFKA_BOOTSTRAP")
	if bin == "" || broker == "" {
		b.Skip("BENCH_BIN and DT_KAFKA_BOOTSTRAP say where the programs and the broker are")
	}
	for _, rate := range []int{1000, 1_000_000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) {
			l := &live{b: b, bin: bin, client: &kafka.Client{Addr: kafka.TCP(broker), Timeout: 10 * time.Second, Transport: &kafka.Transport{MetadataTTL: time.Second}}}
			took := l.run(rate, b.N)
			slices.Sort(took)
			at := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1e3 }
			b.ReportMetric(0, "ns/op") // it is the windows' length
			b.ReportMetric(at(0.5), "p50-ms")
			b.ReportMetric(at(0.9), "p90-ms")
			b.ReportMetric(at(1), "max-ms")
		})
	}
}

var liveTopics atomic.Int32

// A live is a pipe that runs.
type live struct {
	b      *testing.B
	bin    string
	client *kafka.Client
	ends   []func() // in the order in which parts are to end
}

func (l *live) run(rate, windows int) []time.Duration {
	n := liveTopics.Add(1)
	words, lines := fmt.Sprintf("live-%d-%d-words", os.Getpid(), n), fmt.Sprintf("live-%d-%d-lines", os.Getpid(), n)
	l.topic(words, 4)
	l.topic(lines, 1)
	const warm = 10 // the first windows wait for the programs to start
	closed := make([]time.Time, windows+warm)
	_, out := l.start(nil, []string{"dtkafka", "consume", words, "--from", "start"}, []string{"dtfilter"}, []string{"dtchamber"},
		[]string{"dthist", "--window", "100ms"}, []string{"dtkafka", "produce", lines})
	out.Close()
	first, in, err := os.Pipe()
	if err != nil {
		l.b.Fatal(err)
	}
	source, none := l.start(first, []string{"dtcat", "--from", "raw", "-"}, []string{"dtkafka", "produce", words})
	none.Close()
	first.Close()
	arrived := make(chan []time.Time)
	go func() { arrived <- l.arrivals(lines, len(closed)) }()
	l.write(in, rate, closed)
	at := <-arrived
	in.Close()
	for _, cmd := range source {
		if err := cmd.Wait(); err != nil {
			l.b.Errorf("%v: %v", cmd.Args, err)
		}
	}
	for _, end := range l.ends {
		end()
	}
	var took []time.Duration
	for i := warm; i < len(closed); i++ {
		took = append(took, at[i].Sub(closed[i]))
	}
	return took
}

// write sends words of two FPGAs, in turn, as a detector whose clock is ours, in pieces of a millisecond or a word, and notes when
// each window could close.
func (l *live) write(w io.Writer, rate int, closed []time.Time) {
	piece := max(1, rate/1000)
	perWord := float64(time.Second) / float64(rate)
	buf := make([]byte, 0, 8*piece)
	begin := time.Now()
	next := 0 // window
	for i := 0; next < len(closed); {
		buf = buf[:0]
		var last uint64
		for range piece {
			last = firstWin*winOrbits + uint64(float64(i)*perWord/float64(orbitTime))
			channel := uint64(i*7) % 128
			buf = binary.LittleEndian.AppendUint64(buf, 2<<61|uint64(i&1)<<58|channel<<49|last<<17|uint64(i%3564)<<5|uint64(i%30))
			i++
		}
		time.Sleep(time.Until(begin.Add(time.Duration(float64(i) * perWord))))
		if _, err := w.Write(buf); err != nil {
			l.b.Error(err)
			return
		}
		now := time.Now()
		// The other FPGA's last word was one before this.
		slowest := firstWin*winOrbits + uint64(float64(i-2)*perWord/float64(orbitTime))
		for next < len(closed) && slowest >= slack+uint64(firstWin+next+1)*winOrbits {
			closed[next] = now
			next++
		}
	}
}

// arrivals reads lines until there are so many windows, and says when each was there.
func (l *live) arrivals(topic string, windows int) []time.Time {
	at := make([]time.Time, windows)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for offset, n := int64(0), 0; n < windows; {
		r, err := l.client.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Offset: offset, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 5 * time.Second})
		if err == nil {
			err = r.Error
		}
		if err != nil {
			if ctx.Err() != nil {
				l.b.Errorf("%d windows of %d: %v", n, windows, err)
				return at
			}
			time.Sleep(10 * time.Millisecond) // a leader does not know of a new topic at once
			continue
		}
		now := time.Now()
		for {
			m, err := r.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				l.b.Error(err)
				return at
			}
			text, err := kafka.ReadAll(m.Value)
			if err != nil || m.Offset < offset {
				continue
			}
			offset = m.Offset + 1
			var line struct{ Window struct{ Number int } }
			if err := json.Unmarshal(text, &line); err != nil {
				l.b.Error(err)
				return at
			}
			if i := line.Window.Number - firstWin; i >= 0 && i < windows && at[i].IsZero() {
				at[i] = now
				n++
			}
		}
	}
	return at
}

// topic makes a topic and waits for it.
func (l *live) topic(name string, partitions int) {
	l.b.Helper()
	_, err := l.client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: name, NumPartitions: partitions, ReplicationFactor: 1}}})
	for end := time.Now().Add(20 * time.Second); err == nil; time.Sleep(50 * time.Millisecond) {
		m, failed := l.client.Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{name}})
		if failed == nil && len(m.Topics) == 1 && len(m.Topics[0].Partitions) == partitions && m.Topics[0].Partitions[0].Error == nil {
			return
		}
		if time.Now().After(end) {
			err = fmt.Errorf("%s does not come to be: %v", name, failed)
		}
	}
	l.b.Fatal(err)
}

// start starts programs, each reading what the one before writes. If the first reads nothing of ours it is told to stop in the end.
func (l *live) start(first *os.File, programs ...[]string) ([]*exec.Cmd, *os.File) {
	l.b.Helper()
	var cmds []*exec.Cmd
	next := first
	for i, program := range programs {
		out, w, err := os.Pipe()
		if err != nil {
			l.b.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(l.bin, program[0]), program[1:]...)
		cmd.Stdout = w
		if next != nil {
			cmd.Stdin = next
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			l.b.Fatal(err)
		}
		w.Close()
		if i > 0 {
			next.Close()
		}
		next = out
		cmds = append(cmds, cmd)
	}
	if first == nil {
		l.ends = append(l.ends, func() {
			cmds[0].Process.Signal(syscall.SIGTERM)
			for _, cmd := range cmds {
				if err := cmd.Wait(); err != nil {
					l.b.Errorf("%v: %v", cmd.Args, err)
				}
			}
		})
	}
	return cmds, next
}
