package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeS3 is a server of one bucket, "bucket".
type fakeS3 struct {
	*httptest.Server
	objects map[string]string // key → content; its ETag is "v" and its length

	mu    sync.Mutex
	asked []string // methods and addresses
	fault func(w http.ResponseWriter, r *http.Request) bool
}

func newFakeS3(t *testing.T, keys ...string) *fakeS3 {
	f := &fakeS3{objects: map[string]string{}}
	for _, key := range keys {
		f.objects[key] = "content of " + key
		if strings.HasSuffix(key, "/") {
			f.objects[key] = ""
		}
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fakeS3) client(t *testing.T) *Client {
	t.Helper()
	clearEnvironment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "ID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "Geheim7")
	return newClient(t, Settings{Endpoint: f.URL})
}

const fakeTime = "2026-03-02T10:00:00.123Z"

func (f *fakeS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r.Method+" "+r.RequestURI)
	fault := f.fault
	f.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket != "bucket":
		s3Error(w, r, 404, "NoSuchBucket", "")
	case key == "":
		f.list(w, r.URL.Query())
	default:
		content, found := f.objects[key]
		if !found {
			s3Error(w, r, 404, "NoSuchKey", "")
			return
		}
		modified, _ := time.Parse(time.RFC3339, fakeTime)
		w.Header().Set("ETag", fmt.Sprintf(`"v%d"`, len(content)))
		w.Header().Set("Expires", "0") // minio-go would give up
		w.Header().Set("Content-Type", "text/csv")
		http.ServeContent(w, r, "", modified, strings.NewReader(content))
	}
}

