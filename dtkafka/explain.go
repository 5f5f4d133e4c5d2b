package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// A dialError is a broker that can't be connected to.
type dialError struct {
	address string
	err     error
}

func (e *dialError) Error() string { return e.address + ": " + reason(e.err) }
func (e *dialError) Unwrap() error { return e.err }

// A stage is how far a connection had come when it broke.
type stage int

const (
	handshake stage = iota // of TLS
	silent                 // nothing had come from the broker
	talking
)

// A connError is a connection that broke.
type connError struct {
	address string
	stage   stage
	asked   bool // the broker had asked for our certificate
	err     error
}

func (e *connError) Error() string { return e.address + ": " + reason(e.err) }
func (e *connError) Unwrap() error { return e.err }

// Timeout and Temporary are what kafka-go asks errors of the network.
func (e *connError) Timeout() bool   { return timedOut(e.err) }
func (e *connError) Temporary() bool { return e.Timeout() }

// A foreignError is an answer that is not Kafka's.
type foreignError struct {
	address string
	head    []byte
}

func (e *foreignError) Error() string { return fmt.Sprintf("%s: not Kafka: %q", e.address, e.head) }

// tls reports whether the answer is an alert of TLS.
func (e *foreignError) tls() bool { return len(e.head) > 1 && e.head[0] == 0x15 && e.head[1] == 3 }

// A missingTopicError is a topic that is not there, also when asked once more.
type missingTopicError struct{ topic string }

func (e *missingTopicError) Error() string { return "topic " + e.topic + ": missing" }
func (e *missingTopicError) Unwrap() error { return kafka.UnknownTopicOrPartition }

// A topicError is an error of one topic.
type topicError struct {
	topic string
	err   error
}

func (e *topicError) Error() string { return "topic " + e.topic + ": " + e.err.Error() }
func (e *topicError) Unwrap() error { return e.err }

// An explained error has been put into words.
type explained struct {
	text    string // one line
	hint    string
	err     error
	network bool // the broker is away
	lasts   lasting
}

func (e *explained) Error() string {
	if e.hint == "" {
		return e.text
	}
	return e.text + " (hint: " + e.hint + ")"
}

func (e *explained) Unwrap() error { return e.err }

// A lasting says how long an error is to be taken for one that goes by.
type lasting int

const (
	passing lasting = iota // trying again is all there is to do
	soon                   // trying again helps, or will not: permanent after settleTime
	forever                // trying again is no use
)

// explain puts an error of kafka-go, TLS or the network into one clear line, and says whether trying again is no use.
func (l *cluster) explain(err error) (text error, permanent bool) {
	e, how := l.judge(err)
	if e == nil {
		return err, true
	}
	return e, how == forever
}

// judge is explain with one more degree. It returns nil for no error, and for that of a context which is over.
func (l *cluster) judge(err error) (*explained, lasting) {
	var done *explained
	var dial *dialError
	var conn *connError
	var foreign *foreignError
	var login *loginError
	var missing *missingTopicError
	var code kafka.Error
	started := l.reached.Load()
	fresh := forever // what is permanent as long as nothing has worked yet
	if started {
		fresh = passing
	}
	say := func(how lasting, hint, format string, args ...any) (*explained, lasting) {
		return &explained{text: oneLine(fmt.Sprintf(format, args...)), hint: hint, err: err, lasts: how}, how
	}
	away := func(how lasting, hint, format string, args ...any) (*explained, lasting) {
		e, _ := say(how, hint, format, args...)
		e.network = true
		return e, how
	}
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return nil, forever
	case errors.As(err, &done):
		return done, done.lasts
	case errors.As(err, &missing):
		return say(forever, "dtkafka topics create "+missing.topic+" --partitions 8", "topic %s: there is no such topic", missing.topic)
	case errors.As(err, &login):
		return say(forever, "is it the broker that it should be?", "login as %s with %s: %s", l.user, l.sasl.Name(), login.reason)
	case errors.As(err, &code):
		return l.judgeCode(code, err, say)
	case errors.As(err, &dial):
		return l.judgeDial(dial, away)
	case errors.As(err, &foreign) && foreign.tls():
		return say(fresh, "--tls, and --ca-cert FILE for a private CA; or security.protocol="+l.protocol(true, l.sasl != nil), "%s wants TLS", foreign.address)
	case errors.As(err, &foreign):
		return say(fresh, "--bootstrap HOST:PORT", "%s is no Kafka broker: it answers %s", foreign.address, printable(foreign.head))
	case errors.As(err, &conn):
		return l.judgeConn(conn, fresh, say, away)
	case errors.Is(err, errStillThere):
		return say(passing, "", "%sit was deleted, and is still there", whatOf(err))
	case errors.Is(err, protocol.ErrNoLeader):
		return l.judgeCode(kafka.LeaderNotAvailable, err, say)
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition), strings.Contains(err.Error(), "topic not found"):
		return l.judgeCode(kafka.UnknownTopicOrPartition, err, say)
	case timedOut(err):
		return away(passing, "", "no answer from %s within %v", l.one(), requestTimeout)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return away(fresh, "", "%s broke off in the middle of an answer", l.one())
	case strings.Contains(err.Error(), "unsupported ") && strings.Contains(err.Error(), " version: "):
		return say(forever, "", "%s is of a version that dtkafka does not support: %s", l.one(), bare(err))
	case strings.Contains(err.Error(), "correlation id mismatch"):
		return say(fresh, "--bootstrap HOST:PORT", "%s does not answer as a Kafka broker does", l.one())
	}
	return say(fresh, "", "%s: %s", l.one(), bare(err))
}

