package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/findcoordinator"
	"github.com/segmentio/kafka-go/protocol/joingroup"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/offsetcommit"
	"github.com/segmentio/kafka-go/protocol/offsetfetch"
	"github.com/segmentio/kafka-go/protocol/syncgroup"

	"dt/internal/tool"
)

// A fakeCoordinator answers for one group of readers of topic t as a broker's coordinator does.
type fakeCoordinator struct {
	mu         sync.Mutex
	partitions int
	node       int32
	number     int // of the last member
	pending    map[string]bool
	members    map[string]*fakeMember
	named      map[string]string // instance → member
	generation int32
	state      int // of the three below
	places     map[int32]offsetcommit.RequestPartition
	refuse     func(protocol.Message) error // what is answered instead: a kafka.Error, or that the broker is away
	commits    int
}

const (
	fakeStable = iota
	fakePreparing
	fakeCompleting
)

type fakeMember struct {
	id        string
	protocols []joingroup.RequestProtocol
	joined    bool
	timeout   time.Duration
	share     []byte
	heard     time.Time
	session   time.Duration
}

func newFake(partitions int) *fakeCoordinator {
	return &fakeCoordinator{partitions: partitions, pending: map[string]bool{}, members: map[string]*fakeMember{}, named: map[string]string{}, places: map[int32]offsetcommit.RequestPartition{}}
}

