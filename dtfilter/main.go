// Dtfilter keeps the words of a hit stream that an expression is true for, and sets the others aside: they are counted by
// reason in the stream's ledger, so nothing is lost silently.
//
//	dtcat FILE | dtfilter [EXPR] | dtchamber | dthist
//
// Without EXPR it cleans the stream as the miniDT task asks: HEAD == 2 && TDC_CHANNEL <= 128.
//
// EXPR compares the fields HEAD, FPGA, TDC_CHANNEL, ORBIT_CNT, BX_COUNTER, TDC_MEAS and, behind dtchamber, CHAMBER (1, 2, …; 0: in
// none; 255: scintillator) with numbers:
//
//	== != < <= > >=    in(TDC_CHANNEL, 17, 61)    between(ORBIT_CNT, 617000, 620000)    && || ! ( )
//
// A word that fails the expression is set aside under the first of its && terms that it fails. Ancillary words (HEAD ≠ 2) have
// the fields that their text form shows.
//
// It reads a stream on standard input and writes one on standard output; when the input is slow, each word goes on at once.
package main

import (
	"errors"

	"dt/internal/tool"
	"dt/internal/wire"
)

const defaultExpr = "HEAD == 2 && TDC_CHANNEL <= 128"

const examples = `  dtcat run.csv | dtfilter | dtchamber | dthist --window all
  dtcat 'sim:?hits=1000' | dtfilter 'HEAD == 2 && FPGA == 0' | dtcat --to csv
  dtcat 'sim:?hits=1000' | dtchamber | dtfilter 'CHAMBER == 3 && TDC_CHANNEL < 8' | dtcat --to csv
`

const usage = "dtcat FILE | dtfilter"

type flags struct {
	Expr   string `arg:"" optional:"" env:"-" help:"What to keep; terms joined by && || ! ( ), compared by == != < <= > >=, or as in(TDC_CHANNEL, 17, 61) and between(ORBIT_CNT, 617000, 620000). Fields: HEAD FPGA TDC_CHANNEL ORBIT_CNT BX_COUNTER TDC_MEAS CHAMBER. Default: ${expr}"`
	Invert bool   `short:"v" help:"Keep what EXPR sets aside."`
}

var errNoChamber = errors.New("CHAMBER is known only behind dtchamber")

func main() { tool.Main("dtfilter", run) }

func run(env *tool.Env) error {
	var cli flags
	if err := env.Parse(&cli, "Keeps the words of a hit stream that EXPR is true for, and counts the others by reason.", examples, "expr", defaultExpr); err != nil {
		return err
	}
	if cli.Expr == "" {
		cli.Expr = defaultExpr
	}
	f, err := compile(cli.Expr, cli.Invert)
	if err != nil {
		return &tool.UsageError{Msg: err.Error()}
	}
	src, out, err := env.Pipe(usage, "dtcat FILE | dtfilter | dtchamber")
	if err != nil {
		return err
	}
	sieve := wire.NewSieve("dtfilter", f.reasons())
	return env.Copy(out, src, usage, func(fr *wire.Frame) error {
		switch fr.Kind {
		case wire.KindWords, wire.KindLate:
			if fr.Chambers == nil && f.needsChamber {
				return tool.Hint(errNoChamber, "dtcat FILE | dtchamber | dtfilter 'CHAMBER == 1'")
			}
			return sieve.Write(out, fr, f.eval)
		}
		return out.Pass(fr)
	})
}
