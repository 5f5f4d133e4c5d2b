// Package save keeps what is read from elsewhere in a folder, so that the next start reads it there, and an object that was interrupted
// goes on at its byte.
//
// A folder has a manifest, dtcat.manifest, a line of JSON for each object: which version of it is there, and what checksum its first bytes
// have. An object that is being written stands in .NAME.part beside its place, and gets its name when it is whole. The manifest never
// speaks of a byte that is not on the disk: the part is synced first, then the manifest is replaced, then the part gets its name.
// So there is no moment at which a crash or a power cut could leave bytes behind that are believed and wrong; what was written since
// the last sync, at most 32 MiB, is fetched again. And nothing is believed unread: a start checks what is there before it uses it.
package save

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"dt/internal/tool"
)

// The files of a folder that are no objects.
const (
	manifestName = "dtcat.manifest"
	newManifest  = ".dtcat.manifest.new"
	lockName     = ".dtcat.lock" // not the manifest, which is replaced by another file at every change
)

// defaultSync is how many bytes of an object are written until they are synced.
const defaultSync = 16 << 20

// A Folder keeps objects.
type Folder struct {
	dir     string
	root    *os.Root // nothing that an object or the manifest is called leads out of it, nor does a link
	lock    *os.File
	odd     []error
	closing chan struct{}
	every   int64                         // bytes from sync to sync
	step    func(what, name string) error // of tests: called before each change on the disk; may be nil

	mu       sync.Mutex // of what follows, and of the manifest; a Copy's own is locked before
	closed   bool
	entries  []*entry
	byPath   map[string]*entry
	open     map[string]*Copy // being written, or to be
	pending  []*entry         // whole, and their parts are synced; the manifest and the names are still to come
	since    int64            // bytes of pending
	failed   bool             // the manifest could not be written the last time, which was told
	size     int              // of the manifest, as it was written last
	durable  map[string]bool  // folders that are on the disk, with all above them
	renamed  map[string]bool  // folders in which names have changed since
	manifest bytes.Buffer     // used again
}

var errClosed = errors.New("the folder is closed")

// Open opens a folder, and makes it if it is not there. It is locked until Close.
func Open(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, tool.Plain(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, tool.Plain(err)
	}
	f := &Folder{dir: dir, root: root, closing: make(chan struct{}), every: defaultSync,
		byPath: map[string]*entry{}, open: map[string]*Copy{}, durable: map[string]bool{}, renamed: map[string]bool{}}
	if err = f.takeLock(); err == nil {
		err = f.load()
	}
	if err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

// Odd returns what is odd about the folder but does not hinder, to be told.
func (f *Folder) Odd() []error { return f.odd }

func (f *Folder) takeLock() error {
	if _, err := f.stat(lockName); err != nil {
		return err
	}
	lock, err := f.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return f.wrong(lockName, err)
	}
	f.lock = lock
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return tool.Hint(fmt.Errorf("%s: another dtcat saves there", f.dir), "wait until it has ended, or save in another folder")
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, errors.ErrUnsupported):
		f.odd = append(f.odd, fmt.Errorf("%s: the file system has no locks, so take care that no other dtcat saves there", f.dir))
	case err != nil:
		return f.wrong(lockName, err)
	}
	return nil
}

// load reads the manifest.
func (f *Folder) load() error {
	info, err := f.stat(manifestName)
	if info == nil || err != nil {
		return err
	}
	file, err := f.root.Open(manifestName)
	if err != nil {
		return f.wrong(manifestName, err)
	}
	defer file.Close()
	entries, odd, err := parse(file)
	if err != nil {
		return f.wrong(manifestName, err)
	}
	if odd != nil {
		f.odd = append(f.odd, tool.Hint(fmt.Errorf("%s: %w; the others are used", f.place(manifestName), odd),
			"a file that they told of is in the way now: remove it, and it is fetched again"))
	}
	for _, e := range entries {
		f.put(e)
	}
	f.size = int(info.Size())
	return nil
}