// wait lets time pass until something holds.
func (f *fakeCoordinator) wait(ctx context.Context, until func() bool) error {
	for !until() {
		f.mu.Unlock()
		err := pause(ctx, 5*time.Millisecond)
		f.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// expire removes those that have not been heard of.
func (f *fakeCoordinator) expire() {
	for id, m := range f.members {
		if time.Since(m.heard) > m.session && !(m.joined && f.state == fakePreparing) {
			delete(f.members, id)
			f.prepare()
		}
	}
}

// prepare makes all members join again.
func (f *fakeCoordinator) prepare() {
	if f.state == fakePreparing {
		return
	}
	f.state = fakePreparing
	for _, m := range f.members {
		m.joined = false
	}
}

func (f *fakeCoordinator) RoundTrip(ctx context.Context, _ net.Addr, req kafka.Request) (kafka.Response, error) {
	if err := pause(ctx, time.Millisecond); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire()
	code := f.fenced(req)
	if f.refuse != nil {
		err := f.refuse(req)
		if errors.Is(err, errStopped) {
			f.mu.Unlock()
			defer f.mu.Lock()
			<-ctx.Done()
			return nil, ctx.Err()
		}
		if err != nil && !errors.As(err, &code) {
			return nil, err
		}
	}
	switch r := req.(type) {
	case *metadata.Request:
		res := &metadata.Response{Topics: []metadata.ResponseTopic{{Name: "t"}}}
		for p := range f.partitions {
			res.Topics[0].Partitions = append(res.Topics[0].Partitions, metadata.ResponsePartition{PartitionIndex: int32(p)})
		}
		return res, nil
	case *findcoordinator.Request:
		return &findcoordinator.Response{ErrorCode: int16(code), NodeID: f.node, Host: "h", Port: 1}, nil
	case *joingroup.Request:
		return f.join(ctx, r, code)
	case *syncgroup.Request:
		return f.sync(ctx, r, code)
	case *heartbeatRequest:
		return &heartbeatResponse{ErrorCode: int16(cmp.Or(code, f.check(r.MemberID, r.GenerationID, true)))}, nil
	case *leaveRequest:
		if code == 0 {
			delete(f.members, r.MemberID)
			delete(f.pending, r.MemberID)
			f.prepare()
		}
		return &leaveResponse{ErrorCode: int16(code)}, nil
	case *offsetcommit.Request:
		code = cmp.Or(code, f.check(r.MemberID, r.GenerationID, false))
		f.commits++
		res := &offsetcommit.Response{Topics: []offsetcommit.ResponseTopic{{Name: "t"}}}
		for _, p := range r.Topics[0].Partitions {
			answer := code
			if answer == 0 && len(p.CommittedMetadata) > 1000 {
				answer = kafka.OffsetMetadataTooLarge
			}
			if answer == 0 {
				f.places[p.PartitionIndex] = p
			}
			res.Topics[0].Partitions = append(res.Topics[0].Partitions, offsetcommit.ResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: int16(answer)})
		}
		return res, nil
	case *offsetfetch.Request:
		res := &offsetfetch.Response{ErrorCode: int16(code), Topics: []offsetfetch.ResponseTopic{{Name: "t"}}}
		for _, p := range r.Topics[0].PartitionIndexes {
			answer := offsetfetch.ResponsePartition{PartitionIndex: p, CommittedOffset: -1}
			if at, ok := f.places[p]; ok {
				answer.CommittedOffset, answer.Metadata = at.CommittedOffset, at.CommittedMetadata
			}
			res.Topics[0].Partitions = append(res.Topics[0].Partitions, answer)
		}
		return res, nil
	}
	return nil, fmt.Errorf("%T", req)
}

// fenced refuses a member whose name another one has now.
func (f *fakeCoordinator) fenced(req kafka.Request) kafka.Error {
	var member, instance string
	switch r := req.(type) {
	case *joingroup.Request:
		member, instance = r.MemberID, r.GroupInstanceID
	case *syncgroup.Request:
		member, instance = r.MemberID, r.GroupInstanceID
	case *heartbeatRequest:
		member, instance = r.MemberID, r.GroupInstanceID
	case *offsetcommit.Request:
		member, instance = r.MemberID, r.GroupInstanceID
	case *leaveRequest:
		member, instance = r.Members[0].MemberID, r.Members[0].GroupInstanceID
	}
	if is, known := f.named[instance]; known && member != "" && is != member {
		return kafka.FencedInstanceID
	}
	return 0
}

func (f *fakeCoordinator) check(member string, generation int32, heartbeat bool) kafka.Error {
	m := f.members[member]
	switch {
	case m == nil:
		return kafka.UnknownMemberId
	case generation != f.generation:
		return kafka.IllegalGeneration
	}
	m.heard = time.Now()
	if heartbeat && f.state == fakePreparing {
		return kafka.RebalanceInProgress
	}
	return 0
}

func (f *fakeCoordinator) join(ctx context.Context, r *joingroup.Request, code kafka.Error) (kafka.Response, error) {
	switch {
	case code != 0:
		return &joingroup.Response{ErrorCode: int16(code)}, nil
	case r.MemberID == "" && r.GroupInstanceID != "":
		f.number++
		id := fmt.Sprint("m", f.number)
		old := f.members[f.named[r.GroupInstanceID]]
		f.named[r.GroupInstanceID], r.MemberID = id, id
		if old == nil {
			f.pending[id] = true
			return f.join(ctx, r, 0)
		}
		leader := slices.Min(slices.Collect(maps.Keys(f.members)))
		delete(f.members, old.id)
		old.id, old.heard = id, time.Now()
		f.members[id] = old
		if f.state == fakeStable {
			return &joingroup.Response{GenerationID: f.generation, ProtocolName: protocolName, LeaderID: leader, MemberID: id}, nil
		}
	case r.MemberID == "":
		f.number++
		id := fmt.Sprint("m", f.number)
		f.pending[id] = true
		return &joingroup.Response{ErrorCode: int16(kafka.MemberIDRequired), MemberID: id}, nil
	case f.pending[r.MemberID]:
		delete(f.pending, r.MemberID)
		f.members[r.MemberID] = &fakeMember{id: r.MemberID, heard: time.Now(), session: time.Duration(r.SessionTimeoutMS) * time.Millisecond, timeout: time.Duration(r.RebalanceTimeoutMS) * time.Millisecond}
		f.prepare()
	case f.members[r.MemberID] == nil:
		return &joingroup.Response{ErrorCode: int16(kafka.UnknownMemberId)}, nil
	}
	m := f.members[r.MemberID]
	leader := slices.Min(slices.Collect(maps.Keys(f.members)))
	if f.state != fakePreparing && (m.id == leader || !bytes.Equal(m.protocols[0].Metadata, r.Protocols[0].Metadata)) {
		f.prepare()
	}
	m.joined, m.protocols, m.heard = true, r.Protocols, time.Now()
	begin := time.Now()
	if err := f.wait(ctx, func() bool {
		f.expire()
		all := true
		for id, other := range f.members {
			if f.state == fakePreparing && !other.joined && time.Since(begin) > other.timeout {
				delete(f.members, id)
			} else if !other.joined {
				all = false
			}
		}
		return f.state != fakePreparing || all
	}); err != nil {
		return nil, err
	}
	if f.members[m.id] != m {
		return &joingroup.Response{ErrorCode: int16(kafka.UnknownMemberId)}, nil
	}
	if f.state == fakePreparing {
		f.state = fakeCompleting
		f.generation++
		for _, other := range f.members {
			other.heard, other.share = time.Now(), nil
		}
	}
	leader = slices.Min(slices.Collect(maps.Keys(f.members)))
	res := &joingroup.Response{GenerationID: f.generation, ProtocolName: protocolName, LeaderID: leader, MemberID: m.id}
	if leader == m.id {
		for _, id := range slices.Sorted(maps.Keys(f.members)) {
			res.Members = append(res.Members, joingroup.ResponseMember{MemberID: id, Metadata: f.members[id].protocols[0].Metadata})
		}
	}
	return res, nil
}

func (f *fakeCoordinator) sync(ctx context.Context, r *syncgroup.Request, code kafka.Error) (kafka.Response, error) {
	if code = cmp.Or(code, f.check(r.MemberID, r.GenerationID, true)); code != 0 {
		return &syncgroup.Response{ErrorCode: int16(code)}, nil
	}
	for _, a := range r.Assignments {
		if m := f.members[a.MemberID]; m != nil {
			m.share = a.Assignment
		}
		f.state = fakeStable
	}
	if err := f.wait(ctx, func() bool { return f.state != fakeCompleting }); err != nil {
		return nil, err
	}
	if code := f.check(r.MemberID, r.GenerationID, true); code != 0 {
		return &syncgroup.Response{ErrorCode: int16(code)}, nil
	}
	return &syncgroup.Response{Assignments: f.members[r.MemberID].share}, nil
}

// set changes something while nobody asks.
func (f *fakeCoordinator) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// refuses answers requests of one kind, or all of them, with an error, until it is called again.
func (f *fakeCoordinator) refuses(err error, kinds ...protocol.ApiKey) {
	f.set(func() {
		f.refuse = func(r protocol.Message) error {
			if len(kinds) == 0 || slices.Contains(kinds, r.ApiKey()) {
				return err
			}
			return nil
		}
	})
}

var (
	errNobody  = &dialError{address: "h:1", err: syscall.ECONNREFUSED}
	errStopped = errors.New("no answer, ever")
)

// A said is what a program has said, read while it goes on.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A fakeNode is a process with a membership.
type fakeNode struct {
	*group
	said *said
}

func node(t *testing.T, f *fakeCoordinator) fakeNode { return namedNode(t, f, "") }

func namedNode(t *testing.T, f *fakeCoordinator, name string) fakeNode {
	said := new(said)
	c := &cluster{client: &kafka.Client{Addr: kafka.TCP("h:1"), Timeout: requestTimeout, Transport: f}, brokers: []string{"h:1"}, env: &tool.Env{Name: "dtkafka", Stderr: said}, lately: map[string]error{}}
	m, err := newGroup(c.env, c, "g", name, "t", f.partitions, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return fakeNode{m.(*group), said}
}

func (n fakeNode) take(t *testing.T) *assignment {
	t.Helper()
	a, err := n.next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func parts(a *assignment) string { return ranges(slices.Sorted(maps.Keys(a.from))) }

func isLost(a *assignment) bool {
	synctest.Wait()
	select {
	case <-a.lost:
		return true
	default:
		return false
	}
}

// Members come and go, also without a word: nothing is skipped, nothing is read twice but by those who died, and by those who took over from them.
func TestGroupHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(7)
		var mu sync.Mutex
		readBy := map[int]map[int64]int{}
		run := func(life time.Duration, dies bool) {
			n := node(t, f)
			ctx, cancel := context.WithTimeout(t.Context(), life)
			defer cancel()
			for ctx.Err() == nil {
				a, err := n.next(ctx)
				if err != nil {
					break
				}
				at := map[int]place{}
				for p, from := range a.from {
					at[p] = place{Offset: max(from.Offset, 0)}
				}
				for ctx.Err() == nil && !isLost2(a) {
					time.Sleep(20 * time.Millisecond)
					mu.Lock()
					for p, x := range at {
						if readBy[p] == nil {
							readBy[p] = map[int64]int{}
						}
						readBy[p][x.Offset]++
						at[p] = place{Offset: x.Offset + 1, Meta: fmt.Sprint("before ", x.Offset+1)}
					}
					mu.Unlock()
				}
				if dies && ctx.Err() != nil {
					n.end() // its heartbeats
					return
				}
				time.Sleep(300 * time.Millisecond) // what is in flight
				if err := a.save(t.Context(), at); err != nil {
					t.Error(err)
				}
				a.release()
			}
			n.close()
		}
		var wg sync.WaitGroup
		for i, life := range []time.Duration{60, 20, 45, 33, 90} {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Second)
				run(life*time.Second, i == 2)
			})
		}
		wg.Wait()
		if len(readBy) != 7 {
			t.Errorf("%d partitions", len(readBy))
		}
		twice := 0
		for p, read := range readBy {
			if len(read) < 1000 {
				t.Errorf("partition %d: only %d", p, len(read))
			}
			for x := range int64(len(read)) {
				if read[x] == 0 {
					t.Errorf("partition %d: %d was skipped", p, x)
				}
				if read[x] > 1 {
					twice++
				}
			}
		}
		if twice == 0 || twice > 3*60*50 {
			t.Errorf("%d read twice", twice)
		}
	})
}

