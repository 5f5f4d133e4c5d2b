package torture

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A command is a program of a pipe, and its arguments.
type command []string

// A pipe is programs that stand behind each other, connected as a shell connects them. When one of them dies the rest is ended, and the pipe is started
// again at once.
type pipe struct {
	name     string
	bin      string
	env      []string
	commands []command
	resume   command // what it prints is a file for the first program: --resume-from <(…)
	once     bool    // it is not started again once all its programs have ended well
	grace    func() time.Duration

	lock     sync.Mutex
	run      *attempt
	before   []*attempt
	cuts     []*cut // one for each start to come
	hold     bool   // it is not started again until this is lifted
	pause    time.Duration
	quit     chan struct{}
	over     chan struct{}
	finished bool
	err      error
}

// An attempt is a pipe that runs.
type attempt struct {
	begin, end time.Time
	programs   []*process
	any        chan struct{} // closed when the first has ended
	first      *process      // that one
	all        chan struct{}
	cut        *cut
}

// start lets it run.
func (p *pipe) start() {
	p.quit, p.over = make(chan struct{}), make(chan struct{})
	go p.loop()
}

func (p *pipe) loop() {
	defer close(p.over)
	for {
		if !p.wait() {
			return
		}
		a, err := p.open()
		if err != nil {
			p.lock.Lock()
			p.err = err
			p.lock.Unlock()
			return
		}
		select {
		case <-a.any:
		case <-p.quit:
			p.shut(a)
			return
		}
		// What it was that ended says how the rest is to: behind a program that ended well it comes to its own end.
		limit := time.Duration(1 << 62)
		if !a.first.well() {
			limit = p.grace()
		}
		select {
		case <-a.all:
		case <-time.After(limit):
			a.signal(syscall.SIGKILL)
			<-a.all
		case <-p.quit:
			p.shut(a)
			return
		}
		well := true
		for _, q := range a.programs {
			well = well && q.well()
		}
		p.lock.Lock()
		p.finished = p.once && well
		if a.first.cmd.ProcessState.ExitCode() == 2 { // wrong usage, or a panic: it would be so for ever
			p.err = fmt.Errorf("%s: %s: exit 2: %s", p.name, a.first.name, a.first.errs)
		}
		done := p.finished || p.err != nil
		if time.Since(a.begin) < 300*time.Millisecond && !a.first.byUs() {
			p.pause = max(p.pause, 300*time.Millisecond) // it can't go on now
		}
		p.lock.Unlock()
		if done {
			return
		}
	}
}

// wait waits until it may start; false: it shall not.
func (p *pipe) wait() bool {
	for {
		p.lock.Lock()
		hold, pause := p.hold, p.pause
		p.pause = 0
		p.lock.Unlock()
		if hold {
			pause = 5 * time.Millisecond
		}
		select {
		case <-p.quit:
			return false
		case <-time.After(pause):
		}
		if !hold {
			return true
		}
	}
}

// open starts all programs.
func (p *pipe) open() (*attempt, error) {
	a := &attempt{begin: time.Now(), any: make(chan struct{}), all: make(chan struct{})}
	p.lock.Lock()
	defer p.lock.Unlock()
	if len(p.cuts) > 0 {
		a.cut, p.cuts = p.cuts[0], p.cuts[1:]
	}
	var files []*os.File // to be closed here once the programs have them
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	join := func() (*os.File, *os.File, error) {
		r, w, err := os.Pipe()
		if err == nil {
			files = append(files, r, w)
		}
		return r, w, err
	}
	program := func(c command, stdin, stdout *os.File, more ...*os.File) error {
		path := c[0]
		if !filepath.IsAbs(path) {
			path = filepath.Join(p.bin, path)
		}
		cmd := exec.Command(path, c[1:]...)
		cmd.Env = p.env
		if stdin != nil {
			cmd.Stdin = stdin
		}
		if stdout != nil {
			cmd.Stdout = stdout
		}
		cmd.ExtraFiles = more
		q, err := begin(cmd, c[0])
		if err == nil {
			a.programs = append(a.programs, q)
		}
		return err
	}
	var place *process
	var first []*os.File
	if len(p.resume) > 0 {
		r, w, err := join()
		if err != nil {
			return nil, err
		}
		if err := program(p.resume, nil, w); err != nil {
			return nil, err
		}
		place, a.programs = a.programs[0], nil
		first = append(first, r)
	}
	var in *os.File
	for i, c := range p.commands {
		var out, next *os.File
		if i < len(p.commands)-1 {
			var err error
			if next, out, err = join(); err != nil {
				return nil, err
			}
		}
		if i == 0 && len(first) > 0 {
			c = append(c[:len(c):len(c)], "--resume-from", "/dev/fd/3")
		}
		if a.cut != nil && a.cut.behind == i && next != nil {
			from, to := next, (*os.File)(nil)
			var err error
			if next, to, err = join(); err != nil {
				return nil, err
			}
			// The relay has ends of its own, which live as long as it does.
			from, to, err = own(from, to)
			if err != nil {
				return nil, err
			}
			go a.cut.relay(to, from, func() []*process {
				p.lock.Lock() // until all of them are there
				defer p.lock.Unlock()
				return a.programs
			})
		}
		if err := program(c, in, out, first...); err != nil {
			a.signal(syscall.SIGKILL)
			return nil, err
		}
		first, in = nil, next
	}
	if place != nil {
		go func() { <-place.ended }()
	}
	var once sync.Once
	var all sync.WaitGroup
	for _, q := range a.programs {
		all.Go(func() {
			<-q.ended
			once.Do(func() {
				a.first = q
				close(a.any)
			})
		})
	}
	go func() {
		all.Wait()
		p.lock.Lock()
		a.end = time.Now()
		p.lock.Unlock()
		close(a.all)
	}()
	p.run, p.before = a, append(p.before, a)
	return a, nil
}

