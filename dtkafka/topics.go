package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/metadata"

	"dt/internal/hist"
	"dt/internal/tool"
)

// topicsCmd is dtkafka topics: what there is, and making and deleting it. It fails at once if the cluster is away, unless --give-up says how
// long to wait.
type topicsCmd struct {
	connection `embed:""`

	Create   topicsCreate   `cmd:"" help:"Make a topic, and wait until it can be used."`
	List     topicsList     `cmd:"" help:"Show the topics."`
	Describe topicsDescribe `cmd:"" help:"Show the partitions and settings of a topic."`
	Lag      topicsLag      `cmd:"" help:"Print, as JSON, how far a group has come."`
	Source   topicsSource   `cmd:"" help:"Print, as JSON, where the source of a run is to be read again."`
	Delete   topicsDelete   `cmd:"" help:"Delete topics and all that is in them."`
}

type topicsCreate struct {
	Name        string    `arg:"" env:"-" help:"The topic."`
	Partitions  int       `default:"8" help:"Number of partitions."`
	Replication int       `placeholder:"N" help:"Number of replicas of each (default: the cluster's)."`
	Retention   retention `placeholder:"TIME" help:"How long messages are kept: 90m, 12h, 7d, forever (default: the cluster's)."`
	MaxMessage  bytesFlag `placeholder:"SIZE" help:"Largest message, as 16MiB (default: the cluster's)."`
	Config      []string  `sep:"none" env:"-" placeholder:"NAME=VALUE" help:"Another setting of Kafka's; may be repeated."`
	IfNotExists bool      `env:"-" help:"Leave a topic that is there as it is."`
}

type topicsList struct {
	JSON bool `name:"json" env:"-" help:"One JSON object a line."`
	All  bool `env:"-" help:"Also Kafka's own topics."`
}

type topicsDescribe struct {
	Name string `arg:"" env:"-" help:"The topic."`
	JSON bool   `name:"json" env:"-" help:"One JSON object."`
}

type topicsLag struct {
	Group string `arg:"" env:"-" help:"The group."`
	Topic string `env:"-" placeholder:"NAME" help:"Of this topic only."`
}

type topicsSource struct {
	Name string `arg:"" env:"-" help:"The topic, of a stream."`
	Run  string `env:"-" placeholder:"NAME" help:"Of this run. Default: the newest that is not complete, or else the newest."`
}

type topicsDelete struct {
	Names []string `arg:"" env:"-" name:"name" help:"The topics."`
	Yes   bool     `env:"-" help:"Do not ask."`
}

// A retention is how long messages are kept: a duration, also in days, or forever (−1).
type retention time.Duration

const forEver = retention(-1)

func (r *retention) UnmarshalText(text []byte) error {
	s := string(text)
	days, inDays := strings.CutSuffix(s, "d")
	n, err := strconv.ParseFloat(days, 64)
	d := time.Duration(n * 24 * float64(time.Hour))
	switch {
	case s == "forever":
		*r = forEver
		return nil
	case !inDays || err != nil:
		d, err = time.ParseDuration(s)
	}
	if err != nil || d < time.Millisecond {
		return fmt.Errorf("%q is no time, such as 90m, 12h, 7d or forever", s)
	}
	*r = retention(d)
	return nil
}

// A bytesFlag is a number of bytes: 16MiB, 1000000.
type bytesFlag int64

func (b *bytesFlag) UnmarshalText(text []byte) error {
	s, unit := string(text), int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			s, unit = digits, u
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || n*unit > 1<<31-1 {
		return fmt.Errorf("%q is no size, such as 16MiB or 1000000", text)
	}
	*b = bytesFlag(n * unit)
	return nil
}

// run runs one of the subcommands; command is what kong calls it, as "topics create <name>".
func (c *topicsCmd) run(env *tool.Env, command string) error {
	l, err := c.open(env)
	if err != nil {
		return err
	}
	t := &topics{l: l, env: env, r: l.retrier(""), out: bufio.NewWriter(env.Stdout)}
	if l.giveUp == 0 {
		t.hurried = true
		t.r.giveUp = settleTime
	}
	for _, word := range strings.Fields(command) {
		switch word {
		case "create":
			err = t.create(&c.Create)
		case "list":
			err = t.list(&c.List)
		case "describe":
			err = t.describe(&c.Describe)
		case "lag":
			err = t.lag(&c.Lag)
		case "source":
			err = t.source(&c.Source)
		case "delete":
			err = t.delete(&c.Delete)
		default:
			continue
		}
		break
	}
	return errors.Join(err, t.out.Flush())
}

