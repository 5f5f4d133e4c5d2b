package save

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"dt/dtcat/remote"
)

// A scene is what a run saves, on top of what the runs before have saved.
type scene struct {
	files map[string][]byte            // as they are at the server
	again map[string]string            // why what is there of them before the run is not used
	run   func(f *Folder) []error      // saves them; it goes on after errors, as dtcat does with the next source
	spoil func(t testing.TB, d string) // before the run
}

// keepPart saves the beginning of an object.
func keepPart(f *Folder, o *remote.Object, data []byte) error {
	c, err := f.Find(o)
	if err != nil || c.Whole() {
		return err
	}
	if err := fill(c, data); err != nil {
		_ = c.Close()
		return err
	}
	return c.Close()
}

// scenes are three runs: the first keeps a part of d, and in the second c is of another version, and e was damaged.
func scenes() []scene {
	first := map[string][]byte{"a": content(1, 3*every+500), "sub/deep/b": content(2, 2*every), "c": content(3, 2*every+1), "sub/d": content(4, 4*every), "e": content(5, 700), "empty": nil}
	second := map[string][]byte{"c": content(6, 3*every), "sub/f": content(7, 100)}
	for path, data := range first {
		if second[path] == nil {
			second[path] = data
		}
	}
	return []scene{
		{files: first, run: func(f *Folder) (errs []error) {
			for _, path := range []string{"a", "sub/deep/b", "c", "empty", "e"} {
				o := object(path, first[path])
				if path == "sub/deep/b" {
					o.Size = -1
				}
				errs = append(errs, save(f, o, first[path]))
			}
			return append(errs, keepPart(f, object("sub/d", first["sub/d"]), first["sub/d"][:2*every+300]))
		}},
		{files: second, again: map[string]string{"c": "the object has changed", "e": "its checksum is wrong"}, run: func(f *Folder) (errs []error) {
			for _, path := range []string{"e", "c", "sub/d", "a", "sub/f"} {
				errs = append(errs, save(f, object(path, second[path]), second[path]))
			}
			return errs
		}, spoil: func(t testing.TB, dir string) {
			file := filepath.Join(dir, "e")
			b, err := os.ReadFile(file)
			if err != nil {
				return // it is not there yet
			}
			b[99] ^= 1
			done(t, os.WriteFile(file, b, 0o666))
		}},
	}
}

// A disk follows what is written, and knows what of it is there after a power cut.
type disk struct {
	t        testing.TB
	dir      string
	mu       sync.Mutex
	writing  map[string]int64 // the size of a part when its sync began
	synced   map[string]int64 // bytes of a file that are on the disk for sure
	names    map[string]bool  // files and folders whose names are
	folder   string           // that is being synced
	manifest []byte           // that is there for sure
	steps    int
	step     func(what, name string) error
}

func newDisk(t testing.TB, dir string) *disk {
	d := &disk{t: t, dir: dir, writing: map[string]int64{}, synced: map[string]int64{}, names: map[string]bool{}}
	done(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		d.names[name] = true
		if info, err := e.Info(); err == nil && !e.IsDir() {
			d.synced[name] = info.Size()
		}
		return err
	}))
	d.manifest, _ = os.ReadFile(filepath.Join(dir, manifestName))
	return d
}

// at is called before each step.
func (d *disk) at(what, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.folder != "" {
		entries, err := os.ReadDir(filepath.Join(d.dir, d.folder))
		done(d.t, err)
		for _, e := range entries {
			d.names[path.Join(d.folder, e.Name())] = true
		}
		if text, err := os.ReadFile(filepath.Join(d.dir, manifestName)); d.folder == "." && err == nil {
			d.manifest = text
		}
		d.folder = ""
	}
	switch what {
	case "make part":
		d.synced[name] = 0
		delete(d.names, name) // a new one, if there was another
	case "sync part":
		if info, err := os.Stat(filepath.Join(d.dir, name)); err == nil {
			d.writing[name] = info.Size()
		}
	case "sync folder": // the part's sync has ended
		for name, size := range d.writing {
			d.synced[name] = max(d.synced[name], size)
		}
		clear(d.writing)
		d.folder = name
	case "name":
		d.synced[name] = d.synced[partOf(name)]
	}
	d.steps++
	if d.step != nil {
		return d.step(what, name)
	}
	return nil
}

