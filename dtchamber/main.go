// Dtchamber tells for each word of a hit stream which chamber it belongs to, by a map from FPGA and channel to chambers.
//
//	dtcat FILE | dtfilter | dtchamber [--map minidt|lcp|FILE] | dthist
//
// The map also has the chambers' time offsets, the scintillator channels and the geometry; it goes along in the stream, so that
// dthist needs no map of its own. A map FILE is JSON as --print-map shows it. A word's chamber is 1, 2, …; 0 in
// none (dthist counts such hits as unassigned); 255 for the scintillator.
//
// It reads a stream on standard input and writes one on standard output. No word is added, dropped or changed.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

const examples = `  dtcat run.csv | dtfilter | dtchamber | dthist --window all
  dtchamber --print-map > my.map && dtcat run.csv | dtfilter | dtchamber --map my.map | dthist
  dtcat 'sim:?hits=1000' | dtchamber | dtcat --to csv --columns +CHAMBER,LAYER,WIRE,T_NS
`

const usage = "dtcat FILE | dtchamber"

// maxMap bounds the text of a map; 32 chambers take 4 KiB.
const maxMap = 256 << 10

type flags struct {
	Map      string `default:"minidt" help:"The chamber map: minidt, lcp (Run000591), or a file as --print-map shows it."`
	PrintMap bool   `help:"Print the map and exit." env:"-"`
}

func main() { tool.Main("dtchamber", run) }

func run(env *tool.Env) error {
	var cli flags
	if err := env.Parse(&cli, "Tells for each word of a hit stream which chamber it belongs to.", examples); err != nil {
		return err
	}
	text, m, err := loadMap(cli.Map)
	if err != nil {
		return err
	}
	if cli.PrintMap {
		_, err := env.Stdout.Write(text)
		return err
	}
	src, out, err := env.Pipe(usage, "dtcat FILE | dtchamber | dthist")
	if err != nil {
		return err
	}
	digest := hit.MapDigest(text)
	codes := make([]uint8, wire.MaxCover)
	return env.Copy(out, src, usage, func(f *wire.Frame) error {
		switch f.Kind {
		case wire.KindLane:
			lane := *f.Lane
			lane.Map = digest
			if err := out.Lane(f, &lane); err != nil {
				return err
			}
			return out.Map(f, text)
		case wire.KindMap:
			return nil // an earlier dtchamber's; this one's has taken its place
		case wire.KindWords, wire.KindLate:
			f.Chambers = codes[:len(f.Words)]
			m.Assign(f.Chambers, f.Words)
			return out.Words(f)
		}
		return out.Pass(f)
	})
}

// loadMap returns the built-in map of that name, or the one in that file.
func loadMap(name string) ([]byte, *hit.Map, error) {
	text, ok := hit.BuiltinMap(name)
	if !ok {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("--map: %q is neither a built-in map nor a file", name)}, "--map minidt, --map lcp, or begin with --print-map > FILE")
		case err != nil:
			return nil, nil, err
		case info.IsDir():
			return nil, nil, fmt.Errorf("%s: a folder, not a map", name)
		case info.Size() == 0:
			return nil, nil, fmt.Errorf("%s: empty, not a map", name)
		case info.Size() > maxMap:
			return nil, nil, fmt.Errorf("%s: %d bytes; a map has at most %d", name, info.Size(), maxMap)
		}
		if text, err = os.ReadFile(name); err != nil {
			return nil, nil, err
		}
	}
	m, err := hit.ParseMap(text)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, m, nil
}
