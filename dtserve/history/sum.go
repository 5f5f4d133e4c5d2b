package history

import (
	"cmp"
	"container/list"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"dt/internal/hist"
)

// A Sum is windows added up. It is its caller's.
type Sum struct {
	Counts     *hist.Counts
	From, To   int64 // ids of the first and last line in it
	Windows    int   // in it, without bookkeeping lines
	LeftOut    int   // windows of other runs or settings between them
	Complete   bool  // all of them
	Start, End float64
	Seconds    float64           // the windows' lengths
	Arrived    [2]int64          // unix, µs, of the first and the last
	Other      []hist.Other      // by path; where bins changed, those with the newest bins
	Source     []hist.LaneSource // stretches of a lane that meet are joined; at most MaxSources, the oldest are left out
	Stale      int64             // hits of the stale buffer in it
	Incomplete int               // windows that are not complete
	Revised    int               // windows with a Revision above 0
	Revision   int64             // the highest of them
	Missing    []int             // lanes that were silent in some window, ascending from 1
	Lanes      int               // of how many, where that is known
}

// Bounds of a sum.
const (
	MaxSources   = 4096
	MaxOther     = 256       // histograms under keys that are not known; the oldest are left out
	maxOtherBins = 512 << 10 // of all of them: 8 MiB, and a run has three sums
)

// A part is the counts of some windows. Parts that are shared are never changed.
type part struct {
	counts  *hist.Counts
	other   []hist.Other // by when they were last added to; one path can be there with several bins
	sources []hist.LaneSource
}

// partOf returns the part of one line, with which it shares all.
func partOf(l *hist.Line) *part {
	p := &part{counts: l.Counts, other: l.Other}
	p.sources = joinSources(nil, l.Lanes)
	p.other = boundOther(p.other)
	return p
}

// plus returns the sum of two parts, either may be nil. It shares nothing with them that changes.
func plus(p, q *part) (*part, error) {
	var s summing
	for _, p := range []*part{p, q} {
		if err := s.add(p); err != nil {
			return nil, err
		}
	}
	return s.part, nil
}

// A summing adds up parts.
type summing struct{ part *part }

// add adds a part, which may be nil, and leaves it as it is.
func (s *summing) add(q *part) error {
	switch {
	case q == nil:
		return nil
	case s.part == nil:
		s.part = &part{counts: q.counts.Clone(), other: slices.Clone(q.other), sources: q.sources}
		return nil
	}
	p := s.part
	if err := p.counts.Add(q.counts); err != nil {
		return err
	}
	p.other = addOther(p.other, q.other)
	p.sources = joinSources(p.sources, q.sources)
	return nil
}

// addOther adds histograms to a list, whose own it changes only by putting others in their place.
func addOther(to, from []hist.Other) []hist.Other {
	for i := range from {
		o := from[i]
		k := slices.IndexFunc(to, func(have hist.Other) bool {
			return have.Path == o.Path && len(have.Counts) == len(o.Counts) && slices.Equal(have.Bins, o.Bins)
		})
		if k >= 0 {
			counts := slices.Clone(to[k].Counts)
			for j, n := range o.Counts {
				counts[j] += n
			}
			o.Hist = hist.Hist{Counts: counts, Underflow: o.Underflow + to[k].Underflow, Overflow: o.Overflow + to[k].Overflow}
			to = slices.Delete(to, k, k+1)
		}
		to = append(to, o)
	}
	return boundOther(to)
}

// boundOther returns the last histograms of a list, as many as the bounds allow.
func boundOther(list []hist.Other) []hist.Other {
	bins := 0
	for i := len(list) - 1; i >= 0; i-- {
		if bins += len(list[i].Bins); bins > maxOtherBins || len(list)-i > MaxOther {
			return slices.Clone(list[i+1:])
		}
	}
	return list
}