// The states in which a crash can leave what is on the disk, made of a copy of all that was written.
var crashes = map[string]func(t testing.TB, d *disk, dir string){
	"killed": func(testing.TB, *disk, string) {},
	"power cut, what was not synced is cut": func(t testing.TB, d *disk, dir string) {
		d.spoil(t, dir, func(file string, size int64) { done(t, os.Truncate(file, size)) })
	},
	"power cut, what was not synced is nothing": func(t testing.TB, d *disk, dir string) {
		d.spoil(t, dir, func(file string, size int64) {
			b, err := os.ReadFile(file)
			done(t, err)
			clear(b[size:])
			done(t, os.WriteFile(file, b, 0o666))
		})
	},
	"power cut, names that were not synced are lost": func(t testing.TB, d *disk, dir string) {
		d.spoil(t, dir, func(file string, size int64) { done(t, os.Truncate(file, size)) })
		var lost []string
		done(t, fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
			if !d.names[name] && name != manifestName {
				lost = append(lost, name)
			}
			return err
		}))
		for _, name := range lost {
			if part := partOf(name); d.names[part] {
				if _, err := os.Stat(filepath.Join(dir, part)); err != nil {
					done(t, os.Rename(filepath.Join(dir, name), filepath.Join(dir, part)))
				}
			}
			done(t, os.RemoveAll(filepath.Join(dir, name)))
		}
		if d.manifest == nil {
			_ = os.Remove(filepath.Join(dir, manifestName))
			return
		}
		done(t, os.WriteFile(filepath.Join(dir, manifestName), d.manifest, 0o666))
	},
}

// spoil calls how for each file that is longer than what of it is on the disk.
func (d *disk) spoil(t testing.TB, dir string, how func(file string, size int64)) {
	for name, size := range d.synced {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && name != manifestName && info.Size() > size {
			how(file, size)
		}
	}
}

// recovers checks that a run after a crash finds what the manifest says, and completes it.
func recovers(t testing.TB, dir string, s scene) {
	t.Helper()
	f := open(t, dir)
	for _, err := range f.Odd() {
		t.Error(err)
	}
	for path, data := range s.files {
		o := object(path, data)
		have := int64(0)
		if e := f.byPath[path]; e != nil && e.ETag == o.Tag {
			have = e.Have
		}
		c := find(t, f, o)
		holds(t, c, data)
		switch why := c.Again(); {
		case why != "" && why != s.again[path]:
			t.Errorf("%s: %s", path, why)
		case why == "" && c.Have() < have:
			t.Errorf("%s: %d bytes, and the manifest says %d", path, c.Have(), have)
		}
		done(t, c.Close())
		done(t, save(f, o, data))
	}
	done(t, f.Close())
	complete(t, dir, s.files)
}

