package main

import (
	"context"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// kafka-go reads the answers to Heartbeat and LeaveGroup with their two fields swapped, so that its Client never sees an error in them: a member would
// not be told that its group shares out the partitions anew, or has gone on without it. It sends heartbeats to any broker, too. So these two messages
// are our own; kafka-go's ways of sending them must not be used beside ours.
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
	GroupID  string `kafka:"min=v0,max=v2"`
	MemberID string `kafka:"min=v0,max=v2"`
}

func (*leaveRequest) ApiKey() protocol.ApiKey { return protocol.LeaveGroup }
func (r *leaveRequest) Group() string         { return r.GroupID }

type leaveResponse struct {
	ThrottleTimeMs int32 `kafka:"min=v1,max=v2"`
	ErrorCode      int16 `kafka:"min=v0,max=v2"`
}

func (*leaveResponse) ApiKey() protocol.ApiKey { return protocol.LeaveGroup }

// heartbeat tells the coordinator of a group that a member lives, and returns what it says of that.
func heartbeat(ctx context.Context, c *kafka.Client, group string, generation int, member string) error {
	res, err := c.Transport.RoundTrip(ctx, c.Addr, &heartbeatRequest{GroupID: group, GenerationID: int32(generation), MemberID: member})
	if err != nil {
		return err
	}
	return answer(res.(*heartbeatResponse).ErrorCode)
}

// leave takes a member out of a group.
func leave(ctx context.Context, c *kafka.Client, group, member string) error {
	res, err := c.Transport.RoundTrip(ctx, c.Addr, &leaveRequest{GroupID: group, MemberID: member})
	if err != nil {
		return err
	}
	return answer(res.(*leaveResponse).ErrorCode)
}

func answer(code int16) error {
	if code == 0 {
		return nil
	}
	return kafka.Error(code)
}
