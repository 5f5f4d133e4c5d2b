package remote

import (
	"bytes"
	"cmp"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"dt/internal/tool"
)

// An s3Store gets and lists objects over S3.
type s3Store struct {
	transport http.RoundTripper
	agent     string
	patience  time.Duration // with an answer that has begun
	endpoint  *url.URL      // without a path
	keys      keys
	region    string // as it was set; empty: as servers say
	lookup    minio.BucketLookupType
	pageSize  int // of listings; 0: as the server likes

	mu      sync.Mutex
	regions map[string]string // of buckets, as servers have said
}

func newS3Store(transport http.RoundTripper, s Settings) (*s3Store, error) {
	store := &s3Store{transport: transport, agent: s.Agent, patience: 3 * s.Stall, regions: map[string]string{}}
	var err error
	if store.endpoint, err = parseEndpoint(s.Endpoint); err != nil {
		return nil, err
	}
	if store.keys, err = findKeys(s.Credentials); err != nil {
		return nil, err
	}
	variable := ""
	if store.region = s.Region; store.region == "" {
		store.region, variable = env("AWS_REGION", "AWS_DEFAULT_REGION")
	}
	if store.region != "" && !regionName.MatchString(store.region) {
		return nil, &tool.UsageError{Msg: fmt.Sprintf("%s: %q is no name of a region", from("--region", s.Region, variable), store.region)}
	}
	switch s.Style {
	case "", "auto":
		store.lookup = minio.BucketLookupAuto
	case "path":
		store.lookup = minio.BucketLookupPath
	case "virtual":
		store.lookup = minio.BucketLookupDNS
	default:
		return nil, &tool.UsageError{Msg: fmt.Sprintf("--s3-style: %q is none of auto, path and virtual", s.Style)}
	}
	return store, nil
}

var regionName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

const amazon = "s3.amazonaws.com" // who gives no endpoint means AWS

// parseEndpoint checks where S3 is. Without a scheme it is https.
func parseEndpoint(given string) (*url.URL, error) {
	text, variable := given, ""
	if text == "" {
		if text, variable = env("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"); text == "" {
			text = "https://" + amazon
		}
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	bad := func(format string, args ...any) error {
		msg := from("--endpoint", given, variable) + ": " + fmt.Sprintf(format, args...)
		return tool.Hint(&tool.UsageError{Msg: msg}, "https://HOST:PORT")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, bad("%s is no web address", webName(text))
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, bad("%s: S3 is spoken over https or http", webName(text))
	case u.Hostname() == "":
		return nil, bad("%s: no server is named", webName(text))
	case !goodPort(u):
		return nil, bad("%s: there is no such port", webName(text))
	case u.User != nil:
		return nil, tool.Hint(&tool.UsageError{Msg: from("--endpoint", given, variable) + ": a user or password has no place in it"}, "--credentials FILE")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, bad("%s: no path or query may be in it; the bucket is named in s3://BUCKET/…", webName(text))
	}
	endpoint := &url.URL{Scheme: u.Scheme, Host: u.Host}
	// minio-go looks at the name of the server more closely.
	if _, err := minio.New(endpoint.Host, &minio.Options{Secure: endpoint.Scheme == "https"}); err != nil {
		return nil, bad("%s is no name of a server", shown(endpoint.Host))
	}
	return endpoint, nil
}

// An exchange is one request and what is known of its answer. minio-go passes on neither the status of every answer, nor its times, nor
// errors as they were; and it gives up where a header that nobody needs here is odd.
type exchange struct {
	store  *s3Store
	ctx    context.Context // ListObjectsV2 takes none
	object bool            // what is asked for is an object, whose bytes go on unread

	err    error // why there is no answer
	answer *http.Response
	said   struct {
		XMLName                             xml.Name
		Code, Message, Region, StorageClass string
		ActualObjectSize                    string
	}
	start []byte // of the body
}

const largestListing = 32 << 20 // a thousand of the longest names, with room

// RoundTrip sends a request of minio-go.
func (x *exchange) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(x.ctx)
	r.Header.Set("User-Agent", x.store.agent)
	r.Header.Set("Accept-Encoding", "identity")
	answer, err := x.store.transport.RoundTrip(r)
	if err != nil {
		x.err = err
		return nil, err
	}
	x.answer = answer
	plain := *answer
	plain.Header = http.Header{"Last-Modified": {time.Unix(0, 0).UTC().Format(http.TimeFormat)}} // minio-go insists on it
	if r.Method == http.MethodHead || x.object && (answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent) {
		return &plain, nil
	}
	body, err := readSoon(answer.Body, largestListing, x.store.patience)
	answer.Body.Close()
	if err != nil {
		x.err = err
		return nil, err
	}
	x.start = body[:min(len(body), 4<<10)]
	plain.Body = io.NopCloser(bytes.NewReader(body))
	if answer.StatusCode != http.StatusOK {
		_ = xml.Unmarshal(body, &x.said) // where it is no XML, the status has to do
		if size := x.said.ActualObjectSize; size != "" && answer.Header.Get("Content-Range") == "" {
			answer.Header.Set("Content-Range", "bytes */"+size)
		}
	}
	return &plain, nil
}

