package tool

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A program that has nothing to write ends all the same when its reader does.
func TestEndWithReader(t *testing.T) {
	if os.Getenv("DT_TEST_READER") != "" {
		env := &Env{Stdout: os.Stdout}
		env.EndWithReader()
		time.Sleep(20 * time.Second)
		os.Exit(7)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestEndWithReader$")
	cmd.Env = append(os.Environ(), "DT_TEST_READER=1")
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	time.Sleep(100 * time.Millisecond)
	r.Close()
	begin := time.Now()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Fatalf("it ended with %v", err)
	}
	if status := exit.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGPIPE || time.Since(begin) > 5*time.Second {
		t.Errorf("it ended after %v with %v", time.Since(begin), exit)
	}
}
