package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

// topics is dtkafka topics at these brokers.
func (k *kafkaCluster) topics(args ...string) stage {
	return slices.Concat(stage{"dtkafka", "topics"}, args, stage{"--bootstrap", k.bootstrap()})
}

// expect fails the test unless a command did just this.
func expect(t testing.TB, what string, r result, code int, out, said string) {
	t.Helper()
	if r.Codes[0] != code || string(r.Out) != out || r.Errs[0] != said {
		t.Errorf("%s: exit %d\n%s%swant exit %d\n%s%s", what, r.Codes[0], r.Errs[0], r.Out, code, said, out)
	}
}

func TestKafkaTopics(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	do := func(args ...string) result { return pipeline(t, nil, k.topics(args...)) }

	expect(t, "create", do("create", "made", "--partitions", "3", "--retention", "1h", "--max-message", "2MiB", "--config", "flush.messages=9", "--config", "leader.replication.throttled.replicas=0:1,1:1"), 0, "made: 3 partitions, replication 1\n", "")
	// It can be used at once.
	if out := pipeline(t, strings.NewReader("{\"a\":1}\n{\"a\":2}\n"), k.produce("made")).ok(t); len(out) > 0 {
		t.Errorf("%s", out)
	}
	expect(t, "again", do("create", "made"), 1, "", "dtkafka: topic made: there is such a topic already (hint: --if-not-exists)\n")
	expect(t, "again, if it is not there", do("create", "made", "--partitions", "3", "--if-not-exists"), 0, "", "")
	expect(t, "with others", do("create", "made", "--if-not-exists"), 0, "", "dtkafka: topic made: there is such a topic already, and it has 3 partitions\n")
	expect(t, "by default", do("create", "eight", "--retention", "forever"), 0, "eight: 8 partitions, replication 1\n", "")
	for _, c := range []struct{ args, said string }{
		{"create no/name", `dtkafka: "no/name" is no name of a topic (hint: at most 249 of a-z A-Z 0-9 . _ -)`},
		{"create x --retention soon", `dtkafka: --retention: "soon" is no time, such as 90m, 12h, 7d or forever (hint: dtkafka -h)`},
		{"create x --max-message 16MB", `dtkafka: --max-message: "16MB" is no size, such as 16MiB or 1000000 (hint: dtkafka -h)`},
		{"create x --config retention.ms", `dtkafka: --config: "retention.ms" is not NAME=VALUE (hint: dtkafka -h)`},
		{"create x --partitions 0", "dtkafka: --partitions and --replication are at least 1 (hint: dtkafka -h)"},
		{"delete __consumer_offsets --yes", "dtkafka: topic __consumer_offsets: this one is Kafka's own (hint: dtkafka -h)"},
		{"delete made", "dtkafka: nobody is there to be asked whether to delete topic made (hint: --yes)"},
	} {
		expect(t, c.args, do(strings.Fields(c.args)...), 2, "", c.said+"\n")
	}
	for _, c := range []struct{ args, said string }{
		{"create x --config foo=bar", "dtkafka: topic x: Unknown topic config name: foo"},
		{"create x --replication 2", "dtkafka: topic x: Unable to replicate the partition 2 time(s)"},
		{"describe missing", "dtkafka: topic missing: there is no such topic (hint: dtkafka topics create missing --partitions 8)\n"},
		{"delete made missing --yes", "dtkafka: topic missing: there is no such topic (hint: dtkafka topics create missing --partitions 8)\n"},
		{"lag nobody", "dtkafka: group nobody: there is no such group, and nothing is committed\n"},
		{"lag nobody --topic missing", "dtkafka: topic missing: there is no such topic (hint: "},
	} {
		if r := do(strings.Fields(c.args)...); r.Codes[0] != 1 || !strings.HasPrefix(r.Errs[0], c.said) || len(r.Out) > 0 || strings.Count(r.Errs[0], "\n") != 1 {
			t.Errorf("%s: exit %d\n%s%swant\n%s", c.args, r.Codes[0], r.Errs[0], r.Out, c.said)
		}
	}

	// Lists for eyes and for programs; other tests have topics too.
	list := string(do("list").ok(t))
	for _, want := range []string{`(?m)^TOPIC +PARTITIONS  REPLICATION  MESSAGES +KEPT$`, `(?m)^made +3 +1 +2 +1 h$`, `(?m)^eight +8 +1 +0  forever$`} {
		if !regexp.MustCompile(want).MatchString(list) {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	if strings.Contains(list, "__") {
		t.Errorf("Kafka's own topics are listed:\n%s", list)
	}
	list = string(do("list", "--json").ok(t))
	for _, want := range []string{`{"Topic":"made","Partitions":3,"Replication":1,"Messages":2,"Retention":3600000}`, `{"Topic":"eight","Partitions":8,"Replication":1,"Messages":0,"Retention":-1}`} {
		if !strings.Contains("\n"+list, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, list)
		}
	}
	description := string(do("describe", "made").ok(t))
	want := `made: 3 partitions, replication 1, 2 messages
settings: flush.messages=9, leader.replication.throttled.replicas=0:1,1:1, max.message.bytes=2097152 (2 MiB), retention.ms=3600000 (1 h), segment.ms=900000 (15 min)
from the brokers: min.insync.replicas=1
brokers: 1 ` + k.bootstrap() + `

PARTITION  LEADER  REPLICAS  IN SYNC  FIRST  NEXT  MESSAGES
        0       1  1         1            0     2         2
        1       1  1         1            0     0         0
        2       1  1         1            0     0         0
`
	if description != want {
		t.Errorf("%s\nwant\n%s", description, want)
	}
	var parts struct {
		Topic      string
		Messages   int
		Settings   map[string]string
		Partitions []struct {
			Leader, First, Next int
			Replicas            []int
		}
	}
	if err := json.Unmarshal(do("describe", "made", "--json").ok(t), &parts); err != nil || parts.Topic != "made" || parts.Messages != 2 || parts.Settings["retention.ms"] != "3600000" ||
		len(parts.Partitions) != 3 || parts.Partitions[0].Next != 2 || !slices.Equal(parts.Partitions[2].Replicas, []int{1}) {
		t.Errorf("%v: %+v", err, parts)
	}

	// On a terminal it asks.
	ours, theirs := terminal(t)
	for _, c := range []struct {
		answer string
		code   int
		said   string
	}{
		{"\n", 1, "dtkafka: nothing is deleted\n"},
		{"no\n", 1, "dtkafka: nothing is deleted\n"},
		{"y\n", 0, ""},
	} {
		if _, err := ours.WriteString(c.answer); err != nil {
			t.Fatal(err)
		}
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := startTo(t, nil, theirs, null, k.topics("delete", "made", "eight")).wait()
		null.Close()
		expect(t, fmt.Sprintf("delete, %q", c.answer), r, c.code, "", "Delete topics made, eight, with all messages? [y/N] "+c.said)
	}
	if list := string(do("list").ok(t)); regexp.MustCompile(`(?m)^(made|eight) `).MatchString(list) {
		t.Errorf("they are still there:\n%s", list)
	}
	expect(t, "made once more", do("create", "made", "--partitions", "1"), 0, "made: 1 partition, replication 1\n", "")
	expect(t, "and deleted", do("delete", "made", "--yes"), 0, "", "")
	if kafkaLong() { // dtkafka's own tests have it with brokers that are not real
		t.Run("in trouble", topicsInTrouble)
	}
}

func TestKafkaLag(t *testing.T) {
	t.Parallel()
	k := sharedKafka(t)
	topic, other := k.topic(t, 3), k.topic(t, 1)
	fill := func(topic string, partition, n int) {
		values := make([][]byte, n)
		for i := range values {
			values[i] = []byte("{}")
		}
		k.send(t, topic, partition, 0, values...)
	}
	commit := func(topic string, offsets map[int]int64) {
		t.Helper()
		attempt(t, "commit", func(ctx context.Context) error {
			var list []kafka.OffsetCommit
			for p, o := range offsets {
				list = append(list, kafka.OffsetCommit{Partition: p, Offset: o})
			}
			res, err := k.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: "g-" + topic, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: list}})
			if err != nil {
				return err
			}
			for _, p := range res.Topics[topic] {
				if p.Error != nil {
					return p.Error
				}
			}
			return nil
		})
	}
	lag := func(args ...string) result {
		return pipeline(t, nil, k.topics(append([]string{"lag", "g-" + topic}, args...)...))
	}
	fill(topic, 0, 20)
	fill(topic, 1, 7)
	fill(topic, 2, 30)
	fill(other, 0, 5)
	commit(topic, map[int]int64{0: 12, 2: 10})
	k.cut(t, topic, 2, 25)

	group := `{"Group":"g-` + topic + `","State":"Empty","Topics":{`
	first := `"` + topic + `":{"Partitions":[{"Partition":0,"Committed":12,"End":20,"Lag":8},{"Partition":1,"End":7,"Lag":7},{"Partition":2,"Committed":10,"End":30,"Lag":5,"Lost":15}],"Lag":20}`
	second := `"` + other + `":{"Partitions":[{"Partition":0,"End":5,"Lag":5}],"Lag":5}`
	expect(t, "a group", lag(), 0, group+first+`},"Lag":20,"Members":[]}`+"\n", "")
	expect(t, "of another topic", lag("--topic", other), 0, group+second+`},"Lag":5,"Members":[]}`+"\n", "")

	// With a member, which has all partitions.
	p := start(t, nil, nil, k.consume(topic, "--group", "g-"+topic))
	var g struct {
		State   string
		Lag     int
		Topics  map[string]any
		Members []struct {
			Member, Client, Host string
			Partitions           map[string][]int
		}
	}
	attempt(t, "a member that has read all", func(context.Context) error {
		g.Members = nil
		if err := json.Unmarshal(lag().ok(t), &g); err != nil {
			return err
		}
		if g.State != "Stable" || len(g.Members) != 1 || g.Lag != 0 {
			return fmt.Errorf("%+v", g)
		}
		return nil
	})
	if m := g.Members[0]; !slices.Equal(m.Partitions[topic], []int{0, 1, 2}) || net.ParseIP(m.Host) == nil || m.Client == "" || m.Member == "" || len(g.Topics) != 1 {
		t.Errorf("%+v", g)
	}
	p.Cmds[0].Process.Signal(os.Interrupt)
	p.wait()
}

