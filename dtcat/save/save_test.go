package save

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dt/dtcat/remote"
)

// every is the distance of syncs in these tests.
const every = 1000

var modified = time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)

// content makes bytes that are the same for the same seed.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// object describes an object that has these bytes.
func object(path string, data []byte) *remote.Object {
	sum := sha256.Sum256(data)
	return &remote.Object{Name: "s3://bucket/" + path, Path: path, Size: int64(len(data)), Tag: hex.EncodeToString(sum[:8]), Modified: modified}
}

func open(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.every = every
	t.Cleanup(func() { f.Close() })
	return f
}

func find(t testing.TB, f *Folder, o *remote.Object) *Copy {
	t.Helper()
	c, err := f.Find(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func done(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill writes what a copy lacks up to a size, in pieces.
func fill(c *Copy, data []byte) error {
	for piece := range slices.Chunk(data[c.Have():], 300) {
		if n, err := c.Write(piece); err != nil || n != len(piece) {
			return errors.Join(err, errIf(n > len(piece), "too much is written"))
		}
	}
	return nil
}

func errIf(wrong bool, text string) error {
	if wrong {
		return errors.New(text)
	}
	return nil
}

// save takes an object into the folder as dtcat does.
func save(f *Folder, o *remote.Object, data []byte) error {
	c, err := f.Find(o)
	if err != nil || c.Whole() {
		return err
	}
	defer c.Close()
	if err := fill(c, data); err != nil {
		return err
	}
	return c.Finish(int64(len(data)), o.Tag)
}

// holds checks the beginning that a copy says to have.
func holds(t testing.TB, c *Copy, data []byte) {
	t.Helper()
	if c.Whole() && c.Have() != int64(len(data)) {
		t.Errorf("%s is whole with %d of %d bytes", c.path, c.Have(), len(data))
	}
	if c.Have() == 0 {
		return
	}
	file, err := c.Open()
	done(t, err)
	defer file.Close()
	got, err := io.ReadAll(io.LimitReader(file, c.Have()))
	done(t, err)
	if !bytes.Equal(got, data[:c.Have()]) {
		t.Errorf("%s: the %d bytes are others", c.path, c.Have())
	}
}

// complete checks that a folder has these files, and nothing else that can be seen, and that the next start believes it.
func complete(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	f := open(t, dir)
	defer f.Close()
	for _, err := range f.Odd() {
		t.Error(err)
	}
	for path, data := range files {
		c := find(t, f, object(path, data))
		if !c.Whole() || c.Again() != "" {
			t.Errorf("%s is not whole: %q", path, c.Again())
		}
		holds(t, c, data)
		got, err := os.ReadFile(filepath.Join(dir, path))
		done(t, err)
		if !bytes.Equal(got, data) {
			t.Errorf("%s is another", path)
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		if _, known := files[name]; !known && !d.IsDir() && name != manifestName && name != lockName {
			t.Errorf("%s is left", name)
		}
		return err
	})
	done(t, err)
}

// dated checks that files have the objects' times.
func dated(t testing.TB, dir string, paths ...string) {
	t.Helper()
	for _, path := range paths {
		info, err := os.Stat(filepath.Join(dir, path))
		done(t, err)
		if !info.ModTime().Equal(modified) {
			t.Errorf("%s is of %v", path, info.ModTime())
		}
	}
}

// says checks an error's text.
func says(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, and %q was expected", parts)
		return
	}
	text := err.Error()
	if strings.Contains(text, "\n") {
		t.Errorf("more than a line: %q", text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q does not say %q", text, part)
		}
	}
}

func TestSave(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	files := map[string][]byte{
		"a.txt": content(1, 5*every+17), "b/c/d.txt": content(2, 3*every), "b/e.txt": content(3, 1), "empty": nil, "exact": content(4, every), "ä ö.txt": content(5, 20),
	}
	f := open(t, dir)
	for path, data := range files {
		o := object(path, data)
		if path == "a.txt" {
			o.Size = -1 // is known at the end only
		}
		done(t, save(f, o, data))
		again := find(t, f, object(path, data))
		if !again.Whole() {
			t.Errorf("%s is not whole in the same run", path)
		}
		holds(t, again, data)
	}
	done(t, f.Close())
	complete(t, dir, files)
	dated(t, dir, "a.txt", "b/c/d.txt", "empty")

	text, err := os.ReadFile(filepath.Join(dir, manifestName))
	done(t, err)
	if n := bytes.Count(text, []byte("\n")); n != len(files) {
		t.Errorf("%d lines, %d files", n, len(files))
	}
	for line := range bytes.Lines(text) {
		var e struct {
			Path, Name, ETag, SHA256 string
			Bytes, Have              int64
			Modified                 time.Time
		}
		done(t, json.Unmarshal(line, &e))
		sum := sha256.Sum256(files[e.Path])
		if e.Name != "s3://bucket/"+e.Path || e.ETag == "" || e.Bytes != e.Have || e.SHA256 != hex.EncodeToString(sum[:]) || !e.Modified.Equal(modified) {
			t.Errorf("%+v", e)
		}
	}
}

// An object that was interrupted goes on; what was kept is what was synced, and at Close all.
func TestPart(t *testing.T) {
	data := content(1, 5000)
	for _, size := range []int64{int64(len(data)), -1} {
		t.Run(fmt.Sprint("size ", size), func(t *testing.T) {
			dir := t.TempDir()
			o := object("sub/x", data)
			o.Size = size
			for have := 0; have < len(data); have += 790 {
				f := open(t, dir)
				c := find(t, f, o)
				if c.Have() != int64(have) || c.Whole() || c.Again() != "" {
					t.Fatalf("%d bytes of %d, whole %v, %q", c.Have(), have, c.Whole(), c.Again())
				}
				holds(t, c, data)
				done(t, fill(c, data[:min(have+790, len(data))]))
				if have%2 == 0 {
					done(t, c.Close())
				}
				done(t, f.Close())
				if _, err := c.Write(data); err == nil {
					t.Error("it can be written to when it is closed")
				}
				if c.Finish(1, "") == nil {
					t.Error("it can be finished when it is closed")
				}
			}
			f := open(t, dir)
			c := find(t, f, o)
			// All bytes are there, and if it was known how many there are, it is whole.
			if c.Have() != int64(len(data)) || c.Whole() != (size >= 0) {
				t.Errorf("%d bytes, whole %v", c.Have(), c.Whole())
			}
			done(t, c.Finish(int64(len(data)), o.Tag))
			done(t, f.Close())
			complete(t, dir, map[string][]byte{"sub/x": data})
			dated(t, dir, "sub/x")
		})
	}
}

// What is not closed at all is kept up to the last sync.
func TestSynced(t *testing.T) {
	dir, data := t.TempDir(), content(1, 5500)
	f := open(t, dir)
	c := find(t, f, object("x", data))
	done(t, fill(c, data[:5400]))
	c.mu.Lock()
	done(t, c.syncEnds())
	c.mu.Unlock()
	crashed := t.TempDir()
	done(t, os.CopyFS(crashed, os.DirFS(dir)))
	g := open(t, crashed)
	c = find(t, g, object("x", data))
	if c.Have() < 4000 || c.Have() > 5400 {
		t.Errorf("%d bytes", c.Have())
	}
	holds(t, c, data)
	done(t, save(g, object("y", data), data)) // beside
	if c, err := g.Find(object("x", data)); err != nil || c.Have() != 0 || c.Whole() {
		t.Errorf("a second copy beside an open one: %v", err)
	} else {
		done(t, fill(c, data))
		done(t, c.Finish(5500, "other"))
		done(t, c.Close())
	}
	done(t, fill(c, data))
	done(t, c.Finish(5500, object("x", data).Tag))
	done(t, g.Close())
	complete(t, crashed, map[string][]byte{"x": data, "y": data})
}

// What is there is used only if it is what was saved of this version.
func TestAgain(t *testing.T) {
	data := content(1, 2*every+100)
	flip := func(at int) func([]byte) []byte {
		return func(b []byte) []byte {
			b[(at+len(b))%len(b)] ^= 1
			return b
		}
	}
	tests := map[string]struct {
		part   bool
		change func([]byte) []byte
		object func(*remote.Object)
		again  string
	}{
		"first byte":         {change: flip(0), again: "its checksum is wrong"},
		"last byte":          {change: flip(-1), again: "its checksum is wrong"},
		"short":              {change: func(b []byte) []byte { return b[:12] }, again: "12 bytes instead of 2100"},
		"long":               {change: func(b []byte) []byte { return append(b, 1) }, again: "2101 bytes instead of 2100"},
		"emptied":            {change: func([]byte) []byte { return nil }, again: "0 bytes instead of 2100"},
		"removed":            {change: func([]byte) []byte { return []byte("remove") }},
		"other tag":          {object: func(o *remote.Object) { o.Tag = "other" }, again: "the object has changed"},
		"no tag":             {object: func(o *remote.Object) { o.Tag = "" }, again: "the server does not tell one version from another"},
		"part, first byte":   {part: true, change: flip(0), again: "its checksum is wrong"},
		"part, last byte":    {part: true, change: flip(-1), again: "its checksum is wrong"},
		"part, short":        {part: true, change: func(b []byte) []byte { return b[:1499] }, again: "1499 bytes instead of 1500"},
		"part, removed":      {part: true, change: func([]byte) []byte { return []byte("remove") }},
		"part, other tag":    {part: true, object: func(o *remote.Object) { o.Tag = "other" }, again: "the object has changed"},
		"part, no tag":       {part: true, object: func(o *remote.Object) { o.Tag = "" }, again: "the server does not tell one version from another"},
		"part, other length": {part: true, object: func(o *remote.Object) { o.Size = 1400 }, again: "the object has changed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			f := open(t, dir)
			o := object("sub/x", data)
			file := filepath.Join(dir, "sub", "x")
			if test.part {
				file = filepath.Join(dir, "sub", ".x.part")
				done(t, fill(find(t, f, o), data[:1500]))
			} else {
				done(t, save(f, o, data))
			}
			done(t, f.Close())
			if test.change != nil {
				b, err := os.ReadFile(file)
				done(t, err)
				if b = test.change(b); string(b) == "remove" {
					done(t, os.Remove(file))
				} else {
					done(t, os.WriteFile(file, b, 0o666))
				}
			}
			now, now2 := *object("sub/x", data), data
			if test.object != nil {
				test.object(&now)
				if now.Size >= 0 {
					now2 = data[:now.Size]
				}
			}
			f = open(t, dir)
			c := find(t, f, &now)
			if c.Again() != test.again || c.Have() != 0 || c.Whole() {
				t.Errorf("%q, %d bytes, whole %v", c.Again(), c.Have(), c.Whole())
			}
			// Interrupted, it goes on; the file from before stays until then.
			done(t, fill(c, now2[:1200]))
			done(t, f.Close())
			if _, err := os.Stat(file); err != nil && test.change == nil {
				t.Error(err)
			}
			f = open(t, dir)
			c = find(t, f, &now)
			if want := int64(1200); now.Tag != "" && (c.Have() != want || c.Again() != "") {
				t.Errorf("%d bytes, %q", c.Have(), c.Again())
			}
			done(t, fill(c, now2))
			done(t, c.Finish(int64(len(now2)), object("sub/x", now2).Tag))
			done(t, f.Close())
			complete(t, dir, map[string][]byte{"sub/x": now2})
		})
	}
}

// Bytes behind those that the manifest speaks of are not used, whatever they are.
func TestTail(t *testing.T) {
	dir, data := t.TempDir(), content(1, 3000)
	f := open(t, dir)
	done(t, fill(find(t, f, object("x", data)), data[:1500]))
	done(t, f.Close())
	part := filepath.Join(dir, ".x.part")
	b, err := os.ReadFile(part)
	done(t, err)
	done(t, os.WriteFile(part, append(b, make([]byte, 5000)...), 0o666))
	f = open(t, dir)
	c := find(t, f, object("x", data))
	if c.Have() != 1500 || c.Again() != "" {
		t.Errorf("%d bytes, %q", c.Have(), c.Again())
	}
	done(t, fill(c, data))
	done(t, c.Finish(3000, object("x", data).Tag))
	done(t, f.Close())
	complete(t, dir, map[string][]byte{"x": data})
}

// A size that does not fit is no whole object, and what was written stays a part.
func TestFinishSize(t *testing.T) {
	dir, data := t.TempDir(), content(1, 3000)
	f := open(t, dir)
	c := find(t, f, object("x", data))
	done(t, fill(c, data[:2000]))
	says(t, c.Finish(3000, "tag"), "x: 2000 bytes were saved, and the object has 3000")
	done(t, c.Close())
	c = find(t, f, object("x", data))
	if c.Have() != 2000 {
		t.Errorf("%d bytes", c.Have())
	}
}

// Of two objects with the same place the second is refused.
func TestSamePlace(t *testing.T) {
	dir, data := t.TempDir(), content(1, 30)
	other := object("x", data)
	other.Name = "s3://elsewhere/x"
	f := open(t, dir)
	c := find(t, f, object("x", data))
	_, err := f.Find(other)
	says(t, err, "x: it keeps s3://bucket/x, so s3://elsewhere/x has no place (hint: save them in two folders)")
	done(t, fill(c, data))
	done(t, c.Finish(30, object("x", data).Tag))
	_, err = f.Find(other)
	says(t, err, "has no place")
}

func TestInTheWay(t *testing.T) {
	data := content(1, 30)
	tests := map[string]struct {
		make func(dir string) error
		says string
	}{
		"file":            {func(dir string) error { return os.WriteFile(filepath.Join(dir, "x"), []byte("mine"), 0o666) }, "x: a file is in the way that dtcat did not save (hint: "},
		"folder":          {func(dir string) error { return os.Mkdir(filepath.Join(dir, "x"), 0o777) }, "x: a folder is in the way"},
		"link":            {func(dir string) error { return os.Symlink("y", filepath.Join(dir, "x")) }, "x: a link is in the way"},
		"pipe":            {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "x"), 0o666) }, "x: something that is no file is in the way"},
		"part is a pipe":  {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, ".x.part"), 0o666) }, ".x.part: something that is no file is in the way"},
		"part is a link":  {func(dir string) error { return os.Symlink("y", filepath.Join(dir, ".x.part")) }, ".x.part: a link is in the way"},
		"part is no file": {func(dir string) error { return os.Mkdir(filepath.Join(dir, ".x.part"), 0o777) }, ".x.part: a folder is in the way"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			done(t, test.make(dir))
			f := open(t, dir)
			_, err := f.Find(object("x", data))
			says(t, err, test.says, "(hint: ")
			done(t, save(f, object("y2", data), data))
			done(t, f.Close())
		})
	}

	t.Run("file for a folder", func(t *testing.T) {
		dir := t.TempDir()
		f := open(t, dir)
		done(t, save(f, object("a", data), data))
		_, err := f.Find(object("a/b/c", data))
		says(t, err, "a file is in the way of a folder")
	})
	t.Run("meanwhile", func(t *testing.T) {
		dir := t.TempDir()
		mine := filepath.Join(dir, "x")
		f := open(t, dir)
		c := find(t, f, object("x", data))
		done(t, fill(c, data))
		done(t, os.WriteFile(mine, []byte("mine"), 0o666))
		says(t, c.Finish(30, object("x", data).Tag), "a file is in the way")
		done(t, f.Close())
		f = open(t, dir)
		_, err := f.Find(object("x", data))
		says(t, err, "a file is in the way")
		if b, _ := os.ReadFile(mine); string(b) != "mine" {
			t.Errorf("the file is %q", b)
		}
		done(t, os.Remove(mine))
		if c := find(t, f, object("x", data)); !c.Whole() {
			t.Error("what was saved is not used")
		}
		done(t, f.Close())
		complete(t, dir, map[string][]byte{"x": data})
	})
	t.Run("beside a part", func(t *testing.T) {
		dir := t.TempDir()
		f := open(t, dir)
		done(t, fill(find(t, f, object("x", data)), data[:10]))
		done(t, f.Close())
		done(t, os.WriteFile(filepath.Join(dir, "x"), []byte("mine"), 0o666))
		f = open(t, dir)
		_, err := f.Find(object("x", data))
		says(t, err, "a file is in the way")
	})
}

