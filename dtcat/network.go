package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"dt/dtcat/remote"
	"dt/dtcat/save"
	"dt/internal/tool"
)

// remoteFlags say where sources that are not on this machine are, and how they are read. --remote-settings lists them.
type remoteFlags struct {
	Endpoint    string        `hidden:""`
	Credentials string        `hidden:""`
	Region      string        `hidden:""`
	S3Style     string        `hidden:"" name:"s3-style" default:"auto" enum:"auto,path,virtual"`
	CACert      string        `hidden:"" name:"ca-cert"`
	Connections int           `hidden:"" default:"16"`
	Tries       int           `hidden:"" default:"15"`
	Stall       time.Duration `hidden:"" default:"10s"`
}

const remoteUsage = `Settings of s3:// and http(s)://, as flags or in the environment
(--ca-cert is DT_CAT_CA_CERT):

  --endpoint=URL      S3 server, https://HOST:PORT
                      Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS
  --credentials=FILE  keys: JSON {"key_id": "…", "key": "…"} or a profile file;
                      none: nothing is signed
                      Default: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY,
                      AWS_PROFILE, or none
  --region=NAME       S3 region
                      Default: AWS_REGION, AWS_DEFAULT_REGION, or the server's
  --s3-style=auto     addresses of buckets: auto path virtual
  --ca-cert=FILE      certificates to trust beside the system's
                      Default: AWS_CA_BUNDLE
  --connections=16    at once, at most
  --tries=15          that bring no byte, before a read is given up;
                      15 are a minute and a half, 30 four minutes
  --stall=10s         a connection that brings no byte for so long is tried anew

Proxies: HTTP_PROXY, HTTPS_PROXY, NO_PROXY. More is in dtcat/SOURCES.md.
`

const memoryLimit = 100 << 20 // of Go's heap, which aims at it

// network reads the objects among the sources; it is nil if there are none: all through one remote.Fetch, which reads ahead of the decoders and across objects, in the order in
// which they will be opened, and, with --save, into a folder.
type network struct {
	client *remote.Client
	folder *save.Folder // nil without --save
	ctx    context.Context
	cancel context.CancelFunc
	fetch  *remote.Fetch
	queue  []planned   // of the next objects among the sources
	quiet  atomic.Bool // of outages: they were told

	mu   sync.Mutex
	errs []error // of saving, to be told in the end
}

// planned is how an object will be read.
type planned struct {
	copy  *save.Copy // nil if it is not saved
	fetch bool       // some of it comes over the network
}

// A broken error says that the bytes of an object ended before the object did. What comes behind it would be taken for what follows, so the
// run ends there.
type broken struct{ err error }

func (e *broken) Error() string { return e.err.Error() }
func (e *broken) Unwrap() error { return e.err }

