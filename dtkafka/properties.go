package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"dt/internal/tool"
)

// settings are what is to be known of a cluster, wherever it was said.
type settings struct {
	bootstrap []string
	protocol  string // PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL; "" where nothing is said
	mechanism string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	user      string
	password  secret
	ca        pemSource
	cert, key pemSource
	anyHost   bool // the broker's certificate may be for another host
	clientID  string
}

// A pemSource is where certificates or a key are: in a file, or in the properties file itself.
type pemSource struct {
	name string // what to call it
	file string
	text string
}

func (p pemSource) given() bool { return p.name != "" }

// maxSettings bounds the files of settings, certificates and keys; a system's collection of CAs has some 200 KiB.
const maxSettings = 4 << 20

func readSettings(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(&limited{f, maxSettings}); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// limited reads from a file, and fails beyond n bytes.
type limited struct {
	f *os.File
	n int
}

func (l *limited) Read(p []byte) (int, error) {
	if l.n <= 0 {
		return 0, fmt.Errorf("%s: longer than %d bytes", l.f.Name(), maxSettings)
	}
	n, err := l.f.Read(p[:min(len(p), l.n)])
	l.n -= n
	return n, err
}

// A property is one line of a properties file, or several where they are continued.
type property struct {
	name, value string
	line        int
}

// parseProperties reads text as java.util.Properties does, but for its coding: UTF-8 and, where it is not that, Latin-1. An error tells
// the line, and never quotes it: it may hold a password.
func parseProperties(text []byte) ([]property, error) {
	s := string(text)
	if !utf8.ValidString(s) {
		runes := make([]rune, len(text))
		for i, b := range text {
			runes[i] = rune(b)
		}
		s = string(runes)
	}
	s = strings.TrimPrefix(s, "\ufeff")
	var all []property
	for number := 1; s != ""; number++ {
		var line string
		line, s = cutLine(s)
		line = strings.TrimLeft(line, blanks)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		first := number
		for continued(line) {
			line = line[:len(line)-1]
			if s == "" {
				break
			}
			var next string
			next, s = cutLine(s)
			line += strings.TrimLeft(next, blanks)
			number++
		}
		p, err := parseProperty(line)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", first, err)
		}
		p.line = first
		all = append(all, p)
	}
	return all, nil
}

const blanks = " \t\f"

// cutLine returns the first line of s, and what is behind it. A line ends with \n, \r or \r\n.
func cutLine(s string) (line, rest string) {
	i := strings.IndexAny(s, "\r\n")
	switch {
	case i < 0:
		return s, ""
	case strings.HasPrefix(s[i:], "\r\n"):
		return s[:i], s[i+2:]
	}
	return s[:i], s[i+1:]
}

