package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// A groupMember is a consumer, whose output goes into a file.
type groupMember struct {
	*running
	out string
}

// member starts a consumer of a group, and what is behind it.
func (k *kafkaCluster) member(t testing.TB, topic, group string, flags []string, behind ...stage) groupMember {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags = append([]string{"--group", group, "--session", "6s"}, flags...)
	return groupMember{startTo(t, nil, nil, f, append([]stage{k.consume(topic, flags...)}, behind...)...), f.Name()}
}

func (m groupMember) signal(s os.Signal) { m.Cmds[0].Process.Signal(s) }

// leave asks a member to stop, and returns what it did.
func (m groupMember) leave(t testing.TB) []byte {
	t.Helper()
	m.signal(syscall.SIGTERM)
	m.wait().ok(t)
	return m.read(t)
}

func (m groupMember) read(t testing.TB) []byte {
	t.Helper()
	out, err := os.ReadFile(m.out)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// shares waits until a group shares out its partitions in shares of these sizes, the smallest first.
func (k *kafkaCluster) shares(t testing.TB, topic, group string, want ...int) {
	t.Helper()
	attempt(t, fmt.Sprintf("shares of %v in group %s", want, group), func(ctx context.Context) error {
		r, err := k.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
		if err != nil {
			return err
		}
		if r.Groups[0].Error != nil || r.Groups[0].GroupState != "Stable" {
			return fmt.Errorf("%s %w", r.Groups[0].GroupState, r.Groups[0].Error)
		}
		var sizes []int
		for _, m := range r.Groups[0].Members {
			n := 0
			for _, t := range m.MemberAssignments.Topics {
				if t.Topic == topic {
					n += len(t.Partitions)
				}
			}
			sizes = append(sizes, n)
		}
		if slices.Sort(sizes); !slices.Equal(sizes, want) {
			return fmt.Errorf("they are %v", sizes)
		}
		return nil
	})
}

// caughtUp waits until a group has read, and said so, what a topic has.
func (k *kafkaCluster) caughtUp(t testing.TB, topic, group string) {
	t.Helper()
	attempt(t, "group "+group+" at the end of "+topic, func(ctx context.Context) error {
		_, last := k.offsets(t, topic)
		all := make([]int, len(last))
		for p := range all {
			all[p] = p
		}
		r, err := k.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: all}})
		if err != nil {
			return err
		}
		for _, p := range r.Topics[topic] {
			if p.CommittedOffset != last[p.Partition] {
				return fmt.Errorf("it is at %d of %d in partition %d", p.CommittedOffset, last[p.Partition], p.Partition)
			}
		}
		return nil
	})
}

// feed writes numbered lines to all partitions, until stop is called: it returns how many each of them has.
func (k *kafkaCluster) feed(t testing.TB, topic string, partitions int) (stop func() int) {
	quit, done := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		defer func() { done <- n }()
		for {
			select {
			case <-quit:
				return
			case <-time.After(10 * time.Millisecond):
			}
			for p := range partitions {
				k.send(t, topic, p, 0, fmt.Appendf(nil, "partition %d line %d", p, n), fmt.Appendf(nil, "partition %d line %d", p, n+1))
			}
			n += 2
		}
	}()
	return func() int {
		close(quit)
		return <-done
	}
}

// counted fails the test if members' outputs together lack a line, or if one of them has its lines out of order, and returns how many there are more than once.
func counted(t testing.TB, partitions, lines int, outs ...[]byte) int {
	t.Helper()
	seen := map[[2]int]int{}
	for i, out := range outs {
		last := map[int]int{}
		for _, text := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
			var p, n int
			if _, err := fmt.Sscanf(text, "partition %d line %d", &p, &n); err != nil {
				if text != "" && i+1 == len(outs) {
					t.Errorf("output %d: %q", i, text)
				}
				continue // the last one of a member that was killed
			}
			seen[[2]int{p, n}]++
			if before, ok := last[p]; ok && n <= before {
				t.Errorf("output %d: line %d of partition %d after %d", i, n, p, before)
			}
			last[p] = n
		}
	}
	missing, twice := 0, 0
	for p := range partitions {
		for n := range lines {
			switch seen[[2]int{p, n}] {
			case 0:
				missing++
			case 1:
			default:
				twice++
			}
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d lines are missing", missing, partitions*lines)
	}
	if len(seen) > partitions*lines {
		t.Errorf("%d lines, %d were written", len(seen), partitions*lines)
	}
	return twice
}

