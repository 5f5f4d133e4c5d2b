package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"

	"dt/internal/tool"
)

// connection is the flags that all commands have: how to reach the cluster, and as whom. A flag beats the environment, which beats the
// properties file.
type connection struct {
	Bootstrap    []string      `placeholder:"HOST:PORT" help:"Brokers to begin with (default: 127.0.0.1:9092)."`
	Properties   string        `placeholder:"FILE" help:"Settings, as Kafka's own clients have them: bootstrap.servers=…"`
	TLS          bool          `name:"tls" help:"Speak TLS; --ca-cert and --cert do so too."`
	CACert       string        `name:"ca-cert" placeholder:"FILE" help:"Certificates (PEM) of the CA that the brokers' are from."`
	Cert         string        `placeholder:"FILE" help:"Our own certificate (PEM), and its key if --key is not given."`
	Key          string        `placeholder:"FILE" help:"Its key (PEM)."`
	SASL         string        `name:"sasl" placeholder:"MECHANISM" help:"Log in by plain, scram-sha-256 or scram-sha-512."`
	User         string        `placeholder:"NAME" help:"Log in as NAME."`
	PasswordFile string        `placeholder:"FILE" help:"Its first line, for us alone to read (or DT_KAFKA_PASSWORD)."`
	GiveUp       time.Duration `placeholder:"DURATION" help:"Wait so long, at most, for brokers (default: ever; topics: not)."`
}

const (
	defaultBootstrap = "127.0.0.1:9092"
	passwordVariable = "DT_KAFKA_PASSWORD"

	connectTimeout  = 3 * time.Second  // to one address
	loginTimeout    = 8 * time.Second  // to a broker that can be used: connected, TLS, login
	requestTimeout  = 10 * time.Second // more than loginTimeout, whose errors say more
	metadataTTL     = time.Second      // after this at most, a new leader is known
	defaultMaxBatch = 1048588          // Kafka's default of max.message.bytes
)

// cluster is a Kafka cluster, and what it takes to speak with it.
type cluster struct {
	client  *kafka.Client
	brokers []string // as given, host:port

	env       *tool.Env
	giveUp    time.Duration
	transport *kafka.Transport // of client
	net       net.Dialer
	tls       *tls.Config // nil: no TLS
	caName    string      // what the CA is called that was given, if one was
	certName  string
	sasl      sasl.Mechanism // nil: no login
	user      string
	clientID  string

	reached atomic.Bool // something has worked
	outage  outage

	mu     sync.Mutex
	lately map[string]error // broker → why it could not be connected to, the last time; nil if it could
	met    map[string]bool  // brokers that could be, some time
	topics []string         // that the client asks for
}

// open reads the settings. It does not use the network.
func (c *connection) open(env *tool.Env) (*cluster, error) {
	s := &settings{}
	if c.Properties != "" {
		var err error
		if s, err = readProperties(c.Properties, env.Say); err != nil {
			return nil, err
		}
		if s.password.reveal() != "" && !private(c.Properties) {
			env.Say("%s: others may read it, and there is a password in it (hint: chmod 600 %s)", c.Properties, c.Properties)
		}
	}
	if err := c.merge(s); err != nil {
		return nil, err
	}
	l := &cluster{env: env, giveUp: c.GiveUp, clientID: s.clientID, lately: map[string]error{}, met: map[string]bool{}}
	l.net.Timeout = connectTimeout
	var err error
	if l.brokers, err = addresses(s.bootstrap); err != nil {
		return nil, err
	}
	if strings.HasSuffix(s.protocol, "SSL") {
		if err := l.useTLS(s); err != nil {
			return nil, err
		}
	}
	if strings.HasPrefix(s.protocol, "SASL") {
		if err := l.useSASL(s); err != nil {
			return nil, err
		}
	}
	l.transport = l.newTransport(metadataTTL)
	l.client = &kafka.Client{Addr: kafka.TCP(l.brokers...), Timeout: requestTimeout, Transport: l.transport}
	return l, nil
}

