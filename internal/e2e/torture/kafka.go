package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// A cluster is what a round sees of the brokers, by a client that has nothing to do with dtkafka.
type cluster struct {
	list   string // as --bootstrap takes it
	client *kafka.Client
}

func newCluster(brokers string) *cluster {
	return &cluster{brokers, &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Timeout: 10 * time.Second, Transport: &kafka.Transport{MetadataTTL: time.Second}}}
}

// again tries what needs a leader or a controller until it works.
func again(ctx context.Context, what string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		one, stop := context.WithTimeout(ctx, 10*time.Second)
		err := f(one)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// create makes a topic and waits until its leaders know that they are.
func (c *cluster) create(ctx context.Context, topic string, partitions, replicas int) error {
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: replicas}
	return again(ctx, "topic "+topic, func(ctx context.Context) error {
		r, err := c.client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
		if err != nil {
			return err
		}
		if err := r.Errors[topic]; err != nil && !errors.Is(err, kafka.TopicAlreadyExists) {
			return err
		}
		_, err = c.ends(ctx, topic, partitions)
		return err
	})
}

// drop deletes topics and groups, as far as they are there.
func (c *cluster) drop(ctx context.Context, topics, groups []string) error {
	return again(ctx, "deleting topics", func(ctx context.Context) error {
		r, err := c.client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: topics})
		if err != nil {
			return err
		}
		for _, t := range topics {
			if err := r.Errors[t]; err != nil && !errors.Is(err, kafka.UnknownTopicOrPartition) {
				return err
			}
		}
		_, err = c.client.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: groups})
		return err
	})
}

// ends returns where each partition ends.
func (c *cluster) ends(ctx context.Context, topic string, partitions int) ([]int64, error) {
	var ask []kafka.OffsetRequest
	for p := range partitions {
		ask = append(ask, kafka.LastOffsetOf(p))
	}
	r, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ask}})
	if err != nil {
		return nil, err
	}
	last := make([]int64, partitions)
	found := 0
	for _, p := range r.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		last[p.Partition] = p.LastOffset
		found++
	}
	if found != partitions {
		return nil, fmt.Errorf("%d of %d partitions of %s", found, partitions, topic)
	}
	return last, nil
}

// A message is one of a topic.
type message struct {
	topic     string
	partition int
	offset    int64
	value     []byte
	seen      time.Time
}

// fetch reads on in a partition, and waits a while for something to come.
func (c *cluster) fetch(ctx context.Context, topic string, partition int, at int64, wait time.Duration) ([]message, error) {
	r, err := c.client.Fetch(ctx, &kafka.FetchRequest{Topic: topic, Partition: partition, Offset: at, MinBytes: 1, MaxBytes: 8 << 20, MaxWait: wait})
	if err == nil {
		err = r.Error
	}
	if err != nil {
		return nil, err
	}
	var list []message
	for {
		m, err := r.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		v, err := kafka.ReadAll(m.Value)
		if err != nil {
			return list, err
		}
		if m.Offset >= at {
			list = append(list, message{topic, partition, m.Offset, v, time.Now()})
			at = m.Offset + 1
		}
	}
}

// send writes a message once more, as it is.
func (c *cluster) send(ctx context.Context, m message) error {
	return again(ctx, "writing to "+m.topic, func(ctx context.Context) error {
		list := kafka.NewRecordReader(kafka.Record{Time: time.Now(), Value: kafka.NewBytes(m.value)})
		r, err := c.client.Produce(ctx, &kafka.ProduceRequest{Topic: m.topic, Partition: m.partition, RequiredAcks: kafka.RequireAll, Records: list})
		if err == nil {
			err = r.Error
		}
		return err
	})
}

// follow hands on the messages of a topic, as soon as they are there, until the context ends.
func (c *cluster) follow(ctx context.Context, topic string, partitions int, hand func(message)) *sync.WaitGroup {
	all := new(sync.WaitGroup)
	for p := range partitions {
		all.Go(func() {
			for at := int64(0); ctx.Err() == nil; {
				list, err := c.fetch(ctx, topic, p, at, time.Second)
				for _, m := range list {
					hand(m)
					at = m.offset + 1
				}
				if err != nil {
					select {
					case <-ctx.Done():
					case <-time.After(20 * time.Millisecond): // a leader is away
					}
				}
			}
		})
	}
	return all
}

// readAll reads a topic to the ends that it has now.
func (c *cluster) readAll(ctx context.Context, topic string, partitions int) ([]message, error) {
	var all []message
	var last []int64
	err := again(ctx, "ends of "+topic, func(ctx context.Context) (err error) {
		last, err = c.ends(ctx, topic, partitions)
		return err
	})
	for p := 0; p < partitions && err == nil; p++ {
		for at := int64(0); at < last[p] && err == nil; {
			err = again(ctx, "reading "+topic, func(ctx context.Context) error {
				list, err := c.fetch(ctx, topic, p, at, 100*time.Millisecond)
				all = append(all, list...)
				if len(list) > 0 {
					at = list[len(list)-1].offset + 1
				}
				return err
			})
		}
	}
	return all, err
}

// group returns the state of a group, and which partitions of a topic each of its members has, by the member's name.
func (c *cluster) group(ctx context.Context, group, topic string) (string, map[string][]int, error) {
	r, err := c.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return "", nil, err
	}
	if r.Groups[0].Error != nil {
		return "", nil, r.Groups[0].Error
	}
	shares := map[string][]int{}
	for _, m := range r.Groups[0].Members {
		for _, t := range m.MemberAssignments.Topics {
			if t.Topic == topic {
				shares[m.MemberID] = slices.Sorted(slices.Values(t.Partitions))
			}
		}
	}
	return r.Groups[0].GroupState, shares, nil
}

// A stretch is the numbers of the records of a lane that a ledger covers.
type stretch struct {
	Run         string
	Lane        [2]int
	First, Next int64
}

// A partial is what a round needs to know of a line of one lane.
type partial struct {
	lane  lane
	next  int64 // behind its stretch
	chain bool  // it is a link of the lane's chain
	end   bool
}

// A lane is one of a run.
type lane struct {
	run string
	k   int
}

// parsePartial reads a line of one lane; false: it is none.
func parsePartial(value []byte) (partial, bool) {
	if !bytes.Contains(value, []byte(`"Lane"`)) {
		return partial{}, false
	}
	var l struct {
		Lane   [2]int
		End    int
		Source struct{ Lanes []stretch }
	}
	if json.Unmarshal(value, &l) != nil || l.Lane[0] == 0 {
		return partial{}, false
	}
	p := partial{end: l.End == 1}
	for _, s := range l.Source.Lanes {
		p.lane, p.next, p.chain = lane{s.Run, s.Lane[0]}, s.Next, s.Next > s.First
	}
	return p, true
}
