package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dt/internal/e2e/torture"
)

// shortSessions lets members of a group be missed sooner than Kafka's own settings allow.
const shortSessions = "group.min.session.timeout.ms=500\n"

// tortureRoom bounds how many rounds there are at a time.
var tortureRoom = newWeight(3)

var torturedShared struct {
	once sync.Once
	k    *kafkaCluster
	err  error
}

// tortured returns the one broker that all rounds share which leave brokers alone.
func tortured(t testing.TB) *kafkaCluster {
	t.Helper()
	needKafka(t, "")
	s := &torturedShared
	s.once.Do(func() {
		var dir string
		if dir, s.err = os.MkdirTemp("", "dt-kafka-"); s.err == nil {
			s.k, s.err = openKafka(1, dir, kafkaOptions{properties: shortSessions, heap: "512m"})
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.k
}

// closeTortured ends it.
func closeTortured() {
	if k := torturedShared.k; k != nil {
		k.stop()
		os.RemoveAll(k.dir)
	}
}

// A harmed cluster is one that a round of torture may do harm to.
type harmed struct {
	sync.Mutex
	*kafkaCluster
}

func (h *harmed) N() int { return h.n }

func (h *harmed) Kill(i int) { h.kill9(i) }

func (h *harmed) Start(i int) error {
	h.kill9(i) // what is left of it
	if err := h.spawn(i); err != nil {
		return err
	}
	return h.ready(i)
}

func (h *harmed) Pause(i int, stop bool) {
	if stop {
		h.pause(i)
	} else {
		h.resume(i)
	}
}

// Fill lets no file of a broker grow beyond what its largest log has, and a little more: a broker whose disk is full ends itself.
func (h *harmed) Fill(i int) error {
	largest := int64(0)
	logs, err := filepath.Glob(filepath.Join(h.dir, "data"+strconv.Itoa(i), "*", "*.log"))
	if err != nil {
		return err
	}
	for _, path := range logs {
		if info, err := os.Stat(path); err == nil {
			largest = max(largest, info.Size())
		}
	}
	b := h.running[i]
	limit := unix.Rlimit{Cur: uint64(largest) + 4<<10, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(b.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		return err
	}
	select {
	case <-b.ended:
		return nil
	case <-time.After(8 * time.Second):
		return errors.New("its disk was full, and it lives on: killed")
	}
}

// tortureSeed is the seed of a test's first round; DT_SEED says one of before.
func tortureSeed(t testing.TB) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1e9
	if s := os.Getenv("DT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal("DT_SEED:", err)
		}
	}
	t.Logf("DT_SEED=%d", seed)
	return seed
}

// A rack runs rounds on a cluster, and keeps what came of them.
type rack struct {
	k    *harmed
	lock sync.Mutex
	all  []*torture.Report
}

// round makes the settings of one from its seed, and runs it. Each has two of the moments that are known to be hard, so four seeds behind each other have all of them.
func (k *rack) round(t *testing.T, seed uint64, brokers bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	n := uint64(len(torture.Moments))
	c := torture.Config{
		Bin: binaries, Bootstrap: k.k.bootstrap(), Replicas: k.k.n, Seed: seed, Time: 11 * time.Second, Nodes: 2 + r.IntN(2), Merges: 1 + r.IntN(2), AtOnce: r.IntN(2) == 0,
		Faults: 2 + r.IntN(3), Plan: []string{torture.Moments[seed%n], torture.Moments[(seed+n/2)%n]}, Session: 2 * time.Second, Patience: time.Minute, Limit: 100 * time.Second,
	}
	if r.IntN(4) == 0 { // windows are written without those that are away, and again
		c.Patience = time.Duration(1000+r.IntN(2000)) * time.Millisecond
	}
	if r.IntN(3) == 0 {
		c.PartsS, c.PartsP = 1+r.IntN(9), 1+r.IntN(9)
	}
	if brokers {
		c.Brokers = k.k
		c.Plan = append(c.Plan, torture.AtBrokers[seed%uint64(len(torture.AtBrokers))])
	}
	runs, records, window := 1+r.IntN(8)/7, 30000+r.IntN(40000), ""
	for i := range runs {
		run := streamOf(t, torture.Stream{Name: "run" + string(rune('A'+i)), Window: window, Seed: seed + uint64(i)<<32, Records: records / runs})
		window = run.Window
		c.Runs = append(c.Runs, run)
	}
	report, err := torture.Go(t.Context(), c)
	if err != nil {
		t.Fatalf("DT_SEED=%d: %v", seed, err)
	}
	t.Log(report)
	if len(report.Oneself) > 0 {
		t.Logf("ended by themselves:\n%s", strings.Join(report.Oneself, "\n"))
	}
	if !report.OK() {
		t.Errorf("DT_SEED=%d DT_TORTURE=1:\n%s\n%s", seed, strings.Join(report.Errors(), "\n"), report.State)
	}
	k.lock.Lock()
	defer k.lock.Unlock()
	k.all = append(k.all, report)
}

// rounds runs some.
func (k *rack) rounds(t *testing.T, n int, brokers bool) {
	seed := tortureSeed(t)
	t.Run("rounds", func(t *testing.T) {
		for i := range n {
			t.Run(strconv.FormatUint(seed+uint64(i), 10), func(t *testing.T) {
				t.Parallel()
				tortureRoom.take(1)
				defer tortureRoom.give(1)
				k.round(t, seed+uint64(i), brokers)
			})
		}
	})
	t.Log(k)
}

// String sums all rounds up.
func (k *rack) String() string {
	k.lock.Lock()
	defer k.lock.Unlock()
	var lost, doubled, twice, revised, read int64
	faults, restarts, exact := 0, 0, 0
	recovered := map[string][]time.Duration{}
	for _, r := range k.all {
		if r.OK() {
			exact++
		}
		faults += len(r.Faults)
		restarts += r.Restarts
		for what, took := range r.Recovered {
			recovered[what] = append(recovered[what], took...)
		}
		if v := r.Verdict; v != nil {
			lost, doubled, twice, revised, read = lost+v.Lost, doubled+v.Doubled, twice+int64(v.Twice), revised+int64(v.Revised), read+v.Read
		}
	}
	text := fmt.Sprintf("%d of %d rounds exact: %d faults, %d restarts; %d records read, lost %d, doubled %d; lines twice %d, revised %d", exact, len(k.all), faults, restarts, read, lost, doubled, twice, revised)
	for what, took := range recovered {
		slices.Sort(took)
		text += fmt.Sprintf("; %s (%d times): goes on after %v (median), %v (longest)", what, len(took), took[len(took)/2], took[len(took)-1])
	}
	return text
}

// tortureRounds is how many rounds of torture there are: a share of DT_TORTURE, or few.
func tortureRounds(t testing.TB, few, share int) int {
	t.Helper()
	s := os.Getenv("DT_TORTURE")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatal("DT_TORTURE:", s)
	}
	return (n*share + 99) / 100
}

// Whatever dies, hangs or is moved, at whatever moment: every window comes out as if nothing had happened.
func TestTorture(t *testing.T) {
	t.Parallel()
	python(t)
	(&rack{k: &harmed{kafkaCluster: tortured(t)}}).rounds(t, tortureRounds(t, 4, 65), false)
}

// The same with brokers that die, hang, and have no room left: one that is alone, and three of which each may fail.
func TestTortureOfBrokers(t *testing.T) {
	t.Parallel()
	python(t)
	for _, c := range []struct{ brokers, few, share int }{{1, 1, 15}, {3, 2, 20}} {
		t.Run(strconv.Itoa(c.brokers), func(t *testing.T) {
			k := startKafka(t, c.brokers, kafkaOptions{properties: shortSessions + soon})
			(&rack{k: &harmed{kafkaCluster: k}}).rounds(t, tortureRounds(t, c.few, c.share), true)
		})
	}
}
