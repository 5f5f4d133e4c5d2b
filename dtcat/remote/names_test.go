package remote

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestWebName(t *testing.T) {
	for _, test := range []struct{ given, want string }{
		{"https://host/a/b.csv", "https://host/a/b.csv"},
		{"HTTPS://Host:8443/a%20b.csv", "https://Host:8443/a%20b.csv"},
		{"https://user:pass@host/a.csv", "https://host/a.csv"},
		{"https://user@host/a.csv#part", "https://host/a.csv"},
		{"https://host/a.csv?id=7&page=2", "https://host/a.csv?id=7&page=2"},
		{"https://host/a?X-Amz-Date=1&X-Amz-Signature=abc&x-amz-security-token=def", "https://host/a?…"},
		{"https://host/a?sig=abc%3D&se=2026", "https://host/a?sig=…&se=2026"},
		{"https://host/a?access_token=abc;id=2", "https://host/a?access_token=…;id=2"},
		{"https://host/a?Key-Pair-Id=abc&Signature=def&Policy=ghi", "https://host/a?Key-Pair-Id=…&Signature=…&Policy=…"},
		{"https://host/a?%73ig=abc", "https://host/a?%73ig=…"},
		{"https://host/a?%zz=abc", "https://host/a?%zz=…"},
		{"https://host/a?password", "https://host/a?password"},
		{"https://host/a?eyJhbGciOiJIUzI1NiIsInR5", "https://host/a?…"},
		{"https://user:pa/ss@host/a", "https://host/a"},
		{"https://user:p w@host/a?token=x", "https://host/a"},
		{"https://user:p\nw@/a", "https:///a"},
		{"http://", "http://"},
	} {
		if got := webName(test.given); got != test.want {
			t.Errorf("%q: %q, want %q", test.given, got, test.want)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, test := range []struct{ rest, want string }{
		{"data_0000.txt", "data_0000.txt"},
		{"run 7/ünïcödé.csv", "run 7/ünïcödé.csv"},
		{"", "%"},
		{"/", "%/%"},
		{"/etc/passwd", "%/etc/passwd"},
		{"a//b", "a/%/b"},
		{"../../etc/passwd", "%2E%2E/%2E%2E/etc/passwd"},
		{"a/./b/..", "a/%2E/b/%2E%2E"},
		{"...", "..."},
		{".hidden", ".hidden"},
		{`..\..\x`, "..%5C..%5Cx"},
		{"a\nb\x00c\x7f", "a%0Ab%00c%7F"},
		{"a\x1b[31mb", "a%1B[31mb"},
		{"50%", "50%25"},
		{"%2E%2E", "%252E%252E"},
		{"bad\xff", "bad%FF"},
		{"to\u202eleft", "to%E2%80%AEleft"},
	} {
		if got := safePath(test.rest); got != test.want {
			t.Errorf("%q: %q, want %q", test.rest, got, test.want)
		}
	}
	long := strings.Repeat("é", 150)
	if a, b := safePath(long+"a"), safePath(long+"b"); a == b || len(a) != 183 || a[:150] != long[:150] {
		t.Errorf("long names: %q %q", a, b)
	}
	for _, test := range []struct{ address, want string }{
		{"https://host/a/b.csv?x=1", "b.csv"},
		{"https://host/a/b/", "b"},
		{"https://host/", "host"},
		{"https://host", "host"},
		{"https://host/a%2Fb", "a%2Fb"},
		{"https://host/..", "%2E%2E"},
		{"https://host/a/%2e%2e", "%2E%2E"},
		{"https://host/50%25", "50%25"},
		{"https://host/a%00b%0a", "a%00b%0A"},
		{"https://[::1]:80/", "::1"},
	} {
		u, err := url.Parse(test.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := webPath(u); got != test.want {
			t.Errorf("%s: %q, want %q", test.address, got, test.want)
		}
	}
}

// checkPath reports what is wrong with where an object would be kept.
func checkPath(t *testing.T, p string) {
	t.Helper()
	elements := strings.Split(p, "/")
	switch {
	case p == "", !utf8.ValidString(p), p != path.Clean(p), path.IsAbs(p), strings.ContainsAny(p, "\\\x00\n\x1b"), slices.Contains(elements, ".."):
		t.Errorf("the path %q is not safe", p)
	}
	for _, e := range elements {
		if e == "" || len(e) > longestElement {
			t.Errorf("an element of the path %q is empty, or too long", p)
		}
	}
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"a/b.txt", "../x", "a//b", "%2E", "a?sig=1", "x\x00y", "\xff", strings.Repeat("é", 200), "a%2fb", ";", "u:p@h"} {
		f.Add(s, s+"1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		checkPath(t, safePath(a))
		if a != b && safePath(a) == safePath(b) {
			t.Errorf("%q and %q have one path", a, b)
		}
		if s := shown(a); strings.ContainsAny(s, "\n\r\x1b\x00") || !utf8.ValidString(s) {
			t.Errorf("%q is shown as %q", a, s)
		}
		const hidden = "Geheim7"
		for _, name := range []string{
			"https://user:" + hidden + "@host/" + a,
			"https://host/" + url.PathEscape(a) + "?" + url.QueryEscape(b) + "=1&X-Amz-Signature=" + hidden,
			"https://host/" + url.PathEscape(a) + "?" + strings.ReplaceAll(b, "#", "") + "&token=" + hidden,
		} {
			if shown := webName(name); strings.Contains(shown, hidden) || strings.ContainsAny(shown, "\n\r\x1b") {
				t.Errorf("%q is shown as %q", name, shown)
			}
			if u, err := url.Parse(name); err == nil {
				checkPath(t, webPath(u))
			}
		}
	})
}
