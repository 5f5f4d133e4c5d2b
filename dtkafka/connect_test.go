package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"
	"github.com/segmentio/kafka-go/protocol/describeconfigs"
	"github.com/segmentio/kafka-go/protocol/listoffsets"
	"github.com/segmentio/kafka-go/protocol/metadata"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"

	"dt/internal/tool"
)

func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		given []string
		want  string
	}{
		{[]string{"a:1"}, "a:1"},
		{[]string{"a:1", " b:2 ", "", "c"}, "a:1 b:2 c:9092"},
		{[]string{"[::1]:1", "[::2]"}, "[::1]:1 [::2]:9092"},
		{[]string{"SASL_SSL://a:1", "PLAINTEXT://b:2"}, "a:1 b:2"},
		{[]string{"a:1", "a:1"}, "a:1"},
		{[]string{"http://a:1"}, "error"},
		{[]string{"a:x"}, "error"},
		{[]string{"a:0"}, "error"},
		{[]string{"a:70000"}, "error"},
		{[]string{":9092"}, "error"},
		{[]string{"a b:1"}, "error"},
		{[]string{"::1"}, "error"},
		{[]string{" "}, "error"},
	} {
		all, err := addresses(c.given)
		got := strings.Join(all, " ")
		if err != nil {
			got = "error"
			if text := err.Error(); strings.Contains(text, "\n") || !strings.HasPrefix(text, "--bootstrap") {
				t.Errorf("%q: %v", c.given, err)
			}
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.given, got, c.want)
		}
	}
}

// A flag beats the environment, which beats the properties file.
func TestWhatBeatsWhat(t *testing.T) {
	properties := file(t, "p.properties", `bootstrap.servers=file:1,file:2
security.protocol=SASL_PLAINTEXT
sasl.mechanism=SCRAM-SHA-256
sasl.username=alice
sasl.password=of-file
client.id=me
`)
	password := file(t, "password", "of-password-file\nmore\n")
	for _, c := range []struct {
		name    string
		flags   []string
		env     map[string]string
		brokers string
		login   string // mechanism user password, or the error
		id      string
	}{
		{name: "nothing", brokers: "127.0.0.1:9092", id: "dtkafka"},
		{name: "a file", flags: []string{"--properties", properties}, brokers: "file:1 file:2", login: "SCRAM-SHA-256 alice of-file", id: "me"},
		{name: "a file by the environment", env: map[string]string{"DT_KAFKA_PROPERTIES": properties}, brokers: "file:1 file:2", login: "SCRAM-SHA-256 alice of-file", id: "me"},
		{name: "environment", flags: []string{"--properties", properties},
			env:     map[string]string{"DT_KAFKA_BOOTSTRAP": "env:1,env:2", "DT_KAFKA_PASSWORD": "of-env", "DT_KAFKA_SASL": "scram-sha-512"},
			brokers: "env:1 env:2", login: "SCRAM-SHA-512 alice of-env", id: "me"},
		{name: "flags", flags: []string{"--properties", properties, "--bootstrap", "flag:1", "--sasl", "plain", "--user", "bob", "--password-file", password},
			env:     map[string]string{"DT_KAFKA_BOOTSTRAP": "env:1", "DT_KAFKA_PASSWORD": "of-env", "DT_KAFKA_SASL": "scram-sha-512", "DT_KAFKA_USER": "eve"},
			brokers: "flag:1", login: "PLAIN bob of-password-file", id: "me"},
		{name: "only flags", flags: []string{"--sasl=scram-sha-256", "--user=bob"}, env: map[string]string{"DT_KAFKA_PASSWORD": "of-env"},
			brokers: "127.0.0.1:9092", login: "SCRAM-SHA-256 bob of-env", id: "dtkafka"},
		{name: "another's password", flags: []string{"--properties", properties, "--user", "bob"}, login: "error: the password of bob is not given"},
		{name: "no mechanism", flags: []string{"--user", "bob"}, login: "error: the SASL mechanism is not given"},
		{name: "no user", flags: []string{"--sasl", "plain"}, login: "error: the user for SASL is not given"},
		{name: "no password", flags: []string{"--sasl", "plain", "--user", "bob"}, login: "error: the password of bob is not given"},
		{name: "another mechanism", flags: []string{"--sasl", "gssapi"}, login: `error: --sasl: "gssapi" is none of plain`},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, v := range os.Environ() {
				if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "DT_") {
					t.Setenv(name, "")
					os.Unsetenv(name)
				}
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			var cli struct {
				connection `embed:""`
			}
			env := &tool.Env{Name: "dtkafka", Args: c.flags, Stderr: io.Discard}
			if err := env.Parse(&cli, "", ""); err != nil {
				t.Fatal(err)
			}
			l, err := cli.open(env)
			if text, ok := strings.CutPrefix(c.login, "error: "); ok {
				if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), "(hint: ") && !strings.Contains(text, "none of") {
					t.Errorf("%v, want %s", err, text)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			as := ""
			if m, ok := l.sasl.(login); ok {
				as = m.name + " " + m.user + " " + m.password.reveal()
			}
			if got := strings.Join(l.brokers, " "); got != c.brokers || as != c.login || l.clientID != c.id {
				t.Errorf("%s, %s, %s; want %s, %s, %s", got, as, l.clientID, c.brokers, c.login, c.id)
			}
		})
	}
}