// newestOther returns what a Sum says of a list: for each path the histogram that was added to last.
func newestOther(all []hist.Other) []hist.Other {
	last := map[string]int{}
	for i := range all {
		last[all[i].Path] = i
	}
	var out []hist.Other
	for i := range all {
		if last[all[i].Path] == i {
			o := all[i]
			o.Bins, o.Counts = slices.Clone(o.Bins), slices.Clone(o.Counts)
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b hist.Other) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func compareLanes(a, b *hist.LaneSource) int {
	return cmp.Or(strings.Compare(a.Run, b.Run), cmp.Compare(a.N, b.N), cmp.Compare(a.K, b.K))
}

// joinSources returns the stretches of both lists, ascending, those of a lane that meet joined. a is ascending and joined already.
func joinSources(a, b []hist.LaneSource) []hist.LaneSource {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, func(a, b hist.LaneSource) int {
		return cmp.Or(compareLanes(&a, &b), cmp.Compare(a.First, b.First), cmp.Compare(a.Next, b.Next))
	})
	out := all[:0]
	for _, s := range all {
		if n := len(out); n > 0 && compareLanes(&out[n-1], &s) == 0 && s.First <= out[n-1].Next {
			have := &out[n-1]
			if s.Place != nil && (s.Next >= have.Next || have.Place == nil) {
				have.Place = s.Place
			}
			have.Next = max(have.Next, s.Next)
			continue
		}
		out = append(out, s)
	}
	if excess := len(out) - MaxSources; excess > 0 {
		kept := out[:0]
		for i := range out {
			if excess > 0 && i+1 < len(out) && compareLanes(&out[i], &out[i+1]) == 0 {
				excess--
				continue
			}
			kept = append(kept, out[i])
		}
		out = kept[:min(len(kept), MaxSources)]
	}
	return slices.Clip(out)
}

// size returns what a part takes in memory, in bytes, about.
func (p *part) size() int64 {
	if p == nil {
		return 0
	}
	const settings, reason = 1024, 128
	c := p.counts
	n := int64(unsafe.Sizeof(*p)+unsafe.Sizeof(*c)) + settings
	for i := range c.Chambers {
		ch := &c.Chambers[i]
		n += int64(unsafe.Sizeof(*ch))
		words := cap(ch.Hist1.Counts) + cap(ch.Hist2.Counts) + cap(ch.Hist3.Counts) + cap(ch.Hist4.Counts)
		for layer := range ch.DriftLayer {
			words += cap(ch.DriftLayer[layer])
		}
		n += 8 * int64(words)
	}
	for i := range c.Spans {
		n += int64(unsafe.Sizeof(c.Spans[i])) + int64(len(c.Spans[i].Run)) + 16*int64(cap(c.Spans[i].Live))
	}
	for stage, reasons := range c.Ledger.SetAside {
		n += reason + int64(len(stage))
		for text := range reasons {
			n += reason + int64(len(text))
		}
	}
	for i := range p.other {
		o := &p.other[i]
		n += int64(unsafe.Sizeof(*o)) + int64(len(o.Path)) + 8*int64(cap(o.Bins)+cap(o.Counts))
	}
	for i := range p.sources {
		s := &p.sources[i]
		n += int64(unsafe.Sizeof(*s)) + int64(len(s.Run))
		if s.Place != nil {
			n += int64(unsafe.Sizeof(*s.Place)) + int64(len(s.Place.Name)+len(s.Place.Tag))
		}
	}
	return n
}

// Windows are added up in blocks, whose sums are kept in caches, each level its own, so that none is pushed out by another.
const (
	small  = 16         // windows of a block
	large  = 16 * small // of a large one
	levels = 3          // lines, blocks, large blocks
)

// A blockKey names windows of a group from one on.
type blockKey struct {
	g       *group
	from    int64 // place in the group
	version int   // of its entries, added up
}

// A cache keeps sums, those used last, within a number of bytes.
type cache struct {
	mu    sync.Mutex
	max   int64
	bytes int64
	byKey map[blockKey]*list.Element
	used  list.List // of *cached, last used first
}

type cached struct {
	key   blockKey
	part  *part
	bytes int64
}

func (c *cache) get(k blockKey) *part {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(*cached).part
}

func (c *cache) put(k blockKey, p *part) {
	const overhead = 256
	n := p.size() + overhead
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.max || c.byKey[k] != nil {
		return
	}
	if c.byKey == nil {
		c.byKey = map[blockKey]*list.Element{}
	}
	c.byKey[k] = c.used.PushFront(&cached{k, p, n})
	c.bytes += n
	for c.bytes > c.max {
		c.remove(c.used.Back())
	}
}

func (c *cache) remove(e *list.Element) {
	v := c.used.Remove(e).(*cached)
	delete(c.byKey, v.key)
	c.bytes -= v.bytes
}

// drop forgets a sum.
func (c *cache) drop(k blockKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		c.remove(e)
	}
}

func (c *cache) size() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// blockAt returns how many windows the largest whole block at the start of a list has, and its level.
func blockAt(list []*entry) (n, level int) {
	switch from := list[0].place; {
	case from%large == 0 && len(list) >= large:
		return large, 2
	case from%small == 0 && len(list) >= small:
		return small, 1
	}
	return 1, 0
}

// key returns the key of a block.
func key(block []*entry) blockKey {
	k := blockKey{g: block[0].g, from: block[0].place}
	for _, e := range block {
		k.version += e.version
	}
	return k
}

// sum adds up windows that follow each other in their group, without a lock. It returns nil when all of them were taken out.
func (h *History) sum(list []*entry) (*part, error) {
	var s summing
	for len(list) > 0 {
		n, level := blockAt(list)
		p, err := h.block(list[:n], level, true)
		if err == nil {
			err = s.add(p)
		}
		if err != nil {
			return nil, err
		}
		list = list[n:]
	}
	return s.part, nil
}

// block returns the sum of a block, which is shared. keep says whether that of a line is to be kept.
func (h *History) block(list []*entry, level int, keep bool) (*part, error) {
	k := key(list)
	if !slices.ContainsFunc(list, func(e *entry) bool { return e.w != nil }) {
		return nil, nil
	}
	if p := h.caches[level].get(k); p != nil {
		return p, nil
	}
	var p *part
	if level == 0 {
		text, err := h.text(list[0])
		if err != nil {
			return nil, err
		}
		l, err := hist.ParseAny(text)
		if err != nil {
			return nil, err
		}
		p = partOf(l)
	} else {
		var s summing
		n := []int{0, 1, small}[level]
		for i := 0; i < len(list); i += n {
			q, err := h.block(list[i:i+n], level-1, false)
			if err == nil {
				err = s.add(q)
			}
			if err != nil {
				return nil, err
			}
		}
		p = s.part
	}
	if level > 0 || keep {
		h.caches[level].put(k, p)
	}
	return p, nil
}