// topics is one run of a subcommand.
type topics struct {
	l       *cluster
	env     *tool.Env
	r       *retrier
	hurried bool // nobody waits for a cluster that is away
	out     *bufio.Writer
}

// try asks until there is an answer.
func (t *topics) try(ask func(context.Context, *kafka.Client) error, names ...string) error {
	ctx := context.Background()
	for {
		err := t.l.fresh(func(client *kafka.Client) error { return ask(ctx, client) }, names...)
		if err == nil {
			t.r.ok()
			return nil
		}
		if e, _ := t.l.judge(err); t.hurried && e != nil && e.network {
			return e
		}
		if err := t.r.failed(ctx, err); err != nil {
			return err
		}
	}
}

// metadata asks one broker, any of the client's, what there is. Unlike kafka-go's own answer, this one has the ids of brokers that are down.
func (t *topics) metadata(ctx context.Context, client *kafka.Client, names ...string) (*metadata.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := client.Transport.RoundTrip(ctx, client.Addr, &metadata.Request{TopicNames: names})
	if err != nil {
		return nil, err
	}
	return res.(*metadata.Response), nil
}

// topicOne asks for one topic, which must be there.
func (t *topics) topicOne(ctx context.Context, client *kafka.Client, name string) (*metadata.Response, *metadata.ResponseTopic, error) {
	m, err := t.metadata(ctx, client, name)
	if err != nil {
		return nil, nil, err
	}
	topic := &m.Topics[0]
	if topic.ErrorCode == int16(kafka.UnknownTopicOrPartition) {
		return nil, nil, &missingTopicError{name}
	}
	if topic.ErrorCode != 0 {
		return nil, nil, &topicError{name, kafka.Error(topic.ErrorCode)}
	}
	return m, topic, nil
}

func (t *topics) create(c *topicsCreate) error {
	if err := checkTopicName(c.Name); err != nil {
		return err
	}
	if c.Partitions < 1 || c.Replication < 0 {
		return &tool.UsageError{Msg: "--partitions and --replication are at least 1"}
	}
	config := kafka.TopicConfig{Topic: c.Name, NumPartitions: c.Partitions, ReplicationFactor: cmp.Or(c.Replication, -1)}
	set := func(name string, value int64) {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: strconv.FormatInt(value, 10)})
	}
	given := map[string]bool{}
	for _, s := range c.Config {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return &tool.UsageError{Msg: fmt.Sprintf("--config: %q is not NAME=VALUE", s)}
		}
		given[name] = true
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: value})
	}
	switch {
	case c.Retention == forEver:
		set("retention.ms", -1)
	case c.Retention > 0:
		ms := time.Duration(c.Retention).Milliseconds()
		set("retention.ms", ms)
		// Kafka deletes whole segments, of a week or 1 GiB by default: without shorter ones nothing goes after an hour.
		const week = 7 * 24 * 3600 * 1000
		if segment := max(ms/4, 1000); segment < week && !given["segment.ms"] {
			set("segment.ms", segment)
		}
	}
	if c.MaxMessage > 0 {
		set("max.message.bytes", int64(c.MaxMessage))
	}
	there := false
	err := t.try(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return err
		}
		err = res.Errors[c.Name]
		if there = errors.Is(err, kafka.TopicAlreadyExists); there || err == nil {
			return nil
		}
		return &topicError{c.Name, err}
	})
	switch {
	case err != nil:
		return err
	case there && !c.IfNotExists:
		return tool.Hint(fmt.Errorf("topic %s: there is such a topic already", c.Name), "--if-not-exists")
	}
	return t.usable(c, there)
}