// merge puts what the flags and the environment say over the settings of the properties file.
func (c *connection) merge(s *settings) error {
	if len(c.Bootstrap) > 0 {
		s.bootstrap = c.Bootstrap
	}
	if len(s.bootstrap) == 0 {
		s.bootstrap = []string{defaultBootstrap}
	}
	if s.clientID == "" {
		s.clientID = "dtkafka"
	}
	if c.CACert != "" {
		s.ca = pemSource{name: c.CACert, file: c.CACert}
	}
	if c.Cert != "" {
		s.cert = pemSource{name: c.Cert, file: c.Cert}
		s.key = s.cert
	}
	if c.Key != "" {
		s.key = pemSource{name: c.Key, file: c.Key}
	}
	useTLS := strings.HasSuffix(s.protocol, "SSL") || c.TLS || c.CACert != "" || c.Cert != "" || c.Key != ""
	useSASL := strings.HasPrefix(s.protocol, "SASL") || c.SASL != "" || c.User != ""
	if c.SASL != "" {
		s.mechanism = strings.ToUpper(c.SASL)
		if newMechanism(s.mechanism, "", secret{}) == nil {
			return &tool.UsageError{Msg: fmt.Sprintf("--sasl: %q is none of plain, scram-sha-256 and scram-sha-512", c.SASL)}
		}
	}
	if c.User != "" && c.User != s.user {
		s.user, s.password = c.User, secret{} // the file's is another user's
	}
	switch {
	case c.PasswordFile != "":
		p, err := readPassword(c.PasswordFile)
		if err != nil {
			return err
		}
		s.password = p
	case os.Getenv(passwordVariable) != "":
		s.password = newSecret(os.Getenv(passwordVariable))
	}
	s.protocol = map[[2]bool]string{{false, false}: "PLAINTEXT", {true, false}: "SSL", {false, true}: "SASL_PLAINTEXT", {true, true}: "SASL_SSL"}[[2]bool{useTLS, useSASL}]
	return nil
}

