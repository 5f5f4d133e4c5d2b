package torture

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is one program of a pipe.
type process struct {
	name  string
	cmd   *exec.Cmd
	errs  *messages
	ended chan struct{}

	lock   sync.Mutex
	killed bool // by us
}

// Spawn starts a process that dies with this one, beside what its SysProcAttr says: the kernel ends it when the thread that started it ends, so it is one
// that stays.
func Spawn(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	o := order{cmd, make(chan error)}
	orders() <- o
	return <-o.done
}

// An order is a process to be started.
type order struct {
	cmd  *exec.Cmd
	done chan error
}

var orders = sync.OnceValue(func() chan<- order {
	orders := make(chan order)
	go func() {
		runtime.LockOSThread()
		for o := range orders {
			o.done <- o.cmd.Start()
		}
	}()
	return orders
})

// begin starts a process, whose files and arguments are set.
func begin(cmd *exec.Cmd, name string) (*process, error) {
	p := &process{name: name, cmd: cmd, errs: new(messages), ended: make(chan struct{})}
	cmd.Stderr = p.errs
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us alone
	if err := Spawn(cmd); err != nil {
		return nil, err
	}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) {
	p.lock.Lock()
	defer p.lock.Unlock()
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		p.killed = true
	}
	p.cmd.Process.Signal(s)
}

// over reports whether it has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// exit says how it has ended.
func (p *process) exit() string {
	if !p.over() {
		return "runs"
	}
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return s.Signal().String()
	}
	return fmt.Sprintf("exit %d", p.cmd.ProcessState.ExitCode())
}

// well reports whether it has ended by itself, and has nothing to complain of.
func (p *process) well() bool { return p.over() && p.cmd.ProcessState.ExitCode() == 0 }

// byUs reports whether we ended it.
func (p *process) byUs() bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.killed
}

// messages keeps the first and the last of what a program says.
type messages struct {
	lock        sync.Mutex
	first, last []byte
	cut         bool
}

const maxMessages = 16 << 10

func (m *messages) Write(b []byte) (int, error) {
	m.lock.Lock()
	defer m.lock.Unlock()
	n := len(b)
	if room := maxMessages - len(m.first); room > 0 {
		room = min(room, len(b))
		m.first, b = append(m.first, b[:room]...), b[room:]
	}
	m.last = append(m.last, b...)
	if over := len(m.last) - maxMessages; over > 0 {
		m.last, m.cut = append(m.last[:0], m.last[over:]...), true
	}
	return n, nil
}

func (m *messages) String() string {
	m.lock.Lock()
	defer m.lock.Unlock()
	between := ""
	if m.cut {
		between = "\n…\n"
	}
	return string(m.first) + between + string(m.last)
}

// broken returns what no program should ever say, or nothing.
func (m *messages) broken() string {
	text := m.String()
	for _, sign := range []string{"panic:", "fatal error:", "DATA RACE", "goroutine "} {
		if i := strings.Index(text, sign); i >= 0 {
			return text[i:min(len(text), i+3000)]
		}
	}
	return ""
}

// piped runs a pipe to its end, which must be a good one, and returns what comes out.
func piped(bin string, commands ...command) ([]byte, error) {
	var out bytes.Buffer
	var in *os.File
	var all []*process
	for i, c := range commands {
		cmd := exec.Command(filepath.Join(bin, c[0]), c[1:]...)
		if in != nil {
			cmd.Stdin = in
		}
		var next, to *os.File
		cmd.Stdout = &out
		if i < len(commands)-1 {
			var err error
			if next, to, err = os.Pipe(); err != nil {
				return nil, err
			}
			cmd.Stdout = to
		}
		p, err := begin(cmd, c[0])
		for _, f := range []*os.File{in, to} {
			if f != nil {
				f.Close()
			}
		}
		if err != nil {
			return nil, err
		}
		in, all = next, append(all, p)
	}
	for _, p := range all {
		<-p.ended
		if !p.well() {
			return nil, fmt.Errorf("%s: %s: %s", strings.Join(p.cmd.Args, " "), p.exit(), p.errs)
		}
	}
	return out.Bytes(), nil
}