// continued reports whether a line goes on in the next one: an odd number of backslashes ends it.
func continued(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

func parseProperty(line string) (property, error) {
	i := 0
	for i < len(line) && !strings.ContainsRune(blanks+"=:", rune(line[i])) {
		if line[i] == '\\' {
			i++
		}
		i++
	}
	i = min(i, len(line))
	rest := strings.TrimLeft(line[i:], blanks)
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], blanks)
	}
	name, err := unescape(line[:i])
	if err != nil {
		return property{}, err
	}
	value, err := unescape(rest)
	return property{name: name, value: value}, err
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			if s[i] != '\\' {
				b.WriteByte(s[i])
			}
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+4 >= len(s) {
				return "", errUnicode
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", errUnicode
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

var errUnicode = errors.New(`\u is followed by something else than four hex digits (a backslash of its own is written \\)`)

// readProperties reads the file of settings that Kafka's own clients take. tell is given what is there and has no effect.
func readProperties(file string, tell func(format string, args ...any)) (*settings, error) {
	text, err := readSettings(file)
	if err != nil {
		return nil, err
	}
	all, err := parseProperties(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", file, err)
	}
	s, unused, err := toSettings(file, all)
	if err != nil {
		return nil, err
	}
	if len(unused) > 0 {
		tell("%s: unknown, and without effect here: %s", file, strings.Join(unused, ", "))
	}
	tls, sasl := strings.HasSuffix(s.protocol, "SSL"), strings.HasPrefix(s.protocol, "SASL")
	if (s.ca.given() || s.cert.given() || s.key.given()) && !tls {
		tell("%s: ssl. settings have no effect without security.protocol=SSL or SASL_SSL", file)
	}
	if (s.mechanism != "" || s.user != "") && !sasl {
		tell("%s: sasl. settings have no effect without security.protocol=SASL_SSL or SASL_PLAINTEXT", file)
	}
	return s, nil
}

// toSettings understands the properties of a file, and returns the names of those about security that it does not know. All others, such as acks
// or group.id, belong to other clients.
func toSettings(file string, all []property) (*settings, []string, error) {
	s := &settings{}
	var unused []string
	values := map[string]string{} // the last of a name counts
	lines := map[string]int{}
	for _, p := range all {
		values[p.name], lines[p.name] = strings.TrimSpace(p.value), p.line
	}
	bad := func(name, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %s: %w", file, lines[name], name, fmt.Errorf(format, args...))
	}
	inline := func(name string) pemSource {
		return pemSource{name: fmt.Sprintf("%s:%d: %s", file, lines[name], name), text: values[name]}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return lines[a] - lines[b] })
	for _, name := range names {
		value := values[name]
		if value == "" && name != "ssl.endpoint.identification.algorithm" {
			continue
		}
		switch name {
		case "bootstrap.servers", "metadata.broker.list":
			s.bootstrap = strings.Split(value, ",")
		case "client.id":
			s.clientID = value
		case "security.protocol":
			s.protocol = strings.ToUpper(value)
			if !slices.Contains([]string{"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"}, s.protocol) {
				return nil, nil, bad(name, "%q is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL", value)
			}
		case "sasl.mechanism", "sasl.mechanisms":
			s.mechanism = strings.ToUpper(value)
			if newMechanism(s.mechanism, "", secret{}) == nil {
				return nil, nil, bad(name, "%q is none of PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512", value)
			}
		case "sasl.jaas.config":
			j, err := parseJAAS(value)
			if err != nil {
				return nil, nil, bad(name, "%w", err)
			}
			s.user, s.password = j.user, j.password
		case "sasl.username":
			s.user = value
		case "sasl.password":
			s.password = newSecret(value)
		case "ssl.endpoint.identification.algorithm":
			s.anyHost = value == "" || value == "none"
			if !s.anyHost && !strings.EqualFold(value, "https") {
				return nil, nil, bad(name, "%q is neither https nor empty", value)
			}
		case "ssl.truststore.location", "ssl.ca.location":
			s.ca = pemSource{name: value, file: value}
		case "ssl.truststore.certificates", "ssl.ca.pem":
			s.ca = inline(name)
		case "ssl.keystore.location":
			s.cert = pemSource{name: value, file: value}
			s.key = s.cert
		case "ssl.certificate.location":
			s.cert = pemSource{name: value, file: value}
		case "ssl.key.location":
			s.key = pemSource{name: value, file: value}
		case "ssl.keystore.certificate.chain", "ssl.certificate.pem":
			s.cert = inline(name)
		case "ssl.keystore.key", "ssl.key.pem":
			s.key = inline(name)
		case "ssl.truststore.type", "ssl.keystore.type":
			// What a store is shows in it.
		case "ssl.truststore.password", "ssl.keystore.password", "ssl.key.password":
			// Of stores and keys that loading them refuses, or that are not encrypted.
		default:
			for _, prefix := range []string{"ssl.", "sasl.", "security."} {
				if strings.HasPrefix(name, prefix) {
					unused = append(unused, name)
				}
			}
		}
	}
	return s, unused, nil
}

// credentials are the user and the password of a login module.
type credentials struct {
	user     string
	password secret
}

const loginHint = `org.apache.kafka.common.security.plain.PlainLoginModule required username="…" password="…";, or …scram.ScramLoginModule`

