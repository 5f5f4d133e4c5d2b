package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dt/internal/e2e/torture"
)

// web is dtcat with flags for the web.
func web(args ...string) stage { return append(stage{"dtcat"}, args...) }

// webFiles are the same words in several forms, in a folder, and as text.
func webFiles(t testing.TB) (folder string, text []byte) {
	t.Helper()
	folder = t.TempDir()
	text = cat(t, "sim:?seed=12&hits=150000", "--to", "csv")
	file := write(t, "a.csv", text)
	raw := cat(t, file, "--to", "raw")
	for name, content := range map[string][]byte{
		"data.csv": text, "data.dat": raw, "data.dts": cat(t, file), "data.csv.gz": packed(t, "gz", text), "data.csv.zst": packed(t, "zst", text), "data.dat.gz": packed(t, "gz", raw),
		"a b+ü%.csv": text, "nothing.csv": nil, "static/data.csv.gz": packed(t, "gz", text),
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return folder, text
}

// Go's file server tells versions by their time alone.
func TestWebGo(t *testing.T) {
	folder, text := webFiles(t)
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer server.Close()
	for _, name := range []string{"data.csv", "data.dat", "data.dts", "data.csv.gz", "data.csv.zst", "data.dat.gz", "a%20b+%C3%BC%25.csv"} {
		reads(t, name, s3Run(t, nil, web("--to", "csv", "--header", "yes", server.URL+"/"+name)), text)
	}
	reads(t, "nothing", s3Run(t, nil, web("--to", "csv", "--header", "no", server.URL+"/nothing.csv")), nil)
	reads(t, "two", s3Run(t, nil, web("--to", "csv", "--header", "no", strings.ToUpper(server.URL[:4])+server.URL[4:]+"/data.csv", filepath.Join(folder, "data.csv"))),
		bytes.Repeat(text[bytes.IndexByte(text, '\n')+1:], 2))

	out := s3Run(t, nil, web(server.URL+"/data.csv"), stage{"dthist", "--window", "all"}).ok(t)
	name, tag, offset := sourceOf(t, parse(t, out)[0])
	info, err := os.Stat(filepath.Join(folder, "data.csv"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "modified " + info.ModTime().UTC().Truncate(time.Second).Format(time.RFC3339); name != server.URL+"/data.csv" || tag != want || offset != len(text) {
		t.Errorf("the source ends at byte %d of %s, version %s", offset, name, tag)
	}
	r := s3Run(t, nil, web("--list", server.URL+"/data.csv.gz"))
	fields := strings.Fields(string(r.ok(t)))
	want := []string{"NAME", "BYTES", "FORMAT", server.URL + "/data.csv.gz", fmt.Sprint(len(mustRead(t, filepath.Join(folder, "data.csv.gz")))), "csv", "with", "header", "in", "gzip"}
	if strings.Join(fields, " ") != strings.Join(want, " ") {
		t.Errorf("%s", r.Out)
	}
}

// nginx serves a folder in many ways. It returns where, without and with TLS.
func nginx(t testing.TB, folder string, authority *certAuthority, pair [2]string, elsewhere string) (plain, secure string) {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		if program = "/usr/sbin/nginx"; exec.Command(program, "-v").Run() != nil {
			missing(t, "nginx", "apt-get install nginx-light")
		}
	}
	port, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // others may not look into our folders
	}
	config := fmt.Sprintf(`%s
daemon off; worker_processes 1; pid %[2]s/pid; error_log %[2]s/error.log;
events {}
http {
  access_log off;
  client_body_temp_path %[2]s/1; proxy_temp_path %[2]s/2; fastcgi_temp_path %[2]s/3; uwsgi_temp_path %[2]s/4; scgi_temp_path %[2]s/5;
  server {
    listen 127.0.0.1:%[3]d;
    listen 127.0.0.1:%[4]d ssl;
    ssl_certificate %[5]s; ssl_certificate_key %[6]s;
    location /plain/ { alias %[7]s/; }
    location /weak/ { alias %[7]s/; gzip on; gzip_types *; gzip_min_length 1; }
    location /static/ { alias %[7]s/static/; gzip_static always; }
    location /noranges/ { alias %[7]s/; max_ranges 0; }
    location /noetag/ { alias %[7]s/; etag off; }
    location /noversion/ { alias %[7]s/; etag off; add_header Last-Modified ""; }
    location /private/ { alias %[7]s/; auth_basic lab; auth_basic_user_file %[2]s/users; }
    location /denied/ { return 403; }
    location /gone/ { return 410; }
    location /broken/ { return 500; }
    location /moved/ { rewrite ^/moved/(.*) /plain/$1 permanent; }
    location /twice/ { rewrite ^/twice/(.*) /moved/$1 redirect; }
    location /secure/ { rewrite ^/secure/(.*) https://127.0.0.1:%[4]d/plain/$1 redirect; }
    location /elsewhere/ { auth_basic lab; auth_basic_user_file %[2]s/users; alias %[7]s/; try_files /nonexistent @elsewhere; }
    location @elsewhere { return 302 %[8]s/data.csv; }
    location /file/ { return 302 file:///etc/passwd; }
    location /ftp/ { return 301 ftp://127.0.0.1/data.csv; }
    location /loop/ { return 302 /loop/again; }
  }
}
`, user, dir, port, port+1, private(t, "server.pem", pair[1]), private(t, "server.key", pair[0]), folder, elsewhere)
	for name, text := range map[string]string{"nginx.conf": config, "users": "me:{PLAIN}" + webPassword + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "nginx.conf"))
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	if err := torture.Spawn(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	plain, secure = fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("https://127.0.0.1:%d", port+1)
	for end := time.Now().Add(s3Patience); ; time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get(plain + "/gone/"); err == nil {
			r.Body.Close()
			return plain, secure
		}
		select {
		case <-ended:
			t.Fatalf("nginx ended: %s", says.String())
		default:
		}
		if time.Now().After(end) {
			t.Fatal("nginx does not answer")
		}
	}
}

