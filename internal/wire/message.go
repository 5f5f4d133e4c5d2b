package wire

import (
	"errors"
	"fmt"
)

// MaxMessage bounds the value of a Kafka message that holds frames: their payload, and more than any headers take.
const MaxMessage = MaxPayload + 64<<10

// A Message is the value of a Kafka message: a small stream of one lane, which ends without saying so.
type Message struct {
	mem    []uint64 // so that words are aligned
	frames []Frame
	n      int
}

// Parse takes a value, of which it keeps a copy. All of it is checked; on an error, a *FormatError, nothing of it can be used.
func (m *Message) Parse(value []byte) error {
	m.n = 0
	bad := func(at int, err error) error {
		m.n = 0
		return &FormatError{At: int64(at), Msg: err.Error()}
	}
	switch {
	case !IsStream(value):
		return bad(0, errors.New("not a hit stream"))
	case value[PreambleSize-1] != Version:
		return bad(0, fmt.Errorf("stream of version %d; this program reads version %d", value[PreambleSize-1], Version))
	case len(value) > MaxMessage:
		return bad(0, fmt.Errorf("a message of %d bytes; at most %d are possible", len(value), MaxMessage))
	case len(value)%8 != 0:
		return bad(0, fmt.Errorf("a message of %d bytes, which is no multiple of 8", len(value)))
	}
	if len(m.mem) < len(value)/8 {
		m.mem = make([]uint64, len(value)/8)
	}
	b := bytesOf(m.mem[:len(value)/8])
	copy(b, value)
	for at := PreambleSize; at < len(b); {
		if len(b)-at < HeaderSize {
			return bad(at, errors.New("cut inside a frame's header"))
		}
		if m.n == len(m.frames) {
			m.frames = append(m.frames, Frame{})
		}
		f := &m.frames[m.n]
		f.Lane = nil
		length, err := f.parseHeader(b[at:])
		if err != nil {
			return bad(at, err)
		}
		size := HeaderSize + length
		if len(b)-at < size {
			return bad(at, errors.New("cut inside a frame"))
		}
		known, err := f.parse(b[at:at+size], m.mem[(at+HeaderSize)/8:(at+size)/8])
		switch {
		case err != nil:
			return bad(at, err)
		case !known:
			at += size
			continue
		case (m.n == 0) != (f.Kind == KindLane):
			return bad(at, errors.New("a message has one lane frame, before all others"))
		case m.n > 1 && m.frames[m.n-1].Kind == KindEnd:
			return bad(at, errors.New("a frame behind the end of the lane"))
		}
		if m.n > 0 {
			f.Lane = m.frames[0].Lane
		}
		m.n++
		at += size
	}
	if m.n == 0 {
		return bad(PreambleSize, errNoLane)
	}
	return nil
}

// Lane returns the lane of the message.
func (m *Message) Lane() *Lane { return m.frames[0].Lane }

// Frames returns the frames behind the lane frame. They are valid until the next call of Parse.
func (m *Message) Frames() []Frame { return m.frames[1:m.n] }