// put makes an entry that of its path. f.mu is locked.
func (f *Folder) put(e *entry) {
	if old := f.byPath[e.Path]; old != nil {
		*old = *e // it stands in the list
		return
	}
	f.entries = append(f.entries, e)
	f.byPath[e.Path] = e
}

// Close keeps what is not whole as parts, and unlocks the folder. What still uses it gets errors.
func (f *Folder) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil
	}
	f.closed = true
	close(f.closing)
	var open []*Copy
	for _, c := range f.open {
		open = append(open, c)
	}
	f.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if told := f.failed; len(f.pending) > 0 {
		if err := f.commit(); !told {
			errs = append(errs, err)
		}
	}
	for dir := range f.renamed {
		errs = append(errs, f.syncDir(dir))
	}
	f.release()
	return errors.Join(errs...)
}

func (f *Folder) release() {
	if f.lock != nil {
		f.lock.Close() // the file stays: another dtcat may be about to lock it
	}
	f.root.Close()
}

// finish takes up an entry whose part is whole and synced.
func (f *Folder) finish(e *entry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(e)
	e = f.byPath[e.Path]
	e.unnamed = true
	f.pending = append(f.pending, e)
	f.since += e.Bytes
	// With very many small objects the manifest would be most of what is written. Then some share one writing of it.
	const short = 64 << 10
	if f.size > short && f.since < min(int64(f.size), f.every) {
		return nil
	}
	return f.commit()
}

// keep makes the manifest speak of the beginning of a part.
func (f *Folder) keep(part *os.File, e *entry) error {
	if err := f.sync(part, partOf(e.Path)); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(e)
	return f.commit()
}

// forget makes the manifest say that nothing is there of an object. If old, there is a file, which is to be replaced.
func (f *Folder) forget(e *entry, old bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.Old = old
	f.put(e)
	return f.commit()
}

// sync makes a part durable, and its name.
func (f *Folder) sync(part *os.File, name string) error {
	if err := f.do("sync part", name, part.Sync); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.syncDirs(path.Dir(name))
}

// nameNow is name for a part that an earlier run has left whole.
func (f *Folder) nameNow(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.name(f.byPath[name])
}

// commit writes the manifest, and then gives what is whole its name. f.mu is locked.
func (f *Folder) commit() error {
	err := f.writeManifest()
	f.failed = err != nil
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range f.pending {
		e.unnamed = false
		errs = append(errs, f.name(e))
	}
	f.pending, f.since = nil, 0
	return errors.Join(errs...)
}

// name gives a part that is whole its name. f.mu is locked.
func (f *Folder) name(e *entry) error {
	if !e.Old {
		// Something may have come there in the meantime.
		switch info, err := f.stat(e.Path); {
		case err != nil:
			return err
		case info != nil:
			return f.inTheWay(e.Path)
		}
	}
	if !e.Modified.IsZero() {
		if err := f.do("set time", e.Path, func() error { return f.root.Chtimes(partOf(e.Path), time.Time{}, e.Modified) }); err != nil {
			return err
		}
	}
	if err := f.do("name", e.Path, func() error { return f.root.Rename(partOf(e.Path), e.Path) }); err != nil {
		return err
	}
	e.Old = false
	f.renamed[path.Dir(e.Path)] = true
	return nil
}

// writeManifest replaces the manifest. f.mu is locked.
func (f *Folder) writeManifest() error {
	b := &f.manifest
	b.Reset()
	lines := json.NewEncoder(b)
	lines.SetEscapeHTML(false)
	for _, e := range f.entries {
		if err := lines.Encode(e); err != nil {
			return f.wrong(manifestName, err)
		}
	}
	err := f.do("write manifest", manifestName, func() error {
		_ = f.root.Remove(newManifest) // of a crash
		file, err := f.root.OpenFile(newManifest, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if err != nil {
			return err
		}
		defer file.Close()
		if _, err := file.Write(b.Bytes()); err != nil {
			return err
		}
		return file.Sync()
	})
	if err == nil {
		err = f.do("replace manifest", manifestName, func() error { return f.root.Rename(newManifest, manifestName) })
	}
	if err != nil {
		_ = f.root.Remove(newManifest) // the room may be wanted
		return err
	}
	f.size = b.Len()
	return f.syncDir(".")
}

// syncDir makes the names in a folder durable.
func (f *Folder) syncDir(dir string) error {
	return f.do("sync folder", dir, func() error {
		d, err := f.root.Open(dir)
		if err != nil {
			return err
		}
		defer d.Close()
		err = d.Sync()
		if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
			return nil // some file systems do that by themselves only
		}
		return err
	})
}