// own duplicates files.
func own(a, b *os.File) (*os.File, *os.File, error) {
	var out [2]*os.File
	for i, f := range []*os.File{a, b} {
		n, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			return nil, nil, err
		}
		syscall.CloseOnExec(n)
		out[i] = os.NewFile(uintptr(n), f.Name())
	}
	return out[0], out[1], nil
}

func (a *attempt) signal(s syscall.Signal) {
	for _, q := range a.programs {
		q.signal(s)
	}
}

// shut ends an attempt for good: as ^C does, and after a while for sure.
func (p *pipe) shut(a *attempt) {
	a.signal(syscall.SIGCONT) // some may have been stopped
	a.programs[0].signal(syscall.SIGTERM)
	select {
	case <-a.all:
	case <-time.After(endPatience):
		p.lock.Lock()
		p.err = errors.Join(p.err, fmt.Errorf("%s does not end %v after SIGTERM", p.name, endPatience))
		p.lock.Unlock()
		a.signal(syscall.SIGKILL)
		<-a.all
	}
}

// endPatience is how long a pipe may take to come to its end.
const endPatience = 15 * time.Second

// stop ends it for good, and waits.
func (p *pipe) stop() {
	close(p.quit)
	<-p.over
}

// now returns what runs of it, or nil.
func (p *pipe) now() *attempt {
	p.lock.Lock()
	defer p.lock.Unlock()
	if p.run == nil || !p.run.end.IsZero() {
		return nil
	}
	return p.run
}

// kill ends programs at once: that of a number, or all if that is negative. It says which, or nothing if there was none.
func (p *pipe) kill(i int) string {
	a := p.now()
	switch {
	case a == nil:
		return ""
	case i < 0:
		a.signal(syscall.SIGKILL)
		return "all of " + p.name
	}
	q := a.programs[i%len(a.programs)]
	q.signal(syscall.SIGKILL)
	return q.name + " of " + p.name + place(a, q)
}

// place says which of two programs of the same name it is.
func place(a *attempt, q *process) string {
	if q.name != "dtkafka" {
		return ""
	}
	return " (" + q.cmd.Args[1] + ")"
}

// holdBack lets the pipe not start again, or start again.
func (p *pipe) holdBack(yes bool) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.hold = yes
}

// cutNext has the next start of the pipe be cut.
func (p *pipe) cutNext(c *cut) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.cuts = append(p.cuts, c)
}

// restarts is how often it was started again.
func (p *pipe) restarts() int {
	p.lock.Lock()
	defer p.lock.Unlock()
	return max(0, len(p.before)-1)
}

func (p *pipe) done() bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.finished
}

// failed is what went wrong with the pipe itself.
func (p *pipe) failed() error {
	p.lock.Lock()
	defer p.lock.Unlock()
	return p.err
}

// oneself lists how programs ended that nobody had killed, in starts that no program of the pipe had been killed in, and what they said.
func (p *pipe) oneself() []string {
	p.lock.Lock()
	defer p.lock.Unlock()
	var list []string
	for i, a := range p.before {
		if a.first == nil || a.first.byUs() || a.first.well() || a.end.IsZero() {
			continue
		}
		list = append(list, fmt.Sprintf("%s, start %d: %s: %s: %s", p.name, i+1, a.first.name+place(a, a.first), a.first.exit(), strings.TrimSpace(a.first.errs.String())))
	}
	return list
}

// broken lists what no program should ever say.
func (p *pipe) broken() []string {
	p.lock.Lock()
	defer p.lock.Unlock()
	var list []string
	for i, a := range p.before {
		for _, q := range a.programs {
			if text := q.errs.broken(); text != "" {
				list = append(list, fmt.Sprintf("%s, start %d: %s: %s", p.name, i+1, q.name, text))
			}
		}
	}
	return list
}

// said is all that its programs said.
func (p *pipe) said() string {
	p.lock.Lock()
	defer p.lock.Unlock()
	var b strings.Builder
	for _, a := range p.before {
		for _, q := range a.programs {
			b.WriteString(q.errs.String())
		}
	}
	return b.String()
}

// state says what its last starts said, for people.
func (p *pipe) state(starts int) string {
	p.lock.Lock()
	defer p.lock.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d starts\n", p.name, len(p.before))
	for i, a := range p.before {
		if i < len(p.before)-starts {
			continue
		}
		fmt.Fprintf(&b, "  start %d at %s:\n", i+1, a.begin.Format("15:04:05.000"))
		for _, q := range a.programs {
			fmt.Fprintf(&b, "    %s: %s\n", q.name+place(a, q), q.exit())
			for l := range strings.Lines(q.errs.String()) {
				fmt.Fprintf(&b, "      %s", strings.TrimRight(l, "\n")+"\n")
			}
		}
	}
	return b.String()
}
