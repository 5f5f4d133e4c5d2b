// Package tool is what the programs share at their edge: flags and help, one voice for messages, exit codes, signals, and the checks of
// what stands at the ends of the pipe.
package tool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"

	"dt/internal/wire"
)

// Version is what --version prints; the Makefile sets it.
var Version = "dev"

// Exit codes of all programs.
const (
	ExitOK     = 0
	ExitFailed = 1 // failed, or the input was cut or could not all be read
	ExitUsage  = 2
)

// An Env is a program's surroundings.
type Env struct {
	Name   string
	Args   []string
	Stdin  *os.File
	Stdout *os.File
	Stderr io.Writer

	mu     sync.Mutex // of Stderr, status and onStop
	status bool       // a status line is shown
	stop   *os.File   // becomes readable when the program is asked to stop
	onStop []func()
	asked  bool // to stop
}

// A UsageError is a wrong flag or argument.
type UsageError struct {
	Msg   string
	plain bool // it says what to do, and wants no hint
}

func (e *UsageError) Error() string { return e.Msg }

// Hint adds what to do about it to an error.
func Hint(err error, hint string) error { return &hinted{err, hint} }

type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() + " (hint: " + e.hint + ")" }
func (e *hinted) Unwrap() error { return e.err }

// ErrTold is for a program that has said everything already and only has to exit 1.
var ErrTold = errors.New("failed")

// errDone is for flags such as --help, which have done all there is.
var errDone = errors.New("done")

// Main runs a program and ends the process.
func Main(name string, run func(*Env) error) {
	env := &Env{Name: name, Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(env.Run(run))
}

// Run runs a program and returns its exit code.
func (e *Env) Run(run func(*Env) error) int {
	return e.tell(run(e))
}

// tell says what went wrong, each thing in a line of its own, and returns the exit code.
func (e *Env) tell(err error) int {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // of errors.Join itself
		code := ExitOK
		for _, one := range joined.Unwrap() {
			code = max(code, e.tell(one))
		}
		return code
	}
	var usage *UsageError
	switch {
	case err == nil, errors.Is(err, errDone):
		return ExitOK
	case errors.As(err, &usage):
		if text := err.Error(); !usage.plain && !strings.Contains(text, "(hint: ") && !strings.Contains(text, "\n") {
			err = Hint(err, e.Name+" -h")
		}
		e.Say("%v", err)
		return ExitUsage
	case errors.Is(err, ErrTold):
	default:
		e.Say("%v", Plain(err))
	}
	return ExitFailed
}

// Plain returns an error of the operating system without the name of the call: what is meant to be read is the file and the reason.
func Plain(err error) error {
	path, ok := err.(*fs.PathError) //nolint:errorlint // one inside of another error is part of its text
	switch {
	case !ok:
		return err
	case path.Path == os.Stdin.Name():
		return fmt.Errorf("standard input: %w", path.Err)
	case path.Path == os.Stdout.Name():
		return fmt.Errorf("standard output: %w", path.Err)
	}
	return fmt.Errorf("%s: %w", path.Path, path.Err)
}

// Say prints one message, with the program's name before it, to standard error.
func (e *Env) Say(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.status {
		fmt.Fprint(e.Stderr, clearLine)
		e.status = false
	}
	fmt.Fprintf(e.Stderr, "%s: %s\n", e.Name, fmt.Sprintf(format, args...))
}

const clearLine = "\r\x1b[K"

// ShowsStatus reports whether a status line is wanted: mode is yes, no, or auto, which is on a terminal.
func (e *Env) ShowsStatus(mode string) bool {
	f, ok := e.Stderr.(*os.File)
	return mode == "yes" || mode == "auto" && ok && IsTerminal(f)
}

// Status shows text, with the program's name before it, in the place of the status line before, on a terminal; no more than fits into a line of it. A
// message takes its place. The last one is left standing.
func (e *Env) Status(text string, last bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := ""
	if last {
		end = "\n"
	}
	fmt.Fprintf(e.Stderr, "%s%s%s", clearLine, cutAt(e.Name+": "+text, columns(e.Stderr)), end)
	e.status = !last
}