func TestPasswordFile(t *testing.T) {
	open := func(path string) error {
		_, err := (&connection{SASL: "plain", User: "bob", PasswordFile: path}).open(&tool.Env{Name: "dtkafka", Stderr: io.Discard})
		return err
	}
	path := file(t, "password", "hush")
	if err := open(path); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	want := path + ": others may read it, so it is no place for a password (hint: chmod 600 " + path + ")"
	if err := open(path); err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if err := open(file(t, "empty", "\nhush")); err == nil || !strings.Contains(err.Error(), "no password in its first line") {
		t.Error(err)
	}
	if err := open(path + "x"); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := open(t.TempDir()); err == nil || strings.Contains(err.Error(), "\n") {
		t.Error(err)
	}
}

// A ca issues certificates.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // the certificate, in PEM
}

func newCA(t testing.TB, name string) *ca {
	t.Helper()
	c := &ca{}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	c.cert, c.key = c.make(t, name, template)
	c.file = file(t, name+".pem", pemOf("CERTIFICATE", c.cert.Raw))
	return c
}

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (c *ca) make(t testing.TB, name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-48 * time.Hour)
	}
	parent, signer := c.cert, c.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue returns a certificate and its key, in PEM.
func (c *ca) issue(t testing.TB, name string, template *x509.Certificate) (cert, key string) {
	t.Helper()
	leaf, private := c.make(t, name, template)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", leaf.Raw), pemOf("PRIVATE KEY", der)
}