// isS3 reports whether an answer with a body looks like one of S3.
func (x *exchange) isS3() bool {
	return x.said.XMLName.Local == "Error" || bytes.Contains(x.start, []byte("<ListBucketResult")) || bytes.Contains(x.start, []byte("<Error"))
}

// do makes one request, and a second one if the first was for the wrong region and the server says which is right.
func (s *s3Store) do(ctx context.Context, bucket string, object bool, call func(minio.Core) error) (*exchange, error) {
	for again := true; ; again = false {
		x := &exchange{store: s, ctx: ctx, object: object}
		region := s.regionOf(bucket)
		core, err := minio.NewCore(s.endpoint.Host, &minio.Options{
			Creds:        credentials.NewStaticV4(s.keys.id, s.keys.secret, s.keys.token),
			Secure:       s.endpoint.Scheme == "https",
			Transport:    x,
			Region:       region, // with none it would ask for it first, and be denied that
			BucketLookup: s.lookup,
			MaxRetries:   1, // it is tried again elsewhere, and for longer
		})
		if err != nil {
			return x, final("", "%w", err)
		}
		err = call(*core)
		switch {
		case ctx.Err() != nil:
			return x, ctx.Err()
		case err == nil:
			return x, nil
		case again && s.learn(bucket, region, x):
		default:
			return x, s.explain(x, err, bucket, region)
		}
	}
}

// regionOf is the region that requests for a bucket are signed for.
func (s *s3Store) regionOf(bucket string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cmp.Or(s.region, s.regions[bucket], s3utils.GetRegionFromURL(*s.endpoint), "us-east-1")
}

