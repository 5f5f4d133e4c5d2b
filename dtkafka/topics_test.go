package main

import (
	"bytes"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"dt/internal/tool"
)

func TestTopicFlags(t *testing.T) {
	for text, want := range map[string]retention{
		"90m": retention(90 * time.Minute), "12h": retention(12 * time.Hour), "7d": retention(7 * 24 * time.Hour), "0.5d": retention(12 * time.Hour), "forever": forEver,
	} {
		var r retention
		if err := r.UnmarshalText([]byte(text)); err != nil || r != want {
			t.Errorf("%s: %v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "7", "d", "-1h", "0s", "1µs", "week"} {
		var r retention
		if err := r.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "is no time, such as") {
			t.Errorf("%q: %v, %v", text, r, err)
		}
	}
	for text, want := range map[string]bytesFlag{"16MiB": 16 << 20, "1KiB": 1 << 10, "1GiB": 1 << 30, "1000000": 1000000} {
		var b bytesFlag
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: %v, %v", text, b, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "2GiB", "16MB", "1.5MiB", "99999999999"} {
		var b bytesFlag
		if err := b.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "is no size, such as") {
			t.Errorf("%q: %v, %v", text, b, err)
		}
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	if err := table(&b, [][]string{{"TOPIC", ">MESSAGES", ""}, {"müon", "7", ""}, {"a-longer-one", "123456789", "no leader"}}); err != nil {
		t.Fatal(err)
	}
	want := `TOPIC          MESSAGES
müon                  7
a-longer-one  123456789  no leader
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

func TestInWords(t *testing.T) {
	for _, c := range [][3]string{
		{"retention.ms", "3600000", " (1 h)"}, {"retention.ms", "-1", " (forever)"}, {"segment.ms", "604800000", " (7 d)"}, {"segment.ms", "90000", " (90 s)"},
		{"segment.ms", "1500", " (1.5 s)"}, {"segment.ms", "60000", " (1 min)"}, {"segment.ms", "10", " (10 ms)"}, {"flush.ms", "9223372036854775807", " (forever)"},
		{"max.message.bytes", "16777216", " (16 MiB)"}, {"max.message.bytes", "1048588", ""}, {"segment.bytes", "1073741824", " (1 GiB)"},
		{"retention.bytes", "-1", ""}, {"cleanup.policy", "compact", ""}, {"min.insync.replicas", "2", ""},
	} {
		if got := inWords(c[0], c[1]); got != c[2] {
			t.Errorf("%s=%s%s, want%s", c[0], c[1], got, c[2])
		}
	}
}

func TestTopicNames(t *testing.T) {
	for name, good := range map[string]bool{
		"cosmo-stream": true, "A.b_c-1": true, strings.Repeat("x", 249): true,
		"": false, ".": false, "..": false, "a b": false, "a/b": false, "µ": false, strings.Repeat("x", 250): false, "a\n": false,
	} {
		if err := checkTopicName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// topicsRun runs dtkafka topics, and returns what it printed and said.
func topicsRun(t *testing.T, c topicsCmd, command string) (out, said string, err error) {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	failed := c.run(&tool.Env{Name: "dtkafka", Stdin: f, Stdout: f, Stderr: &b}, command)
	text, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), b.String(), failed
}

// A broker of three is down, and what we have no right to is not known.
func TestTopicsInTrouble(t *testing.T) {
	address := ""
	address = listen(t, answering(func(req protocol.Message) protocol.Message {
		switch req := req.(type) {
		case *metadata.Request:
			host, port, _ := net.SplitHostPort(address)
			parts := func(leaders ...int32) (all []metadata.ResponsePartition) {
				for i, l := range leaders {
					p := metadata.ResponsePartition{PartitionIndex: int32(i), LeaderID: l, ReplicaNodes: []int32{1, 2, 0}, IsrNodes: []int32{1, 0}}
					if l < 0 {
						p.ErrorCode, p.ReplicaNodes, p.IsrNodes = 5, []int32{2}, []int32{2}
					}
					all = append(all, p)
				}
				return all
			}
			return &metadata.Response{ControllerID: 1, Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: host, Port: int32(atoi(port))}}, Topics: []metadata.ResponseTopic{
				{Name: "three", Partitions: parts(1, 1)}, {Name: "one", Partitions: parts(1, -1)}, {Name: "__own", IsInternal: true, Partitions: parts(1)},
				{Name: "secret", Partitions: parts(1)},
			}[map[bool]int{false: 0, true: 1}[len(req.TopicNames) == 1 && req.TopicNames[0] == "one"]:]}
		case *listoffsets.Request:
			res := listoffsets.ResponsePartition{Partition: req.Topics[0].Partitions[0].Partition, Offset: 100}
			if req.Topics[0].Partitions[0].Timestamp == -1 {
				res.Offset = 150
			}
			if req.Topics[0].Topic == "secret" {
				res.ErrorCode, res.Offset = 29, -1
			}
			return &listoffsets.Response{Topics: []listoffsets.ResponseTopic{{Topic: req.Topics[0].Topic, Partitions: []listoffsets.ResponsePartition{res}}}}
		case *describeconfigs.Request:
			res := &describeconfigs.Response{}
			for _, r := range req.Resources {
				one := describeconfigs.ResponseResource{ResourceType: 2, ResourceName: r.ResourceName}
				if r.ResourceName == "secret" {
					one.ErrorCode = 29
				} else {
					one.ConfigEntries = []describeconfigs.ResponseConfigEntry{{ConfigName: "retention.ms", ConfigValue: "3600000", ConfigSource: ofTopic},
						{ConfigName: "segment.bytes", ConfigValue: "1073741824", ConfigSource: ofDefault}, {ConfigName: "max.message.bytes", ConfigValue: "5000", ConfigSource: 4},
						{ConfigName: "secret.key", ConfigValue: "hush", ConfigSource: ofTopic, IsSensitive: true}}
				}
				res.Resources = append(res.Resources, one)
			}
			return res
		}
		return nil
	}))
	cmd := topicsCmd{connection: connection{Bootstrap: []string{address}}}
	for _, c := range []struct{ command, want string }{
		{"topics list", `TOPIC   PARTITIONS  REPLICATION  MESSAGES  KEPT
one              2            3         ?   1 h  1 partition without a leader
secret           1            3         ?     ?  1 partition under-replicated
three            2            3       100   1 h  2 partitions under-replicated
`},
		{"topics list --json", `{"Topic":"one","Partitions":2,"Replication":3,"Retention":3600000,"UnderReplicated":1,"Leaderless":1}
{"Topic":"secret","Partitions":1,"Replication":3,"UnderReplicated":1}
{"Topic":"three","Partitions":2,"Replication":3,"Messages":100,"Retention":3600000,"UnderReplicated":2}
`},
		{"topics list --all", `TOPIC   PARTITIONS  REPLICATION  MESSAGES  KEPT
__own            1            3         ?   1 h  1 partition under-replicated
one              2            3         ?   1 h  1 partition without a leader
secret           1            3         ?     ?  1 partition under-replicated
three            2            3       100   1 h  2 partitions under-replicated
`},
		{"topics describe one", `one: 2 partitions, replication 3, 50 messages
settings: retention.ms=3600000 (1 h)
from the brokers: max.message.bytes=5000
brokers: 1 ` + address + `

PARTITION  LEADER  REPLICAS  IN SYNC  FIRST  NEXT  MESSAGES
        0       1  1 2 0     0 1        100   150        50  under-replicated: 2 not in sync
        1    none  2         2            ?     ?         ?  no leader
`},
		{"topics describe one --json", `{"Topic":"one","Replication":3,"Messages":50,"Settings":{"retention.ms":"3600000"},"Inherited":{"max.message.bytes":"5000"},"Partitions":[` +
			`{"Partition":0,"Leader":1,"Replicas":[1,2,0],"InSync":[0,1],"First":100,"Next":150},{"Partition":1,"Replicas":[2],"InSync":[2]}],"Brokers":{"1":"` + address + `"}}` + "\n"},
	} {
		cmd.List = topicsList{JSON: strings.Contains(c.command, "--json"), All: strings.Contains(c.command, "--all")}
		cmd.Describe = topicsDescribe{Name: "one", JSON: cmd.List.JSON}
		out, said, err := topicsRun(t, cmd, c.command)
		if out != c.want || said != "" || err != nil {
			t.Errorf("%s: %v\n%s%s\nwant\n%s", c.command, err, said, out, c.want)
		}
	}
}

// Nobody waits for a cluster that is away, unless --give-up says how long.
func TestTopicsAway(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := gone.Addr().String()
	gone.Close()
	cmd := topicsCmd{connection: connection{Bootstrap: []string{address}}}
	want := "no broker at " + address + ": connection refused"
	if _, said, err := topicsRun(t, cmd, "topics list"); err == nil || !strings.HasPrefix(err.Error(), want+" (hint: ") || said != "" {
		t.Errorf("%v, said %s", err, said)
	}
	cmd.GiveUp = 1300 * time.Millisecond
	_, said, err := topicsRun(t, cmd, "topics list")
	if err == nil || !strings.HasPrefix(err.Error(), want+"; gave up after 1.3 s, since ") || !strings.HasPrefix(said, "dtkafka: "+want+"; trying again, for 1.3 s at most (hint: ") {
		t.Errorf("%v, said %s", err, said)
	}
}
