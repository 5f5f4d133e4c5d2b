package hist

// A queue holds the pending hits of one FPGA, which come in the order of their orbits. It grows by blocks that are used
// again, so that a queue in steady state allocates nothing, and a large one never moves.
type queue struct {
	head, tail *block
	first, end int // of head, and of tail: head.words[first] is next, tail.words[end] is free
}

const blockLen = 1024

type block struct {
	words    [blockLen]uint64
	chambers [blockLen]uint8
	next     *block
}

// A pool keeps some blocks for the queues of a lane.
type pool struct {
	free *block
	n    int
}

// maxPool is how many blocks a pool keeps: 64 Ki hits. What many more pending hits needed is let go.
const maxPool = 64

func (p *pool) get() *block {
	if b := p.free; b != nil {
		p.free, b.next = b.next, nil
		p.n--
		return b
	}
	return new(block)
}

func (p *pool) put(b *block) {
	if b.next = nil; p.n < maxPool {
		b.next, p.free = p.free, b
		p.n++
	}
}

// extend makes room for a hit at tail.words[end].
func (q *queue) extend(p *pool) {
	b := p.get()
	if q.tail == nil {
		q.head, q.first = b, 0
	} else {
		q.tail.next = b
	}
	q.tail, q.end = b, 0
}

// headEnd returns the end of the first block.
func (q *queue) headEnd() int {
	if q.head == q.tail {
		return q.end
	}
	return blockLen
}

// nextBlock drops the first block, which is not the last, and returns the next.
func (q *queue) nextBlock(p *pool) *block {
	b := q.head
	q.head, q.first = b.next, 0
	p.put(b)
	return q.head
}

// drop drops the only block.
func (q *queue) drop(p *pool) {
	p.put(q.head)
	q.head, q.tail = nil, nil
}

// A stray is a pending hit that waits out of the order of its FPGA: one that came after a later one, or a late hit,
// which waits for the newest orbit it came with.
type stray struct {
	word    uint64
	orbit   uint32 // that it waits for
	chamber uint8
	late    bool
}

// strays is a binary heap, the least orbit first.
type strays []stray

func (h *strays) push(s stray) {
	a := append(*h, s)
	i := len(a) - 1
	for i > 0 && a[(i-1)/2].orbit > a[i].orbit {
		a[i], a[(i-1)/2] = a[(i-1)/2], a[i]
		i = (i - 1) / 2
	}
	*h = a
}

func (h *strays) pop() stray {
	a := *h
	top := a[0]
	last := len(a) - 1
	a[0] = a[last]
	a = a[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if a[child].orbit < a[least].orbit {
				least = child
			}
		}
		if least == i {
			break
		}
		a[i], a[least] = a[least], a[i]
		i = least
	}
	*h = a
	return top
}