// A group grows from two to three and shrinks to one while lines flow. Each of them comes out of one member, once: whoever gets a
// partition goes on exactly where the one before stopped.
func TestKafkaGroupGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	const partitions = 8
	topic := k.topic(t, partitions)
	group := "group-" + topic
	stop := k.feed(t, topic, partitions)
	lines := []string{"--as", "lines"}
	a, b := k.member(t, topic, group, lines), k.member(t, topic, group, lines)
	k.shares(t, topic, group, 4, 4)
	time.Sleep(time.Second)
	c := k.member(t, topic, group, lines)
	k.shares(t, topic, group, 2, 3, 3)
	time.Sleep(time.Second)
	outs := [][]byte{a.leave(t)}
	k.shares(t, topic, group, 4, 4)
	time.Sleep(time.Second)
	outs = append(outs, b.leave(t))
	k.shares(t, topic, group, 8)
	n := stop()
	k.caughtUp(t, topic, group)
	outs = append(outs, c.leave(t))
	for i, out := range outs {
		if len(out) == 0 {
			t.Errorf("member %d read nothing", i)
		}
	}
	if twice := counted(t, partitions, n, outs...); twice > 0 {
		t.Errorf("%d of %d lines came twice", twice, n*partitions)
	}
}

// A member that is killed, and one that is stopped for longer than the session, are done without, and nothing is skipped. The stopped
// one sees that the group has gone on, says so, and reads its share again.
func TestKafkaGroupWithoutSome(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	const partitions = 6
	topic := k.topic(t, partitions)
	group := "group-" + topic
	stop := k.feed(t, topic, partitions)
	lines := []string{"--as", "lines"}
	killed, stopped, other := k.member(t, topic, group, lines), k.member(t, topic, group, lines), k.member(t, topic, group, lines)
	k.shares(t, topic, group, 2, 2, 2)
	time.Sleep(1500 * time.Millisecond)
	killed.signal(syscall.SIGKILL)
	stopped.signal(syscall.SIGSTOP)
	k.shares(t, topic, group, 6)
	time.Sleep(time.Second)
	stopped.signal(syscall.SIGCONT)
	k.shares(t, topic, group, 3, 3)
	time.Sleep(time.Second)
	n := stop()
	k.caughtUp(t, topic, group)
	killed.wait()
	stopped.signal(syscall.SIGTERM)
	r := stopped.wait()
	r.ok(t)
	if !strings.Contains(r.Errs[0], "group "+group+": how far "+topic+" was read was not kept: the group has gone on without this member") {
		t.Errorf("the stopped one says:\n%s", r.Errs[0])
	}
	// Where it goes on is not where it stopped: each stretch is in order for itself.
	out := stopped.read(t)
	at := len(out)
	for p := range partitions {
		if i := backwards(out, p); i < at {
			at = i
		}
	}
	twice := counted(t, partitions, n, killed.read(t), out[:at], out[at:], other.leave(t))
	t.Logf("%d of %d lines came twice", twice, n*partitions)
	if twice > n*partitions/2 {
		t.Errorf("%d of %d lines came twice", twice, n*partitions)
	}
}

// backwards returns where in an output the lines of a partition go back for the first time.
func backwards(out []byte, partition int) int {
	last, at := -1, 0
	for line := range bytes.Lines(out) {
		var p, n int
		if _, err := fmt.Sscanf(string(line), "partition %d line %d", &p, &n); err == nil && p == partition {
			if n <= last {
				return at
			}
			last = n
		}
		at += len(line)
	}
	return at
}

// While the brokers are away, for less time or more than a session, the members keep their shares, and all goes on where it was.
func TestKafkaGroupWithoutBroker(t *testing.T) {
	t.Parallel()
	k := startKafka(t, 1, kafkaOptions{properties: soon})
	const partitions = 4
	topic := k.topic(t, partitions)
	stop := k.feed(t, topic, partitions)
	lines := []string{"--as", "lines"}
	a, b := k.member(t, topic, "g", lines), k.member(t, topic, "g", lines)
	k.shares(t, topic, "g", 2, 2)
	time.Sleep(time.Second)
	k.kill9(1)
	time.Sleep(inLong(15*time.Second, 2*time.Second))
	k.restart(t, 1)
	k.shares(t, topic, "g", 2, 2)
	time.Sleep(time.Second)
	n := stop()
	k.caughtUp(t, topic, "g")
	var outs [][]byte
	for _, m := range []groupMember{a, b} {
		m.signal(syscall.SIGTERM)
		r := m.wait()
		r.ok(t)
		outs = append(outs, m.read(t))
		if i := strings.LastIndex(r.Errs[0], "group g: reads "); strings.LastIndex(r.Errs[0], "is back after") < i {
			t.Errorf("a new share after the outage:\n%s", r.Errs[0])
		}
	}
	// What the test's own client writes while the broker dies may be in the topic twice; it is not what is tested.
	seen := map[string]int{}
	for p := range partitions {
		values, _ := k.values(t, topic, p)
		for _, v := range values {
			seen[string(v)]++
		}
	}
	got := map[string]int{}
	for _, out := range outs {
		for line := range bytes.Lines(out) {
			got[strings.TrimSuffix(string(line), "\n")]++
		}
	}
	if !maps.Equal(got, seen) {
		t.Errorf("%d different lines came out, %d are there, of %d; or some came more often", len(got), len(seen), n*partitions)
	}
}

