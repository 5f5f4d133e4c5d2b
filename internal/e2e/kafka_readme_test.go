package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the README shows of Kafka works, from top to bottom, as far as it ends by itself.
func TestKafkaReadme(t *testing.T) {
	k := sharedKafka(t)
	dir := t.TempDir()
	sh := func(command string) (stdout, stderr string) {
		cmd := exec.Command("bash", "-c", "set -o pipefail; "+command)
		cmd.Dir = dir
		cmd.Env = append(environ(), "PATH="+binaries+":"+os.Getenv("PATH"), "DT_KAFKA_BOOTSTRAP="+k.bootstrap())
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", command, err, errs.String())
		}
		return string(out), errs.String()
	}
	if _, err := exec.LookPath("jq"); err != nil {
		missing(t, "jq", "apt-get install jq")
	}
	sh("dtcat 'sim:?seed=7&hits=100000' --to csv > run.csv; mkdir run; head -2000 run.csv > run/data_000000.txt")
	ran := 0
	var pipes []*exec.Cmd // that run until they are ended
	defer func() {
		for _, cmd := range pipes {
			if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
		}
	}()
	for _, example := range readmeExamples(t, "Over Kafka") {
		ran++
		if strings.Contains(example, "--group") {
			cmd := exec.Command("bash", "-c", example)
			cmd.Dir = dir
			cmd.Env = append(environ(), "PATH="+binaries+":"+os.Getenv("PATH"), "DT_KAFKA_BOOTSTRAP="+k.bootstrap())
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			pipes = append(pipes, cmd)
			continue
		}
		if strings.Contains(example, " lag ") {
			for begin := time.Now(); ; time.Sleep(200 * time.Millisecond) { // until the pipes above have made windows of the second run
				if now, _ := sh("dtkafka consume cosmo-results --until end"); strings.Count(now, `"Merge": {`) > 0 {
					break
				} else if time.Since(begin) > kafkaPatience {
					t.Fatalf("the pipes write no line:\n%s", now)
				}
			}
		}
		out, _ := sh(example)
		if strings.Contains(example, "jq") && len(strings.Fields(out)) < 3 && !strings.Contains(example, " lag ") {
			t.Errorf("%s\nwrites %q", example, out)
		}
	}
	if ran < 9 {
		t.Errorf("%d examples ran; there were 9 at least", ran)
	}
}