func (c *ca) serverConfig(t testing.TB, template *x509.Certificate) *tls.Config {
	t.Helper()
	cert, key := c.issue(t, "broker", template)
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

var loopbackOnly = []net.IP{net.IPv4(127, 0, 0, 1)}

// listen serves each connection with f, and returns the address.
func listen(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(ctx, func() { c.Close() })
			all.Go(func() {
				defer c.Close()
				f(c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		all.Wait()
	})
	return l.Addr().String()
}

// answering returns what a broker does with a connection: each request is given to f, and nil closes the connection.
func answering(f func(protocol.Message) protocol.Message) func(net.Conn) {
	return func(c net.Conn) {
		for {
			version, id, _, req, err := protocol.ReadRequest(c)
			if err != nil {
				return
			}
			var res protocol.Message
			switch req.(type) {
			case *apiversions.Request:
				all := &apiversions.Response{}
				for _, m := range []protocol.Message{req, &metadata.Request{}, &describeconfigs.Request{}, &listoffsets.Request{}, &saslhandshake.Request{}, &saslauthenticate.Request{}} {
					key := m.ApiKey()
					all.ApiKeys = append(all.ApiKeys, apiversions.ApiKeyResponse{ApiKey: int16(key), MinVersion: key.MinVersion(), MaxVersion: key.MaxVersion()})
				}
				res = all
			default:
				res = f(req)
			}
			if res == nil || protocol.WriteResponse(c, version, id, res) != nil {
				return
			}
		}
	}
}

func overTLS(cfg *tls.Config, f func(net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		t := tls.Server(c, cfg)
		if t.Handshake() == nil {
			f(t)
		}
	}
}

// topicsOf is a broker with topics of one partition each.
func topicsOf(address *string, names ...string) func(net.Conn) {
	return answering(func(req protocol.Message) protocol.Message {
		switch req := req.(type) {
		case *metadata.Request:
			host, port, _ := net.SplitHostPort(*address)
			res := &metadata.Response{ClusterID: "lab", Brokers: []metadata.ResponseBroker{{NodeID: 1, Host: host, Port: int32(atoi(port))}}, ControllerID: 1}
			asked := req.TopicNames
			if asked == nil {
				asked = names
			}
			for _, name := range asked {
				topic := metadata.ResponseTopic{Name: name, ErrorCode: 3}
				if slices.Contains(names, name) {
					topic.ErrorCode = 0
					topic.Partitions = []metadata.ResponsePartition{{LeaderID: 1, ReplicaNodes: []int32{1}, IsrNodes: []int32{1}}}
				}
				res.Topics = append(res.Topics, topic)
			}
			return res
		case *describeconfigs.Request:
			return &describeconfigs.Response{Resources: []describeconfigs.ResponseResource{{ResourceType: 2, ResourceName: req.Resources[0].ResourceName,
				ConfigEntries: []describeconfigs.ResponseConfigEntry{{ConfigName: "max.message.bytes", ConfigValue: "2000000"},
					{ConfigName: "message.timestamp.type", ConfigValue: "LogAppendTime"}}}}}
		}
		return nil
	})
}

func atoi(s string) (n int) {
	fmt.Sscan(s, &n)
	return n
}

// Everything that can be wrong with what we connect to is one line that tells what, where and what to do about it.
func TestWhatIsWrong(t *testing.T) {
	lab, other := newCA(t, "lab-ca"), newCA(t, "other-ca")
	clientCert, clientKey := lab.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	strangerCert, strangerKey := other.issue(t, "stranger", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	client, stranger := file(t, "client.pem", clientKey+clientCert), file(t, "stranger.pem", strangerCert+strangerKey)
	good := lab.serverConfig(t, &x509.Certificate{IPAddresses: loopbackOnly})
	mutual := good.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	mutual.ClientCAs.AddCert(lab.cert)
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	old := time.Now().Add(-24 * time.Hour)
	var lost string // an address where nobody listens
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		lost = l.Addr().String()
		l.Close()
	}
	closes := func(net.Conn) {}
	reads := func(c net.Conn) { // and closes without unread bytes: so there is no reset
		io.ReadAtLeast(c, make([]byte, 1), 1)
	}
	talks := func(text string) func(net.Conn) {
		return func(c net.Conn) {
			io.WriteString(c, text)
			io.Copy(io.Discard, c)
		}
	}
	refuses := func(code kafka.Error) func(protocol.Message) protocol.Message {
		return func(req protocol.Message) protocol.Message {
			switch req.(type) {
			case *saslhandshake.Request:
				if code != kafka.SASLAuthenticationFailed {
					return &saslhandshake.Response{ErrorCode: int16(code)}
				}
				return &saslhandshake.Response{}
			case *saslauthenticate.Request:
				return &saslauthenticate.Response{ErrorCode: int16(code), ErrorMessage: "no\nand again no"}
			}
			return nil
		}
	}
	hangsUp := answering(func(protocol.Message) protocol.Message { return nil })
	address := ""
	plainBroker := topicsOf(&address, "there")
	login := connection{SASL: "plain", User: "bob"}
	withTLS := func(c connection) connection {
		c.CACert = lab.file
		return c
	}
	for _, c := range []struct {
		name    string
		serve   func(net.Conn)
		with    connection
		want    string // ADDR is the address
		passing bool   // else permanent
	}{
		{name: "nobody", with: connection{Bootstrap: []string{lost}}, passing: true,
			want: "no broker at " + lost + ": connection refused (hint: is it running? --bootstrap HOST:PORT names another)"},
		{name: "nobody at all", with: connection{Bootstrap: []string{lost, "no-such-host.invalid:1"}}, passing: true, want: "no broker at " + lost + ": connection refused, no-such-host.invalid:1: "},
		{name: "a web server", serve: talks("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n"),
			want: `ADDR is no Kafka broker: it answers "HTTP/1.1 400 Bad Request" (hint: --bootstrap HOST:PORT)`},
		{name: "an ssh server", serve: talks("SSH-2.0-OpenSSH_9.2p1\r\n"), want: `ADDR is no Kafka broker: it answers "SSH-2.0-OpenSSH_9.2p1" (hint: `},
		{name: "binary", serve: talks("\x16\x03\x01\x02\x00\x1b[31m"), want: `ADDR is no Kafka broker: it answers "\x16\x03\x01\x02\x00\x1b[31m"`},
		{name: "it closes", serve: reads, passing: true, want: "ADDR closed the connection without an answer (hint: is it starting, does it want TLS (--tls), or is it no broker?)"},
		{name: "it resets", serve: closes, passing: true, want: "ADDR closed the connection without an answer (hint: "},
		{name: "plaintext to TLS", serve: talks("\x15\x03\x03\x00\x02\x02\x50"), want: "ADDR wants TLS (hint: --tls, and --ca-cert FILE for a private CA; or security.protocol=SSL)"},
		{name: "plaintext login to TLS", serve: talks("\x15\x03\x03\x00\x02\x02\x50"), with: login, want: "ADDR wants TLS (hint: --tls, and --ca-cert FILE for a private CA; or security.protocol=SASL_SSL)"},
		{name: "TLS to plaintext", serve: reads, with: withTLS(connection{}), want: "ADDR does not speak TLS: it closed the connection (hint: leave out --tls, --ca-cert and --cert; or security.protocol=PLAINTEXT)"},
		{name: "TLS to a web server", serve: talks("HTTP/1.1 400 Bad Request\r\n\r\n"), with: connection{TLS: true}, want: `ADDR does not speak TLS: it answers "HTTP/" (hint: leave out`},
		{name: "no CA", serve: overTLS(good, plainBroker), with: connection{TLS: true}, want: "the certificate of ADDR is from a CA that is not known here: CN=lab-ca (hint: --ca-cert FILE)"},
		{name: "another CA", serve: overTLS(good, plainBroker), with: connection{CACert: other.file}, want: "the certificate of ADDR is not from the CA in " + other.file + ", but from CN=lab-ca"},
		{name: "another host", serve: overTLS(lab.serverConfig(t, &x509.Certificate{DNSNames: []string{"kafka.lab", "*.lab"}}), plainBroker), with: withTLS(connection{}),
			want: "the certificate of ADDR is for another host: kafka.lab, *.lab (hint: --bootstrap with one of these names"},
		{name: "no host", serve: overTLS(lab.serverConfig(t, &x509.Certificate{}), plainBroker), with: withTLS(connection{}), want: "the certificate of ADDR is for another host: it names none"},
		{name: "expired", serve: overTLS(lab.serverConfig(t, &x509.Certificate{IPAddresses: loopbackOnly, NotAfter: old}), plainBroker), with: withTLS(connection{}),
			want: "the certificate of ADDR, or of its CA, has expired: " + clock(old)},
		{name: "not yet valid", serve: overTLS(lab.serverConfig(t, &x509.Certificate{IPAddresses: loopbackOnly, NotBefore: time.Now().Add(time.Minute)}), plainBroker), with: withTLS(connection{}),
			want: "the certificate of ADDR is valid only from "},
		{name: "no certificate of ours", serve: overTLS(mutual, plainBroker), with: withTLS(connection{}), want: "ADDR wants a certificate from us (hint: --cert FILE --key FILE)"},
		{name: "no certificate of ours, TLS 1.2", serve: overTLS(mutual12, plainBroker), with: withTLS(connection{}), want: "ADDR wants a certificate from us (hint: --cert FILE --key FILE)"},
		{name: "a stranger's certificate", serve: overTLS(mutual, plainBroker), with: withTLS(connection{Cert: stranger}), want: "ADDR refuses our certificate " + stranger + ": "},
		{name: "no login", serve: hangsUp, want: "ADDR wants a login (hint: --sasl scram-sha-512 --user NAME, or security.protocol=SASL_PLAINTEXT)"},
		{name: "no login over TLS", serve: overTLS(good, hangsUp), with: withTLS(connection{}), want: "ADDR wants a login (hint: --sasl scram-sha-512 --user NAME, or security.protocol=SASL_SSL)"},
		{name: "a needless login", serve: answering(refuses(kafka.IllegalSASLState)), with: login, want: "ADDR wants no login (hint: leave out --sasl and --user; or security.protocol=PLAINTEXT)"},
		{name: "another mechanism", serve: answering(refuses(kafka.UnsupportedSASLMechanism)), with: login, want: "ADDR does not offer PLAIN (hint: --sasl or sasl.mechanism: plain, scram-sha-256 or scram-sha-512)"},
		{name: "a wrong password", serve: answering(refuses(kafka.SASLAuthenticationFailed)), with: login, want: "ADDR refuses the login as bob with PLAIN: wrong user or password"},
		{name: "a wrong password, and it closes", serve: answering(func(req protocol.Message) protocol.Message {
			if _, ok := req.(*saslhandshake.Request); ok {
				return &saslhandshake.Response{}
			}
			return nil
		}), with: login, passing: true, want: "ADDR closed the connection at the login as bob (hint: a wrong password?)"},
		{name: "a broker that knows nothing", serve: answering(func(req protocol.Message) protocol.Message {
			if _, ok := req.(*saslhandshake.Request); ok {
				return &saslhandshake.Response{}
			}
			return &saslauthenticate.Response{AuthBytes: []byte("r=fixed,s=AAAA,i=4096")}
		}), with: connection{SASL: "scram-sha-256", User: "bob"}, want: "login as bob with SCRAM-SHA-256: server nonce did not extend client nonce (hint: is it the broker that it should be?)"},
		{name: "a missing topic", serve: topicsOf(&address), want: "topic there: there is no such topic (hint: dtkafka topics create there --partitions 8)"},
		{name: "nobody behind the name", serve: topicsOf(&lost, "there"), passing: true,
			want: "broker " + lost + ": connection refused (hint: the broker's advertised.listeners must name it so that it is reached from here)"},
		{name: "well", serve: plainBroker},
		{name: "well with TLS", serve: overTLS(good, plainBroker), with: withTLS(connection{})},
		{name: "well with both", serve: overTLS(mutual, plainBroker), with: withTLS(connection{Cert: client})},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(passwordVariable, "hush-hush")
			if c.serve != nil {
				address = listen(t, c.serve)
				c.with.Bootstrap = []string{address}
			}
			l, said := testCluster(t, c.with)
			defer l.transport.CloseIdleConnections()
			l.transport.DialTimeout = 2 * time.Second
			l.follow("there")
			var info *topicInfo
			var err error
			for begin := time.Now(); ; { // all of the brokers, each in its turn
				if info, err = l.askTopic(t.Context(), "there"); len(l.lately) >= len(l.brokers) || time.Since(begin) > 10*time.Second {
					break
				}
			}
			if c.want == "" {
				if err != nil || info.partitions != 1 || info.clusterID != "lab" || info.maxMessage != 2000000 || !info.timestampAppend {
					t.Errorf("%+v, %v", info, err)
				}
				return
			}
			if err == nil {
				t.Fatalf("%+v, want %s", info, c.want)
			}
			text, permanent := l.explain(err)
			if want := strings.ReplaceAll(c.want, "ADDR", address); !strings.HasPrefix(text.Error(), want) || permanent == c.passing {
				t.Errorf("%v (%v)\n got %s (permanent: %v)\nwant %s", err, c.with.Bootstrap, text, permanent, want)
			}
			if all := text.Error() + said.String(); strings.ContainsAny(text.Error(), "\r\n\x1b") || strings.Contains(all, "hush") {
				t.Errorf("%q, %q", text, said)
			}
		})
	}
}