func (f *fakeS3) list(w http.ResponseWriter, q url.Values) {
	most, _ := strconv.Atoi(q.Get("max-keys"))
	if most == 0 {
		most = 1000
	}
	var names []string // keys, and folders
	for key := range f.objects {
		rest, found := strings.CutPrefix(key, q.Get("prefix"))
		if i := strings.Index(rest, "/"); i >= 0 {
			key = key[:len(key)-len(rest)+i+1]
		}
		if found && !slices.Contains(names, key) {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	start, _ := slices.BinarySearch(names, strings.TrimPrefix(q.Get("continuation-token"), "from "))
	end := min(start+most, len(names))
	fmt.Fprint(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>`)
	for _, name := range names[start:end] {
		content, object := f.objects[name]
		if !object || name != q.Get("prefix") && strings.HasSuffix(name, "/") {
			fmt.Fprintf(w, "<CommonPrefixes><Prefix>%s</Prefix></CommonPrefixes>", url.QueryEscape(name))
			continue
		}
		fmt.Fprintf(w, "<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;v%d&quot;</ETag><Size>%d</Size></Contents>",
			url.QueryEscape(name), fakeTime, len(content), len(content))
	}
	if end < len(names) {
		fmt.Fprintf(w, "<IsTruncated>true</IsTruncated><NextContinuationToken>from %s</NextContinuationToken>", names[end])
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// s3Error answers as S3 does; more is XML.
func s3Error(w http.ResponseWriter, r *http.Request, status int, code, more string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>Words.</Message>%s</Error>`, code, more)
	}
}

func TestS3List(t *testing.T) {
	f := newFakeS3(t, "a.csv", "run/", "run/d_0.txt", "run/d_1.txt", "run/d_10.csv", "run/sub/x.txt", "run2/d_0.txt", "run2/q[1].txt", "deep/a/b/c.txt",
		"with space+plus%25.txt", "ü/ö.txt", "/odd", "run//odd.txt", "q[1].txt", "dir", "dir/x.txt", "marker/", "star*.txt")
	c := f.client(t)
	for _, size := range []int{0, 1, 3} {
		c.s3.pageSize = size
		for _, test := range []struct {
			name    string
			paths   string // and sizes of keys
			folder  bool
			folders string
		}{
			{"s3://bucket/a.csv", "a.csv", false, ""},
			{"S3://bucket/run/d_1.txt", "d_1.txt", false, ""},
			{"s3://bucket/run/", "d_0.txt d_1.txt d_10.csv", true, "s3://bucket/run// s3://bucket/run/sub/"},
			{"s3://bucket/run", "d_0.txt d_1.txt d_10.csv", true, "s3://bucket/run// s3://bucket/run/sub/"},
			{"s3://bucket/run/d_1", "d_1.txt d_10.csv", true, ""},
			{"s3://bucket/ru", "", true, "s3://bucket/run/ s3://bucket/run2/"},
			{"s3://bucket/dir", "dir", false, ""},
			{"s3://bucket/dir/", "x.txt", true, ""},
			{"s3://bucket/marker/", "", true, ""},
			{"s3://bucket/none/", "", true, ""},
			{"s3://bucket/run/*.txt", "d_0.txt d_1.txt", false, ""},
			{"s3://bucket/run/d_?.*", "d_0.txt d_1.txt", false, ""},
			{"s3://bucket/run/d_[0-9][0-9].csv", "d_10.csv", false, ""},
			{"s3://bucket/run*/d_0.txt", "run/d_0.txt run2/d_0.txt", false, ""},
			{"s3://bucket/*/*/*/c.txt", "deep/a/b/c.txt", false, ""},
			{"s3://bucket/deep/*/b/?.txt", "a/b/c.txt", false, ""},
			{"s3://bucket/run*/", "run/d_0.txt run/d_1.txt run/d_10.csv run2/d_0.txt run2/q[1].txt", true, "s3://bucket/run// s3://bucket/run/sub/"},
			{"s3://bucket/q[1].txt", "q[1].txt", false, ""},      // nothing matches, so it is the name itself
			{"s3://bucket/run2/q[1].txt", "q[1].txt", false, ""}, // likewise
			{`s3://bucket/star\*.txt`, "star*.txt", false, ""},   // that very star
			{"s3://bucket/ü/ö.txt", "ö.txt", false, ""},
			{"s3://bucket//odd", "odd", false, ""}, // below the folder without a name
			{"s3://bucket/run//", "odd.txt", true, ""},
			{"s3://bucket/w*", "with space+plus%2525.txt", false, ""},
			{"s3://bucket/with space+plus%25.txt", "with space+plus%2525.txt", false, ""},
		} {
			l, err := c.List(t.Context(), test.name)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			var paths []string
			for _, o := range l.Objects {
				paths = append(paths, o.Path)
				content := f.objects[o.key]
				if o.Size != int64(len(content)) || o.Tag != fmt.Sprint("v", len(content)) || !o.ranges || o.Modified.Format("15:04:05") != "10:00:00" {
					t.Errorf("%s: %+v", test.name, o)
				}
				g, err := o.store.get(t.Context(), &o, 3, 9)
				if err != nil {
					t.Errorf("%s: %v", o.Name, err)
					continue
				}
				if b, err := io.ReadAll(g.body); err != nil || g.from != 3 || g.tag != o.Tag || g.size != o.Size || string(b) != content[3:9] {
					t.Errorf("%s: %q %v %+v", o.Name, b, err, g)
				}
				g.body.Close()
			}
			if got := strings.Join(paths, " "); got != test.paths || l.Folder != test.folder || strings.Join(l.Folders, " ") != test.folders {
				t.Errorf("%s, by %d: %s %v %s, want %+v", test.name, size, got, l.Folder, l.Folders, test)
			}
		}
	}
	for _, test := range []struct{ name, want string }{
		{"s3://bucket/none", "s3://bucket/none: there is no such object, nor does any begin like this (hint: dtcat --list s3://bucket/)"},
		{"s3://bucket/run/x\n", "s3://bucket/run/x%0A: there is no such object, nor does any begin like this (hint: dtcat --list s3://bucket/run/)"},
		{"s3://bucket/run/x*.txt", "s3://bucket/run/x*.txt: no object matches (hint: dtcat --list s3://bucket/run/)"},
		{"s3://bucket/x[", "s3://bucket/x[: there is no such object, nor does any begin like this (hint: dtcat --list s3://bucket/)"},
		{"s3://other/x", "s3://other/x: there is no bucket other at " + strings.TrimPrefix(f.URL, "http://") + " (hint: is the name right, and --endpoint?)"},
		{"s3://other", "s3://other/: there is no bucket other at " + strings.TrimPrefix(f.URL, "http://") + " (hint: is the name right, and --endpoint?)"},
		{"s3:///x", "s3:///x: no bucket is named (hint: s3://BUCKET/KEY)"},
		{"s3://a/x", "s3://a/x: a is no name of a bucket (hint: s3://BUCKET/KEY; it has 3 to 63 letters, digits, - and .)"},
		{"s3://bucket/\xff", "s3://bucket/%FF: a key is UTF-8, of at most 1024 bytes"},
	} {
		if _, err := c.List(t.Context(), test.name); err == nil || err.Error() != test.want {
			t.Errorf("\n     %v\nwant %s", err, test.want)
		}
	}
}

// TestS3Asks checks what is asked of a server for one object, as each question is a way to fail: above all not where its bucket is.
func TestS3Asks(t *testing.T) {
	f := newFakeS3(t, "a/b.csv")
	c := f.client(t)
	var agent, signed, encoding string
	f.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		agent, signed, encoding = r.UserAgent(), r.Header.Get("Authorization"), r.Header.Get("Accept-Encoding")
		return false
	}
	l, err := c.List(t.Context(), "s3://bucket/a/b.csv")
	if err != nil {
		t.Fatal(err)
	}
	g, err := l.Objects[0].store.get(t.Context(), &l.Objects[0], 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	g.body.Close()
	if got := strings.Join(f.asked, ", "); got != "HEAD /bucket/a/b.csv, GET /bucket/a/b.csv" {
		t.Error(got)
	}
	if agent != "dtcat/test" || !strings.HasPrefix(signed, "AWS4-HMAC-SHA256 Credential=ID/") || encoding != "identity" {
		t.Error(agent, signed, encoding)
	}
	c = newClient(t, Settings{Endpoint: f.URL, Credentials: "none"})
	if _, err = c.List(t.Context(), "s3://bucket/a/b.csv"); err != nil || signed != "" {
		t.Error(err, signed)
	}
	c = newClient(t, Settings{Endpoint: strings.Replace(f.URL, "127.0.0.1", "localhost", 1), Style: "virtual"})
	f.asked = nil
	c.transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(f.URL) } // it knows every name
	if _, err = c.List(t.Context(), "s3://bucket/a/b.csv"); len(f.asked) == 0 || !strings.HasPrefix(f.asked[0], "HEAD http://bucket.localhost:") {
		t.Error(err, f.asked)
	}
}