// A partition without a leader, and one that lacks a replica, are seen; and topics say nothing of brokers that are down, but wait for none.
func topicsInTrouble(t *testing.T) {
	k := startKafka(t, 3, kafkaOptions{})
	pipeline(t, nil, k.topics("create", "three", "--partitions", "3", "--replication", "3")).ok(t)
	pipeline(t, nil, k.topics("create", "one", "--partitions", "6", "--replication", "1")).ok(t)
	k.kill9(2)
	attempt(t, "broker 2 is missed", func(context.Context) error {
		r := pipeline(t, nil, k.topics("list"))
		if list := string(r.Out); !regexp.MustCompile(`(?m)^three .* 3 partitions under-replicated$`).MatchString(list) ||
			!regexp.MustCompile(`(?m)^one .* 2 partitions without a leader$`).MatchString(list) {
			return fmt.Errorf("%s%s", r.Errs[0], list)
		}
		return nil
	})
	if d := string(pipeline(t, nil, k.topics("describe", "three")).ok(t)); strings.Count(d, "  under-replicated: 2 not in sync\n") != 3 || strings.Contains(d, k.address(2)) || !strings.Contains(d, "1 2 3") {
		t.Errorf("%s", d)
	}
	if d := string(pipeline(t, nil, k.topics("describe", "one")).ok(t)); strings.Count(d, "no leader\n") != 2 {
		t.Errorf("%s", d)
	}
	for i := 1; i <= 3; i++ {
		k.kill9(i)
	}
	var each []string
	for i := 1; i <= 3; i++ {
		each = append(each, k.address(i)+": connection refused")
	}
	r := pipeline(t, nil, k.topics("list"))
	if want := "dtkafka: no broker at "; r.Codes[0] != 1 || !strings.HasPrefix(r.Errs[0], want) || !strings.Contains(r.Errs[0], each[0]) || !strings.Contains(r.Errs[0], each[2]) {
		t.Errorf("exit %d\n%swant %s%s", r.Codes[0], r.Errs[0], want, strings.Join(each, ", "))
	}
	// With --give-up it waits.
	p := start(t, nil, nil, k.topics("list", "--give-up", "2s"))
	r = p.wait()
	if r.Codes[0] != 1 || strings.Count(r.Errs[0], "\n") != 2 || !strings.Contains(r.Errs[0], "; trying again, for 2.0 s at most (hint: ") || !strings.Contains(r.Errs[0], "; gave up after 2.0 s, since ") {
		t.Errorf("exit %d\n%s", r.Codes[0], r.Errs[0])
	}
}
