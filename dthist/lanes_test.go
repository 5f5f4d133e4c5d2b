package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A lane that goes on at a floor, behind what another has read in between, loses nothing of what was booked before.
func TestLaneThatBeginsAnew(t *testing.T) {
	var words []uint64
	for i := range 3000 {
		words = append(words, hit.NewHit(i/4%2, i%128, uint32(617_000+i*3), i%3564, i%30))
	}
	var stream bytes.Buffer
	part := func(from, to int) {
		s, err := wire.ResumeSource(wire.NewWriter(&stream), wire.Lane{Run: "demo", K: 1, N: 1, FloorNumber: uint64(from)}, "test", wire.DefaultLateness,
			&wire.Mark{Number: uint64(from), Partition: wire.NoPartition})
		if err != nil {
			t.Fatal(err)
		}
		s.Add(words[from:to], nil)
		if err := s.End(wire.End{Stopped: true}, false); err != nil {
			t.Fatal(err)
		}
	}
	part(0, 1000)
	part(2000, 3000)
	for _, args := range [][]string{{"--window", "all"}, {"--clock", "wall", "--window", "1h"}} {
		in, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() { w.Write(stream.Bytes()); w.Close() }()
		out, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		env := &tool.Env{Name: "dthist", Args: args, Stdin: in, Stdout: out, Stderr: &said}
		code := env.Run(run)
		text, _ := os.ReadFile(out.Name())
		var line struct {
			Total    int `json:"Total Count"`
			Complete int
			Ledger   struct{ Read int }
		}
		if err := json.Unmarshal(text, &line); err != nil || line.Total != 2000 || line.Ledger.Read != 2000 || line.Complete != 0 {
			t.Errorf("%v: exit %d, %v, %+v; said: %s", args, code, err, line, &said)
		}
	}
}