// A manifest that was cut by a crash of something else, or changed by hand: its good lines count.
func TestTornManifest(t *testing.T) {
	dir := t.TempDir()
	files := map[string][]byte{"a": content(1, 10), "b": content(2, 20), "c": content(3, 30)}
	f := open(t, dir)
	for _, path := range []string{"a", "b", "c"} {
		done(t, save(f, object(path, files[path]), files[path]))
	}
	done(t, f.Close())
	manifest := filepath.Join(dir, manifestName)
	text, err := os.ReadFile(manifest)
	done(t, err)
	lines := bytes.SplitAfter(text, []byte("\n"))
	for name, torn := range map[string]string{
		"end":      string(text[:len(text)-20]),
		"last \\n": string(text[:len(text)-1]),
		"long":     string(lines[0]) + string(lines[1]) + strings.Repeat("x", maxLine*2+3) + "\n",
		"two":      string(lines[0]) + "\n" + string(lines[1]) + "{}\n",
		"nothing":  string(lines[0]) + string(lines[1]) + "\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			done(t, os.CopyFS(dir, os.DirFS(filepath.Dir(manifest))))
			done(t, os.WriteFile(filepath.Join(dir, manifestName), []byte(torn), 0o666))
			f := open(t, dir)
			if len(f.Odd()) != 1 {
				t.Fatalf("%v", f.Odd())
			}
			says(t, f.Odd()[0], manifestName+": line ", "torn", "the others are used (hint: ")
			for _, path := range []string{"a", "b"} {
				if !find(t, f, object(path, files[path])).Whole() {
					t.Errorf("%s is not used", path)
				}
			}
			_, err := f.Find(object("c", files["c"]))
			says(t, err, "a file is in the way")
			done(t, os.Remove(filepath.Join(dir, "c")))
			done(t, save(f, object("c", files["c"]), files["c"]))
			done(t, f.Close())
			complete(t, dir, files)
		})
	}
	t.Run("missing", func(t *testing.T) {
		done(t, os.Remove(manifest))
		f := open(t, dir)
		_, err := f.Find(object("a", files["a"]))
		says(t, err, "a file is in the way")
	})
}