// TestS3Errors checks what is said of each answer that is none.
func TestS3Errors(t *testing.T) {
	f := newFakeS3(t, "a.csv")
	host := strings.TrimPrefix(f.URL, "http://")
	answer := func(status int, code, more string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			s3Error(w, r, status, code, more)
			return true
		}
	}
	at := func(ahead time.Duration, code string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Date", time.Now().Add(-ahead).UTC().Format(http.TimeFormat))
			s3Error(w, r, 403, code, "")
			return true
		}
	}
	text := func(status int, text string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(status)
			fmt.Fprint(w, text)
			return true
		}
	}
	notS3 := "http://" + host + " does not answer as S3 does (hint: is --endpoint right? pages of the web are read as https://…)"
	regionHint := "the bucket bucket is in the region eu-west-3, not in us-west-1 (hint: --region eu-west-3)"
	skew := " so no signature is taken (hint: set the clock: timedatectl set-ntp true)"
	for _, test := range []struct {
		name         string
		fault        func(http.ResponseWriter, *http.Request) bool
		object, list string // what is said; list: empty if the same
	}{
		{"key id", answer(403, "InvalidAccessKeyId", ""), host + " does not know the key id from AWS_ACCESS_KEY_ID (hint: --credentials FILE)", ""},
		{"secret", answer(403, "SignatureDoesNotMatch", ""), "the secret key from AWS_SECRET_ACCESS_KEY is wrong: it does not belong to the key id (hint: --credentials FILE)", ""},
		{"token", answer(400, "ExpiredToken", ""), "the session token from AWS_ACCESS_KEY_ID has expired, or is wrong (hint: get new credentials)", ""},
		{"denied", answer(403, "AccessDenied", ""), "access to this object is denied to the key from AWS_ACCESS_KEY_ID (hint: is the name right? s3:GetObject must be allowed)",
			"the bucket bucket may not be listed by the key from AWS_ACCESS_KEY_ID (hint: name the objects; or s3:ListBucket must be allowed)"},
		{"clock", at(20*time.Minute, "RequestTimeTooSkewed"), "the clock of this machine is 20m ahead of the server's," + skew, ""},
		{"clock, behind", at(-time.Hour, "RequestTimeTooSkewed"), "the clock of this machine is 1h0m behind the server's," + skew, ""},
		{"clock, said otherwise", at(20*time.Minute, "AccessDenied"), "the clock of this machine is 20m ahead of the server's," + skew, ""},
		{"region", answer(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"), regionHint, ""},
		{"another place", answer(301, "PermanentRedirect", "<Region>eu-west-3</Region>"), regionHint, ""},
		{"another place, not told", answer(301, "PermanentRedirect", ""), "the bucket bucket is in another region than us-west-1, or elsewhere (hint: --region, or --endpoint)", ""},
		{"archived", answer(403, "InvalidObjectState", "<StorageClass>GLACIER</StorageClass>"), "the object is archived (GLACIER), and must be restored before it can be read (hint: aws s3api restore-object)", ""},
		{"unknown", answer(400, "Odd\nCode", ""), "the server answers 400 Bad Request, Odd Code: Words", ""},
		{"web page", text(200, "<!DOCTYPE html><html><body>Hello</body></html>"), "", notS3},
		{"web page, missing", text(404, "<html><body>404</body></html>"), notS3, ""},
		{"web page, denied", text(403, "<html><body>403</body></html>"), notS3, ""},
		{"TLS is wanted", text(400, "Client sent an HTTP request to an HTTPS server.\n"), "the server speaks TLS there (hint: https:// instead of http://)", ""},
		{"broken listing", text(200, "<ListBucketResult><Contents><Size>x</Size></Contents></ListBucketResult>"), "", `the server's listing can't be understood: strconv.ParseInt: parsing "x": invalid syntax`},
		{"no listing", text(200, "nothing"), "", notS3},
		{"busy", answer(503, "SlowDown", ""), "the server answers 503 Service Unavailable", "the server answers 503 Service Unavailable, SlowDown: Words"},
		{"internal", text(500, "panic"), "the server answers 500 Internal Server Error", ""},
	} {
		clearEnvironment(t)
		c := f.client(t)
		c.s3.region = "us-west-1"
		f.fault = test.fault
		if test.object != "" {
			_, err := c.List(t.Context(), "s3://bucket/a.csv")
			checkS3Error(t, test.name, err, "s3://bucket/a.csv", test.object)
		}
		if test.list == "" {
			test.list = test.object
		}
		_, err := c.List(t.Context(), "s3://bucket/")
		checkS3Error(t, test.name, err, "s3://bucket/", test.list)
	}
}

func checkS3Error(t *testing.T, name string, err error, place, want string) {
	t.Helper()
	var f *failure
	switch {
	case err == nil || err.Error() != place+": "+want:
		t.Errorf("%s:\n     %v\nwant %s: %s", name, err, place, want)
	case !errors.As(err, &f) || f.again != (strings.Contains(want, " 50")):
		t.Errorf("%s: %v: %+v", name, err, f)
	case strings.Contains(err.Error(), "Geheim7"):
		t.Errorf("%s: %v has the key in it", name, err)
	}
}

func TestS3Denied(t *testing.T) {
	f := newFakeS3(t, "a.csv", "dir/b.csv")
	c := f.client(t)
	denied := func(which func(r *http.Request) bool) {
		f.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if which(r) {
				s3Error(w, r, 403, "AccessDenied", "")
				return true
			}
			return false
		}
	}
	list := func(name, want string) {
		t.Helper()
		l, err := c.List(t.Context(), name)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(len(l.Objects))
		}
		if got != want {
			t.Errorf("\n     %s\nwant %s", got, want)
		}
	}
	isList := func(r *http.Request) bool { return r.URL.Query().Has("list-type") }
	denied(isList)
	list("s3://bucket/a.csv", "1")
	list("s3://bucket/none", "s3://bucket/none: there is no such object; the bucket may not be listed, to look for others (hint: is the name right? s3:ListBucket must be allowed)")
	denied(func(r *http.Request) bool { return r.Method == http.MethodHead })
	list("s3://bucket/a.csv", "1") // a GET says the same
	denied(func(r *http.Request) bool { return !isList(r) })
	list("s3://bucket/a.csv", "s3://bucket/a.csv: access to this object is denied to the key from AWS_ACCESS_KEY_ID (hint: is the name right? s3:GetObject must be allowed)")
	list("s3://bucket/dir", "1") // some say "denied" rather than "there is none"
}