// A topic of words is read by one member as a whole. When it leaves, another one goes on with all of it, and no word is lost or comes twice.
func TestKafkaGroupOfWords(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	const partitions = 4
	source := append(dtcat, simulated(13, 9000), "--rate", "3000")
	csv := pipeline(t, nil, append(slices.Clone(source[:len(source)-2]), "--to", "csv")).ok(t)
	topic := k.topic(t, partitions)
	group := "group-" + topic
	writer := start(t, nil, nil, source, k.produce(topic, "--as", "json"))
	k.until(t, topic, 100)
	rows := stage{"dtcat", "--to", "csv"}
	a := k.member(t, topic, group, nil, rows)
	k.shares(t, topic, group, partitions)
	b := k.member(t, topic, group, nil, rows)
	k.shares(t, topic, group, 0, partitions)
	time.Sleep(time.Second)
	first := a.leave(t)
	k.shares(t, topic, group, partitions)
	writer.wait().ok(t)
	k.caughtUp(t, topic, group)
	second := b.leave(t)
	if len(first) == 0 || len(second) == 0 {
		t.Errorf("%d and %d bytes", len(first), len(second))
	}
	got := slices.Sorted(slices.Values(append(rowsOf(first), rowsOf(second)...)))
	sameLines(t, "rows", got, sorted(csv))
}

// A state file belongs to one process, and what it says goes on where it ended.
func TestKafkaStateFile(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	const partitions = 2
	topic, other := k.topic(t, partitions), k.topic(t, 1)
	path := filepath.Join(t.TempDir(), "place")
	stop := k.feed(t, topic, partitions)
	var outs [][]byte
	begin := func() groupMember {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return groupMember{startTo(t, nil, nil, f, k.consume(topic, "--as", "lines", "--state", path)), f.Name()}
	}
	for range 3 {
		m := begin()
		attempt(t, "a place", func(context.Context) error {
			_, err := os.Stat(path)
			return err
		})
		if r := pipeline(t, nil, k.consume(topic, "--state", path)); r.Codes[0] != 1 || !strings.Contains(r.Errs[0], path+": another process has this state file") {
			t.Errorf("exit %d: %s", r.Codes[0], r.Errs[0])
		}
		time.Sleep(500 * time.Millisecond)
		outs = append(outs, m.leave(t))
	}
	n := stop()
	outs = append(outs, pipeline(t, nil, k.toEnd(topic, "--as", "lines", "--state", path)).ok(t))
	if twice := counted(t, partitions, n, outs...); twice > 0 {
		t.Errorf("%d lines came twice", twice)
	}
	r := pipeline(t, nil, k.toEnd(other, "--as", "lines", "--state", path))
	if r.Codes[0] != 1 || !strings.Contains(r.Errs[0], path+`: is the state of topic "`+topic+`", not of "`+other+`"`) {
		t.Errorf("exit %d: %s", r.Codes[0], r.Errs[0])
	}
	if _, err := os.Stat(path + ".lock"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the lock is still there: %v", err)
	}
}

// What a group does not take is said in a line.
func TestKafkaGroupRefused(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	topic := k.topic(t, 1)
	r := pipeline(t, nil, k.consume(topic, "--as", "lines", "--group", "g"+topic, "--session", "2s"))
	if r.Codes[0] != 2 || !strings.Contains(r.Errs[0], "--session: the broker does not take 2s (hint: ") {
		t.Errorf("exit %d: %s", r.Codes[0], r.Errs[0])
	}
	// A member of another make.
	cg, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{ID: "other" + topic, Brokers: []string{k.address(1)}, Topics: []string{topic}, JoinGroupBackoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer cg.Close()
	attempt(t, "a group of another make", func(ctx context.Context) error {
		_, err := cg.Next(ctx)
		return err
	})
	r = pipeline(t, nil, k.consume(topic, "--as", "lines", "--group", "other"+topic))
	if r.Codes[0] != 1 || !strings.Contains(r.Errs[0], "its members are another program's") {
		t.Errorf("exit %d: %s", r.Codes[0], r.Errs[0])
	}
}