// Nothing that a manifest says, and no link, leads out of the folder.
func TestHostile(t *testing.T) {
	sum := strings.Repeat("0", 64)
	data := content(1, 30)
	line := func(path string, have, all int64, sum string) string {
		text, err := json.Marshal(map[string]any{"Path": path, "Name": "s3://bucket/x", "Bytes": all, "Have": have, "SHA256": sum, "ETag": "t"})
		done(t, err)
		return string(text) + "\n"
	}
	text := ""
	for _, path := range []string{"", ".", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "a\x00b", "a\nb", "dtcat.manifest", ".dtcat.lock", ".dtcat.manifest.new", ".x.part", "a/.x.part"} {
		text += line(path, 5, 5, sum)
		_, err := open(t, t.TempDir()).Find(&remote.Object{Name: "s3://bucket/x", Path: path, Size: 5, Tag: "t"})
		says(t, err, "s3://bucket/x: it can't be saved as ")
	}
	_, err := open(t, t.TempDir()).Find(&remote.Object{Name: "s3://bucket/x", Path: "a\xff"})
	says(t, err, "s3://bucket/x: a name that is not UTF-8 can't be saved")
	text += line("a", -1, 5, sum) + line("a", 6, 5, sum) + line("a", 5, -2, sum) + line("a", 5, 5, "00") + line("a", 5, 5, sum[:63]+"x") + "[]\nnull\n1\n" +
		`{"Path":"a","Bytes":1e30,"Have":5,"SHA256":"` + sum + "\"}\n"
	entries, odd, err := parse(strings.NewReader(text))
	if len(entries) != 0 || err != nil {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	says(t, odd, fmt.Sprintf("line 1 and %d more", strings.Count(text, "\n")-1))

	outside := t.TempDir()
	done(t, os.WriteFile(filepath.Join(outside, "x"), data, 0o666))
	t.Cleanup(func() {
		entries, err := os.ReadDir(outside)
		if b, _ := os.ReadFile(filepath.Join(outside, "x")); err != nil || len(entries) != 1 || !bytes.Equal(b, data) {
			t.Error("what is outside was touched")
		}
	})
	link := func(t *testing.T, to, from string) string {
		dir := t.TempDir()
		done(t, os.Symlink(to, filepath.Join(dir, from)))
		return dir
	}
	t.Run("folder", func(t *testing.T) {
		f := open(t, link(t, outside, "out"))
		for _, path := range []string{"out/x", "out/y", "out/new/y"} {
			_, err := f.Find(object(path, data))
			says(t, err, "path escapes from parent (hint: does a link there lead out of the folder?)")
		}
	})
	t.Run("folder, later", func(t *testing.T) {
		dir := t.TempDir()
		f := open(t, dir)
		c := find(t, f, object("out/y", data))
		done(t, os.Symlink(outside, filepath.Join(dir, "out")))
		says(t, fill(c, data), "out")
		says(t, c.Finish(30, ""), "out")
		done(t, f.Close())
	})
	for _, name := range []string{manifestName, lockName} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(link(t, filepath.Join(outside, "x"), name))
			says(t, err, name+": a link is in the way")
		})
	}
	t.Run("new manifest", func(t *testing.T) {
		dir := link(t, filepath.Join(outside, "x"), newManifest)
		f := open(t, dir)
		done(t, save(f, object("y", data), data))
		done(t, f.Close())
		complete(t, dir, map[string][]byte{"y": data})
	})
	t.Run("known file", func(t *testing.T) {
		dir := t.TempDir()
		f := open(t, dir)
		done(t, save(f, object("x", data), data))
		done(t, f.Close())
		done(t, os.Remove(filepath.Join(dir, "x")))
		done(t, os.Symlink(filepath.Join(outside, "x"), filepath.Join(dir, "x")))
		_, err := open(t, dir).Find(object("x", data))
		says(t, err, "a link is in the way")
	})
}