// usable waits until all brokers know a topic that was created, and its leaders.
func (t *topics) usable(c *topicsCreate, there bool) error {
	var partitions, replicas int
	err := t.try(func(ctx context.Context, client *kafka.Client) error {
		m, err := t.metadata(ctx, client, c.Name)
		if err != nil {
			return err
		}
		for _, b := range m.Brokers {
			one := &kafka.Client{Addr: kafka.TCP(address(&b)), Transport: client.Transport}
			_, topic, err := t.topicOne(ctx, one, c.Name)
			if err == nil {
				partitions = len(topic.Partitions)
				replicas, err = leaders(topic)
			}
			if errors.Is(err, kafka.UnknownTopicOrPartition) {
				err = &topicError{c.Name, kafka.LeaderNotAvailable}
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, c.Name)
	if err != nil {
		return err
	}
	if there {
		if partitions != c.Partitions {
			t.env.Say("topic %s: there is such a topic already, and it has %s", c.Name, count(partitions, "partition"))
		}
		return nil
	}
	fmt.Fprintf(t.out, "%s: %s, replication %d\n", c.Name, count(partitions, "partition"), replicas)
	return nil
}

// leaders returns an error if a partition has none, and how many replicas there are of one.
func leaders(topic *metadata.ResponseTopic) (replicas int, err error) {
	for _, p := range topic.Partitions {
		if p.LeaderID < 0 {
			return 0, &topicError{topic.Name, kafka.LeaderNotAvailable}
		}
		replicas = max(replicas, len(p.ReplicaNodes))
	}
	return replicas, nil
}

func address(b *metadata.ResponseBroker) string {
	host := b.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(int(b.Port))
}

// topicLine is a topic as list --json prints it.
type topicLine struct {
	Topic       string
	Partitions  int
	Replication int
	Messages    *int64 `json:",omitempty"` // none if they can't be asked for
	Retention   *int64 `json:",omitempty"` // ms, −1: for ever; none if it can't be asked for
	Under       int    `json:"UnderReplicated,omitempty"`
	Leaderless  int    `json:",omitempty"`
}

func (t *topics) list(c *topicsList) error {
	var lines []*topicLine
	err := t.try(func(ctx context.Context, client *kafka.Client) error {
		lines = nil
		m, err := t.metadata(ctx, client)
		if err != nil {
			return err
		}
		ask := map[string][]int{}
		byName := map[string]*topicLine{}
		for i := range m.Topics {
			topic := &m.Topics[i]
			if topic.IsInternal && !c.All {
				continue
			}
			line := &topicLine{Topic: topic.Name, Partitions: len(topic.Partitions)}
			for _, p := range topic.Partitions {
				line.Replication = max(line.Replication, len(p.ReplicaNodes))
				if len(p.IsrNodes) < len(p.ReplicaNodes) {
					line.Under++
				}
				if p.LeaderID < 0 {
					line.Leaderless++
				} else if !topic.IsInternal { // kafka-go can't ask for these
					ask[topic.Name] = append(ask[topic.Name], int(p.PartitionIndex))
				}
			}
			lines = append(lines, line)
			byName[topic.Name] = line
		}
		slices.SortFunc(lines, func(a, b *topicLine) int { return strings.Compare(a.Topic, b.Topic) })
		ranges, err := offsets(ctx, client, ask)
		if err != nil {
			return err
		}
		for name, of := range ranges {
			line := byName[name]
			line.Messages = new(int64)
			for _, r := range of {
				*line.Messages += r.next - r.first
			}
			if len(of) < line.Partitions {
				line.Messages = nil
			}
		}
		settings, err := retentions(ctx, client, lines)
		if err != nil {
			return err
		}
		for name, value := range settings {
			line := byName[name]
			line.Retention = &value
		}
		return nil
	})
	if err != nil {
		return err
	}
	if c.JSON {
		for _, line := range lines {
			if err := t.json(line); err != nil {
				return err
			}
		}
		return nil
	}
	if len(lines) == 0 {
		t.env.Say("%s has no topics (hint: dtkafka topics create NAME --partitions 8)", t.l.one())
		return nil
	}
	rows := [][]string{{"TOPIC", ">PARTITIONS", ">REPLICATION", ">MESSAGES", ">KEPT", ""}}
	for _, line := range lines {
		messages, kept := "?", "?"
		if line.Messages != nil {
			messages = strconv.FormatInt(*line.Messages, 10)
		}
		if line.Retention != nil {
			kept = keptFor(*line.Retention)
		}
		rows = append(rows, []string{line.Topic, strconv.Itoa(line.Partitions), strconv.Itoa(line.Replication), messages, kept, trouble(line.Leaderless, line.Under)})
	}
	return table(t.out, rows)
}

// trouble says what is wrong with a topic.
func trouble(leaderless, under int) string {
	switch {
	case leaderless > 0:
		return count(leaderless, "partition") + " without a leader"
	case under > 0:
		return count(under, "partition") + " under-replicated"
	}
	return ""
}

// A span is the offsets of a partition: from first up to, not including, next.
type span struct{ first, next int64 }

// offsets asks for the offsets of partitions, which must have leaders. What we have no right to is left out.
func offsets(ctx context.Context, client *kafka.Client, ask map[string][]int) (map[string]map[int]span, error) {
	// kafka-go sends a request for each offset, each over a connection of its own if the others are busy.
	const atOnce = 16
	all := map[string]map[int]span{}
	batch, n := map[string][]kafka.OffsetRequest{}, 0
	flush := func() error {
		res, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: batch})
		if err != nil {
			return err
		}
		for name, partitions := range res.Topics {
			for _, p := range partitions {
				if errors.Is(p.Error, kafka.TopicAuthorizationFailed) {
					continue
				}
				if p.Error != nil {
					return &topicError{name, p.Error}
				}
				if all[name] == nil {
					all[name] = map[int]span{}
				}
				all[name][p.Partition] = span{p.FirstOffset, p.LastOffset}
			}
		}
		batch, n = map[string][]kafka.OffsetRequest{}, 0
		return nil
	}
	for name, partitions := range ask {
		for _, p := range partitions {
			batch[name] = append(batch[name], kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
			if n++; n == atOnce {
				if err := flush(); err != nil {
					return nil, err
				}
			}
		}
	}
	if n > 0 {
		if err := flush(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// retentions asks for the retention of topics, in ms. What we have no right to is left out.
func retentions(ctx context.Context, client *kafka.Client, lines []*topicLine) (map[string]int64, error) {
	var req kafka.DescribeConfigsRequest
	for _, line := range lines {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: line.Topic, ConfigNames: []string{"retention.ms"},
		})
	}
	all := map[string]int64{}
	if len(lines) == 0 {
		return all, nil
	}
	res, err := client.DescribeConfigs(ctx, &req)
	if err != nil {
		return nil, err
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			if ms, err := strconv.ParseInt(e.ConfigValue, 10, 64); err == nil && e.ConfigName == "retention.ms" {
				all[r.ResourceName] = ms
			}
		}
	}
	return all, nil
}

// topicDescription is a topic as describe --json prints it.
type topicDescription struct {
	Topic       string
	Replication int
	Messages    int64             // in the partitions that have a leader
	Settings    map[string]string // of the topic itself
	Inherited   map[string]string // that the brokers have set otherwise than Kafka does by default
	Partitions  []topicPartition
	Brokers     map[string]string // id → address
}

type topicPartition struct {
	Partition int
	Leader    *int32 `json:",omitempty"` // none: there is none now
	Replicas  []int32
	InSync    []int32
	First     *int64 `json:",omitempty"` // none without a leader, or without the right to know
	Next      *int64 `json:",omitempty"`
}

func (t *topics) describe(c *topicsDescribe) error {
	if err := checkTopicName(c.Name); err != nil {
		return err
	}
	var d *topicDescription
	err := t.try(func(ctx context.Context, client *kafka.Client) error {
		d = &topicDescription{Topic: c.Name, Settings: map[string]string{}, Inherited: map[string]string{}, Brokers: map[string]string{}}
		m, topic, err := t.topicOne(ctx, client, c.Name)
		if err != nil {
			return err
		}
		for _, b := range m.Brokers {
			d.Brokers[strconv.Itoa(int(b.NodeID))] = address(&b)
		}
		ask := map[string][]int{}
		for _, p := range topic.Partitions {
			if p.LeaderID >= 0 {
				ask[c.Name] = append(ask[c.Name], int(p.PartitionIndex))
			}
		}
		if topic.IsInternal {
			ask = nil
		}
		ranges, err := offsets(ctx, client, ask)
		if err != nil {
			return err
		}
		for _, p := range topic.Partitions {
			part := topicPartition{Partition: int(p.PartitionIndex), Replicas: p.ReplicaNodes, InSync: slices.Sorted(slices.Values(p.IsrNodes))}
			if p.LeaderID >= 0 {
				part.Leader = &p.LeaderID
			}
			if r, ok := ranges[c.Name][part.Partition]; ok {
				part.First, part.Next = &r.first, &r.next
				d.Messages += r.next - r.first
			}
			d.Replication = max(d.Replication, len(p.ReplicaNodes))
			d.Partitions = append(d.Partitions, part)
		}
		return d.ask(ctx, client)
	}, c.Name)
	switch {
	case err != nil:
		return err
	case c.JSON:
		return t.json(d)
	}
	return d.print(t.out)
}

// Where a setting comes from, as Kafka counts it.
const (
	ofTopic   = 1
	ofDefault = 5
)

// ask asks for the settings that are not Kafka's defaults.
func (d *topicDescription) ask(ctx context.Context, client *kafka.Client) error {
	res, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: d.Topic}},
	})
	if err != nil {
		return err
	}
	for _, r := range res.Resources {
		for _, e := range r.ConfigEntries {
			switch {
			case e.IsSensitive || e.ConfigSource == ofDefault:
			case e.ConfigSource == ofTopic:
				d.Settings[e.ConfigName] = e.ConfigValue
			default:
				d.Inherited[e.ConfigName] = e.ConfigValue
			}
		}
	}
	return nil
}

