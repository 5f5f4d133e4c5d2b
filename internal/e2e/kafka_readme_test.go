package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
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
	sh("dtcat 'sim:?seed=7&hits=100000' --to csv > run.csv")
	ran := 0
	for _, example := range readmeExamples(t, "Over Kafka") {
		if strings.Contains(example, "--group") || strings.Contains(example, "--merge") || strings.Contains(example, " lag ") {
			continue
		}
		ran++
		out, _ := sh(example)
		if strings.Contains(example, "jq") && len(strings.Fields(out)) < 3 {
			t.Errorf("%s\nwrites %q", example, out)
		}
	}
	if ran < 5 {
		t.Errorf("%d examples ran; there were 5 at least", ran)
	}
}
