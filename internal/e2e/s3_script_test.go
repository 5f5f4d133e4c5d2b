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

// scripts/s3 starts a server that keeps its buckets from one start to the next, takes no port from another program, and ends nobody else's
// process.
func TestS3Script(t *testing.T) {
	t.Parallel()
	needS3(t)
	for _, tool := range []string{"curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool, "apt-get install "+tool)
		}
	}
	dir := filepath.Join(t.TempDir(), "with a space")
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	env := append(os.Environ(), "S3_RUN="+dir, "S3_PORT="+strconv.Itoa(port), "S3_TLS=", "PATH="+binaries+":"+os.Getenv("PATH"))
	expect := func(code int, says string, args ...string) string {
		t.Helper()
		cmd := exec.Command(s3Script(), args...)
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		text, lines := string(out), 1
		if code == 0 && (args[0] == "start" || args[0] == "env") {
			lines = 2
		}
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(text, says) || strings.Count(text, "\n") > lines {
			t.Errorf("%v: exit %d, want %d with %q in a line:\n%s", args, got, code, says, text)
		}
		return text
	}
	defer expect(0, "", "stop")
	file := write(t, "a b+ö%.csv", cat(t, "sim:?hits=1000", "--to", "csv"))
	expect(1, "no server", "status")
	expect(1, "no server", "env")
	expect(0, "no server", "stop")
	expect(1, "no server", "put", file, "cosmo")
	expect(2, "usage")
	expect(2, "usage", "start", "2")
	expect(2, "usage", "put", file)

	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	expect(1, "port "+strconv.Itoa(port)+" is taken", "start")
	l.Close()

	expect(0, "--endpoint https://"+address+" --ca-cert ", "start")
	text := expect(0, address, "status")
	expect(1, "already running", "start")
	expect(0, "1 file in s3://cosmo/run/1/", "put", file, "cosmo/run/1")
	expect(0, "1 file in s3://cosmo/", "put", file, "cosmo")
	expect(1, "no file that can be read", "put", file+"x", "cosmo")
	expect(1, "bucket Cosmo_: ", "put", file, "Cosmo_")
	read := func(name string) {
		t.Helper()
		cmd := exec.Command("bash", "-c", `eval "$("$0" env)"; exec dtcat --to csv "$1"`, s3Script(), name)
		cmd.Env = env
		var says strings.Builder
		cmd.Stderr = &says
		out, err := cmd.Output()
		if err != nil || says.Len() > 0 {
			t.Errorf("%s: %v\n%s", name, err, says.String())
		}
		same(t, name, string(out), string(mustRead(t, file)))
	}
	read("s3://cosmo/run/1/" + filepath.Base(file))
	if info, err := os.Stat(filepath.Join(dir, "access_key.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the credentials: %v, %v", info, err)
	}

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
	for end := time.Now().Add(s3Patience); ; time.Sleep(20 * time.Millisecond) {
		status := exec.Command(s3Script(), "status")
		status.Env = env
		if status.Run() != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a server that was killed is there still")
		}
	}
	sparesOthers(t, filepath.Join(dir, "pid"), func() { expect(0, "no server", "stop") })

	env = append(env, "S3_TLS=no")
	expect(0, "--endpoint http://"+address+" --credentials ", "start")
	read("s3://cosmo/")
	expect(0, "stopped", "stop")
	expect(1, "no server", "status")
}
