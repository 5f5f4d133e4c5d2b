package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseProperties(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // name=value, one a line; or the error
	}{
		{"", ""},
		{"a=b", "a=b"},
		{"a = b\r\nc:d\rd e\n", "a=b\nc=d\nd=e"},
		{"  a\t:\tb  ", "a=b  "},
		{"# a=b\n ! c=d\n#e=f\\\ng=h", "g=h"},
		{"a=b\\\n   c\\\r\n\td", "a=bcd"},
		{`a=b\\` + "\nc=d", "a=b\\\nc=d"},
		{"a=b\\", "a=b"},
		{`a\=b\ c=d\=e`, "a=b c=d=e"},
		{`a=\t\n\r\f\q\"`, "a=\t\n\r\fq\""},
		{`a=\u00e9\u20AC`, "a=é€"},
		{"a=é", "a=é"},
		{"a=\xe9", "a=é"},
		{"\ufeffa=b", "a=b"},
		{"a", "a="},
		{"a=", "a="},
		{"=b", "=b"},
		{"a==b", "a==b"},
		{"x=1\n\na=C:\\users\\u12\n", `error: 3: \u is followed by something else than four hex digits (a backslash of its own is written \\)`},
		{`a=\u12g4`, `error: 1: \u is followed`},
	} {
		all, err := parseProperties([]byte(c.text))
		var lines []string
		for _, p := range all {
			lines = append(lines, p.name+"="+p.value)
		}
		got := strings.Join(lines, "\n")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != c.want && (err == nil || !strings.HasPrefix(c.want, "error: ") || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestPropertyLines(t *testing.T) {
	all, err := parseProperties([]byte("# one\na=\\\n  b\n\nc=d\n"))
	if err != nil || len(all) != 2 || all[0].line != 2 || all[1].line != 5 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestParseJAAS(t *testing.T) {
	const plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
	for _, c := range []struct {
		text, user, password string
	}{
		{plain + ` required username="bob" password="bob-secret";`, "bob", "bob-secret"},
		{"org.apache.kafka.common.security.scram.ScramLoginModule required\n  username='alice'\n  password='a;b\"c=d' ;\n", "alice", `a;b"c=d`},
		{plain + ` REQUIRED username=bob password=1234;`, "bob", "1234"},
		{plain + ` required /* who */ username="bob" // and how` + "\n" + ` password="x" serviceName=kafka;`, "bob", "x"},
		{plain + ` required username="b\"o\\b" password="\101\t\x";`, `b"o\b`, "A\tx"},
		{plain + ` required username="ü" password="pä ss";`, "ü", "pä ss"},
		{"org.apache.kafka.common.security.scram.ScramLoginModule required username=a password=b tokenauth=false;", "a", "b"},
	} {
		got, err := parseJAAS(c.text)
		if err != nil || got.user != c.user || got.password.reveal() != c.password {
			t.Errorf("%s: %q, %q, %v", c.text, got.user, got.password.reveal(), err)
		}
	}
	for _, c := range []struct{ text, want string }{
		{"", "the name of a login module is missing"},
		{"com.sun.security.auth.module.Krb5LoginModule required;", "not known"},
		{plain, "required is missing"},
		{plain + ` username="bob" password="hush";`, "required is missing"},
		{plain + ` required username="bob" password="hush"`, "the semicolon"},
		{plain + ` required username="bob" password="hush;`, "a quote is not closed"},
		{plain + ` required username="bob" password="hu` + "\n" + `sh";`, "a quote is not closed"},
		{plain + ` required username="bob";`, "not both"},
		{plain + ` required password="hush";`, "not both"},
		{plain + ` required username "bob" password="hush";`, "name=\"value\""},
		{plain + ` required username="bob" password="hush"; ` + plain + ` required;`, "one login module"},
		{plain + ` required username="bob" password="hush" tokenauth=true;`, "delegation tokens"},
	} {
		_, err := parseJAAS(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error quotes the password: %v", c.text, err)
		}
	}
}

// file writes a file and returns its path.
func file(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadProperties(t *testing.T) {
	for _, c := range []struct {
		text  string
		check func(*settings) bool
		told  string
		err   string
	}{
		{text: "bootstrap.servers=a:1, b:2\nacks=all\ngroup.id=g\nclient.id=me",
			check: func(s *settings) bool {
				return slices.Equal(s.bootstrap, []string{"a:1", " b:2"}) && s.clientID == "me" && s.protocol == ""
			}},
		{text: `security.protocol=sasl_ssl
sasl.mechanism=SCRAM-SHA-512
sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
    username="alice" \
    password="top\\"secret";
ssl.truststore.type=PEM
ssl.truststore.location=ca.pem
ssl.endpoint.identification.algorithm=`,
			check: func(s *settings) bool {
				return s.protocol == "SASL_SSL" && s.mechanism == "SCRAM-SHA-512" && s.user == "alice" && s.password.reveal() == `top"secret` &&
					s.ca.file == "ca.pem" && s.anyHost
			}},
		{text: "security.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=bob\nsasl.password= p=1#2 \n",
			check: func(s *settings) bool {
				return s.user == "bob" && s.password.reveal() == "p=1#2" && s.mechanism == "PLAIN"
			}},
		{text: "security.protocol=SSL\nssl.ca.location=ca.pem\nssl.certificate.location=c.pem\nssl.key.location=k.pem\nssl.endpoint.identification.algorithm=https",
			check: func(s *settings) bool {
				return s.ca.file == "ca.pem" && s.cert.file == "c.pem" && s.key.file == "k.pem" && !s.anyHost
			}},
		{text: "security.protocol=SSL\nssl.keystore.location=both.pem\nssl.keystore.type=PEM\nssl.keystore.password=x",
			check: func(s *settings) bool { return s.cert.file == "both.pem" && s.key.file == "both.pem" }},
		{text: "security.protocol=SSL\nssl.truststore.locaton=ca.pem\nsasl.kerberos.kinit.cmd=x\nssl.protocol=TLSv1.3",
			told: "unknown, and without effect here: ssl.truststore.locaton, sasl.kerberos.kinit.cmd, ssl.protocol"},
		{text: "ssl.truststore.location=ca.pem", told: "ssl. settings have no effect without security.protocol=SSL"},
		{text: "sasl.username=bob\nsasl.password=hush", told: "sasl. settings have no effect without security.protocol=SASL_SSL"},
		{text: "security.protocol=TLS", err: `:1: security.protocol: "TLS" is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL`},
		{text: "\nsasl.mechanism=GSSAPI", err: `:2: sasl.mechanism: "GSSAPI" is none of`},
		{text: "sasl.jaas.config=hush", err: `:1: sasl.jaas.config: this login module is not known`},
		{text: "ssl.endpoint.identification.algorithm=ldap", err: "neither https nor empty"},
		{text: `a=b\u`, err: ":1: \\u is followed"},
	} {
		var told []string
		path := file(t, "p.properties", c.text)
		s, err := readProperties(path, func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) })
		if c.err != "" {
			if err == nil || !strings.HasPrefix(err.Error(), path+":") || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s:\n%v, want %s", c.text, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s:\n%v", c.text, err)
			continue
		}
		if c.check != nil && !c.check(s) {
			t.Errorf("%s:\n%#v", c.text, s)
		}
		switch all := strings.Join(told, "\n"); {
		case c.told == "" && all != "" || !strings.Contains(all, c.told):
			t.Errorf("%s:\ntold %q, want %q", c.text, all, c.told)
		}
	}
}

// What a secret is shows nowhere.
func TestSecret(t *testing.T) {
	s := settings{user: "bob", password: newSecret("hush")}
	m := newMechanism("SCRAM-SHA-256", "bob", newSecret("hush"))
	for _, text := range []string{
		fmt.Sprint(s, m, s.password), fmt.Sprintf("%v %+v %#v", s, s, s), fmt.Sprintf("%+v %#v", m, m),
		fmt.Sprintf("%+v", newMechanism("PLAIN", "bob", newSecret("hush"))), fmt.Sprintf("%v %+v", s.password, &s.password),
	} {
		if strings.Contains(text, "hush") || strings.Contains(text, "68757368") {
			t.Error(text)
		}
	}
	// A character that SASLprep forbids is Kafka's and the user's business.
	if _, first, err := newMechanism("SCRAM-SHA-256", "bob", newSecret("hush\a")).Start(context.Background()); err != nil || !strings.HasPrefix(string(first), "n,,n=bob,r=") {
		t.Errorf("%s, %v", first, err)
	}
}

func FuzzProperties(f *testing.F) {
	for _, s := range []string{
		"a=b\\\n  c\n# x\nd : \\u00e9\\t",
		"sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"b\\\\\"ob\" password='x';",
		"security.protocol=SASL_SSL\nssl.truststore.certificates=-----BEGIN CERTIFICATE-----\\\n AAAA \\\n-----END CERTIFICATE-----\n",
		"sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required /* */ // \n", "\\", "=\\u12", "a=\\\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseProperties(text)
		if err != nil {
			if all != nil {
				t.Fatal("properties and an error")
			}
			return
		}
		// What was read is read the same when it is written so that nothing has a meaning.
		var b strings.Builder
		for _, p := range all {
			for i, s := range []string{p.name, p.value} {
				for _, r := range s {
					if r > 0xffff {
						b.WriteRune(r)
					} else {
						fmt.Fprintf(&b, `\u%04x`, r)
					}
				}
				b.WriteString([]string{"=", "\n"}[i])
			}
		}
		again, err := parseProperties([]byte(b.String()))
		if err != nil || len(again) != len(all) {
			t.Fatalf("%q: %d properties, then %d: %v", text, len(all), len(again), err)
		}
		for i, p := range all {
			if again[i].name != p.name || again[i].value != p.value {
				t.Fatalf("%q: %v, then %v", text, p, again[i])
			}
			if c, err := parseJAAS(p.value); err == nil && (c.user == "" || c.password.reveal() == "") {
				t.Fatalf("%q: a login without a user or a password", p.value)
			}
		}
		if _, _, err := toSettings("f", all); err != nil && strings.Contains(err.Error(), "\n") {
			t.Fatalf("%q: %q is more than a line", text, err)
		}
		unfold(text)
	})
}