func TestS3Region(t *testing.T) {
	f := newFakeS3(t, "a.csv")
	c := f.client(t)
	wrong := 0
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.Header.Get("Authorization"), "/eu-west-3/") {
			return false
		}
		wrong++
		if r.Method == http.MethodHead {
			w.WriteHeader(400) // which tells nothing
			return true
		}
		s3Error(w, r, 400, "AuthorizationHeaderMalformed", "")
		return true
	}
	if _, err := c.List(t.Context(), "s3://bucket/a.csv"); err == nil || !strings.Contains(err.Error(), "is in another region than us-east-1") {
		t.Error(err)
	}
	known := f.fault
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-3")
		return known(w, r)
	}
	wrong = 0
	for range 3 {
		if _, err := c.List(t.Context(), "s3://bucket/a.csv"); err != nil || wrong != 1 {
			t.Error(err, wrong)
		}
	}
}

func TestS3Changed(t *testing.T) {
	f := newFakeS3(t, "a.csv", "empty")
	f.objects["empty"] = ""
	c := f.client(t)
	l, err := c.List(t.Context(), "s3://bucket/a.csv")
	if err != nil {
		t.Fatal(err)
	}
	o := &l.Objects[0]
	f.objects["a.csv"] += "more"
	_, err = o.store.get(t.Context(), o, 3, 9)
	var changed *ChangedError
	if !errors.As(err, &changed) || *changed != (ChangedError{"s3://bucket/a.csv", "v16", "v20"}) {
		t.Error(err)
	}
	delete(f.objects, "a.csv")
	if _, err = o.store.get(t.Context(), o, 3, 9); code(err) != noSuchKey || !isFinal(err) {
		t.Error(err)
	}
	if l, err = c.List(t.Context(), "s3://bucket/empty"); err != nil || l.Objects[0].Size != 0 {
		t.Error(l, err)
	}
}