// A port that takes connections and says nothing is told, and waited for.
func TestSilence(t *testing.T) {
	address := listen(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	l, _ := testCluster(t, connection{Bootstrap: []string{address}})
	l.transport.DialTimeout = 300 * time.Millisecond
	_, err := l.askTopic(t.Context(), "there")
	if text, permanent := l.explain(err); text.Error() != address+" takes the connection and says nothing (hint: is it a broker's port?)" || permanent {
		t.Errorf("%v, %v", text, permanent)
	}
}

// heard calls f with what is written.
type heard func(text string)

func (f heard) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

// A broker that goes away and comes back is waited for, and both are told.
func TestAwayAndBack(t *testing.T) {
	address := ""
	var up atomic.Bool
	broker := topicsOf(&address, "there")
	address = listen(t, func(c net.Conn) {
		if up.Load() {
			broker(c)
		}
	})
	var said []string
	l, err := (&connection{Bootstrap: []string{address}}).open(&tool.Env{Name: "dtkafka", Stderr: heard(func(text string) {
		said = append(said, text)
		up.Store(true)
	})})
	if err != nil {
		t.Fatal(err)
	}
	defer l.transport.CloseIdleConnections()
	info, err := l.topic(t.Context(), l.retrier("topic there"), "there")
	if err != nil || info.partitions != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	if len(said) != 2 || !strings.HasPrefix(said[0], "dtkafka: topic there: "+address+" closed the connection without an answer; trying again") ||
		!strings.HasPrefix(said[1], "dtkafka: the broker is back after ") {
		t.Errorf("said %q", said)
	}
}

func TestExplainCodes(t *testing.T) {
	l, _ := testCluster(t, connection{})
	l.reached.Store(true)
	for code := kafka.Error(-1); code < 130; code++ {
		if code == 0 {
			continue
		}
		for _, err := range []error{code, fmt.Errorf("kafka.(*Client).X: %w: %s", code, "in the\nbroker's words."), &topicError{"t", code}, &groupError{"g", code}} {
			if l.sasl == nil && (code == kafka.SASLAuthenticationFailed || code == kafka.UnsupportedSASLMechanism) {
				continue
			}
			text, _ := l.explain(err)
			if s := text.Error(); strings.Contains(s, "\n") || s == "" || strings.Contains(s, "kafka.(") || !errors.Is(text, code) {
				t.Errorf("%v: %q", err, s)
			}
		}
	}
	for _, c := range []struct {
		err       error
		want      string
		permanent bool
	}{
		{&topicError{"t", kafka.TopicAuthorizationFailed}, "topic t: who does not log in has no right to this topic (hint: ", true},
		{&groupError{"g", kafka.GroupAuthorizationFailed}, "group g: who does not log in has no right to this group (hint: ", true},
		{kafka.ClusterAuthorizationFailed, "who does not log in has no right to do this in the cluster (hint: ", true},
		{&topicError{"t", kafka.MessageSizeTooLarge}, "topic t: a message is larger than the topic takes (hint: ", true},
		{&topicError{"t", kafka.NotEnoughReplicas}, "topic t: fewer replicas are in sync than the topic's min.insync.replicas wants (hint: ", false},
		{kafka.NotLeaderForPartition, "a partition has no leader now", false},
		{kafka.InvalidTopic, "that is no name of a topic (hint: ", true},
		{kafka.UnsupportedVersion, "127.0.0.1:9092 is of a version that does not support this: ", true},
		{fmt.Errorf("%w: %s", kafka.InvalidReplicationFactor, "only 1 broker(s) are registered."), "only 1 broker(s) are registered", true},
		{errors.New("unsupported Fetch version: v1 not in range v2-v3"), "127.0.0.1:9092 is of a version that dtkafka does not support: ", true},
		{fmt.Errorf("fetch request error: topic not found"), "the topic, or a partition of it, is not there (any more) (hint: ", false},
		{protocol.NewErrNoLeader("t", 1), "topic t: a partition has no leader now", false},
		{io.ErrUnexpectedEOF, "127.0.0.1:9092 broke off in the middle of an answer", false},
		{context.Canceled, "context canceled", true},
		{errors.New("kafka.(*Client).Fetch: tls: odd\nthing"), "127.0.0.1:9092: odd thing", false},
	} {
		text, permanent := l.explain(c.err)
		if !strings.HasPrefix(text.Error(), c.want) || permanent != c.permanent {
			t.Errorf("%v: %v (%v), want %s (%v)", c.err, text, permanent, c.want, c.permanent)
		}
		if again, p := l.explain(text); again.Error() != text.Error() || p != permanent {
			t.Errorf("explained twice: %v (%v), then %v (%v)", text, permanent, again, p)
		}
	}
}

func TestStores(t *testing.T) {
	lab := newCA(t, "lab-ca")
	cert, key := lab.issue(t, "client", &x509.Certificate{})
	otherCert, _ := lab.issue(t, "other", &x509.Certificate{})
	oldCert, oldKey := lab.issue(t, "old", &x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	inLine := func(pem string) string { return strings.ReplaceAll(strings.TrimSpace(pem), "\n", " ") }
	continued := func(pem string) string { return strings.ReplaceAll(strings.TrimSpace(pem), "\n", "\\\n  ") }
	caText, err := os.ReadFile(lab.file)
	if err != nil {
		t.Fatal(err)
	}
	jks := file(t, "store.jks", "\xfe\xed\xfe\xed\x00\x00\x00\x02")
	p12 := file(t, "store.p12", "\x30\x82\x0a\x00\x02\x01\x03")
	nothing := file(t, "nothing.pem", "hello\n")
	encrypted := file(t, "encrypted.pem", cert+pemOf("ENCRYPTED PRIVATE KEY", []byte("xyz")))
	legacy := file(t, "legacy.pem", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n")
	for _, c := range []struct {
		name, properties string
		want             string // the error; "" for none
	}{
		{"files", "ssl.truststore.location=" + lab.file + "\nssl.keystore.location=" + file(t, "both.pem", key+cert), ""},
		{"in one line", "ssl.truststore.certificates=" + inLine(string(caText)) + "\nssl.keystore.key=" + inLine(key) + "\nssl.keystore.certificate.chain=" + inLine(cert+string(caText)), ""},
		{"continued", "ssl.truststore.certificates=" + continued(string(caText)) + "\nssl.keystore.key=" + continued(key) + "\nssl.keystore.certificate.chain=" + continued(cert), ""},
		{"a CA in JKS", "ssl.truststore.location=" + jks, jks + ": this is a Java key store (JKS), and PEM is needed (hint: keytool -list -rfc -keystore " + jks + " > ca.pem)"},
		{"a CA in PKCS#12", "ssl.truststore.type=PKCS12\nssl.truststore.location=" + p12, p12 + ": this is a PKCS#12 store, and PEM is needed (hint: keytool -list -rfc"},
		{"a key in JKS", "ssl.keystore.location=" + jks, jks + ": this is a Java key store (JKS), and PEM is needed (hint: keytool -importkeystore -srckeystore " + jks},
		{"a key in PKCS#12", "ssl.keystore.location=" + p12, "(hint: openssl pkcs12 -in " + p12 + " -nodes -out key.pem)"},
		{"nothing", "ssl.truststore.location=" + nothing, nothing + ": there is no certificate in PEM form in it"},
		{"a key for a CA", "ssl.truststore.location=" + file(t, "key.pem", key), "there is no certificate in it"},
		{"a broken CA", "ssl.truststore.location=" + file(t, "broken.pem", pemOf("CERTIFICATE", []byte("x"))), "broken.pem: "},
		{"no such file", "ssl.truststore.location=" + nothing + "x", "nothing.pemx: no such file or directory"},
		{"no key", "ssl.certificate.location=" + file(t, "cert.pem", cert), "the key of this certificate is not given (hint: --key FILE)"},
		{"no key in it", "ssl.keystore.location=" + file(t, "cert.pem", cert), "there is no key in it"},
		{"no certificate", "ssl.key.location=" + file(t, "key.pem", key), "the certificate of this key is not given"},
		{"another key", "ssl.certificate.location=" + file(t, "cert.pem", otherCert) + "\nssl.key.location=" + file(t, "key.pem", key), "private key does not match public key"},
		{"an encrypted key", "ssl.keystore.location=" + encrypted, encrypted + ": the key is encrypted, which dtkafka does not support (hint: umask 077; openssl pkey -in " + encrypted + " -out key.pem)"},
		{"an encrypted key of old", "ssl.certificate.location=" + file(t, "cert.pem", cert) + "\nssl.key.location=" + legacy, legacy + ": the key is encrypted"},
		{"an old certificate", "ssl.keystore.location=" + file(t, "old.pem", oldCert+oldKey), "this certificate expired on "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said bytes.Buffer
			_, err := (&connection{Properties: file(t, "p", "security.protocol=SSL\n"+c.properties)}).open(&tool.Env{Name: "dtkafka", Stderr: &said})
			switch {
			case c.want == "" && err != nil || said.Len() > 0:
				t.Errorf("%v, said %q", err, said.String())
			case c.want != "" && (err == nil || !strings.Contains(tool.Plain(err).Error(), c.want) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// The name that a certificate is for does not matter if it is said so, but its CA does.
func TestAnyHost(t *testing.T) {
	lab, other := newCA(t, "lab-ca"), newCA(t, "other-ca")
	address := ""
	address = listen(t, overTLS(lab.serverConfig(t, &x509.Certificate{DNSNames: []string{"kafka.lab"}}), func(c net.Conn) { topicsOf(&address, "there")(c) }))
	for _, c := range []struct {
		ca   *ca
		want string
	}{{lab, ""}, {other, "the certificate of " + address + " is not from the CA in "}} {
		l, _ := testCluster(t, connection{Properties: file(t, "p", "bootstrap.servers="+address+"\nsecurity.protocol=SSL\nssl.endpoint.identification.algorithm=\nssl.ca.location="+c.ca.file)})
		l.follow("there")
		_, err := l.askTopic(t.Context(), "there")
		if err != nil {
			err, _ = l.explain(err)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)) {
			t.Errorf("%v, want %q", err, c.want)
		}
		l.transport.CloseIdleConnections()
	}
}

func TestWarnings(t *testing.T) {
	lab := newCA(t, "lab-ca")
	cert, key := lab.issue(t, "client", &x509.Certificate{})
	t.Setenv(passwordVariable, "hush")
	readable := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	properties := readable("p", "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.username=bob\nsasl.password=hush\n")
	both := readable("both.pem", cert+key)
	for _, c := range []struct {
		with connection
		want string
	}{
		{connection{Properties: properties}, "dtkafka: " + properties + ": others may read it, and there is a password in it (hint: chmod 600 " + properties + ")\n"},
		{connection{Cert: both}, "dtkafka: " + both + ": others may read this key (hint: chmod 600 " + both + ")\n"},
		{connection{Bootstrap: []string{"kafka.lab"}, SASL: "plain", User: "bob"}, "dtkafka: the password of bob goes over the network for all to read (hint: SASL PLAIN wants TLS: --tls)\n"},
		{connection{Bootstrap: []string{"127.0.0.1:1", "[::1]:2"}, SASL: "plain", User: "bob"}, ""},
		{connection{Bootstrap: []string{"kafka.lab"}, SASL: "scram-sha-256", User: "bob"}, ""},
		{connection{Bootstrap: []string{"kafka.lab"}, TLS: true, SASL: "plain", User: "bob"}, ""},
	} {
		if _, said := testCluster(t, c.with); said.String() != c.want {
			t.Errorf("%+v: said %q, want %q", c.with, said, c.want)
		}
	}
}