func newNetwork(env *tool.Env, cli *remoteFlags) (*network, error) {
	n := new(network)
	var err error
	n.client, err = remote.New(remote.Settings{
		Endpoint: cli.Endpoint, Credentials: cli.Credentials, Region: cli.Region, Style: cli.S3Style, CACert: cli.CACert,
		Connections: cli.Connections, Tries: cli.Tries, Stall: cli.Stall, Agent: "dtcat/" + tool.Version,
		Say: func(format string, args ...any) {
			if !n.quiet.Load() {
				env.Say(format, args...)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	// What is read ahead is up to 64 MiB that live; as much again must not become garbage before it is collected.
	debug.SetMemoryLimit(memoryLimit)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.fetch = n.client.Fetch(n.ctx)
	return n, nil
}

// openFolder opens the folder of --save for these sources.
func (n *network) openFolder(env *tool.Env, dir string, sources []source) (err error) {
	names := map[string]string{}
	for _, s := range sources {
		if s.object == nil {
			continue
		}
		if other := cmp.Or(names[s.object.Path], s.name); other != s.name {
			return &tool.UsageError{Msg: fmt.Sprintf("--save %s: %s and %s would be the same file %s in it", dir, other, s.name, s.object.Path)}
		}
		names[s.object.Path] = s.name
	}
	if n.folder, err = save.Open(dir); err != nil {
		return err
	}
	for _, odd := range n.folder.Odd() {
		env.Say("%v", odd)
	}
	return nil
}

// Objects are planned so far ahead that reading ahead is never short of them.
const (
	planBytes   = 128 << 20
	planObjects = 256
)

// plan decides how the objects among the next sources are to be read, and lets them be read ahead.
func (n *network) plan(env *tool.Env, sources []source) {
	if n == nil {
		return
	}
	known, ahead := len(n.queue), int64(0)
	for i, s := range sources {
		switch {
		case s.object == nil:
			continue
		case known > 0:
			known--
			ahead += max(s.object.Size, 0)
			continue
		case ahead >= planBytes || len(n.queue) >= planObjects:
			return
		case n.folder != nil && len(n.queue) > 0 && holds(sources[:i], s.object):
			return // the one before writes what this one reads
		}
		p := planned{fetch: true}
		from := int64(0)
		if s.from != nil && s.from.like != nil {
			from = int64(s.from.offset)
		}
		if n.folder != nil {
			var err error
			if p.copy, err = n.folder.Find(s.object); err == nil {
				from = p.copy.Have()
				p.fetch = !p.copy.Whole()
				if why := p.copy.Again(); why != "" {
					env.Say("%s: fetched again, what was saved is not used: %s", s.name, why)
				}
			} else if n.ctx.Err() == nil {
				env.Say("%s: read and not saved: %v", s.name, err)
				n.note(tool.ErrTold)
			}
		}
		if p.fetch {
			n.fetch.Add(remote.Item{Object: *s.object, From: from})
		}
		ahead += max(s.object.Size, 0) // of what is saved, too: that was read to check it, and the first word waits for that
		n.queue = append(n.queue, p)
	}
}

// note keeps what went wrong with saving.
func (n *network) note(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.errs = append(n.errs, err)
}

// holds reports whether an object is among the sources.
func holds(sources []source, o *remote.Object) bool {
	return slices.ContainsFunc(sources, func(s source) bool { return s.object != nil && s.object.Path == o.Path })
}

// open opens the next object, which has been planned.
func (n *network) open(in *input, o *remote.Object) error {
	p := n.queue[0]
	n.queue = n.queue[1:]
	in.tag = o.Tag
	r := &objectReader{in: in, copy: p.copy}
	if p.fetch { // first of all: whatever happens to this object, the next one gets its own bytes
		if r.object = n.fetch.Next(); r.object == nil {
			return fs.ErrClosed // the program ends
		}
		in.close = append(in.close, func() { r.object.Close() })
	}
	if p.copy != nil {
		in.close = append(in.close, func() {
			n.note(p.copy.Close()) // it stays a part if it is not whole
		})
		if p.copy.Have() > 0 || p.copy.Whole() {
			f, err := p.copy.Open()
			if err != nil {
				return err
			}
			in.close = append(in.close, func() { f.Close() })
			r.saved = &io.LimitedReader{R: f, N: p.copy.Have()}
		}
	}
	in.count = &counter{r: r}
	return nil
}

// An objectReader reads an object: what is saved of it, then the rest over the network, which is saved.
type objectReader struct {
	in     *input
	saved  *io.LimitedReader
	object *remote.Reader
	copy   *save.Copy
}

func (r *objectReader) Read(p []byte) (int, error) {
	if r.saved != nil {
		n, err := r.saved.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if errors.Is(err, io.EOF) && r.saved.N > 0 {
			err = fmt.Errorf("%s: %d bytes of what was saved are gone", r.in.name, r.saved.N) // since it was checked
		}
		if !errors.Is(err, io.EOF) {
			return 0, r.fails(err)
		}
		r.saved = nil
	}
	if r.object == nil {
		return 0, io.EOF
	}
	n, err := r.object.Read(p)
	if r.copy != nil {
		if saveErr := r.save(p[:n], errors.Is(err, io.EOF)); saveErr != nil {
			return 0, r.fails(saveErr)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrClosed) {
		err = r.fails(err)
	}
	return n, err
}

// fails notes why the object can't be read on, also for those who see only what a decompressor makes of it.
func (r *objectReader) fails(err error) error {
	r.in.broke = &broken{tool.Plain(err)}
	return r.in.broke
}

func (r *objectReader) save(b []byte, whole bool) error {
	if _, err := r.copy.Write(b); err != nil || !whole {
		return err
	}
	o := r.object.Object()
	return r.copy.Finish(o.Size, o.Tag)
}

// close ends what is under way. What has been saved of an object that was not read to its end stays as a part.
func (n *network) close() error {
	if n == nil {
		return nil
	}
	n.cancel()
	n.fetch.Close()
	if n.folder == nil {
		return nil
	}
	err := n.folder.Close()
	n.mu.Lock()
	defer n.mu.Unlock()
	return errors.Join(append(n.errs, err)...)
}

// pipe puts the rest of an object that is a stream into a pipe, so that whoever copies the stream can see whether there is more of it before it
// waits for that.
func (in *input) pipe() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	from := in.count.r.(*objectReader)
	in.file, in.count.r = r, r
	in.pipeFrom, in.piped = from, make(chan struct{})
	go func() {
		defer close(in.piped)
		defer w.Close()
		io.Copy(w, from) //nolint:errcheck // what the source says is kept in broke; what the pipe says is that nobody reads
	}()
	in.close = append(in.close, in.endPipe)
	return nil
}

// endPipe ends the pipe that is before an object, if there is one. Then broke is as it will be.
func (in *input) endPipe() {
	if in.piped != nil {
		in.file.Close()
		if o := in.pipeFrom.object; o != nil {
			o.Close() // who reads no more does not wait for a server that is silent
		}
		<-in.piped
	}
}
