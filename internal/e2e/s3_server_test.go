package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"dt/internal/e2e/torture"
)

// s3Patience bounds what the S3 server may take to start.
const s3Patience = time.Minute

// Who there is at the S3 server: its owner, and a guest who may do only what a bucket's policy says.
const (
	ownerID     = "DTOWNER0000000000001"
	ownerSecret = "owner+s3cret/1f6Qp0wPq7cVxAZsT4mKzEeR2yU"
	guestID     = "DTGUEST0000000000001"
	guestSecret = "guest+s3cret/vT9nM3kLbX5cQ8wEr6YuHj0aSdF"
	webPassword = "web-s3cret-5pQ"
)

// An s3Server is a real S3 server over TLS, with a certificate of a CA of its own.
type s3Server struct {
	dir    string // the buckets, versions, users, certificates
	url    string
	ca     *certAuthority
	owner  string // files of credentials
	guest  string
	client *minio.Client // the owner's, for what a test does beside dtcat

	cmd      *exec.Cmd
	ended    chan struct{}
	fixtures sync.Map // by bucket
}

var s3Script = sync.OnceValue(func() string {
	path, err := filepath.Abs(filepath.Join("..", "..", "scripts", "s3"))
	if err != nil {
		panic(err)
	}
	return path
})

// s3Binary builds the server, once; its error is what is missing.
var s3Binary = sync.OnceValues(func() (string, error) {
	var says strings.Builder
	cmd := exec.Command(s3Script(), "get")
	cmd.Stderr = &says
	out, err := cmd.Output()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(says.String()), "\n")
		return "", errors.New(lines[len(lines)-1])
	}
	return strings.TrimSpace(string(out)), nil
})

var theS3 struct {
	once sync.Once
	s    *s3Server
	err  error
}

// needS3 leaves a test out where there is no S3 server.
func needS3(t testing.TB) {
	t.Helper()
	if _, err := s3Binary(); err != nil {
		t.Log(err)
		missing(t, "an S3 server", "scripts/s3 get, which needs the Go module proxy")
	}
}

// sharedS3 returns the one server that all tests share.
func sharedS3(t testing.TB) *s3Server {
	t.Helper()
	needS3(t)
	theS3.once.Do(func() {
		theS3.err = errors.New("the S3 server did not start")
		theS3.s, theS3.err = openS3(t)
	})
	if theS3.err != nil {
		t.Fatal(theS3.err)
	}
	return theS3.s
}

// closeS3 ends the shared server.
func closeS3() {
	if theS3.s != nil {
		if theS3.s.cmd != nil {
			theS3.s.cmd.Process.Kill()
			<-theS3.s.ended
		}
		os.RemoveAll(theS3.s.dir)
	}
}

// openS3 starts a server; what it leaves where it fails must be closed all the same.
func openS3(t testing.TB) (*s3Server, error) {
	binary, err := s3Binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "dt-s3-")
	if err != nil {
		return nil, err
	}
	s := &s3Server{dir: dir, ca: &certAuthority{}}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"buckets", "versions", "users"} {
		if err := os.Mkdir(in(name), 0o777); err != nil {
			return s, err
		}
	}
	authority := s.ca.issue(t, "s3-ca", &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	certificate := s.certificate(t)
	s.ca.file, s.owner, s.guest = in("ca.pem"), in("owner.json"), in("guest.json")
	for file, text := range map[string]string{
		s.ca.file:              authority[1],
		in("server.key"):       certificate[0],
		in("server.pem"):       certificate[1],
		s.owner:                accessKey(ownerID, ownerSecret),
		s.guest:                accessKey(guestID, guestSecret),
		in("users/users.json"): fmt.Sprintf(`{"accessAccounts":{%q:{"access":%q,"secret":%q,"role":"user"}}}`, guestID, guestID, guestSecret),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return s, err
		}
	}
	for range 3 { // another program may take the port before the server does
		if err = s.spawn(binary); err == nil {
			break
		}
	}
	if err != nil {
		return s, err
	}
	s.client, err = minio.New(strings.TrimPrefix(s.url, "https://"), &minio.Options{
		Creds: credentials.NewStaticV4(ownerID, ownerSecret, ""), Secure: true, Region: "us-east-1",
		Transport: &http.Transport{TLSClientConfig: s.ca.trusted(), MaxIdleConnsPerHost: 16, DisableCompression: true},
	})
	return s, err
}

