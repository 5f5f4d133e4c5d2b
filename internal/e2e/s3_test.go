package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sourceOf returns the last mark of a result line of one lane; the first lines may have none.
func sourceOf(t testing.TB, l line) (name, tag string, offset int) {
	t.Helper()
	lanes, _ := l.at(t, "Source", "Lanes").([]any)
	if len(lanes) != 1 {
		t.Fatalf("%d lanes: %v", len(lanes), lanes)
	}
	lane := line(lanes[0].(map[string]any))
	if lane["Name"] == nil {
		return "", "", 0
	}
	return lane.at(t, "Name").(string), lane.at(t, "Tag").(string), lane.int(t, "Offset")
}

// inNaturalOrder returns the files of a folder of which the pattern has the number.
func inNaturalOrder(t testing.TB, folder, pattern string) (files []string, text []byte) {
	t.Helper()
	for i := 0; ; i++ {
		file := filepath.Join(folder, fmt.Sprintf(pattern, i))
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			return files, text
		} else if err != nil {
			t.Fatal(err)
		}
		files, text = append(files, file), append(text, b...)
	}
}

// All objects of a bucket are one run in one lane, in natural order: byte for byte the files that were uploaded, and the same result. Its
// Source says from which byte of which version of which object the last word came.
func TestS3Run(t *testing.T) {
	s := sharedS3(t)
	pipe := []stage{{"dtfilter"}, {"dtchamber"}, {"dthist", "--window", "all"}}
	for pattern, run := range map[string]func(testing.TB) (string, string){"data_%06d.txt": s.bigRun, "data_%d.txt": s.smallRun} {
		bucket, folder := run(t)
		files, text := inNaturalOrder(t, folder, pattern)
		if len(files) != 81 {
			t.Fatalf("%d files", len(files))
		}
		reads(t, "s3://"+bucket+"/", s3Run(t, nil, s.cat("--to", "csv", "s3://"+bucket+"/")), text)

		got := s3Run(t, nil, append([]stage{s.cat("--run", "check", "s3://"+bucket+"/")}, pipe...)...).ok(t)
		want := pipeline(t, nil, append([]stage{append(stage{"dtcat", "--run", "check"}, files...)}, pipe...)...).ok(t)
		sameLines(t, bucket, results(t, got), results(t, want))
		last := filepath.Base(files[80])
		name, tag, offset := sourceOf(t, parse(t, got)[0])
		if size := len(mustRead(t, files[80])); name != "s3://"+bucket+"/"+last || tag != s.tag(t, bucket, last) || offset != size {
			t.Errorf("%s: the source ends at byte %d of %s, version %s", bucket, offset, name, tag)
		}
		if bucket == "small" {
			want := script(t, nil, check, append([]string{"--window=all"}, files...)...)
			proves(t, want)
			r := pipeline(t, nil, stage{python(t), "check/dtcompare.py", write(t, "want", want), write(t, "got", got)})
			if r.Codes[0] != 0 {
				t.Errorf("%s%s", r.Out, r.Errs[0])
			}
		}
	}
}

// The Source of each window names the object where it ended, its version, and a byte in it, in the order of the objects.
func TestS3Source(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.bigRun(t)
	// A mark comes every second.
	out := s3Run(t, nil, s.cat("--rate", "2500000", "s3://"+bucket+"/"), stage{"dtfilter"}, stage{"dthist", "--window", "20s"}).ok(t)
	tags := map[string]string{}
	before, at, named := "", 0, 0
	for _, l := range parse(t, out) {
		name, tag, offset := sourceOf(t, l)
		if name == "" && before == "" {
			continue
		}
		key := strings.TrimPrefix(name, "s3://"+bucket+"/")
		if tags[key] == "" {
			tags[key] = s.tag(t, bucket, key)
		}
		info, err := os.Stat(filepath.Join(folder, key))
		if err != nil || tag != tags[key] || offset > int(info.Size()) || name < before || name == before && offset < at {
			t.Errorf("behind byte %d of %s: byte %d of %s, version %s: %v", at, before, offset, name, tag, err)
		}
		if name != before || offset != at {
			named++
		}
		before, at = name, offset
	}
	if named < 2 {
		t.Errorf("only %d places", named)
	}
}