// withUser puts a user and a password into an address.
func withUser(address, user, password string) string {
	return strings.Replace(address, "://", "://"+url.UserPassword(user, password).String()+"@", 1)
}

// nginx with ETags, ranges, packed files, redirects and passwords, and without each of them.
func TestWebNginx(t *testing.T) {
	folder, text := webFiles(t)
	authority := newCertAuthority(t, "web-ca")
	var mu sync.Mutex
	var foreign []http.Header
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		foreign = append(foreign, r.Header.Clone())
		mu.Unlock()
		http.ServeFile(w, r, filepath.Join(folder, "data.csv"))
	}))
	defer elsewhere.Close()
	plain, secure := nginx(t, folder, authority, (&s3Server{ca: authority}).certificate(t), elsewhere.URL)
	ca := []string{"--ca-cert", authority.file}
	for _, c := range []struct {
		address string
		flags   []string
	}{
		{address: plain + "/plain/data.csv"},
		{address: plain + "/plain/data.dat"},
		{address: plain + "/plain/data.dts"},
		{address: plain + "/plain/data.csv.gz"},
		{address: plain + "/plain/data.csv.zst"},
		{address: plain + "/plain/data.dat.gz"},
		{address: plain + "/plain/a%20b+%C3%BC%25.csv"},
		{address: plain + "/plain/data.csv?X-Amz-Signature=" + wrongSecret + "#part"},
		{address: plain + "/weak/data.csv"},
		{address: plain + "/static/data.csv"},
		{address: plain + "/noranges/data.csv"},
		{address: plain + "/noranges/data.csv.gz"},
		{address: plain + "/noetag/data.csv"},
		{address: plain + "/noversion/data.csv"},
		{address: plain + "/moved/data.csv"},
		{address: plain + "/twice/data.csv.zst"},
		{address: plain + "/secure/data.csv", flags: ca},
		{address: secure + "/plain/data.csv", flags: ca},
		{address: withUser(plain, "me", webPassword) + "/private/data.csv"},
		{address: withUser(secure, "me", webPassword) + "/private/data.csv.gz", flags: ca},
		{address: withUser(plain, "me", webPassword) + "/elsewhere/x"},
	} {
		reads(t, c.address, s3Run(t, nil, web(append(c.flags, "--to", "csv", "--header", "yes", c.address)...)), text)
	}
	if len(foreign) == 0 {
		t.Error("nobody came from elsewhere")
	}
	for _, h := range foreign {
		if h.Get("Authorization") != "" || h.Get("Referer") != "" {
			t.Errorf("another server was told %v", h)
		}
	}
	head, err := http.Head(plain + "/plain/data.csv")
	if err != nil {
		t.Fatal(err)
	}
	head.Body.Close()
	out := s3Run(t, nil, web(withUser(plain, "me", webPassword)+"/private/data.csv"), stage{"dthist", "--window", "all"}).ok(t)
	if name, tag, offset := sourceOf(t, parse(t, out)[0]); name != plain+"/private/data.csv" || tag != strings.Trim(head.Header.Get("ETag"), `"`) || offset != len(text) {
		t.Errorf("the source ends at byte %d of %s, version %s", offset, name, tag)
	}

	for _, c := range []struct {
		name, address string
		says          []string
	}{
		{"not there", plain + "/plain/none.csv", []string{plain + "/plain/none.csv: ", "404", "hint: "}},
		{"denied", plain + "/denied/a.csv", []string{plain + "/denied/a.csv: ", "403", "hint: "}},
		{"gone", plain + "/gone/a.csv", []string{"410", "hint: "}},
		{"a password is wanted", plain + "/private/data.csv", []string{plain + "/private/data.csv: ", "password", "hint: "}},
		{"a wrong password", withUser(plain, "me", wrongSecret) + "/private/data.csv", []string{plain + "/private/data.csv: ", "password", "hint: "}},
		{"redirected to a file", plain + "/file/data.csv", []string{plain + "/file/data.csv: ", "file://"}},
		{"redirected to FTP", plain + "/ftp/data.csv", []string{plain + "/ftp/data.csv: ", "ftp://"}},
		{"redirected for ever", plain + "/loop/data.csv", []string{plain + "/loop/data.csv: ", "10 redirects"}},
		{"broken", plain + "/broken/a.csv", []string{plain + "/broken/a.csv: given up after 3 tries: ", "500"}},
		{"an unknown CA", secure + "/plain/data.csv", []string{secure + "/plain/data.csv: ", "certificate", "hint: --ca-cert"}},
		{"http to TLS", strings.Replace(secure, "https", "http", 1) + "/plain/data.csv", []string{"TLS", "hint: https://"}},
		{"TLS to http", strings.Replace(plain, "http", "https", 1) + "/plain/data.csv", []string{"TLS", "hint: http://"}},
		{"no server", "http:///data.csv", []string{"http:///data.csv: ", "hint: "}},
		{"no address", "https://me:" + webPassword + "@127.0.0.1:x/data.csv", []string{"https://127.0.0.1:x/data.csv: "}},
		{"a page", plain + "/plain/", []string{plain + "/plain/: ", "403"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s3Run(t, nil, web("--tries", "3", c.address))
			refusesStream(t, r, 1, c.says...)
			t.Log(strings.TrimSpace(r.Errs[0]))
		})
	}
}

