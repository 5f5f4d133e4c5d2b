package wire

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrStopped is what Await returns when the program has been asked to stop.
var ErrStopped = errors.New("stopped")

// pipeSize is what pipes are enlarged to. The kernel bounds the sum for a user.
const pipeSize = 512 << 10

// Enlarge makes f's buffer larger if f is a pipe and the kernel allows it. Where not, everything works all the same.
func Enlarge(f *os.File) {
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
}

// An Input is a file that can be waited for.
type Input struct {
	*os.File
	stop int    // readable when the program has been asked to stop; −1: never
	head []byte // was peeked at, and comes first
}

// NewInput returns an Input of f; stop is a file descriptor that becomes readable when the program has been asked to stop, or −1.
func NewInput(f *os.File, stop int) *Input {
	Enlarge(f)
	return &Input{File: f, stop: stop}
}

// Peek returns the beginning of what Read will return: n bytes, and more if they are there, or all there is. Before anything was read.
func (in *Input) Peek(n int) ([]byte, error) {
	for len(in.head) < n {
		if _, err := in.poll(-1); err != nil {
			return in.head, err
		}
		b := make([]byte, max(n, 4096))
		k, err := in.File.Read(b)
		in.head = append(in.head, b[:k]...)
		if errors.Is(err, io.EOF) {
			return in.head, nil
		}
		if err != nil {
			return in.head, err
		}
	}
	return in.head, nil
}

// Read reads what was peeked at, and then from the file.
func (in *Input) Read(b []byte) (int, error) {
	if len(in.head) == 0 {
		return in.File.Read(b)
	}
	n := copy(b, in.head)
	in.head = in.head[n:]
	return n, nil
}

// Await returns when a read would not block. Before it waits, and again whenever the time that idle returned is over, it calls
// idle, which flushes what a reader downstream should see by now; 0 means without end. It returns ErrStopped when the program has been asked
// to stop, and idle's error.
func (in *Input) Await(idle func() (time.Duration, error)) error {
	if len(in.head) > 0 {
		return nil
	}
	if ready, err := in.poll(0); ready || err != nil {
		return err
	}
	for {
		d, err := idle()
		if err != nil {
			return err
		}
		ms := -1
		if d > 0 {
			ms = int((d + time.Millisecond - 1) / time.Millisecond)
		}
		if ready, err := in.poll(ms); ready || err != nil {
			return err
		}
	}
}

// poll waits up to ms milliseconds.
func (in *Input) poll(ms int) (ready bool, err error) {
	fds := [2]unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}, {Fd: int32(in.stop), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds[:], ms)
		switch {
		case err == unix.EINTR:
			continue // a signal; those that end the program come through stop
		case err != nil:
			return false, os.NewSyscallError("poll", err)
		case fds[1].Revents != 0:
			return false, ErrStopped
		}
		return n > 0, nil // also for an end, a hang-up or an error, which read tells
	}
}