type sayer func(how lasting, hint, format string, args ...any) (*explained, lasting)

func (l *cluster) judgeDial(e *dialError, away sayer) (*explained, lasting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reached.Load() || !slices.Contains(l.brokers, e.address) {
		hint := ""
		if !l.met[e.address] { // the cluster named it
			hint = "the broker's advertised.listeners must name it so that it is reached from here"
		}
		return away(passing, hint, "broker %s: %s", e.address, reason(e.err))
	}
	var each []string
	for _, b := range l.brokers {
		if err := l.lately[b]; err != nil {
			each = append(each, b+": "+reason(err))
		}
	}
	if len(each) == 0 {
		each = []string{e.address + ": " + reason(e.err)}
	}
	return away(passing, "is it running? --bootstrap HOST:PORT names another", "no broker at %s", strings.Join(each, ", "))
}

func (l *cluster) judgeConn(e *connError, fresh lasting, say, away sayer) (*explained, lasting) {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	var remote *net.OpError
	plaintext := "leave out --tls, --ca-cert and --cert; or security.protocol=" + l.protocol(false, l.sasl != nil)
	switch {
	case errors.As(e.err, &unknown) && l.caName != "":
		return say(fresh, "", "the certificate of %s is not from the CA in %s, but from %s", e.address, l.caName, issuer(unknown.Cert))
	case errors.As(e.err, &unknown):
		return say(fresh, "--ca-cert FILE", "the certificate of %s is from a CA that is not known here: %s", e.address, issuer(unknown.Cert))
	case errors.As(e.err, &host):
		return say(fresh, "--bootstrap with one of these names; for brokers behind it, their advertised.listeners",
			"the certificate of %s is for another host: %s", e.address, hosts(host.Certificate))
	case errors.As(e.err, &invalid) && invalid.Reason == x509.Expired:
		now := time.Now()
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return say(fresh, "", "the certificate of %s is valid only from %s; now it is %s", e.address, clock(invalid.Cert.NotBefore), clock(now))
		}
		return say(fresh, "", "the certificate of %s, or of its CA, has expired: %s", e.address, expiry(invalid.Cert))
	case errors.As(e.err, &invalid):
		return say(fresh, "", "the certificate of %s can't be used: %s", e.address, strings.TrimPrefix(invalid.Error(), "x509: "))
	case errors.As(e.err, &header):
		return say(fresh, plaintext, "%s does not speak TLS: it answers %s", e.address, printable(header.RecordHeader[:]))
	case errors.As(e.err, &remote) && remote.Op == "remote error":
		alert := strings.TrimPrefix(remote.Err.Error(), "tls: ")
		switch {
		case e.asked && l.certName == "":
			return say(fresh, "--cert FILE --key FILE", "%s wants a certificate from us", e.address)
		case e.asked:
			return say(fresh, "", "%s refuses our certificate %s: %s", e.address, l.certName, alert)
		}
		return say(fresh, "", "%s refuses TLS with us: %s", e.address, alert)
	case timedOut(e.err) && e.stage == talking:
		return away(passing, "", "%s does not answer any more", e.address)
	case timedOut(e.err):
		return away(passing, "is it a broker's port?", "%s takes the connection and says nothing", e.address)
	case l.reached.Load():
		return away(passing, "", "lost the connection to %s: %s", e.address, reason(e.err))
	case e.stage == handshake && cutOff(e.err):
		return say(forever, plaintext, "%s does not speak TLS: it closed the connection", e.address)
	case e.stage == silent && e.asked && l.certName == "":
		return say(forever, "--cert FILE --key FILE", "%s wants a certificate from us", e.address)
	case e.stage == silent && e.asked:
		return say(forever, "", "%s refuses our certificate %s: it closed the connection", e.address, l.certName)
	case e.stage == silent:
		return away(soon, "is it starting, does it want TLS (--tls), or is it no broker?", "%s closed the connection without an answer", e.address)
	case e.stage == talking && l.sasl == nil:
		return say(forever, "--sasl scram-sha-512 --user NAME, or security.protocol="+l.protocol(l.tls != nil, true), "%s wants a login", e.address)
	case e.stage == talking:
		return away(soon, "a wrong password?", "%s closed the connection at the login as %s", e.address, l.user)
	}
	return say(fresh, "", "TLS with %s: %s", e.address, bare(e.err))
}

