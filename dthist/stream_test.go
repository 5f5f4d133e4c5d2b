package main

import (
	"testing"

	"dt/internal/hist"
	"dt/internal/hit"
)

// Every code, at every place of a batch that is one.
func TestKnows(t *testing.T) {
	set := hist.NewSettings(nil)
	for n := 1; n <= hit.MaxChambers; n++ {
		m := *set.Map
		m.Chambers = make([]hit.Chamber, n)
		set.SetMap(&m)
		p := &program{set: set}
		for code := range 256 {
			for at := range 19 {
				chambers := make([]uint8, 19)
				for i := range chambers {
					chambers[i] = []uint8{0, 1, uint8(n), hit.Scintillator}[i%4]
				}
				chambers[at] = uint8(code)
				if got, want := p.knows(chambers), code <= n || code == hit.Scintillator; got != want {
					t.Fatalf("%d chambers: code %d at %d is known: %v", n, code, at, got)
				}
			}
		}
	}
}
