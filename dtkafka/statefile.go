package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dt/internal/tool"
)

// A standalone is the only reader of a topic that it knows of: it has all partitions for good.
type standalone struct {
	from map[int]place
	save func(ctx context.Context, places map[int]place) error
	once bool // from was handed out
}

// newStandalone returns a membership of all partitions that keeps no places.
func newStandalone(partitions int) membership { return unknownPlaces(partitions) }

func unknownPlaces(partitions int) *standalone {
	s := &standalone{from: make(map[int]place, partitions), save: func(context.Context, map[int]place) error { return nil }}
	for p := range partitions {
		s.from[p] = place{Offset: -1}
	}
	return s
}

func (s *standalone) next(ctx context.Context) (*assignment, error) {
	if s.once {
		<-ctx.Done()
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.once = true
	return &assignment{from: s.from, lost: make(chan struct{}), save: s.save, release: func() {}}, nil
}

func (s *standalone) whole()       {}
func (s *standalone) close() error { return nil }

// A stateFile keeps the places of all partitions of a topic in a file, which one process uses at a time.
type stateFile struct {
	*standalone
	path string // behind symbolic links
	lock *os.File

	mu    sync.Mutex
	state state
}

// A state is what the file holds.
type state struct {
	Topic      string       `json:"topic"`
	Cluster    string       `json:"cluster"`
	Saved      time.Time    `json:"saved"`
	Partitions []statePlace `json:"partitions"` // rising; those that nothing is known of are left out
}

type statePlace struct {
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Meta      string `json:"meta,omitempty"`
}

func (p statePlace) place() place { return place{Offset: p.Offset, Meta: p.Meta} }

// stateLimit is the largest file that is believed to be one of ours: 4 000 partitions with all the Meta that they can have.
const stateLimit = 16 << 20

// newStateFile returns a membership of all partitions that keeps their places in the file path, from which it begins if it is there. That the file can
// be written is tried at once.
func newStateFile(path, clusterID, topic string, partitions int) (membership, error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	f := &stateFile{standalone: unknownPlaces(partitions), path: path, state: state{Topic: topic, Cluster: clusterID}}
	f.standalone.save = f.save
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return nil, tool.Hint(fmt.Errorf("%s: is a folder", path), "--state wants the name of a file")
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s: is no regular file, and can keep no state", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, tool.Plain(err)
	}
	if f.lock, err = lockBeside(path); err != nil {
		return nil, err
	}
	if err := f.begin(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// begin reads the file, if there is one, and tries whether one can be written.
func (f *stateFile) begin() error {
	old, err := readState(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := f.fits(old); err != nil {
			return err
		}
		for _, p := range old.Partitions {
			f.from[p.Partition] = p.place()
		}
		f.state.Partitions = old.Partitions
	}
	tmp, err := f.temporary()
	if err != nil {
		return tool.Plain(err)
	}
	tmp.Close()
	return tool.Plain(os.Remove(tmp.Name()))
}

// fits says why a file's state is none of this topic.
func (f *stateFile) fits(old *state) error {
	const hint = "each topic wants a --state file of its own; without this one reading begins at --from"
	switch {
	case old.Topic != f.state.Topic:
		return tool.Hint(fmt.Errorf("%s: is the state of topic %q, not of %q", f.path, old.Topic, f.state.Topic), hint)
	case old.Cluster != f.state.Cluster:
		return tool.Hint(fmt.Errorf("%s: is the state of topic %q in another cluster, %q, not in %q", f.path, old.Topic, old.Cluster, f.state.Cluster), hint)
	}
	if n := len(old.Partitions); n > 0 && old.Partitions[n-1].Partition >= len(f.from) {
		return tool.Hint(fmt.Errorf("%s: knows partition %d of topic %q, which has only %d partitions", f.path, old.Partitions[n-1].Partition, old.Topic, len(f.from)),
			"was the topic deleted and created again? without this file reading begins at --from")
	}
	return nil
}

// readState reads and checks a state file.
func readState(path string) (*state, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, tool.Plain(err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, stateLimit+1))
	if err != nil {
		return nil, tool.Plain(err)
	}
	s, err := parseState(data)
	if err != nil {
		return nil, tool.Hint(fmt.Errorf("%s: is no state file, or damaged: %w", path, err), "moved away, and reading begins at --from")
	}
	return s, nil
}

func parseState(data []byte) (*state, error) {
	if len(data) > stateLimit {
		return nil, fmt.Errorf("more than %d bytes", stateLimit)
	}
	s := &state{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, plainJSON(err)
	}
	if s.Topic == "" {
		return nil, errors.New("it names no topic")
	}
	last := -1
	for _, p := range s.Partitions {
		if p.Partition <= last {
			return nil, fmt.Errorf("partition %d is out of order", p.Partition)
		}
		if p.Offset < 0 {
			return nil, fmt.Errorf("partition %d: offset %d", p.Partition, p.Offset)
		}
		last = p.Partition
	}
	return s, nil
}

// plainJSON puts what is wrong with JSON text into words that name none of our types.
func plainJSON(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return fmt.Errorf("%s: %s does not belong there", cmp.Or(kind.Field, "the whole"), kind.Value)
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	}
	return err
}