// addresses makes host:port of what was given: a port may be missing, and a protocol before it is left out, as Kafka does.
func addresses(given []string) ([]string, error) {
	var all []string
	for _, text := range given {
		address := strings.TrimSpace(text)
		if address == "" {
			continue
		}
		if protocol, rest, ok := strings.Cut(address, "://"); ok && !strings.HasPrefix(strings.ToLower(protocol), "http") {
			address = rest
		}
		if strings.Count(address, ":") == 0 || strings.HasSuffix(address, "]") {
			address += ":9092"
		}
		host, port, err := net.SplitHostPort(address)
		n, portErr := strconv.Atoi(port)
		if err != nil || host == "" || strings.ContainsAny(host, "/ \t") || portErr != nil || n < 1 || n > 65535 {
			return nil, &tool.UsageError{Msg: fmt.Sprintf("--bootstrap (bootstrap.servers): %q is not HOST:PORT", text)}
		}
		if address = net.JoinHostPort(host, port); !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	if len(all) == 0 {
		return nil, &tool.UsageError{Msg: "--bootstrap (bootstrap.servers): no broker is named"}
	}
	return all, nil
}

// private reports whether a file belongs to its owner alone. What is no regular file, such as a pipe, does.
func private(name string) bool {
	info, err := os.Stat(name)
	return err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 == 0
}

// readPassword reads a file that only its owner may read: like ssh with a key, it refuses any other.
func readPassword(name string) (secret, error) {
	if !private(name) {
		return secret{}, tool.Hint(fmt.Errorf("%s: others may read it, so it is no place for a password", name), "chmod 600 "+name)
	}
	text, err := readSettings(name)
	if err != nil {
		return secret{}, err
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	first = bytes.TrimSuffix(first, []byte("\r"))
	if len(first) == 0 {
		return secret{}, fmt.Errorf("%s: there is no password in its first line", name)
	}
	return newSecret(string(first)), nil
}

func (l *cluster) useSASL(s *settings) error {
	switch {
	case s.mechanism == "":
		return tool.Hint(&tool.UsageError{Msg: "the SASL mechanism is not given"}, "--sasl or sasl.mechanism: plain, scram-sha-256 or scram-sha-512")
	case s.user == "":
		return tool.Hint(&tool.UsageError{Msg: "the user for SASL is not given"}, "--user NAME, or sasl.jaas.config in the properties file")
	case s.password.reveal() == "":
		return tool.Hint(&tool.UsageError{Msg: "the password of " + s.user + " is not given"}, "--password-file FILE, or the variable "+passwordVariable)
	}
	l.user = s.user
	l.sasl = newMechanism(s.mechanism, s.user, s.password)
	if l.tls == nil && s.mechanism == "PLAIN" && !slices.ContainsFunc(l.brokers, loopback) {
		l.env.Say("the password of %s goes over the network for all to read (hint: SASL PLAIN wants TLS: --tls)", s.user)
	}
	return nil
}

// loopback reports whether an address is on this machine.
func loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (l *cluster) useTLS(s *settings) error {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.ca.given() {
		l.caName = s.ca.name
		var err error
		if cfg.RootCAs, err = s.ca.pool(); err != nil {
			return err
		}
	}
	if s.anyHost {
		cfg.InsecureSkipVerify = true // of the name only: the chain is verified all the same
		cfg.VerifyConnection = func(state tls.ConnectionState) error {
			options := x509.VerifyOptions{Roots: cfg.RootCAs, Intermediates: x509.NewCertPool()}
			for _, c := range state.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			_, err := state.PeerCertificates[0].Verify(options)
			return err
		}
	}
	switch {
	case s.cert.given() && !s.key.given():
		return tool.Hint(fmt.Errorf("%s: the key of this certificate is not given", s.cert.name), "--key FILE")
	case s.key.given() && !s.cert.given():
		return tool.Hint(fmt.Errorf("%s: the certificate of this key is not given", s.key.name), "--cert FILE")
	case s.cert.given():
		pair, err := keyPair(s.cert, s.key)
		if err != nil {
			return err
		}
		if s.key.file != "" && !private(s.key.file) {
			l.env.Say("%s: others may read this key (hint: chmod 600 %s)", s.key.file, s.key.file)
		}
		l.certName = s.cert.name
		cfg.Certificates = []tls.Certificate{pair}
	}
	l.tls = cfg
	return nil
}

// blocks returns what is in PEM form.
func (p pemSource) blocks(what, convert string) ([]*pem.Block, error) {
	text := []byte(p.text)
	if p.file != "" {
		var err error
		if text, err = readSettings(p.file); err != nil {
			return nil, err
		}
	}
	var all []*pem.Block
	for rest := unfold(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		all = append(all, b)
	}
	switch {
	case len(all) > 0:
		return all, nil
	case bytes.HasPrefix(text, []byte{0xfe, 0xed, 0xfe, 0xed}):
		return nil, tool.Hint(fmt.Errorf("%s: this is a Java key store (JKS), and PEM is needed", p.name), strings.ReplaceAll(convert, "FILE", p.file))
	case bytes.HasPrefix(text, []byte{0x30, 0x82}), bytes.HasPrefix(text, []byte{0x30, 0x80}):
		if convert == convertKey {
			convert = convertP12
		}
		return nil, tool.Hint(fmt.Errorf("%s: this is a PKCS#12 store, and PEM is needed", p.name), strings.ReplaceAll(convert, "FILE", p.file))
	}
	return nil, fmt.Errorf("%s: there is no %s in PEM form in it", p.name, what)
}

// folded matches a block of PEM that has lost its ends of lines, as in one line of a properties file.
var folded = regexp.MustCompile(`(-----BEGIN [A-Z0-9 ]+-----)([A-Za-z0-9+/=\s]+)(-----END [A-Z0-9 ]+-----)`)

// unfold gives blocks of PEM their ends of lines.
func unfold(text []byte) []byte {
	return folded.ReplaceAllFunc(text, func(block []byte) []byte {
		m := folded.FindSubmatch(block)
		body := bytes.Join(bytes.Fields(m[2]), []byte("\n"))
		return slices.Concat(m[1], []byte("\n"), body, []byte("\n"), m[3], []byte("\n"))
	})
}

// How to make PEM of the stores of Java.
const (
	convertCA  = "keytool -list -rfc -keystore FILE > ca.pem"
	convertKey = "keytool -importkeystore -srckeystore FILE -destkeystore key.p12 -deststoretype PKCS12, then openssl pkcs12 -in key.p12 -nodes -out key.pem"
	convertP12 = "openssl pkcs12 -in FILE -nodes -out key.pem"
)

// pool returns the certificates as those of CAs.
func (p pemSource) pool() (*x509.CertPool, error) {
	blocks, err := p.blocks("certificate", convertCA)
	if err != nil {
		return nil, err
	}
	pool, n := x509.NewCertPool(), 0
	bad := errors.New("there is no certificate in it")
	for _, b := range blocks {
		if b.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(b.Bytes)
		if err != nil { // one of many that Go does not take does no harm
			bad = err
			continue
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: %w", p.name, bad)
	}
	return pool, nil
}

// keyPair returns our certificate, with the chain that is with it, and its key.
func keyPair(cert, key pemSource) (tls.Certificate, error) {
	none := tls.Certificate{}
	var chain, private []byte
	blocks, err := cert.blocks("certificate", convertKey)
	if err != nil {
		return none, err
	}
	for _, b := range blocks {
		if b.Type == "CERTIFICATE" {
			chain = append(chain, pem.EncodeToMemory(b)...)
		}
	}
	if chain == nil {
		return none, fmt.Errorf("%s: there is no certificate in it", cert.name)
	}
	if blocks, err = key.blocks("key", convertKey); err != nil {
		return none, err
	}
	for _, b := range blocks {
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return none, tool.Hint(fmt.Errorf("%s: the key is encrypted, which dtkafka does not support", key.name), "umask 077; openssl pkey -in "+cmp.Or(key.file, "FILE")+" -out key.pem")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			private = append(private, pem.EncodeToMemory(b)...)
		}
	}
	if private == nil {
		return none, tool.Hint(fmt.Errorf("%s: there is no key in it", key.name), "--key FILE")
	}
	pair, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return none, fmt.Errorf("%s: %s", cert.name, strings.TrimPrefix(err.Error(), "tls: "))
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		return none, fmt.Errorf("%s: this certificate expired on %s", cert.name, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return pair, nil
}

// newTransport returns a way to the cluster. TLS is up to dial, whose errors say more than kafka-go's.
func (l *cluster) newTransport(ttl time.Duration, topics ...string) *kafka.Transport {
	return &kafka.Transport{
		Dial:           l.dial,
		DialTimeout:    loginTimeout,
		MetadataTTL:    ttl,
		MetadataTopics: topics,
		ClientID:       l.clientID,
		SASL:           l.sasl,
	}
}

// fresh calls f with a client that knows nothing from before: kafka-go answers questions about topics from what it knew up to metadataTTL ago. With
// topics, only these are asked for; so it is told what may not be seen, rather than left out.
func (l *cluster) fresh(f func(*kafka.Client) error, topics ...string) error {
	t := l.newTransport(requestTimeout, topics...)
	defer t.CloseIdleConnections()
	return f(&kafka.Client{Addr: l.client.Addr, Timeout: requestTimeout, Transport: t})
}

// dial connects to a broker.
func (l *cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := l.net.DialContext(ctx, network, address)
	l.mu.Lock()
	l.lately[address] = err
	l.met[address] = l.met[address] || err == nil
	l.mu.Unlock()
	if err != nil {
		return nil, &dialError{address, err}
	}
	c := &brokerConn{Conn: raw, address: address}
	if l.tls == nil {
		return c, nil
	}
	cfg := l.tls.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(address)
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked = true
		if len(l.tls.Certificates) == 0 {
			return new(tls.Certificate), nil
		}
		return &l.tls.Certificates[0], nil // also if it is of a CA that the broker does not name: let it say so
	}
	t := tls.Client(raw, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, &connError{address: address, stage: handshake, asked: c.asked, err: err}
	}
	c.Conn = t
	return c, nil
}

// A brokerConn is a connection whose errors tell the broker and how far it came, and which does not take for Kafka what is none: kafka-go would take
// the first bytes of any answer for a length, and wait.
type brokerConn struct {
	net.Conn
	address  string
	asked    bool // for a certificate
	answered bool
	broken   error // of reading; kafka-go reads on after one
}

func (c *brokerConn) Read(p []byte) (int, error) {
	if c.broken != nil {
		return 0, c.broken
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.answered {
		// An answer begins with its length, and that to the first question is short.
		if p[0] != 0 {
			c.broken = &foreignError{c.address, bytes.Clone(p[:min(n, 80)])}
			return 0, c.broken
		}
		c.answered = true
	}
	if err != nil {
		err = c.fail(err)
		if !timedOut(err) {
			c.broken = err
		}
	}
	return n, err
}

func (c *brokerConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		err = c.fail(err)
	}
	return n, err
}

func (c *brokerConn) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // kafka-go makes it this anyhow, and forgets the rest
	}
	stage := silent
	if c.answered {
		stage = talking
	}
	return &connError{address: c.address, stage: stage, asked: c.asked, err: err}
}