// An address that is signed for a while works like any other, and its signature is kept secret.
func TestWebPresigned(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.smallRun(t)
	sign := func(valid time.Duration) string {
		t.Helper()
		var address *url.URL
		s.do(t, "presigned address", func(ctx context.Context) (err error) {
			address, err = s.client.PresignedGetObject(ctx, bucket, "data_7.txt", valid, nil)
			return err
		})
		return address.String()
	}
	good, short := sign(time.Hour), sign(time.Second)
	plain, _, _ := strings.Cut(good, "?")
	want := mustRead(t, filepath.Join(folder, "data_7.txt"))
	secret := between(good+"&", "Signature=", "&")
	ca := []string{"--ca-cert", s.ca.file}
	reads(t, "presigned", s3Run(t, nil, web(append(ca, "--to", "csv", good)...)), want)
	out := s3Run(t, nil, web(append(ca, good)...), stage{"dtfilter"}, stage{"dthist", "--window", "all"})
	name, tag, _ := sourceOf(t, parse(t, out.ok(t))[0])
	if !strings.HasPrefix(name, plain) || tag != s.tag(t, bucket, "data_7.txt") {
		t.Errorf("the source is %s, version %s", name, tag)
	}
	time.Sleep(2 * time.Second) // until it is no longer valid
	expired := start(t, cleanEnv(), nil, web(append(ca, short)...)).wait()
	refusesStream(t, expired, 1, plain, "expired", "hint: ")
	torn := start(t, cleanEnv(), nil, web(append(ca, strings.Replace(good, "Signature=", "Signature=0", 1))...)).wait()
	refusesStream(t, torn, 1, plain, "presigned", "hint: ")
	for _, text := range []string{string(out.Out), strings.Join(out.Errs, ""), expired.Errs[0], torn.Errs[0]} {
		if strings.Contains(text, secret) || strings.Contains(text, ownerSecret) || strings.Contains(text, ownerID) {
			t.Errorf("a secret is said:\n%s", text)
		}
	}
}