// A second program that saves in the same folder is told so, and a lock goes with the process that had it.
func TestLock(t *testing.T) {
	if dir := os.Getenv("SAVE_TEST_LOCK"); dir != "" {
		_, err := Open(dir)
		fmt.Println("opened", err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestLock$")
	cmd.Env = append(os.Environ(), "SAVE_TEST_LOCK="+dir)
	in, err := cmd.StdinPipe()
	done(t, err)
	defer in.Close()
	out, err := cmd.StdoutPipe()
	done(t, err)
	done(t, cmd.Start())
	head := make([]byte, len("opened <nil>"))
	if _, err := io.ReadFull(out, head); err != nil || string(head) != "opened <nil>" {
		t.Fatalf("%q %v", head, err)
	}
	_, err = Open(dir)
	says(t, err, dir+": another dtcat saves there (hint: ")
	done(t, cmd.Process.Kill())
	_ = cmd.Wait()
	f := open(t, dir)
	_, err = Open(dir)
	says(t, err, "another dtcat saves there")
	done(t, f.Close())
	done(t, open(t, dir).Close())
}

// Folders that can't be used, also by root.
func TestNoFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	done(t, os.WriteFile(file, nil, 0o666))
	_, err := Open(file)
	says(t, err, file+": not a directory")
	_, err = Open(filepath.Join(file, "below"))
	says(t, err, "not a directory")
	done(t, os.Mkdir(filepath.Join(dir, manifestName), 0o777))
	_, err = Open(dir)
	says(t, err, manifestName+": a folder is in the way")
}

// Folder.Close comes from another goroutine than the one that writes, or searches.
func TestCloseWhileOpen(t *testing.T) {
	dir, data := t.TempDir(), content(1, 40*every)
	for range 20 {
		f := open(t, dir)
		c := find(t, f, object("x", data))
		if c.Whole() {
			done(t, f.Close())
			break
		}
		holds(t, c, data)
		var wg sync.WaitGroup
		begun := make(chan struct{})
		begin := sync.OnceFunc(func() { close(begun) })
		wg.Go(func() {
			defer begin()
			for i := c.Have(); i < int64(len(data)); i += 100 {
				_, err := c.Write(data[i : i+100])
				if i == c.Have()+2500 {
					begin()
				}
				if err != nil {
					if !errors.Is(err, errClosed) {
						t.Error(err)
					}
					return
				}
			}
			if err := c.Finish(int64(len(data)), object("x", data).Tag); err != nil && !errors.Is(err, errClosed) {
				t.Error(err)
			}
		})
		<-begun
		done(t, f.Close())
		wg.Wait()
		done(t, f.Close())
		if _, err := f.Find(object("x", data)); !errors.Is(err, errClosed) {
			t.Error(err)
		}
	}
	f := open(t, dir)
	done(t, save(f, object("x", data), data))
	done(t, f.Close())
	complete(t, dir, map[string][]byte{"x": data})

	f = open(t, dir)
	var wg sync.WaitGroup
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	wg.Go(func() {
		defer begin()
		for i := 0; ; i++ {
			c, err := f.Find(object("x", data))
			if i == 10 {
				begin()
			}
			if errors.Is(err, errClosed) {
				return
			}
			if err != nil || !c.Whole() {
				t.Error(err)
				return
			}
		}
	})
	<-begun
	done(t, f.Close())
	wg.Wait()
}

// Thousands of small objects do not cost a manifest each, and are all there.
func TestMany(t *testing.T) {
	dir, files := t.TempDir(), map[string][]byte{}
	f := open(t, dir)
	f.every = defaultSync
	manifests := 0
	f.step = func(what, _ string) error {
		if what == "replace manifest" {
			manifests++
		}
		return nil
	}
	for i := range 1500 {
		path := fmt.Sprintf("%d/%d", i%7, i)
		files[path] = content(uint64(i), 100+i%50)
		done(t, save(f, object(path, files[path]), files[path]))
		if i%300 == 299 && !find(t, f, object(path, files[path])).Whole() {
			t.Errorf("%s was saved, and is not found", path)
		}
	}
	done(t, f.Close())
	if manifests > 400 {
		t.Errorf("%d manifests", manifests)
	}
	complete(t, dir, files)
}

func FuzzManifest(f *testing.F) {
	sum := strings.Repeat("0", 64)
	f.Add([]byte(`{"Path":"a/b","Name":"s3://b/a","Bytes":5,"ETag":"t","Modified":"2024-01-02T03:04:05Z","Have":5,"SHA256":"` + sum + "\"}\n"))
	f.Add([]byte(`{"Path":"a","Bytes":-1,"Have":5,"SHA256":"` + sum + `","Old":true}` + "\n\n{\n"))
	f.Add([]byte(`{"Path":"../a"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, odd, err := parse(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if odd != nil {
			says(t, odd, "line ")
		}
		if n := bytes.Count(text, []byte("\n")); len(entries) > n {
			t.Fatalf("%d entries in %d lines", len(entries), n)
		}
		folder := &Folder{byPath: map[string]*entry{}}
		for _, e := range entries {
			if !filepath.IsLocal(e.Path) || !fs.ValidPath(e.Path) || e.Have < 0 || e.Bytes >= 0 && e.Have > e.Bytes {
				t.Fatalf("%+v", e)
			}
			folder.put(e)
		}
		folder.manifest.Reset()
		lines := json.NewEncoder(&folder.manifest)
		for _, e := range folder.entries {
			done(t, lines.Encode(e))
		}
		again, odd, err := parse(&folder.manifest)
		if err != nil || odd != nil || len(again) != len(folder.entries) {
			t.Fatalf("%v %v, %d of %d", odd, err, len(again), len(folder.entries))
		}
		for i := range again {
			if *again[i] != *folder.entries[i] && !again[i].Modified.Equal(folder.entries[i].Modified) {
				t.Fatalf("%+v, and was %+v", again[i], folder.entries[i])
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	const size = 256 << 20
	piece := content(1, 256<<10)
	b.SetBytes(size)
	dir := b.TempDir()
	for b.Loop() {
		f := open(b, dir)
		f.every = defaultSync
		c := find(b, f, &remote.Object{Name: "x", Path: "x", Size: size, Tag: "a"})
		for range size / len(piece) {
			if _, err := c.Write(piece); err != nil {
				b.Fatal(err)
			}
		}
		done(b, c.Finish(size, "b")) // another, so that it is written again
		done(b, f.Close())
	}
}

func BenchmarkFind(b *testing.B) {
	const size = 64 << 20
	data := make([]byte, size)
	f := open(b, b.TempDir())
	f.every = defaultSync
	done(b, save(f, object("x", data), data))
	b.SetBytes(size)
	for b.Loop() {
		if !find(b, f, object("x", data)).Whole() {
			b.Fatal("not whole")
		}
	}
}