// topicInfo is what is to be known of a topic.
type topicInfo struct {
	name            string
	clusterID       string
	partitions      int
	maxMessage      int  // max.message.bytes: a record batch may be as long
	timestampAppend bool // the broker sets the messages' timestamps
}

// topic asks for a topic until there is an answer: as patient as r. A topic that is not there, a wrong password and the like are errors at once. From then
// on the client knows this topic, beside those asked for before; it must not be in use.
func (l *cluster) topic(ctx context.Context, r *retrier, name string) (*topicInfo, error) {
	if err := checkTopicName(name); err != nil {
		return nil, err
	}
	l.follow(name)
	for {
		info, err := l.askTopic(ctx, name)
		if err == nil {
			r.ok()
			return info, nil
		}
		if err := r.failed(ctx, err); err != nil {
			return nil, err
		}
	}
}

// follow makes the client ask for a topic rather than, again and again, for all that the cluster has.
func (l *cluster) follow(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.topics, name) {
		l.topics = append(l.topics, name)
		l.transport.MetadataTopics = slices.Clone(l.topics)
		l.transport.CloseIdleConnections() // what was opened without it
	}
}

func (l *cluster) askTopic(ctx context.Context, name string) (*topicInfo, error) {
	info := &topicInfo{name: name, maxMessage: defaultMaxBatch}
	ask := func(client *kafka.Client) error {
		m, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{name}})
		if err != nil {
			return err
		}
		info.clusterID = m.ClusterID
		info.partitions = len(m.Topics[0].Partitions)
		return ready(&m.Topics[0])
	}
	err := ask(l.client)
	if errors.Is(err, kafka.UnknownTopicOrPartition) {
		err = l.fresh(ask, name)
	}
	if err != nil {
		return nil, err
	}
	configs, err := l.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: name, ConfigNames: []string{"max.message.bytes", "message.timestamp.type"},
	}}})
	if err != nil {
		return nil, err
	}
	for _, r := range configs.Resources {
		if errors.Is(r.Error, kafka.TopicAuthorizationFailed) {
			continue // whoever may write need not be allowed to ask
		}
		if r.Error != nil {
			return nil, r.Error
		}
		for _, e := range r.ConfigEntries {
			switch e.ConfigName {
			case "max.message.bytes":
				if n, err := strconv.Atoi(e.ConfigValue); err == nil {
					info.maxMessage = n
				}
			case "message.timestamp.type":
				info.timestampAppend = e.ConfigValue == "LogAppendTime"
			}
		}
	}
	return info, nil
}

// ready returns what a topic lacks before it can be used.
func ready(t *kafka.Topic) error {
	switch {
	case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
		return &missingTopicError{t.Name}
	case t.Error != nil:
		return &topicError{t.Name, t.Error}
	}
	for _, p := range t.Partitions {
		// LeaderNotAvailable comes with no leader; ReplicaNotAvailable harms nobody.
		if p.Leader.Host == "" {
			return &topicError{t.Name, kafka.LeaderNotAvailable}
		}
	}
	if len(t.Partitions) == 0 {
		return &topicError{t.Name, kafka.LeaderNotAvailable}
	}
	return nil
}

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// checkTopicName spares asking for what can't be.
func checkTopicName(name string) error {
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return tool.Hint(&tool.UsageError{Msg: fmt.Sprintf("%q is no name of a topic", name)}, "at most 249 of a-z A-Z 0-9 . _ -")
	}
	return nil
}
