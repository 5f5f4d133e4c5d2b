// Selftest kills programs at work for a minute, on your machine and your brokers, and says whether anything was lost or doubled.
//
//	go run ./internal/e2e/selftest [--bin bin] [--bootstrap HOST:PORT] [--seed N]
//
// It makes topics of its own and sends a stream with every difficulty through all programs, on several "nodes" at once, while it kills, stops and adds them. Only its own
// processes are harmed. In the end every field of every window is compared with what the programs say in one go, and, where python3 is, with an independent computation.
// Without --bootstrap it starts a broker of its own (Java and Maven are needed). The topics are deleted, and the broker ends, when it does, or with ^C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dt/internal/e2e/torture"
)

var (
	bin       = flag.String("bin", "bin", "folder of the programs")
	bootstrap = flag.String("bootstrap", "", "brokers, HOST:PORT[,…]; none: one of its own")
	seed      = flag.Uint64("seed", 0, "of what happens; 0: another one each time")
	records   = flag.Int("records", 400_000, "of the stream")
	lasts     = flag.Duration("for", 45*time.Second, "how long the stream takes")
	session   = flag.Duration("session", 0, "time-out of the groups' members; 0: 2s with a broker of its own, else 6s, which brokers take by default")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	exact, err := run(ctx)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		say("interrupted; all is cleaned up")
		os.Exit(130)
	case err != nil:
		say("%v", err)
		os.Exit(1)
	case !exact:
		os.Exit(1)
	}
}

func say(format string, args ...any) { fmt.Printf("selftest: "+format+"\n", args...) }

func run(ctx context.Context) (exact bool, err error) {
	if *seed == 0 {
		*seed = rand.Uint64N(1e6)
	}
	dir, err := os.MkdirTemp("", "dt-selftest-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	programs, err := filepath.Abs(*bin)
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(filepath.Join(programs, "dtkafka")); err != nil {
		return false, fmt.Errorf("%w (hint: make)", err)
	}
	brokers := *bootstrap
	if brokers == "" {
		var end func()
		if brokers, end, err = broker(ctx, dir); err != nil {
			return false, err
		}
		defer end()
		*session = orElse(*session, 2*time.Second)
	}

	stream, err := torture.Stream{Name: "selftest", Seed: *seed, Records: *records}.Make(programs, "", dir)
	if err != nil {
		return false, err
	}
	expected := []*torture.Expected{stream.Expected}
	if python, err := exec.LookPath("python3"); err == nil {
		e, err := torture.Independent(python, filepath.Join("internal", "e2e", "check", "dtcheck.py"), stream.Name, stream.File, "--window", stream.Window)
		if err != nil {
			return false, err
		}
		expected = append(expected, e)
	}
	stream.Expected = expected[len(expected)-1]
	var by []string
	for _, e := range expected {
		by = append(by, e.By)
	}
	if len(expected) == 1 {
		by = append(by, "python3 is missing for the independent check")
	}
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	say("seed %d: %d records; what must come of them say %s", *seed, stream.Records, strings.Join(by, ", and "))
	say("source → 8 partitions → nodes → 4 partitions → merge → results, on %s, for %v:", brokers, *lasts)
	begin := time.Now()
	report, err := torture.Go(ctx, torture.Config{
		Bin: programs, Bootstrap: brokers, Replicas: -1, Seed: *seed, Runs: []*torture.Run{stream}, Time: *lasts, Nodes: 2, Merges: 2, Plan: torture.Moments, Faults: 6,
		Session: orElse(*session, 6*time.Second), Patience: 2 * time.Minute, Limit: *lasts + 2*time.Minute,
		Say: func(format string, args ...any) {
			fmt.Printf("%10.1f s  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
		},
	})
	if err != nil || ctx.Err() != nil {
		return false, err
	}
	v := report.Verdict
	say("%d faults, %d restarts; %d windows, %d fields compared; lines that came twice: %d", len(report.Faults), report.Restarts, v.Windows, v.Equal, v.Twice)
	say("read = counted + set aside: %d = %d + %d; lost %d, doubled %d", v.Read, v.Counted, v.SetAside, v.Lost, v.Doubled)
	problems := report.Errors()
	for _, e := range expected[:len(expected)-1] {
		problems = append(problems, torture.Verify(report.Lines, map[string]*torture.Expected{stream.Name: e}).Problems...)
	}
	if len(problems) == 0 {
		say("exact")
		return true, nil
	}
	for _, p := range problems {
		fmt.Printf("%14s%s\n", "", p)
	}
	say("NOT exact; what the programs said:\n%s", report.State)
	return false, nil
}

func orElse(d, other time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return other
}

// broker starts a broker of our own, with nothing in it. What it returns ends it.
func broker(ctx context.Context, dir string) (string, func(), error) {
	properties := filepath.Join(dir, "properties")
	if err := os.WriteFile(properties, []byte("group.min.session.timeout.ms=500\n"), 0o666); err != nil {
		return "", nil, err
	}
	var last error
	for range 3 { // another program may take the port before the broker does
		port, err := freePort()
		if err != nil {
			return "", nil, err
		}
		script := func(ctx context.Context, args ...string) error {
			cmd := exec.CommandContext(ctx, filepath.Join("scripts", "kafka"), args...)
			cmd.Env = append(os.Environ(), "KAFKA_RUN="+filepath.Join(dir, "kafka"), "KAFKA_PORT="+strconv.Itoa(port), "KAFKA_HEAP=256m", "KAFKA_JVM=-XX:TieredStopAtLevel=1", "KAFKA_PROPERTIES="+properties)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C is for us alone
			cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
			out, err := cmd.CombinedOutput()
			if err != nil {
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				err = fmt.Errorf("no broker: %s", lines[len(lines)-1])
			}
			return err
		}
		end := func() {
			if err := script(context.Background(), "stop"); err != nil {
				say("%v", err)
			}
		}
		if last = script(ctx, "start"); last == nil {
			return "127.0.0.1:" + strconv.Itoa(port), end, nil
		}
		end()
		if ctx.Err() != nil || !strings.Contains(last.Error(), "taken by another") {
			break
		}
	}
	return "", nil, fmt.Errorf("%w (hint: make selftest BOOTSTRAP=HOST:PORT takes your own)", last)
}

// freePort returns a port that is free, as is the one 100 above, which a broker takes too.
func freePort() (int, error) {
	for range 100 {
		port := 12000 + rand.IntN(19000)
		free := true
		for _, p := range []int{port, port + 100} {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return port, nil
		}
	}
	return 0, errors.New("no free port for a broker")
}