// A process that has the name of another one takes its place at once, dead or alive.
func TestGroupTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(4)
		a, b := namedNode(t, f, "a"), namedNode(t, f, "b")
		first := a.take(t)
		var second *assignment
		done := make(chan bool)
		go func() { second = b.take(t); close(done) }()
		time.Sleep(time.Second)
		must(t, first.save(t.Context(), map[int]place{0: {Offset: 7}}))
		first = a.take(t)
		<-done
		if parts(first)+" "+parts(second) != "0-1 2-3" {
			t.Fatalf("%s %s", parts(first), parts(second))
		}
		a.end() // it is dead
		begin := time.Now()
		a = namedNode(t, f, "a")
		again := a.take(t)
		if took := time.Since(begin); parts(again) != "0-1" || again.from[0].Offset != 7 || took > 100*time.Millisecond {
			t.Errorf("it reads %s from %v after %v", parts(again), again.from, took)
		}
		time.Sleep(3 * time.Second)
		if isLost(second) || isLost(again) {
			t.Error("the others noticed")
		}
		// While it lives.
		other := namedNode(t, f, "a")
		if third := other.take(t); parts(third) != "0-1" {
			t.Errorf("it reads %s", parts(third))
		}
		time.Sleep(time.Second)
		if !isLost(again) {
			t.Error("the older one did not notice")
		}
		if err := again.save(t.Context(), map[int]place{0: {Offset: 9}}); !errors.Is(err, errExpelled) || !errors.Is(err, kafka.FencedInstanceID) {
			t.Errorf("it saves: %v", err)
		}
		want := "group g: another process with the name a has taken over from this one (hint: each process wants its own --member)"
		if _, err := a.next(t.Context()); err == nil || err.Error() != want {
			t.Errorf("it goes on: %v", err)
		}
		must(t, a.close())
		// Who ends leaves.
		must(t, other.close())
		time.Sleep(time.Second)
		if !isLost(second) {
			t.Error("it did not leave")
		}
		if second = b.take(t); parts(second) != "0-3" {
			t.Errorf("it reads %s", parts(second))
		}
		must(t, b.close())
	})
}