// parseJAAS reads the value of sasl.jaas.config: a login module, a control flag, options and a semicolon. An error quotes no value.
func parseJAAS(text string) (credentials, error) {
	t := jaas{rest: text}
	fail := func(format string, args ...any) (credentials, error) {
		return credentials{}, tool.Hint(fmt.Errorf(format, args...), loginHint)
	}
	module, err := t.word()
	if err != nil {
		return fail("%w", err)
	}
	switch module {
	case "org.apache.kafka.common.security.plain.PlainLoginModule", "org.apache.kafka.common.security.scram.ScramLoginModule":
	case "":
		return fail("the name of a login module is missing")
	default:
		return fail("this login module is not known: only PlainLoginModule and ScramLoginModule of Kafka's are")
	}
	flag, err := t.word()
	if err != nil {
		return fail("%w", err)
	}
	if !slices.Contains([]string{"required", "requisite", "sufficient", "optional"}, strings.ToLower(flag)) {
		return fail("required is missing behind the login module")
	}
	c := credentials{}
	for {
		t.skip()
		switch {
		case t.rest == "":
			return fail("the semicolon at the end is missing")
		case t.rest[0] == ';':
			t.rest = t.rest[1:]
			if t.skip(); t.rest != "" {
				return fail("something is behind the semicolon; a client has one login module")
			}
			if c.user == "" || c.password.reveal() == "" {
				return fail("username and password are not both there")
			}
			return c, nil
		}
		name, err := t.word()
		if err != nil {
			return fail("%w", err)
		}
		if t.skip(); name == "" || !strings.HasPrefix(t.rest, "=") {
			return fail(`an option is not written name="value"`)
		}
		t.rest = t.rest[1:]
		value, err := t.word()
		if err != nil {
			return fail("%w", err)
		}
		switch name {
		case "username":
			c.user = value
		case "password":
			c.password = newSecret(value)
		case "tokenauth":
			if value != "false" {
				return fail("delegation tokens (tokenauth) are not supported")
			}
		}
	}
}

// jaas takes words from a JAAS configuration.
type jaas struct{ rest string }

// skip leaves out blanks and comments.
func (t *jaas) skip() {
	for {
		t.rest = strings.TrimLeft(t.rest, " \t\r\n\f")
		switch {
		case strings.HasPrefix(t.rest, "//"):
			_, t.rest = cutLine(t.rest)
		case strings.HasPrefix(t.rest, "/*"):
			_, t.rest, _ = strings.Cut(t.rest[2:], "*/")
		default:
			return
		}
	}
}

// word returns the next word, or what stands in quotes, double or single.
func (t *jaas) word() (string, error) {
	t.skip()
	if t.rest == "" {
		return "", nil
	}
	quote := t.rest[0]
	if quote != '"' && quote != '\'' {
		i := strings.IndexAny(t.rest, " \t\r\n\f;=\"'")
		if i < 0 {
			i = len(t.rest)
		}
		var word string
		word, t.rest = t.rest[:i], t.rest[i:]
		return word, nil
	}
	var b strings.Builder
	for i := 1; i < len(t.rest); i++ {
		switch c := t.rest[i]; {
		case c == quote:
			t.rest = t.rest[i+1:]
			return b.String(), nil
		case c == '\n' || c == '\r':
			return "", errQuote
		case c == '\\' && i+1 < len(t.rest):
			i++
			i += escaped(&b, t.rest[i:]) - 1
		default:
			b.WriteByte(c)
		}
	}
	return "", errQuote
}

var errQuote = errors.New("a quote is not closed")

// escaped writes the character that stands behind a backslash in quotes, and returns how many bytes it took: an octal number or a letter,
// as Java's StreamTokenizer reads them.
func escaped(b *strings.Builder, s string) int {
	n, v := 0, 0
	for n < 3 && n < len(s) && s[n] >= '0' && s[n] <= '7' && v*8 <= 0o377 {
		v = v*8 + int(s[n]-'0')
		n++
	}
	if n > 0 {
		b.WriteRune(rune(v))
		return n
	}
	if i := strings.IndexByte("abfnrtv", s[0]); i >= 0 {
		b.WriteByte("\a\b\f\n\r\t\v"[i])
	} else {
		b.WriteByte(s[0])
	}
	return 1
}
