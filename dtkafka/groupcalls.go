package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/consumer"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/syncgroup"
)

// The requests of a group's member, without kafka.Client: it takes the brokers' answers to Heartbeat and LeaveGroup with their two fields swapped and so
// never sees an error in them, it makes an unexpected end of SyncGroup's errors, and sends heartbeats to any broker. These two messages are our
// own, and replace kafka-go's.
func init() {
	protocol.Register(&heartbeatRequest{}, &heartbeatResponse{})
	protocol.Register(&leaveRequest{}, &leaveResponse{})
}

type heartbeatRequest struct {
	GroupID         string `kafka:"min=v0,max=v3"`
	GenerationID    int32  `kafka:"min=v0,max=v3"`
	MemberID        string `kafka:"min=v0,max=v3"`
	GroupInstanceID string `kafka:"min=v3,max=v3,nullable"`
}

func (*heartbeatRequest) ApiKey() protocol.ApiKey { return protocol.Heartbeat }
func (r *heartbeatRequest) Group() string         { return r.GroupID } // so that it goes to the coordinator

type heartbeatResponse struct {
	ThrottleTimeMs int32 `kafka:"min=v1,max=v3"`
	ErrorCode      int16 `kafka:"min=v0,max=v3"`
}

func (*heartbeatResponse) ApiKey() protocol.ApiKey { return protocol.Heartbeat }

type leaveRequest struct {
	GroupID  string        `kafka:"min=v0,max=v3"`
	MemberID string        `kafka:"min=v0,max=v2"`
	Members  []leaveMember `kafka:"min=v3,max=v3"`
}

type leaveMember struct {
	MemberID        string `kafka:"min=v3,max=v3"`
	GroupInstanceID string `kafka:"min=v3,max=v3,nullable"`
}

func (*leaveRequest) ApiKey() protocol.ApiKey { return protocol.LeaveGroup }
func (r *leaveRequest) Group() string         { return r.GroupID }

type leaveResponse struct {
	ThrottleTimeMs int32        `kafka:"min=v1,max=v3"`
	ErrorCode      int16        `kafka:"min=v0,max=v3"`
	Members        []leftMember `kafka:"min=v3,max=v3"`
}

type leftMember struct {
	MemberID        string `kafka:"min=v3,max=v3"`
	GroupInstanceID string `kafka:"min=v3,max=v3,nullable"`
	ErrorCode       int16  `kafka:"min=v3,max=v3"`
}

func (*leaveResponse) ApiKey() protocol.ApiKey { return protocol.LeaveGroup }

// call sends a request to the group's coordinator.
func call[T kafka.Response](ctx context.Context, c *kafka.Client, req kafka.Request) (T, error) {
	var none T
	res, err := c.Transport.RoundTrip(ctx, c.Addr, req)
	if err != nil {
		return none, err
	}
	t, ok := res.(T)
	if !ok {
		return none, fmt.Errorf("%T is no answer to %T", res, req)
	}
	return t, nil
}

func answer(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}

// A self is who a member is: the id that the coordinator gave it, and the name that it has for itself, if it has one.
type self struct{ member, instance string }

// A joined is what a member is told when all members are there.
type joined struct {
	self       // also with kafka.MemberIDRequired
	generation int
	members    map[string]subscription // of all members, for the one who is to share out the partitions
}

// A subscription is what a member reads, and what it says to the others.
type subscription struct {
	topics []string
	data   []byte
}