func isLost2(a *assignment) bool {
	select {
	case <-a.lost:
		return true
	default:
		return false
	}
}

// The heartbeat tells within a moment, and what is committed until release is where the next one begins.
func TestGroupLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(4)
		a, b := node(t, f), node(t, f)
		first := a.take(t)
		if parts(first) != "0-3" || first.from[0].Offset != -1 || isLost(first) {
			t.Errorf("%v", first.from)
		}
		joined := make(chan *assignment)
		go func() { joined <- b.take(t) }()
		begin := time.Now()
		<-first.lost
		if d := time.Since(begin); d > time.Second {
			t.Errorf("told after %v", d)
		}
		time.Sleep(20 * time.Second) // longer than the session: it is heard of while it hands over
		if err := first.save(t.Context(), map[int]place{0: {Offset: 1, Meta: ""}, 1: {Offset: 11, Meta: "m"}, 2: {Offset: 21, Meta: ""}, 3: {Offset: 31, Meta: "n"}}); err != nil {
			t.Error(err)
		}
		if !strings.Contains(a.said.String(), "group g: the others wait for this one to hand over, and go on without it in 15s (hint: is what reads our output stuck?)") {
			t.Errorf("%s", a.said)
		}
		if !strings.Contains(b.said.String(), "group g: waits for the other members") {
			t.Errorf("%s", b.said)
		}
		second, other := a.take(t), <-joined // releases the first
		if parts(second) != "0-1" || parts(other) != "2-3" || second.from[1] != (place{Offset: 11, Meta: "m"}) || other.from[3] != (place{Offset: 31, Meta: "n"}) {
			t.Errorf("%v and %v", second.from, other.from)
		}
		if err := first.save(t.Context(), map[int]place{0: {Offset: 2, Meta: ""}}); err == nil || !strings.Contains(err.Error(), "group g: how far t was read was not kept: the group has gone on without this member") {
			t.Errorf("a save of long ago: %v", err)
		}
		if f.places[0].CommittedOffset != 1 || isLost(second) {
			t.Error("a save of long ago counts")
		}
		begin = time.Now()
		b.close()
		<-second.lost
		if third := a.take(t); parts(third) != "0-3" || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", third.from, time.Since(begin))
		}
		a.close()
	})
}