// accessKey is a file of credentials in the published form.
func accessKey(id, secret string) string { return fmt.Sprintf(`{"key_id":%q,"key":%q}`, id, secret) }

// s3Domain is that of virtual-host style addresses: bucket.s3.lab. No resolver knows it.
const s3Domain = "s3.lab"

// certificate is one for the server, or what pretends to be it.
func (s *s3Server) certificate(t testing.TB) [2]string {
	return s.ca.issue(t, "s3", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost", s3Domain, "*." + s3Domain}})
}

// spawn starts the server and waits until it takes connections.
func (s *s3Server) spawn(binary string) error {
	port, err := freePorts(1)
	if err != nil {
		return err
	}
	address := "127.0.0.1:" + strconv.Itoa(port)
	s.url = "https://" + address
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	in := func(name string) string { return filepath.Join(s.dir, name) }
	cmd := exec.Command(binary, "--port", address, "--access", ownerID, "--secret", ownerSecret, "--cert", in("server.pem"), "--key", in("server.key"), "--keep-alive", "--quiet",
		"--virtual-domain", s3Domain, "--iam-dir", in("users"), "posix", "--versioning-dir", in("versions"), in("buckets"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := torture.Spawn(cmd); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	for end := time.Now().Add(s3Patience); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			s.cmd, s.ended = cmd, ended
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("the S3 server ended: %s", mustReadLog(log.Name()))
		default:
		}
		if time.Now().After(end) {
			cmd.Process.Kill()
			<-ended
			return fmt.Errorf("the S3 server takes no connections after %v: %s", s3Patience, mustReadLog(log.Name()))
		}
	}
}

func mustReadLog(name string) string {
	b, _ := os.ReadFile(name)
	return string(b[max(0, len(b)-1000):])
}

// cleanEnv takes from our environment what would lead dtcat elsewhere; more settings are added.
func cleanEnv(more ...string) []string {
	var env []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"} {
		env = append(env, name+"=", strings.ToLower(name)+"=")
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "MINIO_") {
			env = append(env, name+"=")
		}
	}
	env = append(env, "HOME=/nonexistent")
	return append(env, more...)
}

// cat is a dtcat that reads from this server as its owner.
func (s *s3Server) cat(args ...string) stage { return s.catAt(s.url, args...) }

// catAt is cat by another address, such as a proxy's.
func (s *s3Server) catAt(endpoint string, args ...string) stage {
	return append(stage{"dtcat", "--endpoint", endpoint, "--ca-cert", s.ca.file, "--credentials", s.owner}, args...)
}

// s3Run runs stages to their end, with nothing in the environment that leads dtcat elsewhere but what is given. They may tell no secret.
func s3Run(t testing.TB, env []string, stages ...stage) result {
	t.Helper()
	r := start(t, cleanEnv(env...), nil, stages...).wait()
	noSecrets(t, string(r.Out)+strings.Join(r.Errs, ""))
	return r
}

// noSecrets fails the test if what a program said has a key, a password or a signature in it.
func noSecrets(t testing.TB, text string) {
	t.Helper()
	for _, secret := range []string{ownerSecret, guestSecret, wrongSecret, webPassword, "AWS4-HMAC"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is said:\n%.2000s", secret, text)
		}
	}
	if strings.Contains(text, "ignature=") && signature.MatchString(text) { // the pattern alone is slow in what may be a whole run
		t.Errorf("a signature is said:\n%.2000s", text)
	}
}

var signature = regexp.MustCompile(`(?i)signature=["']?[0-9a-f]`)

// reads fails the test unless dtcat ended well, said nothing and wrote this.
func reads(t testing.TB, what string, r result, want []byte) {
	t.Helper()
	if r.Codes[0] != 0 || r.Errs[0] != "" {
		t.Errorf("%s: exit %d\n%.1000s", what, r.Codes[0], r.Errs[0])
	}
	same(t, what, string(r.Out), string(want))
}

// survives is reads where the network breaks: on a slow machine that may last so long that it is told.
func survives(t testing.TB, what string, r result, want []byte) {
	t.Helper()
	codes(t, r, 0)
	same(t, what, string(r.Out), string(want))
	onlyOutages(t, r.Errs[0])
}

// onlyOutages fails the test if anything is said but that a read stopped for a while.
func onlyOutages(t testing.TB, says string) {
	t.Helper()
	for line := range strings.Lines(says) {
		if !strings.Contains(line, ": stopped at byte ") && !strings.Contains(line, ": no answer: ") && !strings.Contains(line, ": goes on after ") {
			t.Errorf("it says %q", line)
		}
	}
}

// refuses fails the test unless dtcat wrote nothing, and said why in a line with these parts.
func refuses(t testing.TB, r result, code int, parts ...string) {
	t.Helper()
	text := r.Errs[0]
	if r.Codes[0] != code || strings.Count(text, "\n") != 1 || !strings.HasPrefix(text, "dtcat: ") || strings.Count(text, "(hint: ") > 1 || len(r.Out) > 0 {
		t.Errorf("exit %d, want %d; %d bytes are written, and it says\n%s", r.Codes[0], code, len(r.Out), text)
	}
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q in\n%s", part, text)
		}
	}
}

// do bounds what a test does at the server beside dtcat.
func (s *s3Server) do(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), s3Patience)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

var bucketNumber struct {
	sync.Mutex
	n int
}

// bucket makes a bucket with a name of its own.
func (s *s3Server) bucket(t testing.TB) string {
	t.Helper()
	bucketNumber.Lock()
	bucketNumber.n++
	name := "bucket-" + strconv.Itoa(bucketNumber.n)
	bucketNumber.Unlock()
	s.makeBucket(t, name)
	return name
}

func (s *s3Server) makeBucket(t testing.TB, name string) {
	t.Helper()
	s.do(t, "bucket "+name, func(ctx context.Context) error { return s.client.MakeBucket(ctx, name, minio.MakeBucketOptions{}) })
}

// versions keeps old versions of the objects of a bucket.
func (s *s3Server) versions(t testing.TB, bucket string) {
	t.Helper()
	s.do(t, "versions of "+bucket, func(ctx context.Context) error { return s.client.EnableVersioning(ctx, bucket) })
}

// allow says what may be done in a bucket, by a user or by anybody ("*"): "s3:GetObject", "s3:ListBucket".
func (s *s3Server) allow(t testing.TB, bucket, who string, actions ...string) {
	t.Helper()
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{map[string]any{
		"Effect": "Allow", "Principal": who, "Action": actions, "Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"}}}})
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, "policy of "+bucket, func(ctx context.Context) error { return s.client.SetBucketPolicy(ctx, bucket, string(policy)) })
}

// put makes an object, and returns its ETag.
func (s *s3Server) put(t testing.TB, bucket, key string, content []byte) string {
	t.Helper()
	var tag string
	s.do(t, "s3://"+bucket+"/"+key, func(ctx context.Context) error {
		info, err := s.client.PutObject(ctx, bucket, key, bytes.NewReader(content), int64(len(content)), minio.PutObjectOptions{})
		tag = strings.Trim(info.ETag, `"`)
		return err
	})
	return tag
}