func TestS3RetryAfter(t *testing.T) {
	f := newFakeS3(t, "a.csv")
	c := f.client(t)
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Retry-After", "7")
		s3Error(w, r, 503, "SlowDown", "")
		return true
	}
	o := Object{Name: "s3://bucket/a.csv", Size: -1, store: c.s3, bucket: "bucket", key: "a.csv"}
	_, err := c.s3.get(t.Context(), &o, 0, -1)
	var busy *failure
	if !errors.As(err, &busy) || !busy.again || busy.after != 7*time.Second {
		t.Errorf("%v %+v", err, busy)
	}
}

// TestS3Endless checks that a listing comes to an end, whatever the server does.
func TestS3Endless(t *testing.T) {
	f := newFakeS3(t)
	c := f.client(t)
	page, n := "", 0
	f.fault = func(w http.ResponseWriter, _ *http.Request) bool {
		n++
		token := strings.ReplaceAll("<NextContinuationToken>TOKEN</NextContinuationToken>", "TOKEN", fmt.Sprint(n))
		fmt.Fprint(w, "<ListBucketResult><IsTruncated>true</IsTruncated>"+strings.ReplaceAll(page, "TOKEN", token)+"</ListBucketResult>")
		return true
	}
	for _, test := range []struct{ page, want string }{
		{"TOKEN", "s3://bucket/: the server's listing does not come to an end"},
		{"<NextContinuationToken>same</NextContinuationToken><Contents><Key>a</Key></Contents>", "s3://bucket/: the server's listing does not come to an end"},
		{"TOKEN" + strings.Repeat("<Contents><Key>a</Key></Contents>", 30_000), "s3://bucket/: these are more than 100000 objects (hint: part of them: s3://bucket/a*)"},
	} {
		page = test.page
		if _, err := c.List(t.Context(), "s3://bucket/"); err == nil || err.Error() != test.want {
			t.Errorf("\n     %v\nwant %s", err, test.want)
		}
	}
}

// TestSlow checks that an answer which begins, and does not go on, is given up.
func TestSlow(t *testing.T) {
	f := newFakeS3(t)
	c := f.client(t)
	c.s3.patience, c.web.patience = 10*time.Millisecond, 10*time.Millisecond
	status := 0
	f.fault = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(status)
		io.WriteString(w, "<ListBucketResult>")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	}
	for _, status = range []int{200, 500} {
		if _, err := c.List(t.Context(), "s3://bucket/"); err == nil || err.Error() != "s3://bucket/: no answer in time" {
			t.Error(err)
		}
	}
	if _, err := c.List(t.Context(), f.URL+"/x"); err == nil || err.Error() != f.URL+"/x: the server answers 500 Internal Server Error" {
		t.Error(err)
	}
}

// TestS3Cancelled checks that a listing can be stopped, for which minio-go has no means.
func TestS3Cancelled(t *testing.T) {
	f := newFakeS3(t)
	c := f.client(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.fault = func(_ http.ResponseWriter, r *http.Request) bool {
		cancel()
		<-r.Context().Done() // the connection was given up
		return true
	}
	if _, err := c.List(ctx, "s3://bucket/"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