// One that hands over for too long is expelled, and knows.
func TestGroupSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(4)
		a, b := node(t, f), node(t, f)
		first := a.take(t)
		begin := time.Now()
		if other := b.take(t); parts(other) != "0-3" || time.Since(begin) > handOver+time.Second {
			t.Errorf("%v after %v", other.from, time.Since(begin))
		}
		time.Sleep(time.Second)
		if err := first.save(t.Context(), map[int]place{0: {Offset: 5, Meta: ""}}); err == nil || !strings.Contains(err.Error(), "(hint: was it stopped for longer than --session 10s, or did its output stand still for 30s?)") {
			t.Errorf("%v", err)
		}
		a.close()
		b.close()
	})
}

func TestGroupWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(6)
		a, b, c := node(t, f), node(t, f), node(t, f)
		first := a.take(t)
		a.whole() // it has all of them
		time.Sleep(time.Second)
		if isLost(first) {
			t.Error("lost what is whole")
		}
		others := make(chan *assignment, 2)
		go func() { others <- b.take(t) }()
		<-first.lost
		if second := a.take(t); parts(second) != "0-5" {
			t.Errorf("%v", second.from)
		}
		standing := <-others
		if parts(standing) != "" || !strings.Contains(b.said.String(), "group g: stands by, others read all partitions of t") {
			t.Errorf("%v, %s", standing.from, b.said)
		}
		b.whole()
		if isLost(standing) {
			t.Error("lost what is nothing")
		}
		a.close()
		<-standing.lost
		if taken := b.take(t); parts(taken) != "0-5" { // without saying so
			t.Errorf("%v", taken.from)
		}
		b.close()

		// Two with half of it each: one sees what it is.
		f = newFake(6)
		a, b = node(t, f), node(t, f)
		first = a.take(t)
		go func() { others <- b.take(t) }()
		<-first.lost
		second, half := a.take(t), <-others
		if parts(second) != "0-2" || parts(half) != "3-5" {
			t.Errorf("%v and %v", second.from, half.from)
		}
		b.whole()
		if !isLost(half) || isLost(second) {
			t.Error("who is told first")
		}
		go func() { others <- b.take(t) }()
		<-second.lost
		go func() { others <- a.take(t) }()
		x, y := <-others, <-others
		if parts(x)+parts(y) != "0-5" {
			t.Errorf("%v and %v", x.from, y.from)
		}
		a.close()
		b.close()
		c.close()
	})
}