// protocol returns the name of a security protocol.
func (*cluster) protocol(tls, sasl bool) string {
	switch {
	case tls && sasl:
		return "SASL_SSL"
	case tls:
		return "SSL"
	case sasl:
		return "SASL_PLAINTEXT"
	}
	return "PLAINTEXT"
}

// one returns what to call a broker that is not known more closely.
func (l *cluster) one() string {
	if len(l.brokers) == 1 {
		return l.brokers[0]
	}
	return "a broker"
}

// who returns as whom we speak.
func (l *cluster) who() string {
	switch {
	case l.sasl != nil:
		return "user " + l.user
	case l.certName != "":
		return "the owner of " + l.certName
	}
	return "who does not log in"
}

// principal returns how Kafka writes whom it gives rights to.
func (l *cluster) principal() string {
	if l.sasl != nil {
		return "User:" + l.user
	}
	return "User:…"
}

func (l *cluster) judgeCode(code kafka.Error, err error, say sayer) (*explained, lasting) {
	at := whatOf(err)
	if at == "" && ofTopics(code) {
		at = l.onlyTopic()
	}
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.InconsistentTopicID:
		// Also for a moment when a broker has just started or a partition moves.
		return say(soon, "dtkafka topics list", "%sthe topic, or a partition of it, is not there (any more)", at)
	case kafka.LeaderNotAvailable, kafka.NotLeaderForPartition, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.ReplicaNotAvailable,
		kafka.PreferredLeaderNotAvailable, kafka.EligibleLeadersNotAvailable:
		return say(passing, "", "%sa partition has no leader now", at)
	case kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend:
		return say(passing, "dtkafka topics describe shows them", "%sfewer replicas are in sync than the topic's min.insync.replicas wants", at)
	case kafka.RequestTimedOut:
		return say(passing, "", "%sthe broker did not get done in its time", at)
	case kafka.BrokerNotAvailable, kafka.NetworkException, kafka.KafkaStorageError, kafka.NotController, kafka.ListenerNotFound, kafka.StaleBrokerEpoch:
		return say(passing, "", "%sa broker is not available (%s)", at, code.Title())
	case kafka.GroupLoadInProgress, kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup:
		return say(passing, "", "%sthe group's coordinator is not available now", at)
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidMessageSize:
		return say(forever, "kafka-configs --alter --entity-type topics --add-config max.message.bytes=…", "%sa message is larger than the topic takes", at)
	case kafka.InvalidTopic:
		return say(forever, "at most 249 of a-z A-Z 0-9 . _ -", "%sthat is no name of a topic", at)
	case kafka.TopicAuthorizationFailed:
		return say(forever, "kafka-acls --add --allow-principal "+l.principal()+" --topic …", "%s%s has no right to this topic", at, l.who())
	case kafka.GroupAuthorizationFailed:
		return say(forever, "kafka-acls --add --allow-principal "+l.principal()+" --group …", "%s%s has no right to this group", at, l.who())
	case kafka.ClusterAuthorizationFailed:
		return say(forever, "kafka-acls --add --allow-principal "+l.principal()+" --cluster", "%s%s has no right to do this in the cluster", at, l.who())
	case kafka.TransactionalIDAuthorizationFailed:
		return say(forever, "", "%s%s has no right to this transactional id", at, l.who())
	case kafka.SASLAuthenticationFailed:
		return say(forever, "", "%s refuses the login as %s with %s: wrong user or password", l.one(), l.user, l.sasl.Name())
	case kafka.UnsupportedSASLMechanism:
		return say(forever, "--sasl or sasl.mechanism: plain, scram-sha-256 or scram-sha-512", "%s does not offer %s", l.one(), l.sasl.Name())
	case kafka.IllegalSASLState:
		return say(forever, "leave out --sasl and --user; or security.protocol="+l.protocol(l.tls != nil, false), "%s wants no login", l.one())
	case kafka.UnsupportedVersion, kafka.UnsupportedForMessageFormat:
		return say(forever, "", "%s%s is of a version that does not support this: %s", at, l.one(), fromBroker(err, code))
	case kafka.Unknown, kafka.InvalidMessage, kafka.ThrottlingQuotaExceeded, kafka.OffsetNotAvailable:
		return say(passing, "", "%s%s", at, fromBroker(err, code))
	}
	if code.Temporary() {
		return say(passing, "", "%s%s", at, fromBroker(err, code))
	}
	return say(forever, "", "%s%s", at, fromBroker(err, code))
}

