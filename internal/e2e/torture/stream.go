package torture

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// A Run is what a source reads, and what must come of it.
type Run struct {
	Name     string
	File     string
	Window   string // length of the windows
	Records  int64
	Sort     string // of the stream, for people
	Expected *Expected
}

// sorts of streams: those of check/traps.py, and what windows they are best seen through.
var sorts = []struct{ mode, window string }{
	{"sim", "1s"}, {"sim", "2s"}, {"sim", "1s"}, {"mixed", "10s"}, {"plain", "5s"}, {"skew", "10s"}, {"restarts", "10s"}, {"corrupt", "5s"}, {"silent", "10s"},
	{"bad", "10s"}, {"hits", "10s"}, {"tail", "10s"}, {"epochs", "5s"},
}

// A Stream is what a run is to be made of.
type Stream struct {
	Name    string
	Seed    uint64
	Records int
	Sort    string // "": as the seed says
	Window  string // "": as the sort is best seen through
}

// Make writes a stream into a folder: late hits, counters that begin anew, drift times, records that are set aside, lanes that fall silent. check is the folder
// of the programs in Python that make it and say what must come of it; without them a simulated run is taken, and what the programs themselves say in one go.
func (s Stream) Make(bin, check, dir string) (*Run, error) {
	name, seed, records := s.Name, s.Seed, s.Records
	r := rand.New(rand.NewPCG(seed, 1))
	sort := sorts[r.IntN(len(sorts))]
	python := ""
	if check != "" {
		var err error
		if python, err = exec.LookPath("python3"); err != nil {
			return nil, err
		}
	} else {
		sort = sorts[0]
	}
	if s.Sort != "" {
		sort.mode = s.Sort
	}
	run := &Run{Name: name, File: filepath.Join(dir, fmt.Sprintf("%s-%d.csv", name, seed)), Window: cmp.Or(s.Window, sort.window), Sort: sort.mode}
	var text []byte
	var err error
	if sort.mode == "sim" {
		// Half of the records are hits; the counters begin anew after some of them.
		source := fmt.Sprintf("sim:?seed=%d&hits=%d&rate=600&triggers=10&muons=5&late=0.001&corrupt=1e-4&stale=60&restart=%d&skew=%d",
			r.IntN(1e6), records/2, records/8+r.IntN(records/4), []int{600, 5000, 20000}[r.IntN(3)])
		text, err = piped(bin, command{"dtcat", source, "--to", "csv"})
	} else {
		text, err = exec.Command(python, filepath.Join(check, "traps.py"), "--mode", sort.mode, "--seed", fmt.Sprint(r.IntN(1e6)), "--rows", fmt.Sprint(records)).Output()
	}
	if err == nil {
		err = os.WriteFile(run.File, text, 0o666)
	}
	switch {
	case err != nil:
	case check != "":
		run.Expected, err = Independent(python, filepath.Join(check, "dtcheck.py"), name, run.File, "--window", run.Window)
	default:
		run.Expected, err = Plain(bin, name, run.File, run.Window)
	}
	if err != nil {
		return nil, fmt.Errorf("a stream of sort %s: %w", sort.mode, err)
	}
	run.Records = run.Expected.Read
	return run, nil
}
