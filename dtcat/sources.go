package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dt/dtcat/remote"
	"dt/internal/tool"
)

// dataSuffixes are what a folder's data files end in, with or without .gz or .zst behind.
var dataSuffixes = []string{".txt", ".csv", ".dat", ".raw", ".json", ".jsonl", ".dts"}

// A source is one thing to read: as an argument names it, or as a folder holds it.
type source struct {
	name   string         // as it is shown
	object *remote.Object // nil if it is on this machine
	from   *point         // nil: its beginning
}

func (s source) sim() bool { return s.object == nil && strings.HasPrefix(s.name, "sim:") }

// expand replaces folders, here and elsewhere, by their data files in natural order: data_9 before data_10. A folder with none is told, like
// a file that can't be read.
func (c *cat) expand() []source {
	var all []source
	for i, name := range c.cli.Sources {
		list := listFiles
		if remote.Is(name) {
			list = c.listObjects
		}
		found, none, err := list(name)
		awaited := c.cli.Follow && i == len(c.cli.Sources)-1 && remote.Is(name)
		switch {
		case err != nil:
			c.fail(tool.Plain(err))
		case len(found) == 0 && !awaited:
			c.fail(none)
		}
		if awaited {
			c.followed = found
		}
		all = append(all, found...)
	}
	return all
}

// noData says that a folder has no data files, and what it has instead.
func noData(name, instead string) error {
	return tool.Hint(fmt.Errorf("%s: no data files in this folder", name), "they end in "+strings.Join(dataSuffixes, " ")+", with or without .gz or .zst"+instead)
}

// listFiles returns the data files of a folder, or what is no folder as it is; and what to say if there are none.
func listFiles(name string) (found []source, none, err error) {
	info, err := os.Stat(name)
	if name == "-" || strings.HasPrefix(name, "sim:") || err != nil || !info.IsDir() {
		return []source{{name: name}}, nil, nil // what does not exist is told when its turn comes
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if !e.IsDir() && isData(e.Name()) {
			found = append(found, source{name: filepath.Join(name, e.Name())})
		}
	}
	slices.SortFunc(found, bySource)
	return found, noData(name, ""), nil
}

// listObjects returns the objects that a name outside of this machine stands for, and what to say if these are none.
func (c *cat) listObjects(name string) (found []source, none, err error) {
	listing, err := c.net.client.List(c.net.ctx, name)
	if err != nil {
		return nil, nil, err
	}
	for i := range listing.Objects {
		o := &listing.Objects[i]
		if !listing.Folder || isData(path.Base(o.Path)) {
			found = append(found, source{name: o.Name, object: o})
		}
	}
	slices.SortFunc(found, bySource)
	switch {
	case len(listing.Folders) > 0:
		none = noData(name, "; there are folders in it: "+strings.Join(listing.Folders[:min(len(listing.Folders), 5)], " "))
	case len(listing.Objects) > 0:
		none = noData(name, "")
	default:
		none = tool.Hint(fmt.Errorf("%s: there is no such folder, or nothing in it", name), "is the name right?")
	}
	return found, none, nil
}

func bySource(a, b source) int { return natural(a.name, b.name) }

// fail tells of a source that can't be read. The others are.
func (c *cat) fail(err error) {
	c.env.Say("%v", err)
	c.failed = true
}

func isData(name string) bool {
	name = strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(name), ".gz"), ".zst")
	return !strings.HasPrefix(name, ".") && slices.ContainsFunc(dataSuffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// natural compares names with runs of digits as numbers.
func natural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if isDigit(x[0]) && isDigit(y[0]) {
			n, m := digits(x), digits(y)
			p, q := strings.TrimLeft(x[:n], "0"), strings.TrimLeft(y[:m], "0")
			if len(p) != len(q) {
				return len(p) - len(q)
			}
			if c := strings.Compare(p, q); c != 0 {
				return c
			}
			x, y = x[n:], y[m:]
			continue
		}
		if x[0] != y[0] {
			return int(x[0]) - int(y[0])
		}
		x, y = x[1:], y[1:]
	}
	if len(x) != len(y) {
		return len(x) - len(y)
	}
	return strings.Compare(a, b)
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// A folderFollower knows what has been read of a folder in S3 to which a run is being written.
type folderFollower struct {
	c    *cat
	name string
	seen map[string]string // tags, by object
	last source
}

// Listings cost money where storage is rented.
const folderPoll = 2 * time.Second

// newFolderFollower returns nil if what is followed is no folder.
func (c *cat) newFolderFollower() *folderFollower {
	name := c.cli.Sources[len(c.cli.Sources)-1]
	if !c.cli.Follow || !remote.Is(name) {
		return nil
	}
	f := &folderFollower{c: c, name: name, seen: map[string]string{}}
	f.note(c.followed)
	return f
}

func (f *folderFollower) note(sources []source) {
	for _, s := range sources {
		if s.object != nil {
			f.seen[s.name] = s.object.Tag
			f.last = s
		}
	}
}

// next waits for objects behind the last one, and returns them; none when the program is to stop.
func (f *folderFollower) next() []source {
	for {
		select {
		case <-f.c.enough:
			return nil
		case <-time.After(folderPoll):
		}
		found, _, err := f.c.listObjects(f.name)
		switch {
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			if !f.c.net.quiet.Swap(true) {
				f.c.env.Say("%v; asking again and again", err)
			}
			continue
		case f.c.net.quiet.Swap(false):
			f.c.env.Say("%s: there again", f.name)
		}
		if more := f.more(found); len(more) > 0 {
			return more
		}
	}
}

// more returns which of the objects in the folder are to be read now.
func (f *folderFollower) more(found []source) (more []source) {
	for _, s := range found {
		tag, known := f.seen[s.name]
		switch {
		case known && tag != s.object.Tag:
			f.c.env.Say("%s: has changed after it was read, and is not read again", s.name)
		case known:
		case f.last.object != nil && bySource(s, f.last) < 0:
			f.c.env.Say("%s: came too late, %s has been read before it; it is not read", s.name, f.last.name)
		default:
			more = append(more, s)
			continue
		}
		f.seen[s.name] = s.object.Tag
	}
	f.note(more)
	return more
}