// save writes the file. Whenever the machine stops, there is a whole one.
func (f *stateFile) save(_ context.Context, places map[int]place) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := make(map[int]place, len(f.from))
	for _, p := range f.state.Partitions {
		known[p.Partition] = p.place()
	}
	before := maps.Clone(known)
	for p, at := range places {
		if at.Offset >= 0 {
			known[p] = place{Offset: at.Offset, Meta: at.Meta}
		}
	}
	if maps.Equal(known, before) {
		return nil
	}
	next := f.state
	next.Saved = time.Now().UTC().Truncate(time.Millisecond)
	next.Partitions = make([]statePlace, 0, len(known))
	for _, p := range slices.Sorted(maps.Keys(known)) {
		next.Partitions = append(next.Partitions, statePlace{p, known[p].Offset, known[p].Meta})
	}
	if err := f.write(&next); err != nil {
		return tool.Plain(err)
	}
	f.state = next
	return nil
}

func (f *stateFile) write(s *state) error {
	data, err := encodeState(s)
	if err != nil {
		return err
	}
	if len(data) > stateLimit {
		return fmt.Errorf("%s: the state has %d bytes, more than %d", f.path, len(data), stateLimit)
	}
	tmp, err := f.temporary()
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Rename(tmp.Name(), f.path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // what some network file systems say to it
		return err
	}
	return nil
}

func encodeState(s *state) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(s)
	return out.Bytes(), err
}

// temporary opens the file that becomes the state. Its name is always the same, so that a crash leaves one at most; the lock makes it ours.
func (f *stateFile) temporary() (*os.File, error) {
	name := f.path + ".new"
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // as the user's mask has it
}

// lockBeside locks a file for this process, by another one next to it: the file itself is a new one after each save.
func lockBeside(path string) (*os.File, error) {
	name := path + ".lock"
	for {
		lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666) //nolint:gosec // as the user's mask has it
		var denied *fs.PathError
		if errors.As(err, &denied) {
			return nil, fmt.Errorf("%s: no state can be kept here: %w", path, denied.Err)
		}
		if err != nil {
			return nil, err
		}
		switch err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case errors.Is(err, unix.EWOULDBLOCK):
			lock.Close()
			return nil, tool.Hint(fmt.Errorf("%s: another process has this state file", path), "each reader wants its own; readers that share a topic are a --group")
		case err != nil && !errors.Is(err, unix.ENOLCK) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS): // a file system without locks
			lock.Close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		// The process that had the lock before may have removed the file since we opened it: then the name is another file's.
		mine, err := lock.Stat()
		if err != nil {
			lock.Close()
			return nil, tool.Plain(err)
		}
		if there, err := os.Stat(name); err == nil && os.SameFile(mine, there) {
			return lock, nil
		}
		lock.Close()
	}
}

func (f *stateFile) close() error {
	if f.lock == nil {
		return nil
	}
	os.Remove(f.lock.Name()) // while it is locked
	err := f.lock.Close()
	f.lock = nil
	return err
}