// Faults of the network, with a server that knows ranges and with one that does not.
func TestWebFaults(t *testing.T) {
	t.Parallel()
	folder, text := webFiles(t)
	server := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer server.Close()
	for _, name := range []string{"data.csv", "data.csv.gz"} {
		p := webProxy(t, server.URL, stormOf(s3Seed(t), 60).decide)
		survives(t, name, s3Run(t, nil, web(hurried("--connections", "256", "--to", "csv", p.url+"/"+name)...)), text)
		t.Logf("%v", p.faults())
	}

	// Without ranges it begins again, and what came before must come again.
	sequential := func(change func(n int, w http.ResponseWriter) bool) *httptest.Server {
		n := 0
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n++
			if change != nil && change(n, w) {
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			if n < 7 {
				w.Write(text[:len(text)*(n%4)/4]) // which is short of what was promised, so the server ends the connection
				return
			}
			w.Write(text)
		}))
	}
	whole := sequential(nil)
	defer whole.Close()
	reads(t, "without ranges", s3Run(t, nil, web(hurried("--to", "csv", whole.URL+"/data.csv")...)), text)

	other := sequential(func(n int, w http.ResponseWriter) bool {
		if n == 4 {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			w.Write(bytes.Replace(text, []byte("\n2,"), []byte("\n1,"), 1))
		}
		return n == 4
	})
	defer other.Close()
	r := s3Run(t, nil, web(hurried("--to", "csv", other.URL+"/data.csv")...))
	if r.Codes[0] != 1 || !bytes.HasPrefix(text, r.Out) || len(r.Out) == len(text) || !strings.HasPrefix(r.Errs[0], "dtcat: "+other.URL+"/data.csv: ") || !strings.Contains(r.Errs[0], "changed") {
		t.Errorf("exit %d, %d bytes\n%s", r.Codes[0], len(r.Out), r.Errs[0])
	}

	// Nor is a length always told. Then only a connection that ends as it should is the end.
	n := 0
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Write(text[:len(text)/2])
		http.NewResponseController(w).Flush()
		if n < 4 {
			panic(http.ErrAbortHandler)
		}
		w.Write(text[len(text)/2:])
	}))
	defer endless.Close()
	reads(t, "without a length", s3Run(t, nil, web(hurried("--to", "csv", endless.URL+"/data.csv")...)), text)

	// A file that is written anew is another version, by its time.
	file := filepath.Join(folder, "data.csv")
	changed := false
	p := webProxy(t, server.URL, func(r *proxied) {
		if changed || r.From == 0 {
			return
		}
		changed = true
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
			t.Error(err)
		}
	})
	p.moved(place{rate: 20 << 20})
	r = s3Run(t, nil, web("--to", "csv", p.url+"/data.csv"))
	if r.Codes[0] != 1 || !bytes.HasPrefix(text, r.Out) || len(r.Out) == len(text) || !strings.HasPrefix(r.Errs[0], "dtcat: "+p.url+"/data.csv: ") || !strings.Contains(r.Errs[0], "changed") ||
		strings.Count(r.Errs[0], "modified 20") != 2 {
		t.Errorf("exit %d, %d bytes\n%s", r.Codes[0], len(r.Out), r.Errs[0])
	}
}

// Through a proxy out of the network, with and without TLS, to hosts that only it knows.
func TestWebProxy(t *testing.T) {
	folder, text := webFiles(t)
	plain := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer plain.Close()
	f := newForwarder(t, map[string]string{"data.lab:80": strings.TrimPrefix(plain.URL, "http://")}, "me:"+webPassword)
	reads(t, "http", s3Run(t, []string{"HTTP_PROXY=" + f.url}, web("--to", "csv", "http://data.lab/data.csv")), text)
	if asked := f.asked(); len(asked) != 1 || asked[0] != "GET data.lab" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	r := s3Run(t, []string{"HTTP_PROXY=" + strings.Replace(f.url, "me:"+webPassword+"@", "", 1)}, web("http://data.lab/data.csv"))
	refusesStream(t, r, 1, "http://data.lab/data.csv: ", "proxy", "407", "hint: ")
}
