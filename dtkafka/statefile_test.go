package main

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func openState(t *testing.T, path string) membership {
	t.Helper()
	m, err := newStateFile(path, "cluster1", "t", 12)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.close() })
	return m
}

func take(t *testing.T, m membership) *assignment {
	t.Helper()
	a, err := m.next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func unknown(partitions int) map[int]place {
	from := map[int]place{}
	for p := range partitions {
		from[p] = place{Offset: -1}
	}
	return from
}

func TestStandalone(t *testing.T) {
	m := newStandalone(3)
	a := take(t, m)
	if !maps.Equal(a.from, unknown(3)) {
		t.Errorf("from %v", a.from)
	}
	m.whole()
	select {
	case <-a.lost:
		t.Error("lost")
	default:
	}
	if err := a.save(t.Context(), a.from); err != nil {
		t.Error(err)
	}
	a.release()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if a, err := m.next(ctx); err == nil || a != nil || ctx.Err() == nil {
		t.Errorf("a second assignment: %v, %v", a, err)
	}
}

func TestStateFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "run.state")
	m := openState(t, path)
	a := take(t, m)
	if !maps.Equal(a.from, unknown(12)) {
		t.Errorf("new: from %v", a.from)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file without places")
	}
	for n := range int64(3) {
		if err := a.save(t.Context(), map[int]place{0: {Offset: n}, 2: {Offset: 5, Meta: `{"a": "<ü>"}`}, 10: {Offset: 1 << 60}, 3: {Offset: -1}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.save(t.Context(), map[int]place{0: {Offset: 9, Meta: "x"}}); err != nil { // the others stay
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "\n") || !strings.Contains(string(text), "<ü>") {
		t.Errorf("not for people: %s, %v", text, err)
	}
	var s state
	if err := json.Unmarshal(text, &s); err != nil || s.Topic != "t" || s.Cluster != "cluster1" || time.Since(s.Saved) > time.Minute || len(s.Partitions) != 3 || s.Partitions[2].Partition != 10 {
		t.Errorf("%s: %v", text, err)
	}
	if err := m.close(); err != nil {
		t.Error(err)
	}
	if err := m.close(); err != nil {
		t.Error(err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}

	want := unknown(12)
	want[0], want[2], want[10] = place{Offset: 9, Meta: "x"}, place{Offset: 5, Meta: `{"a": "<ü>"}`}, place{Offset: 1 << 60}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	m = openState(t, link)
	a = take(t, m)
	if !maps.Equal(a.from, want) {
		t.Errorf("from %v, want %v", a.from, want)
	}
	before, _ := os.Stat(path)
	if err := a.save(t.Context(), a.from); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("written though nothing is new")
	}
	if err := a.save(t.Context(), map[int]place{0: {Offset: 10}}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info, err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"offset": 10`) {
		t.Errorf("%s, %v", text, err)
	}
}

// A process that is killed leaves what it was writing and a lock that nobody has.
func TestStateFileCrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	m := openState(t, path)
	if err := take(t, m).save(t.Context(), map[int]place{1: {Offset: 7}}); err != nil {
		t.Fatal(err)
	}
	m.close()
	for name, text := range map[string]string{path + ".new": `{"topic": "t", "clus`, path + ".lock": ""} {
		if err := os.WriteFile(name, []byte(text), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	m = openState(t, path)
	a := take(t, m)
	if a.from[1].Offset != 7 {
		t.Errorf("from %v", a.from)
	}
	if err := a.save(t.Context(), map[int]place{1: {Offset: 8}}); err != nil {
		t.Fatal(err)
	}

	// What can't be put in its place is an error, and is not left behind.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := a.save(t.Context(), map[int]place{1: {Offset: 9}}); err == nil {
		t.Error("saved over a folder")
	}
	if _, err := os.Stat(path + ".new"); err == nil {
		t.Error("left behind")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := a.save(t.Context(), map[int]place{1: {Offset: 9}}); err != nil { // it was not taken for saved
		t.Error(err)
	}
	if s, err := readState(path); err != nil || s.Partitions[0].Offset != 9 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestStateFileLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	m := openState(t, path)
	if _, err := newStateFile(path, "cluster1", "t", 12); err == nil || !strings.Contains(err.Error(), path+": another process has this state file (hint: ") {
		t.Errorf("%v", err)
	}
	m.close()
	openState(t, path)
}

func TestStateFileRefused(t *testing.T) {
	dir := t.TempDir()
	good := `{"topic": "t", "cluster": "cluster1", "partitions": [{"partition": 1, "offset": 2}]}`
	for _, tt := range []struct{ name, text, want string }{
		{"topic", strings.Replace(good, `"t"`, `"u"`, 1), `: is the state of topic "u", not of "t" (hint: `},
		{"cluster", strings.Replace(good, "cluster1", "cluster2", 1), `: is the state of topic "t" in another cluster, "cluster2", not in "cluster1" (hint: `},
		{"partition", strings.Replace(good, `"partition": 1`, `"partition": 12`, 1), `: knows partition 12 of topic "t", which has only 12 partitions (hint: `},
		{"empty", "", ": is no state file, or damaged: "},
		{"cut", good[:50], ": is no state file, or damaged: byte 50: unexpected end of JSON input (hint: "},
		{"more", good + "}", ": is no state file, or damaged: byte "},
		{"other", `{"a": 1}`, "it names no topic"},
		{"list", `[1]`, "the whole: array does not belong there"},
		{"text", strings.Replace(good, ": 2", `: "2"`, 1), "partitions.offset: string does not belong there"},
		{"negative", strings.Replace(good, ": 2", `: -2`, 1), "partition 1: offset -2"},
		{"huge", strings.Replace(good, ": 2", `: 99999999999999999999`, 1), "does not belong there"},
		{"twice", strings.Replace(good, "}]", `}, {"partition": 1, "offset": 3}]`, 1), "partition 1 is out of order"},
		{"long", strings.Repeat(" ", stateLimit) + good, "more than 16777216 bytes"},
		{"binary", "\x7fELF", "invalid character"},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, []byte(tt.text), 0o666); err != nil {
			t.Fatal(err)
		}
		m, err := newStateFile(path, "cluster1", "t", 12)
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") || m != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if text, _ := os.ReadFile(path); string(text) != tt.text {
			t.Errorf("%s: changed", tt.name)
		}
		if _, err := os.Stat(path + ".lock"); err == nil {
			t.Errorf("%s: still locked", tt.name)
		}
	}
	for path, want := range map[string]string{
		dir:                          ": is a folder (hint: ",
		"/dev/null":                  ": is no regular file",
		filepath.Join(dir, "no/run"): ": no state can be kept here: no such file or directory",
		"/proc/self/run":             ": no state can be kept here: no such file or directory",
	} {
		if _, err := newStateFile(path, "cluster1", "t", 12); err == nil || !strings.HasPrefix(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What is accepted is what was written, and can be read again.
func FuzzStateFile(f *testing.F) {
	f.Add([]byte(`{"topic": "t", "cluster": "c", "saved": "2026-01-02T03:04:05Z", "partitions": [{"partition": 0, "offset": 5, "meta": "m"}, {"partition": 7, "offset": 0}]}`))
	f.Add([]byte(`{"topic": "t", "partitions": [{"partition": 1e3, "offset": 5}]}`))
	f.Add([]byte(`{"topic": "\ud800"} `))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseState(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		text, err := encodeState(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseState(text)
		if err != nil {
			t.Fatal(err)
		}
		again.Saved, s.Saved = again.Saved.UTC(), s.Saved.UTC()
		if len(s.Partitions) == 0 {
			again.Partitions, s.Partitions = nil, nil
		}
		if !reflect.DeepEqual(again, s) {
			t.Errorf("%+v of %+v: %v", again, s, err)
		}
	})
}