func TestGroupGrows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		first := a.take(t)
		f.set(func() { f.partitions = 3 })
		<-first.lost
		if second := a.take(t); parts(second) != "0-2" {
			t.Errorf("%v", second.from)
		}
		if said := a.said.String(); !strings.Contains(said, "reads 0-1 of 2 partitions of t\n") || !strings.Contains(said, "reads 0-2 of 3 partitions of t\n") {
			t.Errorf("%s", said)
		}
		a.close()
	})
}

// A coordinator that is away ends nothing, however long; one that has forgotten us does.
func TestGroupAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		first := a.take(t)
		for _, away := range []error{errNobody, kafka.NotCoordinatorForGroup, kafka.GroupCoordinatorNotAvailable, kafka.GroupLoadInProgress, kafka.NetworkException, errStopped} {
			f.set(func() {
				for _, m := range f.members {
					m.session = time.Hour // a coordinator that comes back waits for its members anew
				}
			})
			f.refuses(away)
			time.Sleep(time.Minute)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := first.save(ctx, map[int]place{0: {Offset: 1, Meta: ""}}); away != kafka.NetworkException && !errors.Is(err, errUnheard) || err == nil || isLost(first) {
				t.Errorf("%v: %v, lost %v", away, err, isLost(first))
			}
			cancel()
			time.AfterFunc(5*time.Second, func() { f.set(func() { f.refuse = nil }) })
			if err := first.save(t.Context(), map[int]place{0: {Offset: 2, Meta: ""}}); away != kafka.NetworkException && err != nil {
				t.Errorf("%v: %v", away, err)
			}
			time.Sleep(6 * time.Second)
		}
		if isLost(first) || f.places[0].CommittedOffset != 2 {
			t.Errorf("%+v", f.places)
		}
		f.set(func() { clear(f.members) })
		<-first.lost
		commits := f.commits
		if err := first.save(t.Context(), map[int]place{0: {Offset: 3, Meta: ""}}); err == nil || f.commits != commits {
			t.Errorf("%v", err)
		}
		if second := a.take(t); parts(second) != "0-1" || second.from[0].Offset != 2 {
			t.Errorf("%v", second.from)
		}
		a.close()
	})
}

// A process that was stopped for longer than the session does not wait for an answer.
func TestGroupStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		for stop, want := range map[time.Duration]bool{9 * time.Second: false, 12 * time.Second: true} {
			f.set(func() {
				for _, m := range f.members {
					m.session = time.Hour
				}
				f.refuse = nil
			})
			got := a.take(t)
			begin := time.Now()
			f.set(func() {
				f.refuse = func(protocol.Message) error {
					if time.Since(begin) < stop {
						time.Sleep(stop)
					}
					return errNobody
				}
			})
			time.Sleep(2 * stop)
			if isLost(got) != want {
				t.Errorf("stopped for %v: lost %v", stop, !want)
			}
		}
		f.set(func() { f.refuse = nil })
		a.close()
	})
}

// What a save says that is too late is enough, without a heartbeat.
func TestGroupFencedBySave(t *testing.T) {
	for _, code := range []kafka.Error{kafka.UnknownMemberId, kafka.IllegalGeneration, kafka.FencedInstanceID, kafka.RebalanceInProgress} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(2)
			a := node(t, f)
			first := a.take(t)
			f.refuses(code, protocol.OffsetCommit)
			if err := first.save(t.Context(), map[int]place{0: {Offset: 1, Meta: ""}}); !errors.Is(err, errExpelled) || !isLost(first) || !strings.Contains(err.Error(), fmt.Sprintf("[%d]", int(code))) {
				t.Errorf("%v: %v", code, err)
			}
			a.close()
		})
	}
}

func TestGroupMeta(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(4)
		a := node(t, f)
		first := a.take(t)
		for size, want := range map[int]string{
			metaLimit + 1: "group g: how far t was read was not kept: partition 1: 4097 bytes of text go with the offset, more than 4096",
			1001:          "group g: how far t was read was not kept: partition 1: the broker does not take 1001 bytes of text with the offset (hint: offset.metadata.max.bytes of the broker, 4096 by default)",
		} {
			clear(f.places)
			err := first.save(t.Context(), map[int]place{0: {Offset: 1, Meta: "x"}, 1: {Offset: 2, Meta: strings.Repeat("y", size)}, 2: {Offset: -1}, 3: {Offset: 4, Meta: ""}})
			if err == nil || err.Error() != want {
				t.Errorf("%v", err)
			}
			if len(f.places) != 2 || f.places[0].CommittedMetadata != "x" || f.places[3].CommittedOffset != 4 {
				t.Errorf("%v", f.places)
			}
		}
		if isLost(first) {
			t.Error("lost")
		}
		a.close()
	})
}

// A new cluster has no coordinator yet, and a member that is not known any more gets a new name: neither is worth a word.
func TestGroupSettles(t *testing.T) {
	for _, code := range []kafka.Error{kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup, kafka.GroupLoadInProgress, kafka.UnknownMemberId, kafka.RebalanceInProgress, kafka.IllegalGeneration} {
		for _, kind := range []protocol.ApiKey{protocol.FindCoordinator, protocol.JoinGroup, protocol.SyncGroup, protocol.OffsetFetch} {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(2)
				a := node(t, f)
				f.refuses(code, kind)
				time.AfterFunc(3*time.Second, func() { f.set(func() { f.refuse = nil }) })
				if first := a.take(t); parts(first) != "0-1" {
					t.Errorf("%v", first.from)
				}
				waits := "dtkafka: group g: waits for the other members: one is slow to hand over, or dead\n" // for who we were before
				if said := strings.TrimPrefix(a.said.String(), waits); said != "dtkafka: group g: reads 0-1 of 2 partitions of t\n" {
					t.Errorf("%v of %v: %s", code, kind, said)
				}
				a.close()
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		f.refuses(kafka.GroupCoordinatorNotAvailable, protocol.FindCoordinator)
		time.AfterFunc(time.Minute, func() { f.set(func() { f.refuse = nil }) })
		a.take(t)
		if said := a.said.String(); strings.Count(said, "(hint: does offsets.topic.replication.factor want more brokers than there are?)") != 1 {
			t.Errorf("%s", said)
		}
		a.close()
	})
}

