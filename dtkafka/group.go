package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"

	"dt/internal/tool"
)

const (
	// heartbeatEvery is how often a member asks whether its share still holds; others wait that long for it at most, when it has nothing to finish.
	heartbeatEvery = 500 * time.Millisecond
	// handOver is how long the group waits for a member that has to finish what it reads. Then it goes on without it.
	handOver = 30 * time.Second
	// settling is how long the broker may say that it is still looking for the group's coordinator before that is called an outage.
	settling = 10 * time.Second
	// leaving is how long the end of the program may take to tell the group.
	leaving = 2 * time.Second
	// metaLimit is the most that a broker keeps with an offset, unless its offset.metadata.max.bytes says otherwise.
	metaLimit = 4096
)

var (
	// errExpelled is what save says when the group has gone on without us: nothing that was read since is kept, and others read it again.
	errExpelled = errors.New("the group has gone on without this member, others read it again")
	// errUnheard is what it says when there was no answer until its context was over. A later save may do better.
	errUnheard = errors.New("there was no answer in time")
)

// A group is our membership in a consumer group: the requests of the classic protocol, one after the other, as next is called, and a heartbeat
// while there is an assignment. A coordinator that is away for a while ends nothing: whether the assignment still holds is for it to say
// when it is back.
type group struct {
	env     *tool.Env
	cluster *cluster
	client  *kafka.Client
	name    string
	topic   string
	session time.Duration

	life context.Context // until close
	end  context.CancelFunc

	mu      sync.Mutex
	who     self
	claim   claim // what we say when we join
	current *generation

	replaced bool   // by another process with our name
	told     string // the last share that was told
	insisted bool   // it was said once more that we must have all partitions
}

// A generation is what holds from one sharing out of the partitions to the next.
type generation struct {
	g          *group
	id         int
	who        self
	grant      grant
	partitions []int // our share

	mu      sync.Mutex
	ended   bool
	lost    chan struct{}
	fenced  error         // the coordinator does not take us for a member of it any more
	free    chan struct{} // closed by release
	release func()
}

// newGroup returns a membership in a consumer group; nothing is asked of a broker before next. A member that has not been heard of for session is taken
// for dead. One with a name of its own (instance) takes over from a process that had the same name, at once.
func newGroup(env *tool.Env, c *cluster, name, instance, topic string, partitions int, session time.Duration) (membership, error) {
	switch {
	case strings.TrimSpace(name) == "":
		return nil, &tool.UsageError{Msg: "--group: the name is empty"}
	case session < time.Second:
		return nil, &tool.UsageError{Msg: fmt.Sprintf("--session: %v is less than a second", session)}
	}
	g := &group{env: env, cluster: c, client: c.client, name: name, topic: topic, session: session, who: self{instance: instance}, claim: claim{Partitions: partitions}}
	g.life, g.end = context.WithCancel(context.Background())
	return g, nil
}

// next joins the group, or joins it again, and returns our share of the partitions, which may be none: then others read all of them, and
// we stand by. The assignment before is released by it.
func (g *group) next(ctx context.Context) (*assignment, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(g.life, cancel)()
	g.mu.Lock()
	before := g.current
	g.mu.Unlock()
	if before != nil {
		before.release()
	}
	r := g.cluster.retrier("group " + g.name)
	for start := time.Now(); ; {
		if err := g.fenced(); err != nil {
			return nil, err
		}
		n, from, err := g.join(ctx)
		switch {
		case err == nil && g.insists(n):
			n.lose()
			n.release()
			continue
		case err == nil:
			r.ok()
			g.tell(n)
			return &assignment{from: from, lost: n.lost, save: n.save, release: n.release}, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case g.refusal(err) != nil:
			return nil, g.refusal(err)
		case g.fenced() != nil:
			return nil, g.fenced()
		case isUnsettled(err) && time.Since(start) < settling:
			if pause(ctx, 100*time.Millisecond) != nil {
				return nil, ctx.Err()
			}
			continue
		}
		if err := r.failed(ctx, unsettled(err)); err != nil {
			return nil, err
		}
	}
}

// join goes once through the requests that make a member, and asks for the places of its share.
func (g *group) join(ctx context.Context) (*generation, map[int]place, error) {
	j, err := g.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	var share given
	err = g.patiently(ctx, func(ctx context.Context) (err error) {
		share, err = syncGroup(ctx, g.client, g.name, j, shareOut(j.members), handOver)
		return err
	})
	if err != nil {
		g.forget(j.member, err)
		return nil, nil, err
	}
	n := &generation{g: g, id: j.generation, who: j.self, partitions: slices.Sorted(slices.Values(share.partitions[g.topic])), lost: make(chan struct{}), free: make(chan struct{})}
	n.release = sync.OnceFunc(func() { close(n.free) })
	n.grant = decodeGrant(share.data)
	g.mu.Lock()
	g.claim.Whole = max(g.claim.Whole, n.grant.Whole)
	g.claim.Owned, g.claim.Generation = n.partitions, n.id
	g.current = n
	g.mu.Unlock()
	go n.beat()
	from, err := g.places(ctx, n)
	if err != nil {
		n.release()
		return nil, nil, err
	}
	return n, from, nil
}

// insists reports whether the partitions were shared out without regard to that one member must have all of them. A member that was started again under its
// name gets the share of before, and nobody hears what it says now; when it joins once more all do.
func (g *group) insists(n *generation) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.insisted || g.claim.Whole == n.grant.Whole || len(n.partitions) == n.grant.Partitions {
		return false
	}
	g.insisted = true
	return true
}

// ask asks to be a member, and waits until all others are there.
func (g *group) ask(ctx context.Context) (*joined, error) {
	defer time.AfterFunc(handOver/4, func() {
		if ctx.Err() == nil {
			g.env.Say("group %s: waits for the other members: one is slow to hand over, or dead", g.name)
		}
	}).Stop()
	for {
		g.mu.Lock()
		who, data := g.who, encodeData(g.claim)
		g.mu.Unlock()
		var j *joined
		err := g.patiently(ctx, func(ctx context.Context) (err error) {
			j, err = joinGroup(ctx, g.client, g.name, who, g.session, handOver, subscription{[]string{g.topic}, data})
			return err
		})
		if err == nil || errors.Is(err, kafka.MemberIDRequired) {
			// From here on we can leave, whether we are in already or not.
			g.mu.Lock()
			g.who.member = j.member
			g.mu.Unlock()
		}
		switch {
		case err == nil:
			return j, nil
		case errors.Is(err, kafka.MemberIDRequired) && who.member == "":
			continue
		}
		g.forget(who.member, err)
		return nil, err
	}
}

// patiently makes a request that the coordinator answers when all members are there, unless another broker becomes the coordinator: then
// the one that was asked may never answer.
func (g *group) patiently(ctx context.Context, request func(context.Context) error) error {
	first, err := g.coordinator(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for pause(ctx, 2*time.Second) == nil {
			if now, err := g.coordinator(ctx); err == nil && now != first {
				cancel(kafka.NotCoordinatorForGroup)
			}
		}
	}()
	if err := request(ctx); err == nil || ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// coordinator returns the number of the broker that the group is with.
func (g *group) coordinator(ctx context.Context) (int, error) {
	res, err := g.client.FindCoordinator(ctx, &kafka.FindCoordinatorRequest{Key: g.name, KeyType: kafka.CoordinatorKeyTypeConsumer})
	switch {
	case err != nil:
		return 0, err
	case res.Error != nil:
		return 0, res.Error
	}
	return res.Coordinator.NodeID, nil
}

// forget forgets who we were, if that is what an error means. Others may have had our partitions since.
func (g *group) forget(member string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.who.member == member && (errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.FencedInstanceID)) {
		// Who never was in has not been replaced, but was told what is meant for the one before.
		g.replaced = g.replaced || g.claim.Generation > 0 && errors.Is(err, kafka.FencedInstanceID)
		g.who.member, g.claim.Owned, g.claim.Generation = "", nil, 0
	}
}

// fenced returns what to say when another process with our name has taken our place, or nil.
func (g *group) fenced() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.replaced {
		return nil
	}
	return tool.Hint(fmt.Errorf("group %s: another process with the name %s has taken over from this one", g.name, g.who.instance), "each process wants its own --member")
}

// shareOut is the part of the one member that shares out all partitions. The members of a group may read different topics.
func shareOut(members map[string]subscription) map[string]given {
	claims := map[string]map[string]claim{} // topic → member → claim
	all := map[string]given{}
	for m, s := range members {
		all[m] = given{partitions: map[string][]int{}}
		for _, topic := range s.topics {
			if claims[topic] == nil {
				claims[topic] = map[string]claim{}
			}
			claims[topic][m] = decodeClaim(s.data)
		}
	}
	for topic, of := range claims {
		g := grant{Partitions: partitionsOf(of)}
		if isWhole(of) {
			g.Whole = 1
		}
		for m, partitions := range share(of, g.Partitions) {
			all[m].partitions[topic] = partitions
			all[m] = given{all[m].partitions, encodeData(g)}
		}
	}
	return all
}

// places asks where our share is to be read from.
func (g *group) places(ctx context.Context, n *generation) (map[int]place, error) {
	from := make(map[int]place, len(n.partitions))
	if len(n.partitions) == 0 {
		return from, nil
	}
	for _, p := range n.partitions {
		from[p] = place{Offset: -1}
	}
	res, err := g.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: g.name, Topics: map[string][]int{g.topic: n.partitions}})
	if err != nil {
		return nil, err
	}
	if res.Error != nil {
		return nil, res.Error
	}
	for _, p := range res.Topics[g.topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		if _, ours := from[p.Partition]; ours && p.CommittedOffset >= 0 {
			from[p.Partition] = place{Offset: p.CommittedOffset, Meta: p.Metadata}
		}
	}
	return from, nil
}

// tell says what our share is, when it is another one.
func (g *group) tell(n *generation) {
	text := "stands by, others read all partitions of " + g.topic
	if len(n.partitions) > 0 {
		text = fmt.Sprintf("reads %s of %d partitions of %s", ranges(n.partitions), n.grant.Partitions, g.topic)
	}
	if text != g.told {
		g.told = text
		g.env.Say("group %s: %s", g.name, text)
	}
}

// ranges writes rising numbers as 0-3,7.
func ranges(of []int) string {
	var b strings.Builder
	for i := 0; i < len(of); {
		j := i
		for j+1 < len(of) && of[j+1] == of[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(of[i]))
		if j > i {
			b.WriteString("-" + strconv.Itoa(of[j]))
		}
		i = j + 1
	}
	return b.String()
}

// beat asks the coordinator again and again whether the generation holds, until the assignment is released: also when it is lost already,
// for as long as we are heard of, the group waits for us to hand over and takes our places.
func (n *generation) beat() {
	g := n.g
	every := min(heartbeatEvery, g.session/3)
	tick := time.NewTicker(every)
	defer tick.Stop()
	var since time.Time // the generation is known to end
	asked := time.Now()
	for {
		select {
		case <-n.free:
			return
		case <-g.life.Done():
			n.lose()
			return
		case <-tick.C:
		}
		if time.Since(asked) > g.session {
			n.lose() // this process was stopped: whatever the answer will be, others have had the time to take over
		}
		asked = time.Now()
		ctx, cancel := context.WithTimeout(g.life, g.session/3) // which leaves time for another try before we are taken for dead
		err := heartbeat(ctx, g.client, g.name, n.id, n.who)
		cancel()
		switch { // when there is no answer, the next one will tell
		case err == nil:
			if g.grown() {
				n.lose()
			}
		case isExpelled(err):
			n.fence(err)
			return
		case errors.Is(err, kafka.RebalanceInProgress):
			n.lose()
			if since.IsZero() {
				since = time.Now()
			}
		}
		if !since.IsZero() && time.Since(since) > handOver/2 {
			g.env.Say("group %s: the others wait for this one to hand over, and go on without it in %v (hint: is what reads our output stuck?)", g.name, handOver/2)
			since = time.Now().Add(time.Hour)
		}
	}
}

// grown reports whether the topic has another number of partitions than when we joined. kafka-go knows it from what it asks all the time.
func (g *group) grown() bool {
	res, err := g.client.Metadata(g.life, &kafka.MetadataRequest{Topics: []string{g.topic}})
	if err != nil || len(res.Topics) != 1 || res.Topics[0].Error != nil || len(res.Topics[0].Partitions) == 0 {
		return false // deleted, or all brokers away: whoever reads it will say so
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.claim.Partitions
	g.claim.Partitions = len(res.Topics[0].Partitions)
	return was != g.claim.Partitions
}

// lose ends the assignment for its holder.
func (n *generation) lose() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.ended {
		n.ended = true
		close(n.lost)
	}
}

// fence ends it because the group has gone on without us: our places are of no use to it.
func (n *generation) fence(err error) {
	n.mu.Lock()
	if n.fenced == nil {
		n.fenced = err
	}
	n.mu.Unlock()
	n.g.forget(n.who.member, err)
	n.lose()
}

// whole says that one member must read all partitions. Where we have them all, it is enough that those who join later are told.
func (g *group) whole() {
	g.mu.Lock()
	n := g.current
	first := g.claim.Whole == 0
	g.claim.Whole = 1
	g.mu.Unlock()
	if first && n != nil && len(n.partitions) != n.grant.Partitions {
		n.lose()
	}
}

// close leaves the group, so that the others need not wait until we are taken for dead. When no broker is there to be told, it gives up soon.
func (g *group) close() error {
	g.end()
	g.mu.Lock()
	who, n := g.who, g.current
	g.who.member = ""
	g.mu.Unlock()
	if n != nil {
		n.lose()
		n.release()
	}
	if who.member == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaving)
	defer cancel()
	for range 5 {
		err := leaveGroup(ctx, g.client, g.name, who)
		var answer kafka.Error
		if err == nil || errors.As(err, &answer) && !isAway(err) || pause(ctx, 200*time.Millisecond) != nil {
			break
		}
	}
	return nil // if no one heard us, the group goes on without us after the session's time
}

// save keeps places with the group. While the coordinator is away it tries again, until ctx is over. An error means that some were not kept:
// errExpelled and errUnheard are of the kind that goes by.
func (n *generation) save(ctx context.Context, places map[int]place) error {
	var commits []kafka.OffsetCommit
	var first error
	for _, p := range slices.Sorted(maps.Keys(places)) {
		switch at := places[p]; {
		case at.Offset < 0:
		case len(at.Meta) > metaLimit:
			first = cmp.Or(first, fmt.Errorf("partition %d: %d bytes of text go with the offset, more than %d", p, len(at.Meta), metaLimit))
		default:
			commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: at.Offset, Metadata: at.Meta})
		}
	}
	var lately error // why not yet
	for len(commits) > 0 {
		again, why, wrong := n.commit(ctx, commits)
		first = cmp.Or(first, wrong)
		if lately == nil || ctx.Err() == nil {
			lately = why
		}
		if commits = again; len(commits) > 0 && pause(ctx, 200*time.Millisecond) != nil {
			text, _ := n.g.cluster.explain(lately)
			if errors.Is(lately, ctx.Err()) {
				first = cmp.Or(first, errUnheard)
			} else {
				first = cmp.Or(first, fmt.Errorf("%w: %w", errUnheard, text))
			}
			break
		}
	}
	if first != nil {
		return fmt.Errorf("group %s: how far %s was read was not kept: %w", n.g.name, n.g.topic, first)
	}
	return nil
}

// commit sends places once. It returns those that may be taken if they are sent again, with the reason, and what is wrong with the others.
func (n *generation) commit(ctx context.Context, commits []kafka.OffsetCommit) (again []kafka.OffsetCommit, why, wrong error) {
	if err := n.isFenced(); err != nil {
		return nil, nil, err
	}
	res, err := n.g.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: n.g.name, GenerationID: n.id, MemberID: n.who.member, InstanceID: n.who.instance, Topics: map[string][]kafka.OffsetCommit{n.g.topic: commits},
	})
	if err != nil {
		if text, permanent := n.g.cluster.explain(err); permanent && ctx.Err() == nil {
			return nil, nil, text
		}
		return commits, err, nil
	}
	answers := map[int]error{}
	for _, a := range res.Topics[n.g.topic] {
		answers[a.Partition] = a.Error
	}
	for _, c := range commits {
		err, answered := answers[c.Partition]
		switch {
		case !answered:
			wrong = cmp.Or(wrong, fmt.Errorf("partition %d: no answer", c.Partition))
		case err == nil:
		case isAway(err) || errors.Is(err, kafka.RequestTimedOut):
			again, why = append(again, c), err
		case isExpelled(err) || errors.Is(err, kafka.RebalanceInProgress):
			n.fence(err)
			return nil, nil, n.isFenced()
		case errors.Is(err, kafka.OffsetMetadataTooLarge):
			wrong = cmp.Or(wrong, tool.Hint(fmt.Errorf("partition %d: the broker does not take %d bytes of text with the offset", c.Partition, len(c.Metadata)), "offset.metadata.max.bytes of the broker, 4096 by default"))
		default:
			text, _ := n.g.cluster.explain(err)
			wrong = cmp.Or(wrong, fmt.Errorf("partition %d: %w", c.Partition, text))
		}
	}
	return again, why, wrong
}

// isFenced returns why the group has gone on without us, or nil.
func (n *generation) isFenced() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.fenced == nil:
		return nil
	case errors.Is(n.fenced, kafka.FencedInstanceID):
		return fmt.Errorf("%w: %w", errExpelled, n.fenced)
	}
	return tool.Hint(fmt.Errorf("%w (%s)", errExpelled, short(n.fenced)),
		fmt.Sprintf("was it stopped for longer than --session %v, or did its output stand still for %v?", n.g.session, handOver))
}

// isExpelled reports whether an answer means that we are no member of the generation any more.
func isExpelled(err error) bool {
	return errors.Is(err, kafka.UnknownMemberId) || errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.FencedInstanceID)
}

// isAway reports whether an answer means that the group's coordinator is another broker, or none at the moment. On a new cluster it is the
// first one.
func isAway(err error) bool {
	return errors.Is(err, kafka.GroupCoordinatorNotAvailable) || errors.Is(err, kafka.NotCoordinatorForGroup) || errors.Is(err, kafka.GroupLoadInProgress)
}

// isUnsettled reports whether joining again soon is all there is to do.
func isUnsettled(err error) bool {
	return isAway(err) || isExpelled(err) || errors.Is(err, kafka.RebalanceInProgress) || errors.Is(err, kafka.MemberIDRequired)
}

// unsettled puts such an error into words, for when it lasts. Others are left as they are.
func unsettled(err error) error {
	switch {
	case errors.Is(err, kafka.GroupCoordinatorNotAvailable):
		return &explained{text: "the brokers have no coordinator for it (" + short(err) + ")", hint: "does offsets.topic.replication.factor want more brokers than there are?", err: err}
	case isAway(err):
		return err
	case isUnsettled(err):
		return &explained{text: "its members do not come to rest (" + short(err) + ")", err: err}
	}
	return err
}

// refusal returns what to say when the group does not take us, and nil for other errors.
func (g *group) refusal(err error) error {
	switch {
	case errors.Is(err, kafka.InvalidSessionTimeout):
		return tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("--session: the broker does not take %v", g.session)},
			"6s to 30m, unless its group.min.session.timeout.ms and group.max.session.timeout.ms say otherwise")
	case errors.Is(err, kafka.InconsistentGroupProtocol):
		return tool.Hint(fmt.Errorf("group %s: its members are another program's, which shares out partitions in another way", g.name), "another name for --group")
	case errors.Is(err, kafka.InvalidGroupId):
		return &tool.UsageError{Msg: fmt.Sprintf("--group: the broker does not take the name %q", g.name)}
	case errors.Is(err, kafka.GroupMaxSizeReached):
		return tool.Hint(fmt.Errorf("group %s: it has as many members as the broker allows", g.name), "group.max.size of the broker")
	}
	return nil
}

// short returns the code and name of a broker's error, without its explanation.
func short(err error) string {
	var code kafka.Error
	if errors.As(err, &code) {
		return fmt.Sprintf("[%d] %s", int(code), code.Title())
	}
	return err.Error()
}

// pause waits, or returns ctx's error when it is over.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
