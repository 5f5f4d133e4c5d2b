package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What the README shows of S3 works, from top to bottom, with a server of its own.
func TestS3Readme(t *testing.T) {
	t.Parallel()
	needS3(t)
	for _, tool := range []string{"jq", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, tool, "apt-get install "+tool)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink(filepath.Dir(s3Script()), filepath.Join(dir, "scripts")); err != nil {
		t.Fatal(err)
	}
	port, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	env := slices.Concat(environ(), cleanEnv("PATH="+binaries+":"+os.Getenv("PATH"), "HOME="+os.Getenv("HOME"), "S3_RUN="+filepath.Join(dir, "server"), "S3_PORT="+strconv.Itoa(port), "S3_TLS="))
	settings := ""
	sh := func(command string) (stdout, stderr string) {
		t.Helper()
		pipefail := "set -o pipefail; "
		if strings.HasSuffix(command, "| head") {
			pipefail = "" // head ends the others
		}
		cmd := exec.Command("bash", "-c", settings+pipefail+command)
		cmd.Dir, cmd.Env = dir, env
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", command, err, errs.String())
		}
		return string(out), errs.String()
	}
	sh("dtcat 'sim:?seed=7&hits=400000' --to csv > run.csv")
	sh("scripts/s3 start")
	defer sh("scripts/s3 stop")
	want, _ := sh(`dtcat run.csv | dtfilter | dthist --window all | jq '."Total Count"'`)
	read := 0
	for _, example := range readmeExamples(t, "From S3 and the web") {
		example, _, _ := strings.Cut(example, "  #")
		if strings.HasPrefix(example, "eval ") {
			settings = example + "; "
			continue
		}
		out, says := sh(example)
		if strings.HasPrefix(example, "dtcat ") {
			read++
			if out == "" || says != "" {
				t.Errorf("%s\nwrites %q\nsays %s", example, out, says)
			}
		}
		if strings.HasSuffix(example, `jq '."Total Count"'`) {
			same(t, example, out, want)
		}
	}
	if read < 4 || settings == "" {
		t.Errorf("%d examples read; there were 4 at least", read)
	}
}
