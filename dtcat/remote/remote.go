// Package remote reads objects over S3 and HTTP(S), in order, as durably as if they were local files: a read that breaks goes on at
// its byte, several ranges are under way at once, and no byte of another version of an object is ever taken for the one that was begun.
package remote

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Settings say where objects are and how they are read.
type Settings struct {
	Endpoint    string        // of S3; empty: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself
	Credentials string        // a file; "none": nothing is signed; empty: as the variables and files of AWS say
	Region      string        // empty: AWS_REGION, AWS_DEFAULT_REGION, or as the server says
	Style       string        // of the addresses of buckets: auto, path or virtual
	CACert      string        // a file of certificates that are trusted beside the system's; empty: AWS_CA_BUNDLE
	Connections int           // at once, at most
	Tries       int           // without progress, before a read is given up
	Stall       time.Duration // a connection that brings no byte for so long is given up
	Agent       string        // the User-Agent

	Say func(format string, args ...any) // tells of outages
}

// Is reports whether a source is to be read by this package.
func Is(name string) bool {
	scheme, _, found := strings.Cut(name, "://")
	scheme = strings.ToLower(scheme)
	return found && (scheme == "s3" || scheme == "http" || scheme == "https")
}

// An Object is one version of something that can be read.
type Object struct {
	Name     string // as it is shown: s3://bucket/key, or an address without what is secret in it
	Path     string // below the prefix that was asked for, with slashes; never empty, absolute, or with ".."
	Size     int64  // in bytes; −1: not known before it is read
	Tag      string // which version: the ETag without quotes, or "modified " and a time, or nothing
	Modified time.Time

	store       store
	bucket, key string   // in S3
	url         *url.URL // on the web
	ranges      bool     // byte ranges of this very version can be asked for
}

// A Listing is what a name stands for.
type Listing struct {
	Objects []Object
	Folder  bool     // they are what a folder holds; otherwise they were named, or match a pattern
	Folders []string // inside the folder; they are not read
}

// A store gets the bytes of objects, in one try.
type store interface {
	// get asks for the bytes [from, to) of an object, to its end if to < 0, and of its very version.
	get(ctx context.Context, o *Object, from, to int64) (got, error)
}

// got is what a store's server answers.
type got struct {
	body io.ReadCloser
	from int64  // where the body begins: 0 if the server knows no ranges
	size int64  // of the whole object; −1: not known
	tag  string // as in Object
}

// A failure says what may be done after a try failed. Other errors come from the network, and another try is worth it.
type failure struct {
	err   error
	again bool          // another try may succeed
	after time.Duration // but not before
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// A ChangedError says that another version of an object is there than the one that is being read.
type ChangedError struct {
	Name    string
	Was, Is string // tags or sizes
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: the object has changed while it was read: it was %s, now it is %s", e.Name, e.Was, e.Is)
}

// A Client reads objects. Several goroutines may use it at once.
type Client struct {
	settings  Settings
	transport *http.Transport
	web       *webStore
	s3        *s3Store
	s3Err     error // why there is no s3, where the environment is to blame: it matters to those only who read from S3
}

// New returns a client. It does not use the network.
func New(s Settings) (*Client, error) {
	s.Connections = cmp.Or(max(s.Connections, 0), 16)
	s.Tries = cmp.Or(max(s.Tries, 0), 15)
	s.Stall = cmp.Or(max(s.Stall, 0), 10*time.Second)
	s.Agent = cmp.Or(s.Agent, "dtcat")
	if s.Say == nil {
		s.Say = func(string, ...any) {}
	}
	c := &Client{settings: s}
	var err error
	if c.transport, err = newTransport(s); err != nil {
		return nil, err
	}
	c.web = newWebStore(c.transport, s)
	if c.s3, c.s3Err = newS3Store(c.transport, s); c.s3Err != nil && s.Endpoint+s.Credentials+s.Region+s.Style != "" {
		return nil, c.s3Err
	}
	return c, nil
}
