package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dt/dtcat/remote"
	"dt/dtcat/save"
	"dt/internal/tool"
)

// A webRun is a network of objects at a server of the test.
type webRun struct {
	t       *testing.T
	env     *tool.Env
	n       *network
	sources []source
}

// newWebRun lists what a server has at these paths.
func newWebRun(t *testing.T, h http.HandlerFunc, paths ...string) *webRun {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	w := &webRun{t: t, env: &tool.Env{Name: "dtcat", Stderr: t.Output()}}
	var err error
	if w.n, err = newNetwork(w.env, &remoteFlags{Connections: 1, Tries: 1, Stall: time.Minute, S3Style: "auto"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.n.close() })
	for _, path := range paths {
		listing, err := w.n.client.List(t.Context(), server.URL+path)
		if err != nil {
			t.Fatal(err)
		}
		o := &listing.Objects[0]
		w.sources = append(w.sources, source{name: o.Name, object: o})
	}
	return w
}

// open opens a source.
func (w *webRun) open(i int) (*input, error) {
	in := &input{name: w.sources[i].name}
	w.t.Cleanup(in.Close)
	return in, w.n.open(in, w.sources[i].object)
}

// files serves what is in them.
func files(data map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(data[r.URL.Path]))
	}
}

// When what was saved of an object is gone, the next one gets its own bytes all the same.
func TestNextObjectAfterOneThatFails(t *testing.T) {
	dir := t.TempDir()
	data := map[string]string{"/a": strings.Repeat("a", 1000), "/b": strings.Repeat("b", 1000)}
	w := newWebRun(t, files(data), "/a", "/b")
	folder, err := save.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := folder.Find(w.sources[0].object)
	if err == nil {
		_, err = io.WriteString(copied, data["/a"][:500])
	}
	if err := errors.Join(err, folder.Close()); err != nil {
		t.Fatal(err)
	}
	if err := w.n.openFolder(w.env, dir, w.sources); err != nil {
		t.Fatal(err)
	}
	w.n.plan(w.env, w.sources)
	if err := os.Remove(filepath.Join(dir, ".a.part")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a part that is gone: %v", err)
	}
	in, err := w.open(1)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in.count); err != nil || string(got) != data["/b"] {
		t.Fatalf("%.10q… %v", got, err)
	}
}

// Who opens objects while the program ends is told so.
func TestOpenWhileItEnds(t *testing.T) {
	data := map[string]string{"/a": "a", "/b": "b", "/c": "c", "/d": "d"}
	w := newWebRun(t, files(data), "/a", "/b", "/c", "/d")
	var said bytes.Buffer
	w.env.Stderr = &said
	if err := w.n.openFolder(w.env, t.TempDir(), w.sources); err != nil {
		t.Fatal(err)
	}
	w.n.plan(w.env, w.sources[:3])
	if err := w.n.close(); err != nil {
		t.Fatal(err)
	}
	w.n.plan(w.env, w.sources)
	if said.Len() > 0 {
		t.Errorf("said: %s", &said)
	}
	for i := range w.sources {
		in, err := w.open(i)
		if err == nil {
			_, err = in.count.Read(make([]byte, 1))
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("object %d: %v", i, err)
		}
		in.Close()
	}
}

// Who ends a stream in an object does not wait for a server that sends no more of it.
func TestStreamFromASilentServer(t *testing.T) {
	w := newWebRun(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		if r.Header.Get("Range") == "bytes=0-0" {
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("s", 1000)))
			return
		}
		w.Header().Set("Content-Range", "bytes 0-999/1000")
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write([]byte("half of it"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}, "/a.dts")
	w.n.plan(w.env, w.sources)
	in, err := w.open(0)
	if err == nil {
		err = in.pipe()
	}
	if err == nil {
		_, err = io.ReadFull(in.count, make([]byte, 10))
	}
	if err != nil {
		t.Fatal(err)
	}
	in.endPipe()
	if in.broke != nil {
		t.Errorf("it is told as broken: %v", in.broke)
	}
}

// The order of objects that come is that of the folder which is followed, whatever else was read before.
func TestFollowBehindAnotherFolder(t *testing.T) {
	at := func(names ...string) (found []source) {
		for _, name := range names {
			found = append(found, source{name: name, object: &remote.Object{Name: name, Tag: "1"}})
		}
		return found
	}
	var said bytes.Buffer
	c := &cat{env: &tool.Env{Name: "dtcat", Stderr: &said}}
	c.cli.Sources, c.cli.Follow = []string{"s3://z/", "s3://a/"}, true
	c.followed = at("s3://a/2")
	f := c.newFolderFollower()
	if more := f.more(at("s3://a/1", "s3://a/2", "s3://a/3")); len(more) != 1 || more[0].name != "s3://a/3" {
		t.Errorf("%v", more)
	}
	if !strings.Contains(said.String(), "s3://a/1: came too late") {
		t.Errorf("said: %s", &said)
	}
}

// What is secret in an address is in no message.
func TestWrongUseTellsNoSecret(t *testing.T) {
	var said bytes.Buffer
	env := &tool.Env{Name: "dtcat", Args: []string{"-f", "https://user:hush@host/x?X-Amz-Signature=hush"}, Stderr: &said}
	if code := env.Run(run); code != tool.ExitUsage || strings.Contains(said.String(), "hush") {
		t.Errorf("exit status %d: %s", code, &said)
	}
}

// A source that stumbles every few seconds is told once a minute.
func TestLateIsToldNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		c := &cat{env: &tool.Env{Name: "dtcat", Stderr: &said}}
		c.cli.Rate = 1000
		for range 60 {
			time.Sleep(2 * time.Second)
			c.late(lateAfter)
			c.late(0)
		}
		if n := strings.Count(said.String(), "come 1.0 s late"); n != 2 || strings.Count(said.String(), "in step again") != n {
			t.Errorf("told %d times in two minutes:\n%s", n, &said)
		}
	})
}