// rowOf is a CSV row that is known by its number.
func rowOf(i int) string { return fmt.Sprintf("2,0,5,%d,100,3\n", 617000+i) }

func rowsFor(numbers ...int) string {
	var b strings.Builder
	for _, i := range numbers {
		b.WriteString(rowOf(i))
	}
	return b.String()
}

// What names stand for: an object, a folder, a beginning, a pattern.
func TestS3Names(t *testing.T) {
	s := sharedS3(t)
	b := s.bucket(t)
	for i, key := range []string{
		"data_1.txt", "data_2.txt", "data_10.txt", "notes.md", "run7/data_1.txt", "run7/data_2.csv", "run7/notes.md", "run7/sub/data_1.txt", "run70/data_1.txt", "empty/notes.md",
		"odd/a b+c&d=é%20'(1).txt", "odd/a?.txt", "words", "odd/[1].txt",
	} {
		s.put(t, b, key, []byte(rowOf(i)))
	}
	s.put(t, b, "marked/", nil)
	s.put(t, b, "marked/data.txt", []byte(rowOf(20)))
	s.put(t, b, "nothing.txt", nil)
	s.put(t, b, "naught/nothing.txt", nil)
	s.put(t, b, "naught/some.txt", []byte(rowOf(21)))
	at := "s3://" + b
	local := write(t, "local.csv", []byte(rowOf(30)))
	for _, c := range []struct {
		sources []string
		want    []int
	}{
		{[]string{at + "/"}, []int{0, 1, 2}},
		{[]string{at}, []int{0, 1, 2}},
		{[]string{"S3://" + b + "/"}, []int{0, 1, 2}},
		{[]string{at + "/data_2.txt"}, []int{1}},
		{[]string{at + "/data_1.txt"}, []int{0}},
		{[]string{at + "/data_1"}, []int{0, 2}},
		{[]string{at + "/words"}, []int{12}},
		{[]string{at + "/nothing.txt"}, nil},
		{[]string{at + "/naught/"}, []int{21}},
		{[]string{at + "/run7/"}, []int{4, 5}},
		{[]string{at + "/run7"}, []int{4, 5}},
		{[]string{at + "/run7/sub"}, []int{7}},
		{[]string{at + "/marked/"}, []int{20}},
		{[]string{at + "/data_?.txt"}, []int{0, 1}},
		{[]string{at + "/data_*.txt"}, []int{0, 1, 2}},
		{[]string{at + "/data_[2-9].txt"}, []int{1}},
		{[]string{at + "/run*/data_1.txt"}, []int{4, 8}},
		{[]string{at + "/*/*.csv"}, []int{5}},
		{[]string{at + "/odd/a b+c&d=é%20'(1).txt"}, []int{10}},
		{[]string{at + "/odd/a?.txt"}, []int{11}},
		{[]string{at + "/odd/a*"}, []int{10, 11}},
		{[]string{at + "/run7/", local, at + "/data_2.txt", at + "/data_2.txt"}, []int{4, 5, 30, 1, 1}},
	} {
		reads(t, strings.Join(c.sources, " "), s3Run(t, nil, s.cat(append([]string{"--to", "csv", "--header", "no"}, c.sources...)...)), []byte(rowsFor(c.want...)))
	}
	for _, c := range []struct{ source, says, hint string }{
		{at + "/empty/", at + "/empty/: no data files in this folder", ".csv"},
		{at + "/nowhere/", at + "/nowhere/: there is no such folder, or nothing in it", "(hint: "},
		{at + "/data_3.txt", at + "/data_3.txt: ", "(hint: "},
		{at + "/x*.txt", at + "/x*.txt: ", "(hint: "},
		{at + "/data_[.txt", at + "/data_[.txt: ", "(hint: "},
	} {
		r := s3Run(t, nil, s.cat(c.source))
		refusesStream(t, r, 1, c.says, c.hint)
	}
	// What is missing is told, the others are read.
	r := s3Run(t, nil, s.cat("--to", "csv", "--header", "no", at+"/data_1.txt", at+"/data_3.txt", at+"/data_2.txt"))
	if want := rowsFor(0, 1); r.Codes[0] != 1 || string(r.Out) != want || strings.Count(r.Errs[0], "\n") != 1 || !strings.Contains(r.Errs[0], at+"/data_3.txt: ") {
		t.Errorf("exit %d, %q\n%s", r.Codes[0], r.Out, r.Errs[0])
	}
}

