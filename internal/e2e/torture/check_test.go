package torture

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// lineOf is a window of a run of one lane, whose ledger has the records [first, next), all of them hits of it.
func lineOf(number, first, next, revision, complete int64) string {
	n := next - first
	return fmt.Sprintf(`{"Total Count": %d, "Window": {"Run": "r", "Epoch": 0, "Number": %d, "Revision": %d}, "Ledger": {"Read": %d, "Hits": %d, "Set_Aside": {}}, "Complete": %d, `+
		`"Source": {"Lanes": [{"Run": "r", "Lane": [1, 1], "First": %d, "Next": %d}]}}`+"\n", n, number, revision, n, n, complete, first, next)
}

func TestVerify(t *testing.T) {
	a, b, c := lineOf(1, 0, 10, 0, 1), lineOf(2, 10, 15, 0, 1), lineOf(4, 15, 30, 0, 1)
	parse := func(text string) []Line {
		lines, err := ParseLines([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return lines
	}
	e := &Expected{Lines: map[Name]Line{}, Total: map[string]int64{"Hits": 30}, Read: 30}
	for _, l := range parse(a + b + c) {
		e.Lines[l.Name()] = l
	}
	for _, x := range []struct{ name, lines, says string }{
		{"all", a + b + c, ""},
		{"in any order, one twice", c + b + a + b, ""},
		{"revised", a + lineOf(2, 10, 12, 0, 0) + c + strings.Replace(lineOf(2, 12, 15, 1, 1), `"Total Count": 3`, `"Total Count": 5`, 1), ""},
		{"one lost", a + c, "epoch 0, window 2: missing"},
		{"one more", a + b + c + lineOf(5, 30, 31, 0, 1), "window 5: not expected"},
		{"a hit lost", a + lineOf(2, 11, 15, 0, 1) + c, "no ledger has the records from 10 to 11"},
		{"a hit doubled", a + lineOf(2, 9, 15, 0, 1) + c, "two ledgers have the records from 9 to 10"},
		{"incomplete", a + lineOf(2, 10, 15, 0, 0) + c, "Complete is 0"},
		{"twice, not the same", a + b + lineOf(2, 10, 14, 0, 1) + c, "came twice, not the same"},
	} {
		v := Verify(parse(x.lines), map[string]*Expected{"r": e})
		if got := strings.Join(v.Problems, "\n"); x.says == "" && got != "" || !strings.Contains(got, x.says) {
			t.Errorf("%s: %q, want %q", x.name, got, x.says)
		}
	}
}

// Frames are found in any pieces of a stream, and one is cut where it is to be.
func TestCut(t *testing.T) {
	one := make([]byte, header+16)
	one[0], one[4] = 2, 16
	mark := bytes.Clone(one)
	mark[0] = 5
	stream := append([]byte{0xD7, 'd', 't', 'h', 'i', 't', '\n', 1}, append(append(bytes.Clone(one), mark...), one...)...)
	c := &cut{frames: true, kinds: []byte{2}}
	var sizes []int
	for r, held := rand.New(rand.NewPCG(1, 1)), []byte(nil); len(stream) > 0 || len(held) > 0; {
		n := min(len(stream), 1+r.IntN(20))
		held, stream = append(held, stream[:n]...), stream[n:]
		if size, right := c.next(held); size > 0 {
			if right {
				size = -size
			}
			sizes = append(sizes, size)
			held = held[max(size, -size):]
		}
	}
	if got, want := fmt.Sprint(sizes), "[8 -64 64 -64]"; got != want {
		t.Errorf("pieces %s, want %s", got, want)
	}
}