// columns returns how wide a terminal is; 0: it is none, or does not say.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// cutAt cuts a text so that it stays in one line of a terminal; the last column would begin the next on some.
func cutAt(text string, columns int) string {
	if r := []rune(text); columns > 1 && len(r) >= columns {
		return string(r[:columns-1])
	}
	return text
}

// common are the flags of every program.
type common struct {
	Version versionFlag `help:"Print the version." env:"-"`
}

type versionFlag bool

func (versionFlag) BeforeApply(app *kong.Kong, vars kong.Vars) error {
	fmt.Fprintf(app.Stdout, "%s %s\n", app.Model.Name, vars["version"])
	app.Exit(0)
	return nil
}

// Parse reads the command line into cli, a struct with kong tags. Flags can also be set in the environment: --max-gap of dtcat is
// DT_CAT_MAX_GAP. about is the program's description and examples its pipes, both shown by -h. vars are names and values for ${name} in the tags.
func (e *Env) Parse(cli any, about, examples string, vars ...string) error {
	_, err := e.ParseCommand(cli, about, examples, vars...)
	return err
}

// ParseCommand is Parse for a program that has commands. It returns which one was given, with the names of its arguments: "lag <group>".
func (e *Env) ParseCommand(cli any, about, examples string, vars ...string) (command string, err error) {
	done := false
	values := kong.Vars{"version": Version}
	for i := 0; i+1 < len(vars); i += 2 {
		values[vars[i]] = vars[i+1]
	}
	env := "DT_" + strings.ToUpper(strings.TrimPrefix(e.Name, "dt"))
	k, err := kong.New(cli,
		kong.Name(e.Name),
		kong.Description(about),
		kong.Embed(&common{}),
		kong.DefaultEnvars(env),
		values,
		kong.ValueFormatter(func(v *kong.Value) string { return v.Help }), // the variables have a line of their own
		kong.Writers(e.Stdout, e.Stderr),
		kong.Exit(func(int) { done = true }),
		kong.Help(func(o kong.HelpOptions, ctx *kong.Context) error {
			o.Compact, o.NoExpandSubcommands = true, true
			o.WrapUpperBound = 100
			if err := kong.DefaultHelpPrinter(o, ctx); err != nil {
				return err
			}
			_, err := fmt.Fprintf(ctx.Stdout, "\nA flag --NAME can also be set in the environment, as %s_NAME.\n\nExamples:\n%s", env, examples)
			return err
		}),
	)
	if err != nil {
		return "", fmt.Errorf("command line: %w", err)
	}
	ctx, err := k.Parse(e.Args)
	var path *fs.PathError
	switch {
	case done:
		return "", errDone
	case errors.As(err, &path): // from writing the help
		return "", path
	case err != nil:
		return "", usageError(err)
	}
	return ctx.Command(), nil
}

// dashed matches what kong says of a flag whose value begins with a -.
var dashed = regexp.MustCompile(`^(--[\w-]+): expected .* value but got "(-.*)" \(.*\); perhaps try `)

// usageError puts an error of kong's into our words.
func usageError(err error) error {
	switch m := dashed.FindStringSubmatch(err.Error()); {
	case m != nil && strings.HasPrefix(m[2], "--"):
		return &UsageError{Msg: fmt.Sprintf("%s: the value is missing before %s", m[1], m[2])}
	case m != nil:
		return &UsageError{Msg: fmt.Sprintf("%s: a value that begins with - is written %s=%s", m[1], m[1], m[2]), plain: true}
	}
	return &UsageError{Msg: err.Error()}
}

// Source makes ^C and SIGTERM stop the program: it ends its lanes and exits 0. A second one kills.
func (e *Env) Source() { e.notify(syscall.SIGINT, syscall.SIGTERM) }

// Stage makes ^C wait for the source to end, so that the pipe drains, and SIGTERM stop the program; a second ^C or SIGTERM kills.
func (e *Env) Stage() {
	e.notify(syscall.SIGTERM)
	ints := make(chan os.Signal, 1)
	signal.Notify(ints, syscall.SIGINT)
	go func() {
		<-ints
		signal.Reset(syscall.SIGINT)
	}()
}

