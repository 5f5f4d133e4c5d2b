package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scripts/kafka starts a broker that keeps its topics from one start to the next, takes no port from another program, and ends nobody
// else's process.
func TestKafkaScript(t *testing.T) {
	t.Parallel()
	needKafka(t, "")
	kafkaOwn.take(1)
	defer kafkaOwn.give(1)
	dir := filepath.Join(t.TempDir(), "with a space")
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	broker := "127.0.0.1:" + strconv.Itoa(port)
	run := func(port int, args ...string) (text string, code int) {
		t.Helper()
		cmd := exec.Command(kafkaScript(), args...)
		cmd.Env = append(kafkaEnviron(""), "KAFKA_RUN="+dir, "KAFKA_PORT="+strconv.Itoa(port), "KAFKA_HEAP=256m", "KAFKA_JVM=-XX:TieredStopAtLevel=1")
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return string(out), cmd.ProcessState.ExitCode()
	}
	expect := func(code int, says string, port int, args ...string) string {
		t.Helper()
		text, got := run(port, args...)
		if got != code || !strings.Contains(text, says) || strings.Count(text, "\n") > 1 {
			t.Errorf("%v: exit %d, want %d with %q in a line:\n%s", args, got, code, says, text)
		}
		return text
	}
	defer run(port, "stop")
	expect(1, "no broker", port, "status")
	expect(0, "no broker", port, "stop")
	expect(2, "usage", port)
	expect(2, "usage", port, "start", "none")

	l, err := net.Listen("tcp", broker)
	if err != nil {
		t.Fatal(err)
	}
	expect(1, "port "+strconv.Itoa(port)+" is taken", port, "start")
	l.Close()

	expect(0, broker, port, "start")
	text := expect(0, broker, port, "status")
	expect(1, "already running", port, "start")
	topics := func(args ...string) string {
		t.Helper()
		return string(pipeline(t, nil, append(stage{"dtkafka", "topics", "--bootstrap", broker}, args...)).ok(t))
	}
	topics("create", "kept")

	// It dies, and its number is another's by now.
	pid, err := strconv.Atoi(between(text, "process ", ":"))
	if err != nil {
		t.Fatalf("no process: %s", text)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	process.Kill()
	for end := time.Now().Add(kafkaPatience); ; time.Sleep(20 * time.Millisecond) {
		if _, code := run(port, "status"); code == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a broker that was killed is there still")
		}
	}
	sparesOthers(t, filepath.Join(dir, "pid1"), func() { expect(0, "no broker", port, "stop") })

	expect(1, "was begun with start 1", port, "start", "2")
	expect(0, broker, port, "start", "1")
	if list := topics("list"); !strings.Contains(list, "kept") {
		t.Errorf("the topic is gone:\n%s", list)
	}
	expect(0, "stopped", port, "stop")
	expect(1, "no broker", port, "status")
}

// sparesOthers fails the test if a script ends the process whose number stands in its file, although that is another's by now.
func sparesOthers(t *testing.T, file string, stop func()) {
	t.Helper()
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Wait() }()
	if err := os.WriteFile(file, []byte(strconv.Itoa(other.Process.Pid)+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	stop()
	select {
	case <-ended:
		t.Error("it has ended another's process")
	default:
		other.Process.Kill()
		<-ended
	}
}

// between returns what stands between two texts.
func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