// joinGroup asks to be a member, and waits for the other members.
func joinGroup(ctx context.Context, c *kafka.Client, group string, who self, session, wait time.Duration, s subscription) (*joined, error) {
	meta, err := protocol.Marshal(consumer.MaxVersionSupported, consumer.Subscription{Version: consumer.MaxVersionSupported, Topics: s.topics, UserData: s.data})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait+requestTimeout)
	defer cancel()
	res, err := call[*joingroup.Response](ctx, c, &joingroup.Request{
		GroupID: group, SessionTimeoutMS: int32(session.Milliseconds()), RebalanceTimeoutMS: int32(wait.Milliseconds()),
		MemberID: who.member, GroupInstanceID: who.instance, ProtocolType: protocolType, Protocols: []joingroup.RequestProtocol{{Name: protocolName, Metadata: meta}},
	})
	if err != nil {
		return nil, err
	}
	j := &joined{self: self{res.MemberID, who.instance}, generation: int(res.GenerationID)}
	if res.LeaderID == res.MemberID {
		j.members = map[string]subscription{}
		for _, m := range res.Members {
			j.members[m.MemberID] = decodeSubscription(m.Metadata)
		}
	}
	return j, answer(res.ErrorCode)
}

// decodeSubscription reads what a member said. What is not understood reads nothing.
func decodeSubscription(data []byte) subscription {
	var s consumer.Subscription
	if protocol.Unmarshal(data, consumer.MaxVersionSupported, &s) != nil && protocol.Unmarshal(data, 0, &s) != nil {
		return subscription{}
	}
	return subscription{s.Topics, s.UserData}
}

// A given is what one member is to read, and what it is told with it.
type given struct {
	partitions map[string][]int
	data       []byte
}

// syncGroup hands in what each member is given, if we are to say, and returns what we are.
func syncGroup(ctx context.Context, c *kafka.Client, group string, j *joined, all map[string]given, wait time.Duration) (given, error) {
	req := &syncgroup.Request{GroupID: group, GenerationID: int32(j.generation), MemberID: j.member, GroupInstanceID: j.instance, ProtocolType: protocolType, ProtocolName: protocolName}
	for m, g := range all {
		a := consumer.Assignment{Version: consumer.MaxVersionSupported, UserData: g.data}
		for topic, partitions := range g.partitions {
			t := consumer.TopicPartition{Topic: topic}
			for _, p := range partitions {
				t.Partitions = append(t.Partitions, int32(p))
			}
			a.AssignedPartitions = append(a.AssignedPartitions, t)
		}
		data, err := protocol.Marshal(consumer.MaxVersionSupported, a)
		if err != nil {
			return given{}, err
		}
		req.Assignments = append(req.Assignments, syncgroup.RequestAssignment{MemberID: m, Assignment: data})
	}
	ctx, cancel := context.WithTimeout(ctx, wait+requestTimeout)
	defer cancel()
	res, err := call[*syncgroup.Response](ctx, c, req)
	if err == nil {
		err = answer(res.ErrorCode)
	}
	if err != nil || len(res.Assignments) == 0 {
		return given{}, err
	}
	var a consumer.Assignment
	if err := protocol.Unmarshal(res.Assignments, consumer.MaxVersionSupported, &a); err != nil {
		return given{}, fmt.Errorf("the share of the partitions: %w", err)
	}
	g := given{partitions: map[string][]int{}, data: a.UserData}
	for _, t := range a.AssignedPartitions {
		for _, p := range t.Partitions {
			g.partitions[t.Topic] = append(g.partitions[t.Topic], int(p))
		}
	}
	return g, nil
}

// heartbeat tells the coordinator that a member lives, and returns what it says of that.
func heartbeat(ctx context.Context, c *kafka.Client, group string, generation int, who self) error {
	res, err := call[*heartbeatResponse](ctx, c, &heartbeatRequest{GroupID: group, GenerationID: int32(generation), MemberID: who.member, GroupInstanceID: who.instance})
	if err != nil {
		return err
	}
	return answer(res.ErrorCode)
}

// leaveGroup takes a member out of its group.
func leaveGroup(ctx context.Context, c *kafka.Client, group string, who self) error {
	res, err := call[*leaveResponse](ctx, c, &leaveRequest{GroupID: group, MemberID: who.member, Members: []leaveMember{{who.member, who.instance}}})
	if err != nil {
		return err
	}
	code := res.ErrorCode
	for _, m := range res.Members {
		code = cmp.Or(code, m.ErrorCode)
	}
	return answer(code)
}
