package torture

import (
	"bytes"
	"encoding/binary"
	"os"
)

// A cut ends a pipe in the middle of something. Between two of its programs stands a relay, which hands on what comes, and of one frame or line just
// the beginning; then programs are killed.
type cut struct {
	behind  int                       // the number of the program whose output is cut
	frames  bool                      // it writes frames; else lines
	skip    int                       // frames with words, or lines, that pass
	part    func(piece []byte) int    // how much of the next one passes
	kill    func(programs []*process) // who dies
	kinds   []byte                    // of frames; all of them if there are none
	minimum int                       // bytes that a piece must have
}

const (
	preamble = 8
	header   = 48
)

// frame returns the length and the kind of the frame at the beginning of b; 0: there is more to come. A preamble is one of kind 0.
func frame(b []byte) (int, byte) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] == 0xD7 {
		return preamble, 0
	}
	if len(b) < header {
		return 0, 0
	}
	return header + int(binary.LittleEndian.Uint32(b[4:])), b[0]
}

// next returns the length of the piece at the beginning of b, and whether it is one to be cut; 0: there is more to come.
func (c *cut) next(b []byte) (int, bool) {
	if !c.frames {
		n := bytes.IndexByte(b, '\n') + 1
		return n, n >= c.minimum
	}
	n, kind := frame(b)
	if n > len(b) {
		return 0, false
	}
	return n, kind != 0 && n >= c.minimum && (len(c.kinds) == 0 || bytes.IndexByte(c.kinds, kind) >= 0)
}

// relay hands on what comes, until the cut is to be made. It closes both ends.
func (c *cut) relay(to, from *os.File, programs func() []*process) {
	defer from.Close()
	defer to.Close()
	buf, held := make([]byte, 64<<10), []byte(nil)
	for {
		n, err := from.Read(buf)
		held = append(held, buf[:n]...)
		for {
			size, right := c.next(held)
			if size == 0 {
				break
			}
			piece := held[:size]
			if right {
				c.skip--
			}
			if right && c.skip < 0 {
				to.Write(piece[:c.part(piece)])
				c.kill(programs())
				return
			}
			if _, err := to.Write(piece); err != nil {
				return
			}
			held = held[size:]
		}
		if err != nil {
			to.Write(held)
			return
		}
	}
}