// refusesStream is refuses where the output may be an empty stream that was stopped.
func refusesStream(t testing.TB, r result, code int, parts ...string) {
	t.Helper()
	if len(r.Out) < 1000 {
		r.Out = nil
	}
	refuses(t, r, code, parts...)
}

// What an object holds is recognised by its content, as in files.
func TestS3Forms(t *testing.T) {
	s := sharedS3(t)
	b := s.bucket(t)
	text := cat(t, simulated(5, 60000), "--to", "csv")
	file := write(t, "a.csv", text)
	raw, lines := cat(t, file, "--to", "raw"), cat(t, file, "--to", "json")
	forms := []struct {
		name    string
		content []byte
		format  string
	}{
		{"a.csv", text, "csv with header"},
		{"b.dat", raw, "raw"},
		{"c.jsonl", lines, "json"},
		{"d.dts", cat(t, file), "stream"},
		{"e.txt.gz", packed(t, "gz", text), "csv with header in gzip"},
		{"f.txt.zst", packed(t, "zst", text), "csv with header in zstd"},
		{"g.dat.gz", packed(t, "gz", raw), "raw in gzip"},
		{"h.dat.zst", packed(t, "zst", raw), "raw in zstd"},
		{"i", packed(t, "gz", cat(t, file)), "stream in gzip"},
	}
	list := "NAME BYTES FORMAT\n"
	for _, f := range forms {
		s.put(t, b, f.name, f.content)
		reads(t, f.name, s3Run(t, nil, s.cat("--to", "csv", "--header", "yes", "s3://"+b+"/"+f.name)), text)
		if f.name != "i" {
			list += fmt.Sprintf("s3://%s/%s %d %s\n", b, f.name, len(f.content), f.format)
		}
	}
	spaces := regexp.MustCompile(`  +`)
	r := s3Run(t, nil, s.cat("--list", "s3://"+b+"/"))
	r.Out = spaces.ReplaceAll(r.Out, []byte(" "))
	reads(t, "--list", r, []byte(list))

	r = s3Run(t, nil, s.cat("--list", "--json", "s3://"+b+"/"))
	n := 0
	for text := range bytes.Lines(r.ok(t)) {
		var l struct {
			Name, Format, Packed, ETag, Modified string
			Bytes, Header                        int
		}
		if err := json.Unmarshal(text, &l); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		f := forms[n]
		what := l.Format
		if l.Header == 1 {
			what += " with header"
		}
		if l.Packed != "" {
			what += " in " + l.Packed
		}
		if when, err := time.Parse(time.RFC3339, l.Modified); l.Name != "s3://"+b+"/"+f.name || l.Bytes != len(f.content) || what != f.format || l.ETag != s.tag(t, b, f.name) || err != nil ||
			time.Since(when).Abs() > time.Hour {
			t.Errorf("%s: %s", f.name, text)
		}
		n++
	}
	if n != len(forms)-1 {
		t.Errorf("%d lines", n)
	}
	r = s3Run(t, nil, s.cat("--dry-run", "s3://"+b+"/a.csv", "s3://"+b+"/b.dat", file))
	r.Out = spaces.ReplaceAll(r.Out, []byte(" "))
	want := fmt.Sprintf("NAME BYTES FROM\ns3://%s/a.csv %d network\ns3://%s/b.dat %d network\n%s %d here\n3 sources, ", b, len(text), b, len(raw), file, len(text))
	if out := string(r.ok(t)); !strings.HasPrefix(out, want) || r.Errs[0] != "" {
		t.Errorf("%s%s", out, r.Errs[0])
	}
}

// A folder with more objects than a listing's page has.
func TestS3Pages(t *testing.T) {
	s := sharedS3(t)
	const n = 1203
	bucket := "many"
	s.fixture(t, bucket, func(folder string) {
		for i := range n {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("data_%d.txt", i)), []byte(rowOf(i)), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	})
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	p := s.proxy(t, nil)
	reads(t, "all", s3Run(t, nil, s.catAt(p.url, "--to", "csv", "s3://"+bucket+"/")), []byte(rowsFor(all...)))
	pages := 0
	for _, r := range p.log() {
		if strings.Contains(r.Query, "list-type=2") {
			pages++
		}
	}
	if pages != 2 {
		t.Errorf("%d pages were asked for", pages)
	}
	reads(t, "a pattern", s3Run(t, nil, s.cat("--to", "csv", "s3://"+bucket+"/data_12??.txt")), []byte(rowsFor(1200, 1201, 1202)))
}

// Of a bucket that keeps versions, the newest are read.
func TestS3Versions(t *testing.T) {
	s := sharedS3(t)
	_, folder := s.smallRun(t)
	b := s.bucket(t)
	s.versions(t, b)
	old := t.TempDir()
	for i := range 81 {
		if err := os.WriteFile(filepath.Join(old, fmt.Sprintf("data_%d.txt", i)), []byte(rowOf(i)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s.upload(t, b, old)
	s.upload(t, b, folder)
	s.put(t, b, "data_99.txt", []byte(rowOf(99)))
	s.remove(t, b, "data_99.txt")
	_, text := inNaturalOrder(t, folder, "data_%d.txt")
	reads(t, "the newest", s3Run(t, nil, s.cat("--to", "csv", "s3://"+b+"/")), text)
	refusesStream(t, s3Run(t, nil, s.cat("s3://"+b+"/data_99.txt")), 1, "s3://"+b+"/data_99.txt: ")
}

// Every way to say where the server is, who asks, and how.
func TestS3Access(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.smallRun(t)
	_, text := inNaturalOrder(t, folder, "data_%d.txt")
	source := "s3://" + bucket + "/"
	public := s.bucket(t)
	s.upload(t, public, folder)
	s.allow(t, public, "*", "s3:GetObject", "s3:ListBucket")
	single := s.bucket(t)
	s.upload(t, single, folder)
	s.allow(t, single, "*", "s3:GetObject")
	one := mustRead(t, filepath.Join(folder, "data_7.txt"))

	address := strings.TrimPrefix(s.url, "https://")
	plain := s.plain(t)
	hosts := map[string]string{
		s3Domain + ":443": address, bucket + "." + s3Domain + ":443": address,
		s3Domain + ":80": strings.TrimPrefix(plain.url, "http://"), bucket + "." + s3Domain + ":80": strings.TrimPrefix(plain.url, "http://"),
	}
	open, guarded := newForwarder(t, hosts, ""), newForwarder(t, hosts, "me:"+webPassword)
	ca := []string{"--ca-cert", s.ca.file}
	at := append([]string{"--endpoint", s.url}, ca...)
	owner := append([]string{"--credentials", s.owner}, at...)
	profiles := private(t, "credentials", "[default]\naws_access_key_id = "+guestID+"\naws_secret_access_key = "+wrongSecret+
		"\n[lab]\naws_access_key_id = "+ownerID+"\naws_secret_access_key = "+ownerSecret+"\n")
	profile := private(t, "credentials", "[default]\naws_access_key_id = "+ownerID+"\naws_secret_access_key = "+ownerSecret+"\n")
	keys := []string{"AWS_ACCESS_KEY_ID=" + ownerID, "AWS_SECRET_ACCESS_KEY=" + ownerSecret}
	lab := func(scheme string) []string {
		return append([]string{"--endpoint", scheme + "://" + s3Domain, "--credentials", s.owner}, ca...)
	}
	for _, c := range []struct {
		name   string
		flags  []string
		env    []string
		source string
		want   []byte
		asked  *forwarder // by which it went, for these
		hosts  []string
	}{
		{name: "flags", flags: owner},
		{name: "a slash behind the endpoint", flags: append(slices.Clone(owner), "--endpoint", s.url+"/")},
		{name: "path style", flags: append(slices.Clone(owner), "--s3-style", "path")},
		{name: "the right region", flags: append(slices.Clone(owner), "--region", "us-east-1")},
		{name: "the region in the environment", flags: owner, env: []string{"AWS_REGION=us-east-1"}},
		{name: "our variables", env: []string{"DT_CAT_ENDPOINT=" + s.url, "DT_CAT_CREDENTIALS=" + s.owner, "DT_CAT_CA_CERT=" + s.ca.file}},
		{name: "AWS_ENDPOINT_URL", flags: append([]string{"--credentials", s.owner}, ca...), env: []string{"AWS_ENDPOINT_URL=" + s.url}},
		{name: "AWS_ENDPOINT_URL_S3", flags: append([]string{"--credentials", s.owner}, ca...), env: []string{"AWS_ENDPOINT_URL=https://127.0.0.1:1", "AWS_ENDPOINT_URL_S3=" + s.url}},
		{name: "AWS_CA_BUNDLE", flags: []string{"--endpoint", s.url, "--credentials", s.owner}, env: []string{"AWS_CA_BUNDLE=" + s.ca.file}},
		{name: "keys in the environment", flags: at, env: keys},
		{name: "all in the environment", env: append([]string{"AWS_ENDPOINT_URL=" + s.url, "AWS_CA_BUNDLE=" + s.ca.file}, keys...)},
		{name: "a profile file", flags: append([]string{"--credentials", profile}, at...)},
		{name: "another profile of it", flags: append([]string{"--credentials", profiles}, at...), env: []string{"AWS_PROFILE=lab"}},
		{name: "AWS's own file", flags: at, env: []string{"AWS_SHARED_CREDENTIALS_FILE=" + profiles, "AWS_PROFILE=lab"}},
		{name: "the flag wins", flags: owner, env: []string{"AWS_ACCESS_KEY_ID=" + guestID, "AWS_SECRET_ACCESS_KEY=" + wrongSecret}},
		{name: "a public bucket", flags: append([]string{"--credentials", "none"}, at...), source: "s3://" + public + "/"},
		{name: "a public bucket, no keys", flags: at, source: "s3://" + public + "/"},
		{name: "none wins", flags: append([]string{"--credentials", "none"}, at...), env: keys, source: "s3://" + public + "/"},
		{name: "an object where listing is denied", flags: at, source: "s3://" + single + "/data_7.txt", want: one},
		{name: "a guest's object where listing is denied", flags: append([]string{"--credentials", s.guest}, at...), source: "s3://" + single + "/data_7.txt", want: one},
		{name: "without TLS", flags: []string{"--endpoint", plain.url, "--credentials", s.owner}},
		{name: "a proxy", flags: lab("https"), env: []string{"HTTPS_PROXY=" + open.url}, asked: open, hosts: []string{"CONNECT " + s3Domain + ":443"}},
		{name: "a proxy with a password", flags: lab("https"), env: []string{"HTTPS_PROXY=" + guarded.url}, asked: guarded, hosts: []string{"CONNECT " + s3Domain + ":443"}},
		{name: "virtual hosts", flags: append(lab("https"), "--s3-style", "virtual"), env: []string{"https_proxy=" + open.url}, asked: open,
			hosts: []string{"CONNECT " + bucket + "." + s3Domain + ":443"}},
		{name: "virtual hosts without TLS", flags: append(lab("http"), "--s3-style", "virtual"), env: []string{"HTTP_PROXY=" + guarded.url}, asked: guarded,
			hosts: []string{"GET " + bucket + "." + s3Domain}},
		{name: "no proxy on this machine", flags: owner, env: []string{"HTTPS_PROXY=http://127.0.0.1:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.source == "" {
				c.source = source
			}
			if c.want == nil {
				c.want = text
			}
			before := 0
			if c.asked != nil {
				before = len(c.asked.asked())
			}
			reads(t, c.source, s3Run(t, c.env, append(stage{"dtcat", "--to", "csv", c.source}, c.flags...)), c.want)
			for _, host := range c.hosts {
				if list := c.asked.asked(); !slices.Contains(list, host) || len(list) == before {
					t.Errorf("the proxy was asked for %q", list)
				}
			}
		})
	}
}

// expired returns a certificate for this machine that was good once.
func (a *certAuthority) expired(t testing.TB) [2]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "old"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(-time.Minute)}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return [2]string{string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))}
}

// What is wrong is said in one line: the place, the reason, and what to do about it.
func TestS3Refused(t *testing.T) {
	s := sharedS3(t)
	bucket, folder := s.smallRun(t)
	source := "s3://" + bucket + "/"
	object := source + "data_1.txt"
	single := s.bucket(t)
	s.upload(t, single, folder)
	s.allow(t, single, guestID, "s3:GetObject")
	stranger := newCertAuthority(t, "stranger-ca")
	old := s.proxyAs(t, s.ca.expired(t), nil)
	plain := s.plain(t)
	address := strings.TrimPrefix(s.url, "https://")
	elsewhere := newForwarder(t, map[string]string{"other.lab:443": address}, "")
	guarded := newForwarder(t, nil, "me:"+webPassword)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html>\n<html><title>Welcome</title><p>It works")
	}))
	defer page.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()

	with := func(more ...string) []string {
		return append([]string{"--endpoint", s.url, "--ca-cert", s.ca.file, "--credentials", s.owner}, more...)
	}
	credentials := func(text string) []string { return with("--credentials", private(t, "key.json", text)) }
	dir := t.TempDir()
	for _, c := range []struct {
		name   string
		flags  []string
		env    []string
		source string
		code   int
		says   []string
	}{
		{name: "an unknown key", flags: credentials(accessKey("NOBODY0000000000001X", ownerSecret)), says: []string{source + ": ", "key id", "key.json", "hint: --credentials"}},
		{name: "a wrong secret", flags: credentials(accessKey(ownerID, wrongSecret)), says: []string{source + ": ", "secret", "key.json", "hint: "}},
		{name: "a wrong secret, one object", flags: credentials(accessKey(ownerID, wrongSecret)), source: object, says: []string{object + ": ", "secret", "hint: "}},
		{name: "a missing bucket", flags: with(), source: "s3://no-such-bucket/", says: []string{"s3://no-such-bucket/: ", "bucket", "hint: "}},
		{name: "an object of a missing bucket", flags: with(), source: "s3://no-such-bucket/data_1.txt", says: []string{"s3://no-such-bucket/data_1.txt: ", "bucket", "hint: "}},
		{name: "a bucket that cannot be", flags: with(), source: "s3://No_Bucket/", says: []string{"s3://No_Bucket/: ", "hint: "}},
		{name: "no bucket", flags: with(), source: "s3://", says: []string{"dtcat: s3://: ", "hint: "}},
		{name: "a missing object", flags: with(), source: source + "data_999.txt", says: []string{source + "data_999.txt: ", "hint: "}},
		{name: "listing denied", flags: with("--credentials", s.guest), source: "s3://" + single + "/", says: []string{"s3://" + single + "/: ", "list", "hint: "}},
		{name: "a pattern where listing is denied", flags: with("--credentials", s.guest), source: "s3://" + single + "/data_*.txt", says: []string{"s3://" + single + "/data_*.txt: ", "list", "hint: "}},
		{name: "all denied", flags: with("--credentials", s.guest), says: []string{source + ": ", "hint: "}},
		{name: "an object denied", flags: with("--credentials", s.guest), source: object, says: []string{object + ": ", "hint: "}},
		{name: "no keys", flags: []string{"--endpoint", s.url, "--ca-cert", s.ca.file}, says: []string{source + ": ", "hint: ", "--credentials"}},
		{name: "no keys, one object", flags: []string{"--endpoint", s.url, "--ca-cert", s.ca.file}, source: object, says: []string{object + ": ", "hint: ", "--credentials"}},
		{name: "no CA", flags: []string{"--endpoint", s.url, "--credentials", s.owner}, says: []string{source + ": ", "certificate", "hint: --ca-cert"}},
		{name: "another CA", flags: with("--ca-cert", stranger.file), says: []string{source + ": ", "certificate", "hint: --ca-cert"}},
		{name: "a certificate for others", flags: with("--endpoint", "https://other.lab"), env: []string{"HTTPS_PROXY=" + elsewhere.url}, says: []string{source + ": ", "other.lab", "localhost", "hint: "}},
		{name: "an expired certificate", flags: with("--endpoint", old.url), says: []string{source + ": ", "certificate", "expired", "hint: "}},
		{name: "http to TLS", flags: with("--endpoint", "http://"+address, "--tries", "3"), says: []string{source + ": ", "TLS", "hint: ", "https://"}},
		{name: "TLS to http", flags: with("--endpoint", "https://"+strings.TrimPrefix(plain.url, "http://")), says: []string{source + ": ", "TLS", "hint: http://"}},
		{name: "nobody there", flags: with("--endpoint", "https://"+nobody, "--tries", "3"), says: []string{source + ": ", "3 tries", "connection refused", nobody, "hint: "}},
		{name: "no such host", flags: with("--endpoint", "https://no-such-host.invalid", "--tries", "1"), says: []string{source + ": ", "no-such-host.invalid"}},
		{name: "no proxy", flags: with("--endpoint", "https://other.lab", "--tries", "1"), env: []string{"HTTPS_PROXY=http://" + nobody}, says: []string{source + ": the proxy can't be reached: connection refused by " + nobody + " (hint: HTTPS_PROXY"}},
		{name: "a proxy that wants a password", flags: with("--endpoint", "https://other.lab", "--tries", "1"), env: []string{"HTTPS_PROXY=" + strings.Replace(guarded.url, "me:"+webPassword+"@", "", 1)},
			says: []string{source + ": the proxy wants a user and a password (407) (hint: HTTPS_PROXY"}},
		{name: "no S3 server", flags: with("--endpoint", page.URL), says: []string{source + ": ", "S3", "hint: "}},
		{name: "no S3 server, one object", flags: with("--endpoint", page.URL), source: object, says: []string{object}},
		{name: "another region", flags: with("--region", "eu-south-2"), says: []string{source + ": ", "eu-south-2", "us-east-1", "hint: --region us-east-1"}},
		{name: "no file of credentials", flags: with("--credentials", filepath.Join(dir, "key.json")), code: 2, says: []string{"--credentials " + filepath.Join(dir, "key.json"), "no such file"}},
		{name: "a folder of credentials", flags: with("--credentials", dir), code: 2, says: []string{"--credentials " + dir, "directory"}},
		{name: "credentials without a key", flags: credentials(`{"key_id":"A"}`), code: 2, says: []string{"key.json", `"key"`}},
		{name: "credentials without an id", flags: credentials(`{"key":"` + wrongSecret + `"}`), code: 2, says: []string{"key.json", `"key_id"`}},
		{name: "credentials of another form", flags: credentials("user " + wrongSecret + "\n"), code: 2, says: []string{"key.json", "hint: "}},
		{name: "credentials that are torn", flags: credentials(`{"key_id":"A","key":"` + wrongSecret), code: 2, says: []string{"key.json"}},
		{name: "empty credentials", flags: credentials(""), code: 2, says: []string{"key.json"}},
		{name: "a profile that is not there", flags: credentials("[lab]\naws_access_key_id = A\naws_secret_access_key = " + wrongSecret + "\n"), env: []string{"AWS_PROFILE=barn"}, code: 2, says: []string{"key.json", "barn"}},
		{name: "no endpoint", flags: with("--endpoint", "ftp://rgw.example:5210"), code: 2, says: []string{"--endpoint", "ftp://rgw.example:5210", "hint: https://"}},
		{name: "an endpoint with a bucket", flags: with("--endpoint", s.url+"/bucket"), code: 2, says: []string{"--endpoint", "hint: "}},
		{name: "an endpoint in the environment", flags: []string{"--credentials", s.owner}, env: []string{"AWS_ENDPOINT_URL=ftp://a"}, code: 2, says: []string{"AWS_ENDPOINT_URL", "ftp://a"}},
		{name: "no CA file", flags: with("--ca-cert", filepath.Join(dir, "ca.pem")), code: 2, says: []string{"--ca-cert " + filepath.Join(dir, "ca.pem"), "no such file"}},
		{name: "a CA file without certificates", flags: with("--ca-cert", s.owner), code: 2, says: []string{"--ca-cert " + s.owner, "certificate", "hint: "}},
		{name: "a style", flags: with("--s3-style", "baroque"), code: 2, says: []string{"--s3-style", "virtual"}},
		{name: "no connections", flags: with("--connections", "0"), code: 2, says: []string{"--connections 0"}},
		{name: "JSON of nothing", flags: with("--json"), code: 2, says: []string{"--json", "--list"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.source == "" {
				c.source = source
			}
			if c.code == 0 {
				c.code = 1
			}
			began := time.Now()
			r := s3Run(t, c.env, append(stage{"dtcat", c.source}, c.flags...))
			refusesStream(t, r, c.code, c.says...)
			if d := time.Since(began); d > 30*time.Second {
				t.Errorf("it took %v to say so", d)
			}
			t.Log(strings.TrimSuffix(r.Errs[0], "\n"))
		})
	}
}

// The server refuses a client whose clock is an hour behind. To the two, that is what a proxy makes of a right one.
func TestS3Clock(t *testing.T) {
	s := sharedS3(t)
	bucket, _ := s.smallRun(t)
	p := s.proxy(t, nil).moved(place{ahead: time.Hour})
	for _, source := range []string{"s3://" + bucket + "/", "s3://" + bucket + "/data_1.txt"} {
		r := s3Run(t, nil, s.catAt(p.url, source))
		refusesStream(t, r, 1, source+": ", "clock", " 1h0m", "behind", "hint: ")
		t.Log(strings.TrimSuffix(r.Errs[0], "\n"))
	}
	for _, r := range p.log() {
		if r.Method != "" && r.Status != http.StatusForbidden {
			t.Errorf("%s %s: %d", r.Method, r.Path, r.Status)
		}
	}
}

// A folder to which a run is being written is read object by object, in order, and its windows come out meanwhile.
func TestS3Follow(t *testing.T) {
	t.Parallel()
	s := sharedS3(t)
	_, folder := s.smallRun(t)
	files, text := inNaturalOrder(t, folder, "data_%d.txt")
	b := s.bucket(t)
	object := func(i int) {
		s.put(t, b, "run/data_"+strconv.Itoa(i)+".txt", mustRead(t, files[i]))
	}
	object(0)
	p := tappedWith(t, cleanEnv(), nil, s.cat("--run", "check", "--follow", "s3://"+b+"/run/"), stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "200ms"})
	var all []byte
	next := 1
	for range 3 { // of these objects, some windows stay open
		for range 20 {
			object(next)
			next++
		}
		for range 10 {
			all = append(all, p.next(t)...)
		}
	}
	s.put(t, b, "run/notes.md", []byte("no data"))
	s.put(t, b, "run/data_3.csv", []byte(rowOf(1))) // belongs before what was read
	s.put(t, b, "run/data_2.txt", []byte(rowOf(2)))
	for ; next < len(files); next++ {
		object(next)
	}
	want := pipeline(t, bytes.NewReader(text), stage{"dtcat", "--run", "check"}, stage{"dtfilter"}, stage{"dtchamber"}, stage{"dthist", "--window", "200ms"}).ok(t)
	lines := results(t, want)
	for len(results(t, all)) < len(lines)-2 { // all but those that the end of the run closes
		all = append(all, p.next(t)...)
	}
	p.signal(t, 0, syscall.SIGINT)
	all = append(all, p.rest()...)
	r := p.wait()
	codes(t, r, 0, 0, 0, 0)
	for i := 1; i < len(r.Errs); i++ {
		same(t, "what the stages say", r.Errs[i], "")
	}
	at := "dtcat: s3://" + b + "/run/"
	told := strings.SplitAfter(r.Errs[0], "\n")
	slices.Sort(told)
	if len(told) != 3 || !strings.HasPrefix(told[1], at+"data_2.txt: has changed after it was read") || !strings.HasPrefix(told[2], at+"data_3.csv: came too late") {
		t.Errorf("dtcat says\n%s", r.Errs[0])
	}
	noSecrets(t, string(all)+strings.Join(r.Errs, ""))
	got := results(t, all)
	sameLines(t, "windows", got[:len(lines)-2], lines[:len(lines)-2])
	drained(t, all)
}
