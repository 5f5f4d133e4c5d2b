package main

import (
	"bytes"
	"testing"

	"dt/internal/hit"
	"dt/internal/wire"
)

func plainWord(t testing.TB, row string) uint64 {
	t.Helper()
	words, bad := hit.DecodeCSV(nil, nil, []byte(row), false)
	if len(words) != 1 || len(bad) > 0 {
		t.Fatalf("%q: %v", row, bad)
	}
	return words[0]
}

func TestRecognise(t *testing.T) {
	var stream bytes.Buffer
	s, err := wire.NewSource(wire.NewWriter(&stream), wire.Lane{Run: "x", K: 1, N: 1}, "dtcat", 0)
	must(t, err)
	must(t, s.Flush())
	frame := stream.String()
	const (
		object  = `{"HEAD": 2, "FPGA": 1, "TDC_CHANNEL": 36, "ORBIT_CNT": 3387200956.0, "BX_COUNTER": 2165, "TDC_MEAS": 28.0}`
		other   = `{"TDC_MEAS":28,"ORBIT_CNT":3387200956,"HEAD":2,"FPGA":1,"TDC_CHANNEL":36,"BX_COUNTER":2165}`
		row     = "2,1,36,3387200956,2165,28"
		result  = `{"Index": 1700000000.1, "Total Count": 492, "Chamber_1": {"Count": 80, "Hist_1": {"Bins": [0,5], "Counts": [1,2]}}}`
		python  = `{'Index': 1700000000.1, 'Total Count': 492, 'Chamber_1': {'Count': 80}}`
		cosmo   = `{"n": 990, "ch0": 80, "ch0_tdc_hist": {"edg": [0, 1], "cnt": [2, 3]}}`
		partial = `{"Progress": 1, "Run": "demo", "Lane": [1, 4], "Epoch": 0, "Number": 11}`
		torn    = `80, "Hist_1": {"Bins": [0,5,10], "Counts": [1,2,3]}}`
	)
	zeros := string(make([]byte, 4096))
	for name, c := range map[string]struct {
		want   content
		values []string
	}{
		"nothing":                    {"", nil},
		"null and empty":             {"", []string{"", ""}},
		"frames":                     {contentFrames, []string{frame, frame}},
		"frames, poisoned":           {contentFrames, []string{"garbage", zeros, row, object, frame}},
		"json":                       {contentJSON, []string{object}},
		"json, other writers":        {contentJSON, []string{other}},
		"json, poisoned first":       {contentJSON, []string{"garbage", object}},
		"json, mostly poison":        {contentJSON, []string{zeros, "a", "b", "c", "", object, row[:10]}},
		"json, truncated among":      {contentJSON, []string{object[:40], object}},
		"json, an array among":       {contentJSON, []string{"[" + object + "]", object}},
		"json, with a line end":      {contentJSON, []string{object + "\n"}},
		"csv":                        {contentCSV, []string{row}},
		"csv, with a line end":       {contentCSV, []string{row + "\r\n"}},
		"csv, header first":          {contentCSV, []string{hit.Header, row}},
		"csv, header only":           {contentCSV, []string{hit.Header}},
		"csv, poisoned first":        {contentCSV, []string{"garbage", row}},
		"csv, bad rows only":         {contentCSV, []string{"2,1,36,x,2165,28", "2,1,36,-5,2165,28"}},
		"csv more than json":         {contentCSV, []string{object, row, row}},
		"json more than csv":         {contentJSON, []string{row, object, object}},
		"json that is no word, only": {contentJSON, []string{object[:60]}},
		"results":                    {contentLines, []string{result}},
		"python literals":            {contentLines, []string{python}},
		"cosmo":                      {contentLines, []string{cosmo}},
		"partial lines":              {contentLines, []string{partial, result}},
		"results, torn first":        {contentLines, []string{torn, result}},
		"results, poisoned":          {contentLines, []string{zeros, "\x00\x01\x02", result}},
		"results, a number list":     {contentLines, []string{"1,2,3,4,5,6,7", result}},
		"results, a row cut":         {contentLines, []string{row[:9], result}},
		"text":                       {contentLines, []string{"hello", "world"}},
		"text in an old coding":      {contentLines, []string{"caf\xe9 is what older programs write"}},
		"zeros":                      {"", []string{zeros}},
		"one zero":                   {"", []string{"\x00"}},
		"binary":                     {"", []string{"\x80\x81\x82\x83\xff", "\x01\x02\x03\x04"}},
		"gzip":                       {"", []string{"\x1f\x8b\x08\x00 abc"}},
		"zstd":                       {"", []string{"\x28\xb5\x2f\xfd abc"}},
		"raw words":                  {"", []string{"\x07\x0a\xd2\x10\x8d\x00\x0a\x40"}},
		"a NUL in text":              {"", []string{"abcdefghijklmnopqrstuvwxyz\x00abcdefghijklmnopqrstuvwxyz"}},
		"blank":                      {"", []string{" ", "\n"}},
	} {
		var values [][]byte
		for _, v := range c.values {
			values = append(values, []byte(v))
		}
		if got := recognise(values); got != c.want {
			t.Errorf("%s: %q; want %q", name, got, c.want)
		}
	}
}

func FuzzRecognise(f *testing.F) {
	f.Add([]byte("2,1,36,3387200956,2165,28"), []byte("x"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := recognise([][]byte{a, b})
		back := recognise([][]byte{b, a})
		if got != back && (got != contentJSON && got != contentCSV || back != contentJSON && back != contentCSV) {
			t.Errorf("%q, and %q the other way round", got, back)
		}
		if frames := wire.IsStream(a) || wire.IsStream(b); frames != (got == contentFrames) {
			t.Errorf("%q", got)
		}
	})
}