// A crash or a power cut between any two steps leaves a folder in which nothing wrong is believed, and which the next run completes; so does
// a disk that is full at any step, which is told.
func TestCrash(t *testing.T) {
	if dir, err := os.MkdirTemp("/dev/shm", "dt-save-"); err == nil { // where a sync takes no time
		t.Cleanup(func() { os.RemoveAll(dir) })
		t.Setenv("TMPDIR", dir)
	}
	before := t.TempDir() // what the scenes before have left
	for i, s := range scenes() {
		prepare := func(t testing.TB) string {
			dir := filepath.Join(t.TempDir(), "folder")
			done(t, os.CopyFS(dir, os.DirFS(before)))
			if s.spoil != nil {
				s.spoil(t, dir)
			}
			return dir
		}
		run := func(t testing.TB, dir string, step func(d *disk) func(what, name string) error) []error {
			d := newDisk(t, dir)
			d.step = step(d)
			f := open(t, dir)
			f.step = d.at
			return append(s.run(f), f.Close())
		}
		var whats []string
		run(t, prepare(t), func(*disk) func(string, string) error {
			return func(what, name string) error { whats = append(whats, what+" "+name); return nil }
		})
		t.Logf("run %d has %d steps", i+1, len(whats))

		for how, crash := range crashes {
			t.Run(fmt.Sprintf("run %d, %s", i+1, how), func(t *testing.T) {
				copies := t.TempDir()
				n := 0
				for _, err := range run(t, prepare(t), func(d *disk) func(string, string) error {
					return func(what, name string) error {
						if what == "write part" && n%3 > 0 {
							n++
							return nil // every third is enough
						}
						dir := filepath.Join(copies, fmt.Sprint(n, " ", what))
						n++
						done(t, os.CopyFS(dir, os.DirFS(d.dir)))
						done(t, os.Remove(filepath.Join(dir, lockName)))
						crash(t, d, dir)
						return nil
					}
				}) {
					done(t, err)
				}
				dirs, err := os.ReadDir(copies)
				done(t, err)
				for _, d := range dirs {
					t.Run(d.Name(), func(t *testing.T) {
						defer os.RemoveAll(filepath.Join(copies, d.Name()))
						recovers(t, filepath.Join(copies, d.Name()), s)
					})
				}
			})
		}

		t.Run(fmt.Sprintf("run %d, full disk", i+1), func(t *testing.T) {
			for fail := 1; fail <= len(whats); fail++ {
				for _, always := range []bool{false, true} {
					dir := prepare(t)
					failed := ""
					told := 0
					for _, err := range run(t, dir, func(d *disk) func(string, string) error {
						return func(what, name string) error {
							if d.steps == fail || always && d.steps > fail {
								failed = what
								return &fs.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
							}
							return nil
						}
					}) {
						if err != nil {
							told++
							if !bytes.Contains([]byte(err.Error()), []byte("no space left on device (hint: with more room, the same command goes on from what is saved)")) {
								t.Errorf("step %d, %s: %v", fail, failed, err)
							}
						}
					}
					if told == 0 && failed != "" {
						t.Errorf("step %d, %s: nothing was told", fail, failed)
					}
					recovers(t, dir, s)
				}
			}
		})

		if s.spoil != nil {
			s.spoil(t, before)
		}
		f := open(t, before)
		for _, err := range append(s.run(f), f.Close()) {
			done(t, err)
		}
	}
}

// A disk that is really full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Logf("there is no small disk to fill here: %v", err)
		return
	}
	t.Cleanup(func() { done(t, syscall.Unmount(dir, 0)) })
	f, err := Open(dir)
	done(t, err)
	small, data := content(1, 10_000), content(2, 400_000)
	done(t, save(f, object("small", small), small))
	c := find(t, f, object("x", data))
	err = fill(c, data)
	says(t, err, filepath.Join(dir, ".x.part")+": no space left on device (hint: with more room, ")
	done(t, c.Close())
	done(t, f.Close())
	done(t, syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT, "size=2m"))
	f, err = Open(dir)
	done(t, err)
	c = find(t, f, object("x", data))
	t.Logf("%d bytes were kept", c.Have())
	holds(t, c, data)
	done(t, fill(c, data))
	done(t, c.Finish(int64(len(data)), object("x", data).Tag))
	done(t, f.Close())
	complete(t, dir, map[string][]byte{"small": small, "x": data})

	// And one that can't be written to at all, which holds for root too.
	done(t, syscall.Mount("", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	_, err = Open(dir)
	says(t, err, lockName+": read-only file system (hint: --save wants a folder that can be written to)")
}