// ofTopics reports whether an error is one of topics.
func ofTopics(code kafka.Error) bool {
	switch code {
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.InconsistentTopicID, kafka.LeaderNotAvailable, kafka.NotLeaderForPartition,
		kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch, kafka.ReplicaNotAvailable, kafka.NotEnoughReplicas, kafka.NotEnoughReplicasAfterAppend,
		kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidTopic, kafka.TopicAuthorizationFailed, kafka.PolicyViolation, kafka.InvalidRecord:
		return true
	}
	return false
}

// onlyTopic returns "topic NAME: " if the client uses only one.
func (l *cluster) onlyTopic() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.topics) != 1 {
		return ""
	}
	return "topic " + l.topics[0] + ": "
}

// fromBroker returns the broker's own words about an error or, where there are none, Kafka's.
func fromBroker(err error, code kafka.Error) string {
	if _, words, ok := strings.Cut(err.Error(), code.Error()+": "); ok {
		return strings.TrimRight(words, ". ")
	}
	words := strings.TrimRight(code.Description(), ". ")
	if words == "" {
		words = code.Title()
	}
	return fmt.Sprintf("%s (Kafka's error %d)", words, int(code))
}

// whatOf returns "topic NAME: ", if the error says of which.
func whatOf(err error) string {
	var t *topicError
	var p *protocol.TopicPartitionError
	var q *protocol.TopicError
	var g *groupError
	switch {
	case errors.As(err, &g):
		return "group " + g.group + ": "
	case errors.As(err, &t):
		return "topic " + t.topic + ": "
	case errors.As(err, &p):
		return "topic " + p.Topic + ": "
	case errors.As(err, &q):
		return "topic " + q.Topic + ": "
	}
	return ""
}

// reason returns what is at the bottom of an error of the network.
func reason(err error) string {
	var dns *net.DNSError
	var errno syscall.Errno
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host"
	case errors.As(err, &dns):
		return "the name can't be looked up: " + oneLine(dns.Err)
	case timedOut(err):
		return "no answer"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "it closed the connection"
	case errors.Is(err, net.ErrClosed):
		return "closed"
	}
	return bare(err)
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// cutOff reports whether the other side ended a connection.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

var method = regexp.MustCompile(`^(kafka\.\(\*?\w+\)\.\w+: |failed to dial: |tls: |x509: )`)

// bare returns an error's text without the names of the functions that it went through.
func bare(err error) string {
	text := err.Error()
	for {
		next := method.ReplaceAllString(text, "")
		if next == text {
			return oneLine(text)
		}
		text = next
	}
}

// oneLine makes one line of a text, without what is not to be printed.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// printable quotes the first line of what came from somewhere.
func printable(b []byte) string {
	line, _ := cutLine(string(b))
	return strconv.QuoteToASCII(line)
}

func issuer(c *x509.Certificate) string {
	if c == nil {
		return "another one"
	}
	if name := oneLine(c.Issuer.String()); name != "" {
		return name
	}
	return "one without a name"
}

// hosts returns whom a certificate is for.
func hosts(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	const most = 4
	if len(names) > most {
		names = append(names[:most], "…")
	}
	if len(names) == 0 {
		return "it names none (no subjectAltName)"
	}
	return oneLine(strings.Join(names, ", "))
}

func expiry(c *x509.Certificate) string {
	if c == nil {
		return "its date is not known"
	}
	return clock(c.NotAfter)
}

func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }
