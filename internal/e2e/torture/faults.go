package torture

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A fault is something that happens in a round.
type fault struct {
	name   string
	weight int                                        // how often it is taken, among the others; 0: only when a plan names it
	broker bool                                       // it is done to a broker
	do     func(r *round, ctx context.Context) string // what was done to whom; nothing: it could not be
}

// Moments are faults at moments that are known to be hard.
var Moments = []string{"in a frame", "in a line", "in a line of the merge", "in a frame of the source", "behind the acknowledgement", "behind the merge's acknowledgement",
	"killed while partitions move", "stopped while partitions move"}

// AtBrokers are faults of brokers.
var AtBrokers = []string{"broker killed", "broker hangs", "disk full"}

var faults []fault

func init() {
	faults = []fault{
		{name: "one killed", weight: 4, do: (*round).killOne},
		{name: "node killed", weight: 2, do: (*round).killNode},
		{name: "node stopped", weight: 2, do: (*round).stopNode},
		{name: "one stopped", weight: 1, do: (*round).stopOne},
		{name: "node ends", weight: 2, do: (*round).endNode},
		{name: "node added", weight: 2, do: (*round).add},
		{name: "node removed", weight: 1, do: (*round).remove},
		{name: "one of a node killed", do: (*round).killOneOfNode},
		{name: "all nodes killed", do: func(r *round, _ context.Context) string { return r.everyNode(-1, syscall.SIGKILL) }},
		{name: "all nodes end", do: func(r *round, _ context.Context) string { return r.everyNode(0, syscall.SIGTERM) }},
		{name: "all merges killed", do: (*round).killMerges},
		{name: "half a line", do: (*round).halfLine},
		{name: "newest node removed", do: (*round).removeNewest},
		{name: "merge killed", weight: 3, do: (*round).killMerge},
		{name: "merge stopped", weight: 1, do: (*round).stopMerge},
		{name: "lines again", weight: 1, do: (*round).linesAgain},
		{name: "results again", weight: 1, do: (*round).resultsAgain},
		{name: "source killed", weight: 3, do: (*round).killSource},
		{name: "two sources", weight: 1, do: (*round).twoSources},
		{name: "node silent", do: (*round).silence},
		{name: "another merge", do: (*round).anotherMerge},
		{name: "other settings", do: (*round).otherSettings},
		{name: "broker killed", weight: 2, broker: true, do: (*round).killBroker},
		{name: "broker hangs", weight: 1, broker: true, do: (*round).hangBroker},
		{name: "disk full", weight: 1, broker: true, do: (*round).fillBroker},
		{name: Moments[0], weight: 1, do: (*round).inFrame},
		{name: Moments[1], weight: 1, do: (*round).inLine},
		{name: Moments[2], weight: 1, do: (*round).inMergeLine},
		{name: Moments[3], weight: 1, do: (*round).inSourceFrame},
		{name: Moments[4], weight: 1, do: (*round).behindAck},
		{name: Moments[5], weight: 1, do: (*round).behindMergeAck},
		{name: Moments[6], weight: 1, do: (*round).killMoving},
		{name: Moments[7], weight: 1, do: (*round).stopMoving},
	}
}

// plan chooses what happens.
func (r *round) plan() ([]fault, error) {
	var list []fault
	for _, name := range r.Plan {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no fault is named %q", name)
		}
		list = append(list, faults[i])
	}
	var bag []fault
	for _, f := range faults {
		if !f.broker || r.Brokers != nil {
			for range f.weight {
				bag = append(bag, f)
			}
		}
	}
	for range r.Faults {
		list = slices.Insert(list, r.intN(len(list)+1), bag[r.intN(len(bag))])
	}
	return list, nil
}

// happen lets the faults happen, one after the other, while the stream flows.
func (r *round) happen(ctx context.Context) {
	list, err := r.plan()
	if err != nil {
		r.problem("%v", err)
		return
	}
	at := make([]time.Duration, len(list))
	for i := range at {
		at[i] = r.Time/10 + time.Duration(r.intN(int(r.Time*8/10)))
	}
	slices.Sort(at)
	if len(r.At) == len(list) {
		at = r.At
	}
	for i, f := range list {
		if !r.sleep(ctx, time.Until(r.began.Add(at[i]))) {
			return
		}
		if f.broker && r.Brokers == nil {
			continue
		}
		if what := f.do(r, ctx); what != "" {
			r.happened("%s: %s", f.name, what)
		}
	}
}

func (r *round) sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// anyNode returns a node that nothing is done to at the moment, and marks it; nil if there is none.
func (r *round) anyNode() *pipe { return r.take(func() []*pipe { return r.nodes }) }

func (r *round) take(from func() []*pipe) *pipe {
	r.lock.Lock()
	defer r.lock.Unlock()
	var free []*pipe
	for _, p := range from() {
		if !r.busy[p] {
			free = append(free, p)
		}
	}
	if len(free) == 0 {
		return nil
	}
	p := free[r.rng.IntN(len(free))]
	r.busy[p] = true
	return p
}

func (r *round) anyMerge() *pipe { return r.take(func() []*pipe { return r.merges }) }

func (r *round) anySource() *pipe {
	return r.take(func() []*pipe { return slices.DeleteFunc(slices.Clone(r.sources), (*pipe).done) })
}

func (r *round) free(p *pipe) {
	r.lock.Lock()
	defer r.lock.Unlock()
	delete(r.busy, p)
}

// beside does something later, beside the faults that come. It is done in any case, sooner if the round ends.
func (r *round) beside(ctx context.Context, after time.Duration, f func()) {
	r.pending.Go(func() {
		r.sleep(ctx, after)
		f()
	})
}

// lanes returns the lanes of a node.
func (r *round) lanes(ctx context.Context, node *pipe) []int {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	_, shares, err := r.c.group(ctx, r.g, r.s)
	if err != nil {
		return nil
	}
	var lanes []int
	for member, partitions := range shares {
		if strings.Contains(member, node.name) {
			for _, p := range partitions {
				lanes = append(lanes, p+1)
			}
		}
	}
	return lanes
}

// owner returns the node that has a lane, or nil.
func (r *round) owner(shares map[string][]int, k int) *pipe {
	r.lock.Lock()
	defer r.lock.Unlock()
	for member, partitions := range shares {
		for _, p := range r.nodes {
			if strings.Contains(member, p.name) && slices.Contains(partitions, k-1) {
				return p
			}
		}
	}
	return nil
}

// recovery measures how long it takes from now until lanes go on: until a line that goes on where their lines ended, and which somebody wrote who was started again, or who has taken the lanes.
func (r *round) recovery(ctx context.Context, what string, lanes []int, node *pipe, again bool) {
	if len(lanes) == 0 {
		return
	}
	begin, old := time.Now(), node.now()
	r.lock.Lock()
	next := map[lane]int64{}
	for l, n := range r.next {
		next[l] = n
	}
	r.lock.Unlock()
	ready := func() bool {
		now := node.now()
		return !again && time.Since(begin) > 50*time.Millisecond || again && now != nil && now != old
	}
	h := r.hang(r.p, func(m message) bool {
		l, ok := parsePartial(m.value)
		return ok && l.chain && slices.Contains(lanes, l.lane.k) && l.next > next[l.lane] && ready()
	})
	r.pending.Go(func() {
		defer r.drop(h)
		select {
		case m := <-h.done:
			took := m.seen.Sub(begin).Round(10 * time.Millisecond)
			r.lock.Lock()
			r.report.Recovered[what] = append(r.report.Recovered[what], took)
			r.lock.Unlock()
		case <-ctx.Done():
		}
	})
}

// --------------------------------------------------------------------------------------------------------- killed, stopped, ended

func (r *round) killOne(ctx context.Context) string {
	r.lock.Lock()
	all := slices.Concat(slices.DeleteFunc(slices.Clone(r.sources), (*pipe).done), r.nodes, r.merges)
	nodes := slices.Clone(r.nodes)
	r.lock.Unlock()
	p := all[r.intN(len(all))]
	if slices.Contains(nodes, p) {
		r.recovery(ctx, "a program was killed", r.lanes(ctx, p), p, true)
	}
	return p.kill(r.intN(8))
}

func (r *round) killOneOfNode(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	defer r.free(p)
	r.recovery(ctx, "a program was killed", r.lanes(ctx, p), p, true)
	return p.kill(r.intN(5))
}

func (r *round) killNode(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	away := time.Duration(r.intN(3000)) * time.Millisecond
	p.holdBack(true)
	what := p.kill(-1)
	r.beside(ctx, away, func() {
		p.holdBack(false)
		r.free(p)
	})
	return fmt.Sprintf("%s, away for %v", what, away)
}

func (r *round) stopNode(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	return r.halt(ctx, p, -1)
}

// halt stops a pipe, or one of its programs, for longer than the session, and lets it go on. At times its last program is stopped a while before the others, so that lines
// have piled up that it writes when others have written them.
func (r *round) halt(ctx context.Context, p *pipe, i int) string {
	a := p.now()
	if a == nil {
		r.free(p)
		return ""
	}
	programs, what := a.programs, p.name
	if i >= 0 {
		q := programs[i%len(programs)]
		programs, what = []*process{q}, q.name+" of "+p.name+place(a, q)
	}
	if i < 0 && r.intN(3) > 0 {
		programs[len(programs)-1].signal(syscall.SIGSTOP)
		r.sleep(ctx, time.Duration(200+r.intN(800))*time.Millisecond)
		what += ", its last program first"
	}
	for _, q := range programs {
		q.signal(syscall.SIGSTOP)
	}
	away := r.Session + 500*time.Millisecond + time.Duration(r.intN(2000))*time.Millisecond
	r.beside(ctx, away, func() {
		for _, q := range programs {
			q.signal(syscall.SIGCONT)
		}
		r.free(p)
	})
	return fmt.Sprintf("%s, for %v", what, away)
}

func (r *round) stopOne(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	return r.halt(ctx, p, r.intN(5))
}

func (r *round) endNode(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	a := p.now()
	if a == nil {
		r.free(p)
		return ""
	}
	away := time.Duration(r.intN(4000)) * time.Millisecond
	p.holdBack(true)
	whom := "its first program"
	if r.intN(2) == 0 {
		whom = "all its programs" // ^C
		a.signal(syscall.SIGTERM)
	} else {
		a.programs[0].signal(syscall.SIGTERM)
	}
	r.beside(ctx, away, func() {
		p.holdBack(false)
		r.free(p)
	})
	return fmt.Sprintf("SIGTERM for %s of %s, away for %v", whom, p.name, away)
}

func (r *round) add(context.Context) string {
	r.lock.Lock()
	many := len(r.nodes) >= 4
	r.lock.Unlock()
	if many {
		return ""
	}
	return r.addNode(r.Runs[0].Window).name
}

func (r *round) remove(ctx context.Context) string {
	r.lock.Lock()
	few := len(r.nodes) < 2
	r.lock.Unlock()
	if few {
		r.addNode(r.Runs[0].Window)
	}
	if p := r.anyNode(); p != nil {
		return r.removeNode(ctx, p)
	}
	return ""
}

// everyNode sends a signal to a program of each node, or to all if i is negative, at the same moment. They are started again at once.
func (r *round) everyNode(i int, s syscall.Signal) string {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, p := range r.nodes {
		switch a := p.now(); {
		case a == nil:
		case i < 0:
			a.signal(s)
		default:
			a.programs[i].signal(s)
		}
	}
	return fmt.Sprintf("%d of them", len(r.nodes))
}

// removeNewest lets the lanes of a node that came last go back to those that had them.
func (r *round) removeNewest(ctx context.Context) string {
	r.lock.Lock()
	p := r.nodes[len(r.nodes)-1]
	r.lock.Unlock()
	return r.removeNode(ctx, p)
}

func (r *round) removeNode(ctx context.Context, p *pipe) string {
	r.lock.Lock()
	r.nodes = slices.DeleteFunc(r.nodes, func(q *pipe) bool { return p == q })
	r.gone = append(r.gone, p)
	r.lock.Unlock()
	lanes := r.lanes(ctx, p)
	p.holdBack(true)
	how := "killed"
	if a := p.now(); a != nil {
		if r.intN(3) == 0 && len(r.At) == 0 {
			how = "ended"
			a.signal(syscall.SIGTERM)
		} else {
			r.recovery(ctx, "a node was killed", lanes, p, false)
			a.signal(syscall.SIGKILL)
		}
	}
	return p.name + " is " + how
}

func (r *round) killMerge(ctx context.Context) string {
	p := r.anyMerge()
	if p == nil {
		return ""
	}
	defer r.free(p)
	return p.kill(r.intN(4) - 1)
}

func (r *round) killMerges(context.Context) string {
	r.lock.Lock()
	merges := slices.Clone(r.merges)
	r.lock.Unlock()
	what := ""
	for _, p := range merges {
		what = strings.TrimSpace(what + " " + p.kill(-1))
	}
	return what
}

func (r *round) stopMerge(ctx context.Context) string {
	p := r.anyMerge()
	if p == nil {
		return ""
	}
	return r.halt(ctx, p, -1)
}

func (r *round) killSource(ctx context.Context) string {
	p := r.anySource()
	if p == nil {
		return ""
	}
	defer r.free(p)
	return p.kill(r.intN(3) - 1)
}

func (r *round) twoSources(ctx context.Context) string {
	p := r.anySource()
	if p == nil {
		return ""
	}
	what := r.halt(ctx, p, -1)
	if what == "" {
		return ""
	}
	run := r.Runs[0]
	for _, other := range r.Runs {
		if strings.HasSuffix(p.name, " "+other.Name) {
			run = other
		}
	}
	r.addSource(run)
	return what + "; another one begins"
}

// linesAgain writes lines of lanes once more, as a node does that was thought dead, and wakes up.
func (r *round) linesAgain(ctx context.Context) string { return r.again(ctx, r.p, 1+r.intN(30)) }

// resultsAgain does so with lines of the merge.
func (r *round) resultsAgain(ctx context.Context) string { return r.again(ctx, r.r, 1+r.intN(4)) }

func (r *round) again(ctx context.Context, topic string, n int) string {
	r.lock.Lock()
	var list []message
	for _, m := range r.recent {
		if m.topic == topic {
			list = append(list, m)
		}
	}
	r.lock.Unlock()
	back := r.intN(10) // how long it has slept
	list = list[:max(0, len(list)-back)]
	list = list[max(0, len(list)-n):]
	for i, m := range list {
		if err := r.c.send(ctx, m); err != nil {
			list = list[:i]
			break
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%d that had been followed by %d others", len(list), back)
}

// silence stops a node for longer than the merge's patience.
func (r *round) silence(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	a := p.now()
	if a == nil {
		r.free(p)
		return ""
	}
	lanes := r.lanes(ctx, p)
	a.signal(syscall.SIGSTOP)
	away := r.Patience + 3*time.Second
	r.beside(ctx, away, func() {
		a.signal(syscall.SIGCONT)
		r.free(p)
	})
	return fmt.Sprintf("%s, with the lanes %v, for %v", p.name, lanes, away)
}

// anotherMerge is a mistake that does no harm: one of another group, which writes the same lines.
func (r *round) anotherMerge(context.Context) string {
	group := r.m + "-other"
	r.groups = append(r.groups, group)
	return r.addMerge(group).name
}

// otherSettings is a mistake that somebody sees after a while: a node whose lines would not fit the others.
func (r *round) otherSettings(ctx context.Context) string {
	p := r.addNode("7s")
	r.lock.Lock()
	r.busy[p] = true
	r.lock.Unlock()
	r.beside(ctx, 3*time.Second, func() {
		p.holdBack(true)
		p.kill(-1)
	})
	return p.name + ", for 3s"
}

// ----------------------------------------------------------------------------------------------------------------------- moments

// cutNow starts pipes again with a cut in them, and waits until one of these is made: then programs are killed, all or those before the cut.
func (r *round) cutNow(ctx context.Context, c cut, pipes ...*pipe) string {
	return r.cutAndKill(ctx, c, r.intN(2) == 0, pipes...)
}

func (r *round) cutAndKill(ctx context.Context, c cut, all bool, pipes ...*pipe) string {
	done := make(chan string, len(pipes))
	for _, p := range pipes {
		one := c
		one.kill = func(programs []*process) {
			for i, q := range programs {
				if all || i <= c.behind {
					q.signal(syscall.SIGKILL)
				}
			}
			done <- p.name
		}
		p.cutNext(&one)
		p.kill(-1)
	}
	what := ""
	select {
	case what = <-done:
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	for _, p := range pipes {
		r.free(p)
	}
	if what != "" && !all {
		what += ", what is behind the cut lives on"
	}
	return what
}

func (r *round) inside(piece []byte) int { return 1 + r.intN(len(piece)-1) }

func (r *round) inFrame(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	return r.cutNow(ctx, cut{behind: r.intN(3), frames: true, skip: r.intN(30), part: r.inside, kinds: []byte{2, 3, 4}}, p)
}

func (r *round) inSourceFrame(ctx context.Context) string {
	p := r.anySource()
	if p == nil {
		return ""
	}
	return r.cutNow(ctx, cut{frames: true, skip: r.intN(30), part: r.inside}, p)
}

func (r *round) inLine(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	return r.cutNow(ctx, cut{behind: 3, skip: r.intN(4), part: r.inside, minimum: 2}, p)
}

// halfLine is the beginning of a line, and whoever is to write it lives on.
func (r *round) halfLine(ctx context.Context) string {
	p := r.anyNode()
	if p == nil {
		return ""
	}
	return r.cutAndKill(ctx, cut{behind: 3, part: r.inside, minimum: 2}, false, p)
}

// inMergeLine cuts all merges, of which one writes.
func (r *round) inMergeLine(ctx context.Context) string {
	var pipes []*pipe
	for p := r.anyMerge(); p != nil; p = r.anyMerge() {
		pipes = append(pipes, p)
	}
	return r.cutNow(ctx, cut{behind: 1, skip: r.intN(2), part: r.inside, minimum: 2}, pipes...)
}

// behindAck kills what produces as soon as a line of a node is in P, and before it can do anything else.
func (r *round) behindAck(ctx context.Context) string {
	shares := map[string][]int{}
	again(ctx, "shares", func(ctx context.Context) (err error) {
		_, shares, err = r.c.group(ctx, r.g, r.s)
		return err
	})
	whom, all := "", r.intN(2) == 0
	h := r.hang(r.p, func(m message) bool {
		l, ok := parsePartial(m.value)
		if !ok || !l.chain {
			return false
		}
		i := 4
		if all {
			i = -1
		}
		if p := r.owner(shares, l.lane.k); p != nil {
			whom = p.kill(i)
		} else { // it has changed hands: somebody's line it is
			r.lock.Lock()
			nodes := slices.Clone(r.nodes)
			r.lock.Unlock()
			for _, p := range nodes {
				whom = strings.TrimSpace(whom + " " + p.kill(i))
			}
		}
		return whom != ""
	})
	defer r.drop(h)
	select {
	case m := <-h.done:
		return fmt.Sprintf("%s, at offset %d of partition %d", whom, m.offset, m.partition)
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	return ""
}

func (r *round) behindMergeAck(ctx context.Context) string {
	whom, i := "", 2
	if r.intN(2) == 0 {
		i = -1
	}
	r.lock.Lock()
	merges := slices.Clone(r.merges)
	r.lock.Unlock()
	h := r.hang(r.r, func(message) bool {
		for _, p := range merges {
			if what := p.kill(i); what != "" {
				whom += " " + what
			}
		}
		return true
	})
	defer r.drop(h)
	select {
	case m := <-h.done:
		return fmt.Sprintf("%s, at offset %d", strings.TrimSpace(whom), m.offset)
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
	}
	return ""
}

// moving adds a node and returns another as soon as the group begins to share out its partitions anew; nil: it was not seen.
func (r *round) moving(ctx context.Context) *pipe {
	p := r.anyNode()
	if p == nil {
		return nil
	}
	r.addNode(r.Runs[0].Window)
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end); {
		if state, _, err := r.c.group(ctx, r.g, r.s); err == nil && state != "Stable" {
			return p
		}
		if !r.sleep(ctx, 2*time.Millisecond) {
			break
		}
	}
	r.free(p)
	return nil
}

func (r *round) killMoving(ctx context.Context) string {
	p := r.moving(ctx)
	if p == nil {
		return ""
	}
	defer r.free(p)
	time.Sleep(time.Duration(r.intN(30)) * time.Millisecond)
	return p.kill(r.intN(6) - 1)
}

func (r *round) stopMoving(ctx context.Context) string {
	p := r.moving(ctx)
	if p == nil {
		return ""
	}
	time.Sleep(time.Duration(r.intN(30)) * time.Millisecond)
	return r.halt(ctx, p, -1)
}

// ----------------------------------------------------------------------------------------------------------------------- brokers

// broker does something to a broker, and makes it well again.
func (r *round) broker(f func(i int) string, well func(i int) error) string {
	r.Brokers.Lock()
	defer r.Brokers.Unlock()
	i := 1 + r.intN(r.Brokers.N())
	what := f(i)
	if err := well(i); err != nil {
		r.problem("broker %d: %v", i, err)
	}
	return what
}

func (r *round) killBroker(ctx context.Context) string {
	return r.broker(func(i int) string {
		away := time.Duration(r.intN(2000)) * time.Millisecond
		r.Brokers.Kill(i)
		r.sleep(ctx, away)
		return fmt.Sprintf("broker %d, away for %v", i, away)
	}, r.Brokers.Start)
}

func (r *round) hangBroker(ctx context.Context) string {
	return r.broker(func(i int) string {
		away := time.Second + time.Duration(r.intN(4000))*time.Millisecond
		r.Brokers.Pause(i, true)
		r.sleep(ctx, away)
		return fmt.Sprintf("broker %d, for %v", i, away)
	}, func(i int) error {
		r.Brokers.Pause(i, false)
		return nil
	})
}

func (r *round) fillBroker(ctx context.Context) string {
	return r.broker(func(i int) string {
		if err := r.Brokers.Fill(i); err != nil {
			r.Brokers.Kill(i)
			return fmt.Sprintf("broker %d: %v", i, err)
		}
		r.sleep(ctx, time.Duration(r.intN(1000))*time.Millisecond)
		return fmt.Sprintf("broker %d", i)
	}, r.Brokers.Start)
}