func (d *topicDescription) print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s, replication %d, %s\n", d.Topic, count(len(d.Partitions), "partition"), d.Replication, count(d.Messages, "message"))
	for _, part := range []struct {
		name     string
		settings map[string]string
	}{{"settings", d.Settings}, {"from the brokers", d.Inherited}} {
		var all []string
		for _, name := range slices.Sorted(mapKeys(part.settings)) {
			all = append(all, name+"="+part.settings[name]+inWords(name, part.settings[name]))
		}
		if len(all) > 0 {
			fmt.Fprintf(w, "%s: %s\n", part.name, strings.Join(all, ", "))
		}
	}
	var brokers []string
	for _, id := range slices.SortedFunc(mapKeys(d.Brokers), byNumber) {
		brokers = append(brokers, id+" "+d.Brokers[id])
	}
	fmt.Fprintf(w, "brokers: %s\n\n", strings.Join(brokers, ", "))
	rows := [][]string{{">PARTITION", ">LEADER", "REPLICAS", "IN SYNC", ">FIRST", ">NEXT", ">MESSAGES", ""}}
	for _, p := range d.Partitions {
		leader, first, next, messages, note := "none", "?", "?", "?", ""
		if p.Leader != nil {
			leader = strconv.Itoa(int(*p.Leader))
		}
		if p.First != nil {
			first, next, messages = strconv.FormatInt(*p.First, 10), strconv.FormatInt(*p.Next, 10), strconv.FormatInt(*p.Next-*p.First, 10)
		}
		var gone []int32
		for _, id := range p.Replicas {
			if !slices.Contains(p.InSync, id) {
				gone = append(gone, id)
			}
		}
		if len(gone) > 0 {
			note = "under-replicated: " + ids(gone) + " not in sync"
		}
		if p.Leader == nil {
			note = "no leader"
		}
		rows = append(rows, []string{strconv.Itoa(p.Partition), leader, ids(p.Replicas), ids(p.InSync), first, next, messages, note})
	}
	return table(w, rows)
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func byNumber(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }

func ids(list []int32) string {
	text := make([]string, len(list))
	for i, id := range list {
		text[i] = strconv.Itoa(int(id))
	}
	return strings.Join(text, " ")
}

// inWords returns what a setting's number means, where that does not show.
func inWords(name, value string) string {
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil:
		return ""
	case strings.HasSuffix(name, ".ms"):
		return " (" + keptFor(n) + ")"
	case strings.HasSuffix(name, ".bytes") && n >= 1<<10:
		for _, u := range []struct {
			name string
			size int64
		}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
			if n%u.size == 0 {
				return fmt.Sprintf(" (%d %s)", n/u.size, u.name)
			}
		}
	}
	return ""
}

// keptFor says a time in ms.
func keptFor(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	const day = 24 * time.Hour
	switch {
	case ms < 0 || ms > int64(100*365*day/time.Millisecond):
		return "forever"
	case d >= day && d%day == 0:
		return fmt.Sprintf("%d d", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	}
	return fmt.Sprintf("%g s", d.Seconds())
}

// count says a number of things.
func count[N int | int64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// A groupLag is what lag prints. Keys that have nothing to say are left out.
type groupLag struct {
	Group   string
	State   string
	Topics  map[string]*topicLag
	Lag     int64
	Members []groupMember
}

type topicLag struct {
	Partitions []partitionLag
	Lag        int64
}

type partitionLag struct {
	Partition int
	Committed *int64 `json:",omitempty"` // none: nothing has been committed, and Lag counts from the first message there is
	End       int64  // the next message gets this offset
	Lag       int64  // messages that are there to be read
	Lost      int64  `json:",omitempty"` // messages that were deleted before the group had read them
}

type groupMember struct {
	Member     string
	Client     string
	Host       string
	Partitions map[string][]int `json:",omitempty"`
}

func (t *topics) lag(c *topicsLag) error {
	if c.Topic != "" {
		if err := checkTopicName(c.Topic); err != nil {
			return err
		}
	}
	var g *groupLag
	err := t.try(func(ctx context.Context, client *kafka.Client) (err error) {
		g, err = t.askGroup(ctx, client, c)
		return err
	})
	switch {
	case err != nil:
		return err
	case g.State == "Dead" && len(g.Topics) == 0:
		return fmt.Errorf("group %s: there is no such group, and nothing is committed", oneLine(c.Group))
	}
	return t.json(g)
}

func (t *topics) askGroup(ctx context.Context, client *kafka.Client, c *topicsLag) (*groupLag, error) {
	g := &groupLag{Group: c.Group, Topics: map[string]*topicLag{}, Members: []groupMember{}}
	wanted := map[string]bool{}
	want := func(name string) {
		if c.Topic == "" || c.Topic == name {
			wanted[name] = true
		}
	}
	groups, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{c.Group}})
	if err != nil {
		return nil, err
	}
	for _, group := range groups.Groups {
		var code kafka.Error
		if errors.As(group.Error, &code) && code != kafka.GroupIdNotFound {
			return nil, &groupError{c.Group, code}
		}
		g.State = cmp.Or(group.GroupState, "Dead")
		for _, m := range group.Members {
			member := groupMember{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
			for _, a := range m.MemberAssignments.Topics {
				if member.Partitions == nil {
					member.Partitions = map[string][]int{}
				}
				member.Partitions[a.Topic] = slices.Sorted(slices.Values(a.Partitions))
				want(a.Topic)
			}
			g.Members = append(g.Members, member)
		}
	}
	slices.SortFunc(g.Members, func(a, b groupMember) int {
		return cmp.Or(strings.Compare(a.Client, b.Client), strings.Compare(a.Host, b.Host), strings.Compare(a.Member, b.Member))
	})
	commits, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: c.Group})
	if err == nil {
		err = commits.Error
	}
	if err != nil {
		return nil, err
	}
	committed := map[string]map[int]int64{}
	for name, partitions := range commits.Topics {
		committed[name] = map[int]int64{}
		for _, p := range partitions {
			if p.Error == nil && p.CommittedOffset >= 0 {
				committed[name][p.Partition] = p.CommittedOffset
				want(name)
			}
		}
	}
	if c.Topic != "" {
		want(c.Topic)
	}
	m, err := t.metadata(ctx, client)
	if err != nil {
		return nil, err
	}
	ask := map[string][]int{}
	for _, topic := range m.Topics {
		if !wanted[topic.Name] || topic.IsInternal {
			continue
		}
		if _, err := leaders(&topic); err != nil {
			return nil, err
		}
		for _, p := range topic.Partitions {
			ask[topic.Name] = append(ask[topic.Name], int(p.PartitionIndex))
		}
	}
	if c.Topic != "" && ask[c.Topic] == nil {
		// Asked by its name it is told whether it is missing, or not to be seen.
		return nil, t.l.fresh(func(one *kafka.Client) error {
			_, _, err := t.topicOne(ctx, one, c.Topic)
			return cmp.Or(err, error(&missingTopicError{c.Topic}))
		}, c.Topic)
	}
	ranges, err := offsets(ctx, client, ask)
	if err != nil {
		return nil, err
	}
	for name, partitions := range ask {
		topic := &topicLag{}
		for _, p := range slices.Sorted(slices.Values(partitions)) {
			r, ok := ranges[name][p]
			if !ok {
				return nil, &topicError{name, kafka.TopicAuthorizationFailed}
			}
			part := partitionLag{Partition: p, End: r.next, Lag: r.next - r.first}
			if offset, ok := committed[name][p]; ok {
				part.Committed = &offset
				part.Lag = max(0, r.next-max(offset, r.first))
				part.Lost = max(0, r.first-offset)
			}
			topic.Partitions = append(topic.Partitions, part)
			topic.Lag += part.Lag
		}
		g.Topics[name] = topic
		g.Lag += topic.Lag
	}
	return g, nil
}

