package main

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/segmentio/kafka-go"
)

// A place behind the end of a partition does not go by, however well the brokers answer; nor is it taken for a log that has moved.
func TestPlaceBeyondTheEnd(t *testing.T) {
	c := &cluster{brokers: []string{"h:1"}, lately: map[string]error{}, met: map[string]bool{}}
	c.reached.Store(true)
	text, permanent := c.explain(beyond("t", 3, 100, 10))
	if !permanent || !strings.Contains(text.Error(), "t[3]@100: the partition ends at 10 (hint: ") || errors.Is(text, kafka.OffsetOutOfRange) {
		t.Errorf("permanent: %v; %v", permanent, text)
	}
}

// What means that a session is forgotten, and what does not.
func TestForgottenSession(t *testing.T) {
	for err, want := range map[error]bool{kafka.OutOfOrderSequenceNumber: true, kafka.UnknownProducerId: true, kafka.InvalidProducerEpoch: true,
		kafka.DuplicateSequenceNumber: false, kafka.RequestTimedOut: false, net.ErrClosed: false} {
		if isForgotten(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
}
