package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// A certAuthority issues certificates.
type certAuthority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own, in PEM
}

func newCertAuthority(t testing.TB, name string) *certAuthority {
	t.Helper()
	a := &certAuthority{}
	text := a.issue(t, name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.file = private(t, name+".pem", text[1])
	return a
}

// issue returns a key and its certificate, in PEM.
func (a *certAuthority) issue(t testing.TB, name string, template *x509.Certificate) [2]string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if a.cert == nil {
		a.cert, a.key = template, key
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if template == a.cert {
		if a.cert, err = x509.ParseCertificate(cert); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return [2]string{text("PRIVATE KEY", der), text("CERTIFICATE", cert)}
}

// private writes a file that only we may read, and returns its path.
func private(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A kafkaSecured is a broker with a port for each way to speak with it.
type kafkaSecured struct {
	*kafkaCluster
	plain, sasl, tls, mutual, both, misnamed string // addresses; the last has a certificate for another host
	lab, stranger                            *certAuthority
	ours, strangers                          string // keys with certificates: good, and of a CA that the broker does not know
}

// Who there is at the broker, and their passwords.
const (
	bobSecret   = "bob-s3cret-Ö"
	aliceSecret = "alice-s3cret"
	carolSecret = "carol-s3cret"
	wrongSecret = "no-such-s3cret"
)

func startSecured(t *testing.T) *kafkaSecured {
	t.Helper()
	needKafka(t, "")
	s := &kafkaSecured{lab: newCertAuthority(t, "lab-ca"), stranger: newCertAuthority(t, "stranger-ca")}
	broker := s.lab.issue(t, "broker", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}})
	misnamed := s.lab.issue(t, "misnamed", &x509.Certificate{DNSNames: []string{"kafka.lab", "b2.lab"}})
	client := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	pair := s.lab.issue(t, "pipes", client)
	s.ours = private(t, "pipes.pem", pair[1]+pair[0])
	pair = s.stranger.issue(t, "strangers", client)
	s.strangers = private(t, "strangers.pem", pair[0]+pair[1])

	names := []string{"PLAINTEXT", "CLEARSASL", "TLS", "MUTUAL", "BOTH", "MISNAMED"}
	port, err := freePorts(len(names))
	if err != nil {
		t.Fatal(err)
	}
	var listeners []string
	addresses := []*string{&s.plain, &s.sasl, &s.tls, &s.mutual, &s.both, &s.misnamed}
	for i, name := range names {
		*addresses[i] = "127.0.0.1:" + strconv.Itoa(port+i)
		listeners = append(listeners, name+"://"+*addresses[i])
	}
	dir := t.TempDir()
	var b strings.Builder
	fmt.Fprintf(&b, "listeners=%s,CONTROLLER://127.0.0.1:%d\n", strings.Join(listeners, ","), port+100)
	fmt.Fprintln(&b, "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLEARSASL:SASL_PLAINTEXT,TLS:SSL,MUTUAL:SSL,BOTH:SASL_SSL,MISNAMED:SSL")
	fmt.Fprintln(&b, "inter.broker.listener.name=PLAINTEXT")
	fmt.Fprintln(&b, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer")
	fmt.Fprintln(&b, "super.users=User:ANONYMOUS;User:bob;User:alice;User:CN=pipes")
	for _, listener := range []string{"clearsasl", "both"} {
		mechanisms := []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}
		fmt.Fprintf(&b, "listener.name.%s.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_bob=\"%s\";\n",
			listener, strings.ReplaceAll(bobSecret, "Ö", `\u00d6`))
		if listener == "clearsasl" {
			mechanisms = append(mechanisms, "PLAIN")
		}
		for _, m := range mechanisms[:2] {
			fmt.Fprintf(&b, "listener.name.%s.%s.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n", listener, strings.ToLower(m))
		}
		fmt.Fprintf(&b, "listener.name.%s.sasl.enabled.mechanisms=%s\n", listener, strings.Join(mechanisms, ","))
	}
	store := func(prefix string, pair [2]string) {
		fmt.Fprintf(&b, "%sssl.keystore.type=PEM\n%sssl.keystore.location=%s\n", prefix, prefix, private(t, "broker.pem", pair[0]+pair[1]))
	}
	store("", broker)
	store("listener.name.misnamed.", misnamed)
	fmt.Fprintf(&b, "ssl.truststore.type=PEM\nssl.truststore.location=%s\n", s.lab.file)
	fmt.Fprintln(&b, "listener.name.mutual.ssl.client.auth=required")
	if err := os.WriteFile(filepath.Join(dir, "more.properties"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.kafkaCluster = &kafkaCluster{n: 1, dir: dir, port: port, running: map[int]*kafkaBroker{}, options: kafkaOptions{
		properties: b.String(),
		format: "--add-scram SCRAM-SHA-512=[name=alice,password=" + aliceSecret + "] --add-scram SCRAM-SHA-256=[name=alice,password=" + aliceSecret + "]" +
			" --add-scram SCRAM-SHA-256=[name=carol,password=" + carolSecret + "]",
	}}
	kafkaOwn.take(1)
	t.Cleanup(func() {
		s.stop()
		kafkaOwn.give(1)
		if t.Failed() {
			s.logs(t)
		}
	})
	if err := s.startAll(); err != nil {
		t.Fatal(err)
	}
	return s
}

// allow gives carol a right.
func (s *kafkaSecured) allow(t testing.TB, kind kafka.ResourceType, name string, operation kafka.ACLOperationType) {
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(s.plain), Timeout: 20 * time.Second, Transport: &kafka.Transport{}}
	attempt(t, "a right for carol", func(ctx context.Context) error {
		res, err := client.CreateACLs(ctx, &kafka.CreateACLsRequest{ACLs: []kafka.ACLEntry{{
			ResourceType: kind, ResourceName: name, ResourcePatternType: kafka.PatternTypeLiteral, Principal: "User:carol", Host: "*",
			Operation: operation, PermissionType: kafka.ACLPermissionTypeAllow,
		}}})
		return errors.Join(append([]error{err}, res.Errors...)...)
	})
}

// Every way to speak with a real broker works, and where it does not, one line says why.
func TestKafkaSecure(t *testing.T) {
	t.Parallel()
	s := startSecured(t)
	pipeline(t, nil, stage{"dtkafka", "topics", "create", "cosmo", "--partitions", "2", "--bootstrap", s.plain}).ok(t)
	pipeline(t, nil, stage{"dtkafka", "topics", "create", "hidden", "--bootstrap", s.plain}).ok(t)
	s.allow(t, kafka.ResourceTypeTopic, "cosmo", kafka.ACLOperationTypeRead) // and so to describe it
	s.allow(t, kafka.ResourceTypeTopic, "elsewhere", kafka.ACLOperationTypeWrite)

	jaas := func(module, user, password string) string {
		return "org.apache.kafka.common.security." + module + ` required username="` + user + `" password="` + password + `";`
	}
	properties := func(lines ...string) []string {
		return []string{"--properties", private(t, "client.properties", strings.Join(lines, "\n")+"\n")}
	}
	at := func(address string, flags ...string) []string {
		return append([]string{"--bootstrap", address}, flags...)
	}
	as := func(mechanism, user string, flags ...string) []string {
		return append([]string{"--sasl", mechanism, "--user", user}, flags...)
	}
	env := func(password string) []string { return []string{"DT_KAFKA_PASSWORD=" + password} }
	scram512 := as("scram-sha-512", "alice")

	for _, c := range []struct {
		name    string
		flags   []string
		env     []string
		refused string // what it says; "" if it works
	}{
		// What is right.
		{name: "plaintext", flags: at(s.plain)},
		{name: "TLS", flags: at(s.tls, "--ca-cert", s.lab.file)},
		{name: "TLS, by another name", flags: at(strings.Replace(s.tls, "127.0.0.1", "localhost", 1), "--ca-cert", s.lab.file)},
		{name: "TLS, a needless certificate", flags: at(s.tls, "--ca-cert", s.lab.file, "--cert", s.ours)},
		{name: "TLS, by properties", flags: properties("bootstrap.servers="+s.tls, "security.protocol=SSL", "ssl.truststore.type=PEM", "ssl.truststore.location="+s.lab.file)},
		{name: "TLS, by librdkafka's", flags: properties("bootstrap.servers="+s.tls, "security.protocol=ssl", "ssl.ca.location="+s.lab.file)},
		{name: "TLS, any host", flags: properties("bootstrap.servers="+s.misnamed, "security.protocol=SSL", "ssl.ca.location="+s.lab.file, "ssl.endpoint.identification.algorithm=")},
		{name: "TLS, by the environment", env: []string{"DT_KAFKA_BOOTSTRAP=" + s.tls, "DT_KAFKA_CA_CERT=" + s.lab.file}},
		{name: "mutual TLS", flags: at(s.mutual, "--ca-cert", s.lab.file, "--cert", s.ours)},
		{name: "mutual TLS, by properties", flags: properties("bootstrap.servers="+s.mutual, "security.protocol=SSL", "ssl.keystore.type=PEM", "ssl.keystore.location="+s.ours,
			"ssl.truststore.type=PEM", "ssl.truststore.location="+s.lab.file)},
		{name: "PLAIN", flags: at(s.sasl, as("plain", "bob")...), env: env(bobSecret)},
		{name: "PLAIN, a file", flags: at(s.sasl, as("plain", "bob", "--password-file", private(t, "password", bobSecret+"\n"))...)},
		{name: "PLAIN, by properties", flags: properties("bootstrap.servers="+s.sasl, "security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN",
			"sasl.jaas.config="+jaas("plain.PlainLoginModule", "bob", bobSecret))},
		{name: "SCRAM-SHA-256", flags: at(s.sasl, as("scram-sha-256", "alice")...), env: env(aliceSecret)},
		{name: "SCRAM-SHA-512", flags: at(s.sasl, scram512...), env: env(aliceSecret)},
		{name: "SCRAM-SHA-256 with TLS", flags: at(s.both, as("scram-sha-256", "alice", "--ca-cert", s.lab.file)...), env: env(aliceSecret)},
		{name: "SCRAM-SHA-512 with TLS, by properties", flags: properties("bootstrap.servers="+s.both, "security.protocol=SASL_SSL", "sasl.mechanism=SCRAM-SHA-512",
			`sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \`, `  username="alice" \`, `  password="`+aliceSecret+`";`,
			"ssl.truststore.type=PEM", "ssl.truststore.location="+s.lab.file)},
		{name: "SCRAM-SHA-512 with TLS, by librdkafka's", flags: properties("bootstrap.servers="+s.both, "security.protocol=SASL_SSL", "sasl.mechanisms=SCRAM-SHA-512",
			"sasl.username=alice", "sasl.password="+aliceSecret, "ssl.ca.location="+s.lab.file)},

		// What is wrong.
		{name: "plaintext to TLS", flags: at(s.tls), refused: s.tls + " wants TLS (hint: --tls, and --ca-cert FILE for a private CA; or security.protocol=SSL)"},
		{name: "plaintext to mutual TLS", flags: at(s.mutual), refused: s.mutual + " wants TLS (hint: "},
		{name: "plaintext login to TLS", flags: at(s.both, scram512...), env: env(aliceSecret), refused: s.both + " wants TLS (hint: --tls, and --ca-cert FILE for a private CA; or security.protocol=SASL_SSL)"},
		{name: "TLS to plaintext", flags: at(s.plain, "--tls"), refused: s.plain + " does not speak TLS: it closed the connection (hint: leave out --tls, --ca-cert and --cert; or security.protocol=PLAINTEXT)"},
		{name: "TLS to plaintext login", flags: at(s.sasl, append(scram512, "--tls")...), env: env(aliceSecret),
			refused: s.sasl + " does not speak TLS: it closed the connection (hint: leave out --tls, --ca-cert and --cert; or security.protocol=SASL_PLAINTEXT)"},
		{name: "no CA", flags: at(s.tls, "--tls"), refused: "the certificate of " + s.tls + " is from a CA that is not known here: CN=lab-ca (hint: --ca-cert FILE)"},
		{name: "another CA", flags: at(s.tls, "--ca-cert", s.stranger.file), refused: "the certificate of " + s.tls + " is not from the CA in " + s.stranger.file + ", but from CN=lab-ca"},
		{name: "another CA, any host", flags: properties("bootstrap.servers="+s.misnamed, "security.protocol=SSL", "ssl.ca.location="+s.stranger.file, "ssl.endpoint.identification.algorithm="),
			refused: "the certificate of " + s.misnamed + " is not from the CA in " + s.stranger.file},
		{name: "another host", flags: at(s.misnamed, "--ca-cert", s.lab.file), refused: "the certificate of " + s.misnamed + " is for another host: kafka.lab, b2.lab (hint: "},
		{name: "no certificate of ours", flags: at(s.mutual, "--ca-cert", s.lab.file), refused: s.mutual + " wants a certificate from us (hint: --cert FILE --key FILE)"},
		{name: "a stranger's certificate", flags: at(s.mutual, "--ca-cert", s.lab.file, "--cert", s.strangers), refused: s.mutual + " refuses our certificate " + s.strangers + ": "},
		{name: "no login", flags: at(s.sasl), refused: s.sasl + " wants a login (hint: --sasl scram-sha-512 --user NAME, or security.protocol=SASL_PLAINTEXT)"},
		{name: "no login with TLS", flags: at(s.both, "--ca-cert", s.lab.file), refused: s.both + " wants a login (hint: --sasl scram-sha-512 --user NAME, or security.protocol=SASL_SSL)"},
		{name: "a needless login", flags: at(s.plain, scram512...), env: env(aliceSecret), refused: s.plain + " wants no login (hint: leave out --sasl and --user; or security.protocol=PLAINTEXT)"},
		{name: "a needless login with TLS", flags: at(s.tls, append(scram512, "--ca-cert", s.lab.file)...), env: env(aliceSecret), refused: s.tls + " wants no login (hint: leave out --sasl and --user; or security.protocol=SSL)"},
		{name: "a wrong password, PLAIN", flags: at(s.sasl, as("plain", "bob")...), env: env(wrongSecret), refused: s.sasl + " refuses the login as bob with PLAIN: wrong user or password"},
		{name: "a wrong password, SCRAM-SHA-256", flags: at(s.sasl, as("scram-sha-256", "alice")...), env: env(wrongSecret), refused: s.sasl + " refuses the login as alice with SCRAM-SHA-256: wrong user or password"},
		{name: "a wrong password, SCRAM-SHA-512 with TLS", flags: at(s.both, append(scram512, "--ca-cert", s.lab.file)...), env: env(wrongSecret),
			refused: s.both + " refuses the login as alice with SCRAM-SHA-512: wrong user or password"},
		{name: "nobody's name", flags: at(s.sasl, as("scram-sha-512", "mallory")...), env: env(aliceSecret), refused: s.sasl + " refuses the login as mallory with SCRAM-SHA-512: wrong user or password"},
		{name: "of another mechanism", flags: at(s.sasl, as("scram-sha-512", "carol")...), env: env(carolSecret), refused: s.sasl + " refuses the login as carol with SCRAM-SHA-512: wrong user or password"},
		{name: "another mechanism", flags: at(s.both, as("plain", "bob", "--ca-cert", s.lab.file)...), env: env(bobSecret),
			refused: s.both + " does not offer PLAIN (hint: --sasl or sasl.mechanism: plain, scram-sha-256 or scram-sha-512)"},
		{name: "no password", flags: at(s.sasl, as("plain", "bob")...), refused: "the password of bob is not given (hint: --password-file FILE, or the variable DT_KAFKA_PASSWORD)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			r := start(t, c.env, nil, append(stage{"dtkafka", "topics", "list"}, c.flags...)).wait()
			s.secretsKept(t, r)
			if c.refused == "" {
				if r.Codes[0] != 0 || r.Errs[0] != "" || !strings.HasPrefix(string(r.Out), "TOPIC ") || !strings.Contains(string(r.Out), "\ncosmo ") || !strings.Contains(string(r.Out), "\nhidden ") {
					t.Errorf("exit %d\n%s%s", r.Codes[0], r.Errs[0], r.Out)
				}
				return
			}
			if r.Codes[0] != 1 && r.Codes[0] != 2 || !strings.HasPrefix(r.Errs[0], "dtkafka: "+c.refused) || strings.Count(r.Errs[0], "\n") != 1 || len(r.Out) > 0 {
				t.Errorf("exit %d\n%swant\ndtkafka: %s", r.Codes[0], r.Errs[0], c.refused)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %v to say so", d)
			}
		})
	}

	carol := at(s.sasl, as("scram-sha-256", "carol")...)
	for _, c := range []struct {
		name    string
		stdin   io.Reader
		stage   stage
		refused string
	}{
		{"to see a topic", nil, stage{"dtkafka", "topics", "describe", "hidden"}, "topic hidden: user carol has no right to this topic (hint: kafka-acls --add --allow-principal User:carol "},
		{"to create", nil, stage{"dtkafka", "topics", "create", "new"}, "topic new: user carol has no right to this topic (hint: kafka-acls --add --allow-principal User:carol "},
		{"to delete", nil, stage{"dtkafka", "topics", "delete", "cosmo", "--yes"}, "topic cosmo: user carol has no right to this topic (hint: "},
		{"to a group", nil, stage{"dtkafka", "topics", "lag", "monitor"}, "group monitor: user carol has no right to this group (hint: kafka-acls --add --allow-principal User:carol "},
		{"to read", nil, stage{"dtkafka", "consume", "hidden", "--until", "end"}, "topic hidden: user carol has no right to this topic (hint: "},
		{"to write", strings.NewReader("{\"a\":1}\n"), stage{"dtkafka", "produce", "cosmo"}, "topic cosmo: user carol has no right to this topic (hint: "},
		{"to join", nil, stage{"dtkafka", "consume", "cosmo", "--group", "monitor"}, "user carol has no right to this group (hint: "},
	} {
		t.Run("no right "+c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, env(carolSecret), c.stdin, slices.Concat(c.stage, carol)).wait()
			s.secretsKept(t, r)
			if r.Codes[0] != 1 || !strings.Contains(r.Errs[0], c.refused) || strings.Count(r.Errs[0], "\n") > 2 {
				t.Errorf("exit %d\n%swant\ndtkafka: %s", r.Codes[0], r.Errs[0], c.refused)
			}
		})
	}

	// A stream there and back over TLS and a login.
	t.Run("produce and consume", func(t *testing.T) {
		t.Parallel()
		flags := at(s.both, append(scram512, "--ca-cert", s.lab.file)...)
		pipeline(t, nil, stage{"dtkafka", "topics", "create", "secured", "--partitions", "2", "--bootstrap", s.plain}).ok(t)
		words := pipeline(t, nil, stage{"dtcat", "sim:?seed=5&hits=20000", "--to", "csv"}).ok(t)
		r := start(t, env(aliceSecret), strings.NewReader(string(words)), stage{"dtcat"}, slices.Concat(stage{"dtkafka", "produce", "secured"}, flags)).wait()
		r.ok(t)
		s.secretsKept(t, r)
		for _, how := range [][]string{nil, {"--group", "monitor"}} {
			r := start(t, env(aliceSecret), nil, slices.Concat(stage{"dtkafka", "consume", "secured", "--until", "end"}, how, flags), stage{"dthist", "--window", "all"}).wait()
			s.secretsKept(t, r)
			want := pipeline(t, strings.NewReader(string(words)), stage{"dtcat"}, stage{"dthist", "--window", "all"}).ok(t)
			sameLines(t, fmt.Sprint(how), results(t, r.ok(t)), results(t, want))
		}
		out := start(t, env(aliceSecret), nil, slices.Concat(stage{"dtkafka", "topics", "lag", "monitor"}, flags)).wait().ok(t)
		if !strings.HasPrefix(string(out), `{"Group":"monitor","State":"Empty","Topics":{"secured":{"Partitions":[{"Partition":0,"Committed":`) || !strings.HasSuffix(string(out), `"Lag":0}},"Lag":0,"Members":[]}`+"\n") {
			t.Errorf("%s", out)
		}
	})
}

// secretsKept fails the test if what a program said has a password in it.
func (*kafkaSecured) secretsKept(t testing.TB, r result) {
	t.Helper()
	all := string(r.Out) + strings.Join(r.Errs, "")
	for _, secret := range []string{bobSecret, aliceSecret, carolSecret, wrongSecret, "PRIVATE KEY"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is said:\n%s", secret, all)
		}
	}
}