// source says where the source of a run is to be read again, with the keys of a line of dthist, of which dtcat --resume-from takes it up. It prints nothing, and says so, if there is no run.
func (t *topics) source(c *topicsSource) error {
	if err := checkTopicName(c.Name); err != nil {
		return err
	}
	var topic *topicInfo
	err := t.try(func(ctx context.Context, _ *kafka.Client) (err error) {
		topic, err = t.l.askTopic(ctx, c.Name)
		return err
	}, c.Name)
	if err != nil {
		return err
	}
	t.l.follow(c.Name)
	if t.hurried {
		t.l.giveUp = settleTime
	}
	ctx := context.Background()
	w, err := readWritten(ctx, t.l, topic)
	if err != nil {
		return err
	}
	s, err := w.state(ctx, c.Run)
	switch {
	case err != nil:
		return err
	case s == nil && c.Run != "":
		t.env.Say("%s: nothing of run %s is there", c.Name, c.Run)
		return nil
	case s == nil:
		t.env.Say("%s: no run of a stream is there", c.Name)
		return nil
	}
	_, err = t.out.Write(append(hist.AppendResume(nil, []hist.LaneState{*s}), '\n'))
	return err
}

// A groupError is an error of one group.
type groupError struct {
	group string
	err   error
}

func (e *groupError) Error() string { return "group " + e.group + ": " + e.err.Error() }
func (e *groupError) Unwrap() error { return e.err }

