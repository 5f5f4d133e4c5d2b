package remote

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"time"

	"dt/internal/tool"
)

// newTransport returns the connections of a client.
func newTransport(s Settings) (*http.Transport, error) {
	roots, err := roots(s.CACert)
	if err != nil {
		return nil, err
	}
	// Ranges of one object that are asked for at once are to go through as many connections. HTTP/2 would put them all into one, where a
	// lost packet stops every one of them.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: s.Stall, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: proxyAnswer,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    s.Stall,
		ResponseHeaderTimeout:  s.Stall,
		MaxIdleConns:           2 * s.Connections,
		MaxIdleConnsPerHost:    s.Connections,
		IdleConnTimeout:        90 * time.Second,
		DisableCompression:     true, // dtcat unpacks by content
		MaxResponseHeaderBytes: 256 << 10,
		ReadBufferSize:         64 << 10,
		Protocols:              protocols,
	}, nil
}

// roots returns the system's certificates and those of a file, or nil, which are the system's.
func roots(file string) (*x509.CertPool, error) {
	from := "--ca-cert"
	if file == "" {
		from, file = "AWS_CA_BUNDLE", os.Getenv("AWS_CA_BUNDLE")
	}
	if file == "" {
		return nil, nil
	}
	pem, err := readSmall(file, 16<<20)
	if err != nil {
		return nil, tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("%s %s: %v", from, file, err)}, "a file of certificates in PEM form")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		msg := fmt.Sprintf("%s %s: there is no certificate in PEM form in it", from, file)
		if bytes.HasPrefix(pem, []byte{0x30, 0x82}) {
			return nil, tool.Hint(&tool.UsageError{Msg: msg}, "openssl x509 -inform der -in "+file+" -out ca.pem")
		}
		return nil, tool.Hint(&tool.UsageError{Msg: msg}, "it has lines with BEGIN CERTIFICATE")
	}
	return pool, nil
}

// readSmall reads a file of settings. Its errors are without the name.
func readSmall(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, reason(err)
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("more than %d KiB, so it is something else", most>>10)
	}
	return text, nil
}

// reason is an error about a file without its name.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// env returns the first of the variables that is set, and its name.
func env(names ...string) (value, from string) {
	for _, from = range names {
		if value = os.Getenv(from); value != "" {
			return value, from
		}
	}
	return "", ""
}

// from says where a setting comes from: the flag if it is given, else the variable.
func from(flag, given, variable string) string {
	if given != "" {
		return flag
	}
	return cmp.Or(variable, flag)
}