// learn remembers the region of a bucket that a server has told, and reports whether it is another one.
func (s *s3Store) learn(bucket, region string, x *exchange) bool {
	told := x.region()
	if s.region != "" || told == "" || told == region {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.regions[bucket] = told
	return true
}

var expecting = regexp.MustCompile(`expecting ['"‘]?([a-z0-9-]+)`)

// region is where a bucket is, if the server tells.
func (x *exchange) region() string {
	if x.answer == nil {
		return ""
	}
	told := cmp.Or(x.answer.Header.Get("X-Amz-Bucket-Region"), x.said.Region)
	if told == "" {
		if m := expecting.FindStringSubmatch(x.said.Message); m != nil {
			told = m[1]
		}
	}
	if !regionName.MatchString(told) {
		return ""
	}
	return told
}

// stat asks what is known of an object.
func (s *s3Store) stat(ctx context.Context, bucket, key string) (Object, error) {
	o := Object{Name: s3Name(bucket, key), Size: -1, store: s, bucket: bucket, key: key}
	x, err := s.do(ctx, bucket, true, func(core minio.Core) error {
		_, err := core.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
		return err
	})
	if err != nil && x.answer != nil && x.answer.StatusCode != http.StatusNotFound && !mayPass(x.answer.StatusCode) && ctx.Err() == nil {
		// The answer to a HEAD has no body that would say why, and some servers do not allow one: so one byte is asked for.
		x, err = s.open(ctx, &o, 0, 1)
	}
	if err != nil {
		return o, err
	}
	defer x.answer.Body.Close()
	if err := o.describe(x.answer); err != nil {
		return o, err
	}
	o.ranges = o.Size >= 0 && o.Tag != ""
	return o, nil
}

// open asks for the bytes [from, to) of an object.
func (s *s3Store) open(ctx context.Context, o *Object, from, to int64) (*exchange, error) {
	var opts minio.GetObjectOptions
	setConditions(o, from, to, opts.Set)
	x, err := s.do(ctx, o.bucket, true, func(core minio.Core) error {
		_, _, _, err := core.GetObject(ctx, o.bucket, o.key, opts)
		return err
	})
	if err != nil && x.answer != nil && x.answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && ctx.Err() == nil {
		return x, nil // which says how long the object is
	}
	return x, err
}

func (s *s3Store) get(ctx context.Context, o *Object, from, to int64) (got, error) {
	x, err := s.open(ctx, o, from, to)
	if err != nil {
		if x.answer == nil || x.answer.StatusCode != http.StatusPreconditionFailed || o.Tag == "" || ctx.Err() != nil {
			return got{}, o.forNow(err)
		}
		is := "another version"
		if now, err := s.stat(ctx, o.bucket, o.key); err == nil && now.Tag != "" && now.Tag != o.Tag {
			is = now.Tag
		}
		return got{}, &ChangedError{o.Name, o.Tag, is}
	}
	g, err := received(o, from, x.answer)
	if err != nil {
		x.answer.Body.Close()
	}
	return g, err
}

// page asks for a page of what begins with a prefix and is in no folder behind it.
func (s *s3Store) page(ctx context.Context, bucket, prefix, token string) (minio.ListBucketV2Result, error) {
	var page minio.ListBucketV2Result
	x, err := s.do(ctx, bucket, false, func(core minio.Core) (err error) {
		page, err = core.ListObjectsV2(bucket, prefix, "", token, "/", s.pageSize)
		return err
	})
	if err == nil && !x.isS3() {
		err = s.notS3()
	}
	return page, err
}

func (s *s3Store) notS3() *failure {
	return final("is --endpoint right? pages of the web are read as https://…", "%s does not answer as S3 does", s.endpoint)
}

// A codeError is an error with the code that S3 has for it.
type codeError struct {
	error
	code string
}

func (e *codeError) Unwrap() error { return e.error }

// code is S3's code of an error, if it has one.
func code(err error) string {
	var c *codeError
	if errors.As(err, &c) {
		return c.code
	}
	return ""
}

// The codes that something here depends on.
const (
	noSuchKey    = "NoSuchKey"
	noSuchBucket = "NoSuchBucket"
	accessDenied = "AccessDenied"
)

// explain says why a request was not answered as it should have been.
func (s *s3Store) explain(x *exchange, err error, bucket, region string) error {
	switch {
	case x.err != nil && s.endpoint.Host == amazon && errors.As(x.err, new(*net.DNSError)):
		return passing("--endpoint https://HOST:PORT, if it is not AWS", "%w", cause(x.err))
	case x.err != nil:
		return unanswered(x.err, s.endpoint.Scheme)
	case x.answer == nil:
		return final("", "%s", brief(err.Error())) // minio-go did not even ask
	}
	status := x.answer.StatusCode
	f := &failure{again: mayPass(status), after: retryAfter(x.answer.Header, time.Now())}
	if x.start != nil && !x.isS3() {
		if status == http.StatusBadRequest && plainToTLS(x.start) {
			return speaksTLS()
		}
		if !f.again {
			return s.notS3()
		}
	}
	if status == http.StatusOK {
		return final("", "the server's listing can't be understood: %s", brief(err.Error()))
	}
	what := x.said.Code
	if what == "" {
		switch {
		case status == http.StatusNotFound && x.object:
			what = noSuchKey
		case status == http.StatusNotFound:
			what = noSuchBucket
		case status == http.StatusForbidden, status == http.StatusUnauthorized:
			what = accessDenied
		case status == http.StatusMovedPermanently, status == http.StatusTemporaryRedirect:
			what = "PermanentRedirect"
		}
	}
	switch what {
	case "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "InternalError", "ServiceUnavailable":
		f.again = true
	}
	f.err = &codeError{s.words(x, what, bucket, region), what}
	return f
}

// words are what a code of S3 means, and what can be done.
func (s *s3Store) words(x *exchange, what, bucket, region string) error {
	status := x.answer.StatusCode
	if ahead, wrong := clockError(x.answer.Header, time.Now()); what == "RequestTimeTooSkewed" || wrong && (what == "SignatureDoesNotMatch" || what == accessDenied) {
		const hint = "set the clock: timedatectl set-ntp true"
		switch {
		case ahead > 0:
			return hinted(hint, "the clock of this machine is %s ahead of the server's, so no signature is taken", minutes(ahead))
		case ahead < 0:
			return hinted(hint, "the clock of this machine is %s behind the server's, so no signature is taken", minutes(-ahead))
		}
		return hinted(hint, "the clock of this machine differs too much from the server's")
	}
	switch what {
	case "InvalidAccessKeyId", "XAdminUserNotFound": // versitygw says the latter
		return hinted("--credentials FILE", "%s does not know the key id from %s", s.endpoint.Host, s.keys.from)
	case "SignatureDoesNotMatch":
		return hinted("--credentials FILE", "the secret key from %s is wrong: it does not belong to the key id", s.keys.secretFrom())
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return hinted("get new credentials", "the session token from %s has expired, or is wrong", s.keys.from)
	case accessDenied, "AllAccessDisabled", "AccountProblem":
		switch {
		case s.keys.from == "" && x.object:
			return hinted("--credentials FILE", "access to this object is denied to those without a key")
		case s.keys.from == "":
			return hinted("--credentials FILE", "the bucket %s may not be listed by those without a key", shown(bucket))
		case x.object:
			return hinted("is the name right? s3:GetObject must be allowed", "access to this object is denied to the key from %s", s.keys.from)
		}
		return hinted("name the objects; or s3:ListBucket must be allowed", "the bucket %s may not be listed by the key from %s", shown(bucket), s.keys.from)
	case noSuchBucket:
		return hinted("is the name right, and --endpoint?", "there is no bucket %s at %s", shown(bucket), s.endpoint.Host)
	case noSuchKey, "NoSuchVersion":
		return hinted("dtcat --list "+s3Name(bucket, ""), "there is no such object")
	case "InvalidBucketName":
		return hinted("s3://BUCKET/KEY", "%s is no name of a bucket", shown(bucket))
	case "InvalidObjectState":
		return hinted("aws s3api restore-object", "the object is archived%s, and must be restored before it can be read", inClass(x.said.StorageClass))
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "InvalidRegion", "IllegalLocationConstraintException":
		if right := x.region(); right != "" && right != region {
			return hinted("--region "+right, "the bucket %s is in the region %s, not in %s", shown(bucket), right, region)
		}
		return hinted("--region, or --endpoint", "the bucket %s is in another region than %s, or elsewhere", shown(bucket), region)
	}
	text := "the server answers " + statusText(status)
	if x.said.Code != "" && x.said.Code != strconv.Itoa(status) {
		text += ", " + brief(x.said.Code)
		if x.said.Message != "" {
			text += ": " + brief(x.said.Message)
		}
	}
	return errors.New(text)
}

// inClass is where an archived object is.
func inClass(class string) string {
	if class == "" {
		return ""
	}
	return " (" + brief(class) + ")"
}

func minutes(d time.Duration) string { return strings.TrimSuffix(d.String(), "0s") }

// mostSkew is by how much the clocks of S3 and of who signs may differ.
const mostSkew = 15 * time.Minute

// clockError is how much the clock here is ahead of a server's, and whether that is too much.
func clockError(h http.Header, now time.Time) (ahead time.Duration, wrong bool) {
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	ahead = now.Sub(date)
	return ahead.Round(time.Minute), ahead.Abs() >= mostSkew-time.Minute
}
