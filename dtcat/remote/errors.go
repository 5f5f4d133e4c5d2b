package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dt/internal/tool"
)

// final is a failure that no other try mends. Without a hint there is none.
func final(hint, format string, args ...any) *failure {
	return &failure{err: hinted(hint, format, args...)}
}

// passing is a failure that may be over soon.
func passing(hint, format string, args ...any) *failure {
	return &failure{err: hinted(hint, format, args...), again: true}
}

func hinted(hint, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	if hint == "" {
		return err
	}
	return tool.Hint(err, hint)
}

// unanswered says in words why a request had no answer.
func unanswered(err error, scheme string) error {
	if scheme == "http" && (errors.Is(err, io.EOF) || isCut(err)) {
		return passing("if it speaks TLS: https:// instead of http://", "%w", inWords{"the server ends the connection without an answer", err})
	}
	return network(err)
}

// network says in words why the network failed.
func network(err error) error {
	var known *failure
	if errors.As(err, &known) {
		return known // of a redirect that is not followed
	}
	var wrapped *url.Error
	for errors.As(err, &wrapped) {
		err = wrapped.Err // its text has the whole address, with what is secret in it
	}
	if errors.Is(err, context.Canceled) {
		return err // whoever ended it knows why
	}
	if strings.HasPrefix(err.Error(), "failed to parse Location header") { // its text goes on with an address, maybe with a password
		return final("", "it is redirected to what is no web address")
	}
	if f := certificate(err); f != nil {
		return f
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "proxyconnect" {
		why, _, _ := strings.Cut(cause(op.Err).Error(), " (hint: ")
		return passing("HTTPS_PROXY, HTTP_PROXY and NO_PROXY say which is used", "the proxy can't be reached: %w", inWords{why, op.Err})
	}
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return passing("is the name right?", "%w", cause(err))
	case errors.Is(err, syscall.ECONNREFUSED):
		return passing("is the server there, and the port right?", "%w", cause(err))
	}
	return &failure{err: cause(err), again: true}
}

// proxyAnswer says why a proxy lets nobody through to a server with TLS.
func proxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
	switch status := answer.StatusCode; {
	case status == http.StatusOK:
		return nil
	case status == http.StatusProxyAuthRequired:
		return final(proxyHint, "the proxy wants a user and a password (407)")
	case mayPass(status):
		return passing("", "the proxy answers %s", statusText(status))
	default:
		return final("", "the proxy answers %s", statusText(status))
	}
}

const proxyHint = "HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"

// certificate says why TLS is not possible with a server, or returns nil if that is not it.
func certificate(err error) error {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return final("--ca-cert FILE, the authority's certificate", "the server's certificate is from an authority that is not known here")
	case errors.As(err, &host):
		names := host.Certificate.DNSNames
		for _, ip := range host.Certificate.IPAddresses {
			names = append(names, ip.String())
		}
		if len(names) == 0 {
			return final("the certificate needs a subject alternative name", "the server's certificate is for no name, and so not for %s", shown(host.Host))
		}
		if len(names) > 4 {
			names = append(names[:4:4], "…")
		}
		return final("use a name that is in it", "the server's certificate is for %s, not for %s", shown(strings.Join(names, " ")), shown(host.Host))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if time.Now().Before(invalid.Cert.NotBefore) {
			return final("is the clock of this machine right?", "the server's certificate is not valid before %s", day(invalid.Cert.NotBefore))
		}
		return final("it must be renewed there; or is the clock of this machine wrong?", "the server's certificate expired on %s", day(invalid.Cert.NotAfter))
	case errors.As(err, &verify):
		return final("", "the server's certificate can't be trusted: %s", strings.TrimPrefix(shown(verify.Err.Error()), "x509: "))
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return final("http:// instead of https://", "%w", errNoTLS)
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`): // an alert of TLS
		return speaksTLS()
	case errors.As(err, &alert):
		return final("", "the server refuses TLS: %s", strings.TrimPrefix(alert.Error(), "tls: "))
	}
	return nil
}

var errNoTLS = errors.New("the server speaks no TLS there")

// forNow makes of an error one that may pass, if it says of a server that it speaks no TLS, and the server did when the object was found.
func (o *Object) forNow(err error) error {
	if o.Tag != "" && errors.Is(err, errNoTLS) {
		return passing("", "%w", errNoTLS)
	}
	return err
}

func speaksTLS() *failure {
	return final("https:// instead of http://", "the server speaks TLS there")
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// cause is why something on the network failed, in few words. What it was before can be unwrapped.
func cause(err error) error {
	text := ""
	var dns *net.DNSError
	var op *net.OpError
	timeout, isNet := err.(net.Error) //nolint:errorlint // of the outermost
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		text = "no such host: " + shown(dns.Name)
	case errors.As(err, &dns):
		text = "the name " + shown(dns.Name) + " can't be looked up: " + shown(dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Addr != nil:
		text = "connection refused by " + op.Addr.String()
	case isCut(err):
		text = "the server cut the connection"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		text = "the connection ended too early"
	case errors.Is(err, os.ErrDeadlineExceeded), isNet && timeout.Timeout():
		text = "no answer in time"
	default:
		var no syscall.Errno
		if errors.As(err, &no) {
			text = no.Error() // no route to host
		} else {
			text = brief(err.Error())
		}
	}
	return inWords{text, err}
}

// isCut reports whether the other side ended a connection that was in use.
func isCut(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || strings.HasSuffix(err.Error(), "server closed idle connection")
}

// inWords is an error with a better text.
type inWords struct {
	text string
	err  error
}

func (e inWords) Error() string { return e.text }
func (e inWords) Unwrap() error { return e.err }

// wordsBody is the body of an answer, whose errors are in words.
type wordsBody struct{ io.ReadCloser }

func (b wordsBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the end itself
		err = network(err)
	}
	return n, err
}

// brief makes text from elsewhere fit for a line.
func brief(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200]) + "…"
	}
	return shown(strings.TrimSuffix(text, "."))
}

// mayPass reports whether another try may have another answer than this status.
func mayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported, http.StatusNetworkAuthenticationRequired:
		return false
	}
	return status >= 500
}

// statusText is a status for people: 503 Service Unavailable.
func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status)))
}

const longestWait = time.Minute // that a server may ask for

// retryAfter is how long a server wants not to be asked. A date counts from the server's own clock, if that is told.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(n, uint64(longestWait/time.Second))) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), longestWait)
}