func (t *topics) delete(c *topicsDelete) error {
	for _, name := range c.Names {
		if err := checkTopicName(name); err != nil {
			return err
		}
		if strings.HasPrefix(name, "__") {
			return &tool.UsageError{Msg: fmt.Sprintf("topic %s: this one is Kafka's own", name)}
		}
	}
	err := t.try(func(ctx context.Context, client *kafka.Client) error {
		for _, name := range c.Names {
			if _, _, err := t.topicOne(ctx, client, name); err != nil {
				return err
			}
		}
		return nil
	}, c.Names...)
	if err != nil {
		return err
	}
	if !c.Yes {
		if err := t.sure(c.Names); err != nil {
			return err
		}
	}
	asked := false
	return t.try(func(ctx context.Context, client *kafka.Client) error {
		if !asked {
			res, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: c.Names})
			if err != nil {
				return err
			}
			for _, name := range c.Names {
				if err := res.Errors[name]; err != nil && !errors.Is(err, kafka.UnknownTopicOrPartition) {
					return &topicError{name, err}
				}
			}
			asked = true
		}
		// It is gone when it can be created again.
		return t.l.fresh(func(client *kafka.Client) error {
			for _, name := range c.Names {
				if _, _, err := t.topicOne(ctx, client, name); !errors.Is(err, kafka.UnknownTopicOrPartition) {
					return cmp.Or(err, error(&topicError{name, errStillThere}))
				}
			}
			return nil
		}, c.Names...)
	})
}

// errStillThere is for the moment in which a topic is being deleted.
var errStillThere = errors.New("it is still there")

// sure asks on the terminal whether to go on.
func (t *topics) sure(names []string) error {
	what := "topic " + strings.Join(names, ", ")
	if len(names) > 1 {
		what = "topics " + strings.Join(names, ", ")
	}
	if !tool.IsTerminal(t.env.Stdin) {
		return tool.Hint(&tool.UsageError{Msg: "nobody is there to be asked whether to delete " + what}, "--yes")
	}
	fmt.Fprintf(t.env.Stderr, "Delete %s, with all messages? [y/N] ", what)
	answer, err := bufio.NewReader(t.env.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing is deleted")
	}
	return nil
}

// json prints an object in one line.
func (t *topics) json(v any) error {
	e := json.NewEncoder(t.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table prints rows with their columns under each other; those whose heading begins with > to the right.
func table(w io.Writer, rows [][]string) error {
	right := make([]bool, len(rows[0]))
	for i, heading := range rows[0] {
		rows[0][i], right[i] = strings.CutPrefix(heading, ">")
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