func (e *Env) notify(signals ...os.Signal) {
	r, w, err := os.Pipe()
	if err != nil {
		return // then signals do what they do by default
	}
	e.stop = r
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, signals...)
	go func() {
		<-ch
		signal.Reset(signals...)
		e.mu.Lock()
		defer e.mu.Unlock()
		w.Close()
		for _, f := range e.onStop {
			f()
		}
		e.onStop, e.asked = nil, true
	}()
}

// OnStop calls f, which must not use e, when the program is asked to stop, or now, if it was.
func (e *Env) OnStop(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asked {
		f()
		return
	}
	e.onStop = append(e.onStop, f)
}

// StopFD returns the file descriptor that becomes readable when the program is asked to stop, or −1.
func (e *Env) StopFD() int {
	if e.stop == nil {
		return -1
	}
	return int(e.stop.Fd())
}

// IsTerminal reports whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// In returns standard input for a program that reads a stream or lines; usage shows what to put before it.
func (e *Env) In(usage string) (*wire.Input, error) {
	if IsTerminal(e.Stdin) {
		return nil, Hint(&UsageError{Msg: "nothing is piped in"}, usage)
	}
	return wire.NewInput(e.Stdin, e.StopFD()), nil
}

// BinaryOut returns standard output for a stream, and refuses a terminal.
func (e *Env) BinaryOut(usage string) (*wire.Writer, error) {
	if IsTerminal(e.Stdout) {
		return nil, Hint(&UsageError{Msg: "standard output is a terminal, and a stream is binary"}, usage)
	}
	wire.Enlarge(e.Stdout)
	return wire.NewWriter(e.Stdout), nil
}

// EndWithReader ends the program when nobody reads its standard output any more, if that is a pipe: as the next write would, which may be far off.
func (e *Env) EndWithReader() {
	info, err := e.Stdout.Stat()
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return
	}
	fds := []unix.PollFd{{Fd: int32(e.Stdout.Fd())}} // errors alone
	go func() {
		for {
			if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
				break
			}
		}
		if fds[0].Revents&unix.POLLERR != 0 {
			_, _ = e.Stdout.Write([]byte{0}) // which reaches nobody, and raises SIGPIPE
		}
	}()
}

// Pipe sets up a stage that reads a stream and writes one: its signals, its ends, and that what it has goes on before it waits for more.
// usage and outUsage show what to put before and behind it.
func (e *Env) Pipe(usage, outUsage string) (*wire.Reader, *wire.Writer, error) {
	e.Stage()
	in, err := e.In(usage)
	if err != nil {
		return nil, nil, err
	}
	out, err := e.BinaryOut(outUsage)
	if err != nil {
		return nil, nil, err
	}
	src := wire.NewReader(in)
	src.OnWait = func() error {
		return in.Await(func() (time.Duration, error) { return 0, out.Flush() })
	}
	return src, out, nil
}

// Copy is wire.Copy for a program that reads standard input: what is wrong with the input is said in the program's voice.
func (e *Env) Copy(dst *wire.Writer, src *wire.Reader, usage string, step func(*wire.Frame) error) error {
	err := wire.Copy(dst, src, func(err error) { e.Say("standard input: %v", err) }, step)
	var cut *wire.CutError
	if errors.As(err, &cut) {
		return ErrTold
	}
	return e.InputError(err, usage)
}

// InputError puts into words what is wrong with a stream on standard input; usage shows what to put before the program.
func (e *Env) InputError(err error, usage string) error {
	var not *wire.NotStreamError
	var format *wire.FormatError
	switch {
	case errors.As(err, &not) && len(not.Head) == 0:
		return Hint(errors.New("input is empty, not even a stream"), "did the program before this one fail?")
	case errors.As(err, &not):
		return Hint(fmt.Errorf("input is %s, not a stream", Sniff(not.Head)), usage)
	case errors.As(err, &format):
		return fmt.Errorf("standard input: %w", err)
	}
	return err
}