// remove deletes an object.
func (s *s3Server) remove(t testing.TB, bucket, key string) {
	t.Helper()
	s.do(t, "delete "+key, func(ctx context.Context) error {
		return s.client.RemoveObject(ctx, bucket, key, minio.RemoveObjectOptions{})
	})
}

// tag returns the ETag of an object.
func (s *s3Server) tag(t testing.TB, bucket, key string) string {
	t.Helper()
	var tag string
	s.do(t, "s3://"+bucket+"/"+key, func(ctx context.Context) error {
		info, err := s.client.StatObject(ctx, bucket, key, minio.StatObjectOptions{})
		tag = strings.Trim(info.ETag, `"`)
		return err
	})
	return tag
}

// upload puts the files of a folder, and of the folders in it, into a bucket; several at once.
func (s *s3Server) upload(t testing.TB, bucket, folder string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(folder, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, "upload to "+bucket, func(ctx context.Context) error {
		errs := make([]error, 4)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() {
				for k := i; k < len(files) && errs[i] == nil; k += len(errs) {
					key, err := filepath.Rel(folder, files[k])
					if err == nil {
						_, err = s.client.FPutObject(ctx, bucket, filepath.ToSlash(key), files[k], minio.PutObjectOptions{})
					}
					errs[i] = err
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})
}

// A fixture is a bucket that several tests read, and a folder with the same files.
type fixture struct {
	once sync.Once
	made bool
}

// fixture returns the folder of a fixture. The first who wants it makes it.
func (s *s3Server) fixture(t testing.TB, bucket string, fill func(folder string)) string {
	t.Helper()
	folder := filepath.Join(s.dir, "fixtures", bucket)
	loaded, _ := s.fixtures.LoadOrStore(bucket, new(fixture))
	f := loaded.(*fixture)
	f.once.Do(func() {
		if err := os.MkdirAll(folder, 0o777); err != nil {
			t.Fatal(err)
		}
		fill(folder)
		s.makeBucket(t, bucket)
		s.upload(t, bucket, folder)
		f.made = true
	})
	if !f.made {
		t.Fatalf("bucket %s could not be made", bucket)
	}
	return folder
}

// pieces cuts a text at line borders into files data_000000.txt, …, each of at least so many bytes; the last has the rest.
func pieces(t testing.TB, folder, pattern string, text []byte, sizes ...int) {
	t.Helper()
	for i, n := range sizes {
		n = min(n, len(text))
		if k := bytes.IndexByte(text[n:], '\n'); k >= 0 && n > 0 {
			n += k + 1
		}
		if i == len(sizes)-1 {
			n = len(text)
		}
		if n == 0 {
			t.Fatalf("the text ends before piece %d", i)
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf(pattern, i)), text[:n], 0o666); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
}

// bigRun is a bucket with a run as a detector leaves it: 81 objects data_000000.txt, … of 110 MB together, three of them of 30 MB. It
// returns the bucket, and a folder with the same files.
func (s *s3Server) bigRun(t testing.TB) (bucket, folder string) {
	t.Helper()
	bucket = "run"
	return bucket, s.fixture(t, bucket, func(folder string) {
		sizes := slices.Repeat([]int{256 << 10}, 81)
		sizes[7], sizes[40], sizes[80] = 30<<20, 30<<20, 30<<20
		pieces(t, folder, "data_%06d.txt", cat(t, "sim:?seed=6&hits=4000000&triggers=100", "--to", "csv"), sizes...)
	})
}

// smallRun is a bucket with as many objects, but of 3 kB each and named data_0.txt, …, data_10.txt, …: natural order is not that of the
// letters.
func (s *s3Server) smallRun(t testing.TB) (bucket, folder string) {
	t.Helper()
	bucket = "small"
	return bucket, s.fixture(t, bucket, func(folder string) {
		pieces(t, folder, "data_%d.txt", cat(t, simulated(3, 8000), "--to", "csv"), slices.Repeat([]int{2600}, 81)...)
	})
}
