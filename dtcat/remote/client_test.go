package remote

import (
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dt/internal/tool"
)

var quiet = log.New(io.Discard, "", 0) // for servers that are meant to be spoken to wrongly

// clearEnvironment takes away what could be set where the tests run.
func clearEnvironment(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "AWS_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY") {
			t.Setenv(name, "")
		}
	}
}

// newClient returns a client that does not wait long for what is not there.
func newClient(t *testing.T, s Settings) *Client {
	t.Helper()
	if s.Tries == 0 {
		s.Tries = 1
	}
	s.Agent = "dtcat/test"
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSettings checks what is said of settings that are wrong. None of it may have a part of a key or a password in it.
func TestSettings(t *testing.T) {
	const hidden = "Geheim7"
	profiles := "[default]\naws_access_key_id = ID1\naws_secret_access_key=" + hidden + "\n[profile half]\naws_access_key_id=ID2\n[two]\naws_access_key_id=ID3\n" +
		"aws_secret_access_key = a=b\naws_session_token=T\n"
	for _, test := range []struct {
		name     string
		settings Settings
		env      string // NAME=VALUE,…
		file     string // what is in the file @@
		want     string // the error; or else id secret token from
	}{
		{"nothing", Settings{}, "", "", "   "},
		{"none, though there is", Settings{Credentials: "none"}, "AWS_ACCESS_KEY_ID=ID,AWS_SECRET_ACCESS_KEY=S", "", "   "},
		{"variables", Settings{}, "AWS_ACCESS_KEY_ID=ID,AWS_SECRET_ACCESS_KEY=S,AWS_SESSION_TOKEN=T,AWS_PROFILE=x", "", "ID S T AWS_ACCESS_KEY_ID"},
		{"JSON", Settings{Credentials: "@@"}, "AWS_ACCESS_KEY_ID=ID,AWS_SECRET_ACCESS_KEY=S", "\ufeff {\"key_id\": \"I\", \"key\": \"K\"}\n", "I K  @@"},
		{"profile", Settings{Credentials: "@@"}, "", profiles, "ID1 " + hidden + "  profile default of @@"},
		{"named profile", Settings{Credentials: "@@"}, "AWS_PROFILE=two", profiles, "ID3 a=b T profile two of @@"},
		{"shared file", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=@@", profiles, "ID1 " + hidden + "  profile default of @@"},
		{"shared file, named profile", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=@@,AWS_PROFILE=two", profiles, "ID3 a=b T profile two of @@"},
		{"shared file without a default", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=@@", "[x]\n", "   "},

		{"half of the variables", Settings{Credentials: ""}, "AWS_ACCESS_KEY_ID=ID", "", "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not (hint: export both, or --credentials FILE)"},
		{"other half", Settings{}, "AWS_SECRET_ACCESS_KEY=" + hidden, "", "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not (hint: export both, or --credentials FILE)"},
		{"no file", Settings{Credentials: "/nowhere/x"}, "", "", "--credentials /nowhere/x: no such file or directory (hint: --credentials FILE, or none)"},
		{"neither form", Settings{Credentials: "@@"}, "", hidden, "--credentials @@: this is neither JSON nor a file of AWS profiles" + formHint},
		{"broken JSON", Settings{Credentials: "@@"}, "", `{"key_id": "I", "key": ` + hidden, "--credentials @@: this is no JSON that can be read" + formHint},
		{"no key_id", Settings{Credentials: "@@"}, "", `{"key": "` + hidden + `"}`, "--credentials @@: there is no key_id in it" + formHint},
		{"no key", Settings{Credentials: "@@"}, "", `{"key_id": "I"}`, "--credentials @@: there is no key in it" + formHint},
		{"too large", Settings{Credentials: "@@"}, "", strings.Repeat(hidden, 200_000), "--credentials @@: more than 1024 KiB, so it is something else" + formHint},
		{"half a profile", Settings{Credentials: "@@"}, "AWS_PROFILE=half", profiles, "--credentials @@: the profile half has no aws_secret_access_key" + formHint},
		{"no such profile", Settings{Credentials: "@@"}, "AWS_PROFILE=x", profiles, "--credentials @@: there is no profile x in it (hint: AWS_PROFILE chooses one that is there)"},
		{"no such shared profile", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=@@,AWS_PROFILE=x", profiles, "AWS_SHARED_CREDENTIALS_FILE @@: there is no profile x in it (hint: AWS_PROFILE chooses one that is there)"},
		{"a profile and no file", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=/nowhere/x,AWS_PROFILE=x", "", "AWS_PROFILE x: /nowhere/x: no such file or directory (hint: --credentials FILE, or none)"},
		{"no shared file", Settings{}, "AWS_SHARED_CREDENTIALS_FILE=/nowhere/x", "", "AWS_SHARED_CREDENTIALS_FILE /nowhere/x: no such file or directory (hint: --credentials FILE, or none)"},

		{"endpoint with a path", Settings{Endpoint: "https://h/bucket"}, "", "", "--endpoint: https://h/bucket: no path or query may be in it; the bucket is named in s3://BUCKET/… (hint: https://HOST:PORT)"},
		{"endpoint with a query", Settings{Endpoint: "https://h/?token=" + hidden}, "", "", "--endpoint: https://h/?token=…: no path or query may be in it; the bucket is named in s3://BUCKET/… (hint: https://HOST:PORT)"},
		{"endpoint with a password", Settings{Endpoint: "https://u:" + hidden + "@h"}, "", "", "--endpoint: a user or password has no place in it (hint: --credentials FILE)"},
		{"endpoint of another kind", Settings{Endpoint: "ftp://h"}, "", "", "--endpoint: ftp://h: S3 is spoken over https or http (hint: https://HOST:PORT)"},
		{"endpoint without a server", Settings{Endpoint: "https://:443"}, "", "", "--endpoint: https://:443: no server is named (hint: https://HOST:PORT)"},
		{"endpoint without such a port", Settings{Endpoint: "https://h:65536"}, "", "", "--endpoint: https://h:65536: there is no such port (hint: https://HOST:PORT)"},
		{"odd endpoint", Settings{}, "AWS_ENDPOINT_URL=a b", "", "AWS_ENDPOINT_URL: https://a b is no web address (hint: https://HOST:PORT)"},
		{"the other variable goes first", Settings{}, "AWS_ENDPOINT_URL=https://h,AWS_ENDPOINT_URL_S3=https://h/x", "", "AWS_ENDPOINT_URL_S3: https://h/x: no path or query may be in it; the bucket is named in s3://BUCKET/… (hint: https://HOST:PORT)"},
		{"style", Settings{Style: "dns"}, "", "", `--s3-style: "dns" is none of auto, path and virtual`},
		{"region", Settings{Region: "a b"}, "", "", `--region: "a b" is no name of a region`},
		{"region by a variable", Settings{}, "AWS_DEFAULT_REGION=a/b", "", `AWS_DEFAULT_REGION: "a/b" is no name of a region`},
		{"no certificates", Settings{CACert: "@@"}, "", "x", "--ca-cert @@: there is no certificate in PEM form in it (hint: it has lines with BEGIN CERTIFICATE)"},
		{"no file of certificates", Settings{}, "AWS_CA_BUNDLE=/nowhere/x", "", "AWS_CA_BUNDLE /nowhere/x: no such file or directory (hint: a file of certificates in PEM form)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clearEnvironment(t)
			file := writeFile(t, test.file)
			named := func(s string) string { return strings.ReplaceAll(s, "@@", file) }
			s := test.settings
			if s.Credentials == "@@" {
				s.Credentials = file
			}
			if s.CACert == "@@" {
				s.CACert = file
			}
			for v := range strings.SplitSeq(test.env, ",") {
				if name, value, found := strings.Cut(v, "="); found {
					t.Setenv(name, strings.Replace(value, "@@", file, 1))
				}
			}
			c, err := New(s)
			if err == nil {
				err = c.s3Err
			}
			if err == nil {
				k := c.s3.keys
				if got := strings.Join([]string{k.id, k.secret, k.token, k.from}, " "); got != named(test.want) {
					t.Errorf("%s, want %s", got, named(test.want))
				}
				return
			}
			want := named(test.want)
			if err.Error() != want {
				t.Errorf("\n     %v\nwant %s", err, want)
			}
			if usage := new(tool.UsageError); !errors.As(err, &usage) || strings.Contains(err.Error(), hidden) {
				t.Errorf("%T %v", err, err)
			}
		})
	}
}

const formHint = ` (hint: {"key_id": "…", "key": "…"}, or a profile with aws_access_key_id and aws_secret_access_key)`

// TestSettingsOfOthers checks that a variable that is wrong for S3 is no matter for who reads from the web.
func TestSettingsOfOthers(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("AWS_ENDPOINT_URL", "ftp://x")
	c := newClient(t, Settings{})
	if _, err := c.List(t.Context(), "s3://bucket/x"); err == nil || !strings.HasPrefix(err.Error(), "AWS_ENDPOINT_URL: ftp://x") {
		t.Error(err)
	}
}
