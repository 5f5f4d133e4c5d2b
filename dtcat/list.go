package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"dt/dtcat/save"
	"dt/internal/tool"
)

// A listed is what --list and --dry-run show of a source.
type listed struct {
	Name     string
	Bytes    *int64 `json:",omitempty"` // nil: not known
	Format   string `json:",omitempty"`
	Header   int    `json:",omitempty"`
	Packed   string `json:",omitempty"`
	Saved    *int64 `json:",omitempty"` // bytes that need not be fetched
	ETag     string `json:",omitempty"`
	Modified string `json:",omitempty"`
	local    bool
}

func newListed(s source) listed {
	l := listed{Name: s.name, local: s.object == nil}
	if size := s.size(); size >= 0 {
		l.Bytes = &size
	}
	if s.name == "-" {
		l.Name = "standard input"
	}
	if s.object != nil {
		l.ETag = s.object.Tag
		if !s.object.Modified.IsZero() {
			l.Modified = s.object.Modified.UTC().Format(time.RFC3339)
		}
	}
	return l
}

// print prints what is listed, as a table with these columns or as JSON lines.
func (c *cat) print(all []listed, third string, cell func(*listed) string) error {
	w := bufio.NewWriter(c.env.Stdout)
	if c.cli.JSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		for i := range all {
			if err := e.Encode(&all[i]); err != nil {
				return err
			}
		}
		return w.Flush()
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "NAME\tBYTES\t%s\n", third)
	for i := range all {
		size := "-"
		if all[i].Bytes != nil {
			size = fmt.Sprint(*all[i].Bytes)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", all[i].Name, size, cell(&all[i]))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return w.Flush()
}

// listAtOnce is how many sources are looked at at once; most of the time goes into waiting for answers.
const listAtOnce = 8

// list shows what the sources hold.
func (c *cat) list(sources []source) error {
	all, errs := make([]listed, len(sources)), make([]error, len(sources))
	turns := make(chan struct{}, listAtOnce)
	var looks sync.WaitGroup
	for i, s := range sources {
		turns <- struct{}{}
		looks.Go(func() {
			all[i], errs[i] = c.look(s)
			<-turns
		})
	}
	looks.Wait()
	known := all[:0]
	for i := range all {
		if errs[i] != nil {
			c.fail(errs[i])
		} else {
			known = append(known, all[i])
		}
	}
	if err := c.print(known, "FORMAT", (*listed).format); err != nil {
		return err
	}
	if c.failed {
		return tool.ErrTold
	}
	return nil
}

func (l *listed) format() string {
	what := l.Format
	if l.Header == 1 {
		what += " with header"
	}
	if l.Packed != "" {
		what += " in " + l.Packed
	}
	return what
}

// Enough of an object to see what it is; and of a packed one, whose first block must be whole to be unpacked.
const (
	lookSize   = 16 << 10
	packedSize = 256 << 10
)

// look says what is in a source.
func (c *cat) look(s source) (listed, error) {
	l := newListed(s)
	if s.sim() {
		cfg, err := parseSim(strings.TrimPrefix(s.name, "sim:"))
		if err != nil {
			return l, &tool.UsageError{Msg: err.Error()}
		}
		l.Name, l.Format = cfg.String(), "simulated"
		return l, nil
	}
	in, err := c.lookInto(s)
	if err != nil {
		return l, err
	}
	defer in.Close()
	l.Format, l.Packed = string(in.format), in.packed
	if in.header {
		l.Header = 1
	}
	return l, nil
}

// lookInto opens a source, or only the beginning of an object.
func (c *cat) lookInto(s source) (*input, error) {
	if s.object == nil {
		return c.open(s, c.cli.From, false)
	}
	for _, size := range []int64{lookSize, packedSize} {
		head, err := c.net.client.Head(c.net.ctx, s.object, size)
		if err != nil {
			return nil, err
		}
		in := &input{name: s.name, count: &counter{r: bytes.NewReader(head)}}
		err = in.begin(c.cli.From)
		if err == nil {
			return in, nil
		}
		in.Close()
		if in.packed == "" || size == packedSize {
			return nil, err
		}
	}
	panic("not reached")
}

// dryRun shows what would be read from where.
func (c *cat) dryRun(sources []source) error {
	var folder *save.Folder
	if dir := c.cli.Save; dir != "" {
		if _, err := os.Stat(dir); err == nil {
			if folder, err = save.Open(dir); err != nil {
				return err
			}
			defer folder.Close()
		}
	}
	var total, saved int64
	var all []listed
	unknown := 0
	for _, s := range sources {
		l := newListed(s)
		if _, err := os.Stat(s.name); l.local && s.name != "-" && !s.sim() && err != nil {
			c.fail(hintScheme(s.name, tool.Plain(err)))
			continue
		}
		if s.object != nil && folder != nil {
			copied, err := folder.Find(s.object)
			if err != nil {
				c.fail(err)
				continue
			}
			have := copied.Have()
			l.Saved = &have
			saved += have
			copied.Close()
		}
		if l.Bytes != nil {
			total += *l.Bytes
		} else {
			unknown++
		}
		all = append(all, l)
	}
	err := c.print(all, "FROM", func(l *listed) string {
		switch {
		case l.local:
			return "here"
		case l.Saved == nil || *l.Saved == 0:
			return "network"
		case l.Bytes != nil && *l.Saved == *l.Bytes:
			return c.cli.Save
		}
		return fmt.Sprintf("%s, from byte %d on the network", c.cli.Save, *l.Saved)
	})
	if err == nil && !c.cli.JSON {
		text := fmt.Sprintf("%d sources, %s", len(all), bytesText(total))
		if len(all) == 1 {
			text = "1 source, " + bytesText(total)
		}
		if unknown > 0 {
			text += fmt.Sprintf(" and what is in %d whose size is not known", unknown)
		}
		if saved > 0 {
			text += fmt.Sprintf(", of which %s are saved", bytesText(saved))
		}
		_, err = fmt.Fprintln(c.env.Stdout, text)
	}
	if err == nil && c.failed {
		err = tool.ErrTold
	}
	return err
}