// syncDirs makes the names in a folder durable, and the folder itself. f.mu is locked.
func (f *Folder) syncDirs(dir string) error {
	for above := dir; ; above = path.Dir(above) {
		if err := f.syncDir(above); err != nil {
			return err
		}
		if above == "." || f.durable[dir] {
			f.durable[dir] = true
			return nil
		}
	}
}

// do takes a step. Its error says where.
func (f *Folder) do(what, name string, step func() error) error {
	if f.step != nil {
		if err := f.step(what, name); err != nil {
			return f.wrong(name, err)
		}
	}
	if err := step(); err != nil {
		return f.wrong(name, err)
	}
	return nil
}

// stat looks at a file: nil if there is none. What is no file, as a link, a folder or a device, is in the way.
func (f *Folder) stat(name string) (fs.FileInfo, error) {
	info, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, f.wrong(name, err)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, tool.Hint(fmt.Errorf("%s: a link is in the way", f.place(name)), "move it elsewhere, or save in another folder")
	case info.IsDir():
		return nil, tool.Hint(fmt.Errorf("%s: a folder is in the way", f.place(name)), "move it elsewhere, or save in another folder")
	case !info.Mode().IsRegular():
		return nil, tool.Hint(fmt.Errorf("%s: something that is no file is in the way", f.place(name)), "move it elsewhere, or save in another folder")
	}
	return info, nil
}

func (f *Folder) inTheWay(name string) error {
	return tool.Hint(fmt.Errorf("%s: a file is in the way that dtcat did not save", f.place(name)), "move it elsewhere, or save in another folder")
}

// place is how a file of the folder is called in messages.
func (f *Folder) place(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

// wrong says what is wrong with a file of the folder, in the words of the operating system.
func (f *Folder) wrong(name string, err error) error {
	var file *fs.PathError
	var link *os.LinkError
	var number syscall.Errno
	switch {
	case errors.As(err, &file):
		err = file.Err
	case errors.As(err, &link):
		err = link.Err
	}
	if errors.Is(err, fs.ErrClosed) {
		return errClosed
	}
	told := fmt.Errorf("%s: %w", f.place(name), err)
	if !errors.As(err, &number) {
		if file != nil || link != nil {
			return tool.Hint(told, "does a link there lead out of the folder?") // os.Root has an error of its own for that
		}
		return told
	}
	switch number {
	case syscall.ENOSPC, syscall.EDQUOT:
		return tool.Hint(told, "with more room, the same command goes on from what is saved")
	case syscall.EROFS, syscall.EACCES, syscall.EPERM:
		return tool.Hint(told, "--save wants a folder that can be written to")
	case syscall.ENOTDIR:
		return tool.Hint(fmt.Errorf("%s: a file is in the way of a folder", f.place(name)), "move it elsewhere, or save in another folder")
	}
	return told
}

// partOf returns where a file stands until it is whole.
func partOf(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + ".part"
}

// checkPath says why something can't be saved under a path, or nothing.
func checkPath(name string) string {
	base := path.Base(name)
	switch {
	case !utf8.ValidString(name):
		return "a name that is not UTF-8 can't be saved"
	case !fs.ValidPath(name) || name == "." || !filepath.IsLocal(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Sprintf("it can't be saved as %.200q", name)
	case name == manifestName || name == newManifest || name == lockName, strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".part"):
		return fmt.Sprintf("it can't be saved as %.200q, a name that dtcat uses itself", name)
	}
	return ""
}
