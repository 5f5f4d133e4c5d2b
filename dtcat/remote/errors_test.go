package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		text, date string
		want       time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"0", "", 0},
		{"61", "", time.Minute},
		{"99999999999999999999999", "", 0},
		{"18446744073709551615", "", time.Minute},
		{"-7", "", 0},
		{"soon", "", 0},
		{"Mon, 02 Mar 2026 10:00:09 GMT", "", 9 * time.Second},
		{"Mon, 02 Mar 2026 09:00:09 GMT", "", 0},
		{"Mon, 02 Mar 2036 10:00:09 GMT", "", time.Minute},
		{"Mon, 02 Mar 2026 12:00:09 GMT", "Mon, 02 Mar 2026 12:00:05 GMT", 4 * time.Second}, // another clock
	} {
		h := http.Header{"Retry-After": {test.text}, "Date": {test.date}}
		if got := retryAfter(h, now); got != test.want {
			t.Errorf("%q: %v, want %v", test.text, got, test.want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("7", "")
	f.Add("Mon, 02 Mar 2026 10:00:09 GMT", "Mon, 02 Mar 2026 10:00:00 GMT")
	f.Fuzz(func(t *testing.T, text, date string) {
		h := http.Header{"Retry-After": {text}, "Date": {date}}
		if got := retryAfter(h, time.Now()); got < 0 || got > longestWait {
			t.Errorf("%q: %v", text, got)
		}
	})
}

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, file}
}

// serve starts a server whose certificate is like this.
func (a *authority) serve(t *testing.T, from, until time.Duration, change func(*x509.Certificate)) *httptest.Server {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a server"},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(until),
	}
	change(template)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"a"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("hello"))
	}))
	s.Config.ErrorLog = quiet
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestCertificates(t *testing.T) {
	clearEnvironment(t)
	ca := newAuthority(t)
	local := func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} }
	good := ca.serve(t, -time.Hour, time.Hour, local)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	old, young := ca.serve(t, -3*time.Hour, -2*time.Hour, local), ca.serve(t, time.Hour, 2*time.Hour, local)
	other := ca.serve(t, -time.Hour, time.Hour, func(c *x509.Certificate) { c.DNSNames = []string{"a.example", "b.example"} })
	nobody := ca.serve(t, -time.Hour, time.Hour, func(*x509.Certificate) {})
	for _, test := range []struct {
		name, address, ca string
		want              string
	}{
		{"trusted", good.URL, ca.file, ""},
		{"unknown authority", good.URL, "", "the server's certificate is from an authority that is not known here (hint: --ca-cert FILE, the authority's certificate)"},
		{"another name", other.URL, ca.file, "the server's certificate is for a.example b.example, not for 127.0.0.1 (hint: use a name that is in it)"},
		{"no name", nobody.URL, ca.file, "the server's certificate is for no name, and so not for 127.0.0.1 (hint: the certificate needs a subject alternative name)"},
		{"expired", old.URL, ca.file, "the server's certificate expired on " + day(time.Now().Add(-2*time.Hour)) + " (hint: it must be renewed there; or is the clock of this machine wrong?)"},
		{"not yet valid", young.URL, ca.file, "the server's certificate is not valid before " + day(time.Now().Add(time.Hour)) + " (hint: is the clock of this machine right?)"},
		{"plain HTTP to TLS", "http" + strings.TrimPrefix(good.URL, "https"), ca.file, "the server speaks TLS there (hint: https:// instead of http://)"},
		{"TLS to plain HTTP", "https" + strings.TrimPrefix(plain.URL, "http"), ca.file, "the server speaks no TLS there (hint: http:// instead of https://)"},
	} {
		c := newClient(t, Settings{CACert: test.ca, Endpoint: test.address, Credentials: "none"})
		_, err := c.List(t.Context(), test.address+"/x")
		checkFinal(t, test.name, err, test.address+"/x", test.want)
		if test.want != "" {
			_, err = c.List(t.Context(), "s3://bucket/x")
			checkFinal(t, test.name, err, "s3://bucket/x", test.want)
		}
	}
	t.Setenv("AWS_CA_BUNDLE", ca.file)
	if _, err := newClient(t, Settings{}).List(t.Context(), good.URL+"/x"); err != nil {
		t.Error(err)
	}
}

// checkFinal checks an error that no other try mends. Minutes may pass between what is wanted and the test of it.
func checkFinal(t *testing.T, name string, err error, place, want string) {
	t.Helper()
	var f *failure
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case want == "":
	case err == nil:
		t.Errorf("%s: no error, want %s", name, want)
	case err.Error() != place+": "+want:
		t.Errorf("%s:\n     %v\nwant %s: %s", name, err, place, want)
	case errors.As(err, &f) && f.again:
		t.Errorf("%s: it would be tried again", name)
	}
}

func TestUnreachable(t *testing.T) {
	clearEnvironment(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	for _, test := range []struct{ host, want string }{
		{gone, "connection refused by " + gone + " (hint: is the server there, and the port right?)"},
		{"no-such-host.invalid", "no such host: no-such-host.invalid (hint: is the name right?)"},
		{l.Addr().String(), "the server ends the connection without an answer (hint: if it speaks TLS: https:// instead of http://)"},
	} {
		c := newClient(t, Settings{Endpoint: "http://" + test.host, Credentials: "none", Tries: 2})
		for _, name := range []string{"http://" + test.host + "/x", "s3://bucket/x"} {
			_, err := c.List(t.Context(), name)
			if want := fmt.Sprintf("%s: given up after 2 tries: %s", name, test.want); err == nil || err.Error() != want && !strings.Contains(err.Error(), "can't be looked up") {
				t.Errorf("     %v\nwant %s", err, want)
			}
		}
	}
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.Close)
	c := newClient(t, Settings{Endpoint: silent.URL, Stall: 50 * time.Millisecond})
	for _, name := range []string{silent.URL + "/x", "s3://bucket/x", "s3://bucket/"} {
		if _, err := c.List(t.Context(), name); err == nil || err.Error() != name+": no answer in time" {
			t.Error(err)
		}
	}
	c = newClient(t, Settings{})
	c.transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: gone})
	_, err = c.List(t.Context(), "https://server.example/x")
	if want := "https://server.example/x: the proxy can't be reached: connection refused by " + gone; err == nil || err.Error() != want+" (hint: HTTPS_PROXY, HTTP_PROXY and NO_PROXY say which is used)" {
		t.Errorf("     %v\nwant %s", err, want)
	}
}