func TestGroupRefused(t *testing.T) {
	for code, want := range map[kafka.Error]string{
		kafka.InvalidSessionTimeout:     "--session: the broker does not take 10s (hint: 6s to 30m, unless its group.min.session.timeout.ms and group.max.session.timeout.ms say otherwise)",
		kafka.InconsistentGroupProtocol: "group g: its members are another program's, which shares out partitions in another way (hint: another name for --group)",
		kafka.InvalidGroupId:            `--group: the broker does not take the name "g"`,
		kafka.GroupMaxSizeReached:       "group g: it has as many members as the broker allows (hint: group.max.size of the broker)",
		kafka.GroupAuthorizationFailed:  "no right to this group",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(2)
			a := node(t, f)
			f.refuses(code, protocol.JoinGroup)
			if _, err := a.next(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v", err)
			}
			a.close()
		})
	}
	for _, bad := range []struct {
		name    string
		session time.Duration
	}{{"", time.Minute}, {" ", time.Minute}, {"g", time.Millisecond}} {
		var usage *tool.UsageError
		if _, err := newGroup(nil, nil, bad.name, "", "t", 1, bad.session); !errors.As(err, &usage) {
			t.Errorf("%q, %v: %v", bad.name, bad.session, err)
		}
	}
}

// The coordinator moves while a member waits for the others, and the broker that was asked never answers.
func TestGroupMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		f.refuse = func(r protocol.Message) error {
			if r.ApiKey() == protocol.JoinGroup && f.node == 0 {
				return errStopped
			}
			return nil
		}
		time.AfterFunc(time.Second, func() { f.set(func() { f.node = 2 }) })
		begin := time.Now()
		a.take(t)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("after %v", d)
		}
		a.close()
	})
}

// Whatever the broker does, the program ends.
func TestGroupClose(t *testing.T) {
	for name, away := range map[string]error{"refused": errNobody, "other": kafka.NotCoordinatorForGroup, "stopped": errStopped} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(2)
			a, b := node(t, f), node(t, f)
			first := a.take(t)
			next := make(chan error)
			go func() {
				_, err := b.next(t.Context())
				next <- err
			}()
			time.Sleep(3 * time.Second)
			f.refuses(away)
			for _, n := range []fakeNode{a, b} {
				begin := time.Now()
				if err := n.close(); err != nil || time.Since(begin) > leaving+time.Second {
					t.Errorf("%s: %v after %v", name, err, time.Since(begin))
				}
			}
			if err := <-next; !errors.Is(err, context.Canceled) || !isLost(first) {
				t.Errorf("%s: next: %v", name, err)
			}
			if err := a.close(); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFake(2)
		a := node(t, f)
		a.take(t)
		b := node(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := b.next(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		b.close()
		if len(f.members) != 1 {
			t.Errorf("%d members: one that was not in yet has not left", len(f.members))
		}
		a.close()
	})
}

// The answers are read as the protocol has them.
func TestGroupAnswers(t *testing.T) {
	for _, tt := range []struct {
		key     protocol.ApiKey
		version int16
		body    []byte
	}{
		{protocol.Heartbeat, 0, []byte{0, 27}},
		{protocol.Heartbeat, 1, []byte{0, 0, 0, 9, 0, 27}},
		{protocol.Heartbeat, 3, []byte{0, 0, 0, 9, 0, 27}},
		{protocol.LeaveGroup, 0, []byte{0, 27}},
		{protocol.LeaveGroup, 2, []byte{0, 0, 0, 9, 0, 27}},
	} {
		data := binary.BigEndian.AppendUint32(nil, uint32(4+len(tt.body)))
		data = append(append(data, 0, 0, 0, 1), tt.body...)
		_, res, err := protocol.ReadResponse(bytes.NewReader(data), tt.key, tt.version)
		if err != nil {
			t.Errorf("%v v%d: %v", tt.key, tt.version, err)
			continue
		}
		var code int16
		switch r := res.(type) {
		case *heartbeatResponse:
			code = r.ErrorCode
		case *leaveResponse:
			code = r.ErrorCode
		}
		if kafka.Error(code) != kafka.RebalanceInProgress {
			t.Errorf("%v v%d: %T %v", tt.key, tt.version, res, code)
		}
	}
}
