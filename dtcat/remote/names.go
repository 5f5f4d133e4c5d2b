package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// shown is text from elsewhere as it is printed: what could move the cursor or break the line, or is no UTF-8, is written as %0A.
func shown(text string) string {
	plain := func(r rune) bool {
		return r != utf8.RuneError && unicode.IsGraphic(r) && r != '\u2028' && r != '\u2029'
	}
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if plain(r) {
			b.WriteString(text[:n])
		} else {
			escape(&b, text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

func escape(b *strings.Builder, text string) {
	for i := range len(text) {
		fmt.Fprintf(b, "%%%02X", text[i])
	}
}

// s3Name is the name of an object or a folder, as it is shown.
func s3Name(bucket, key string) string { return "s3://" + shown(bucket) + "/" + shown(key) }

// webName is an address as it is shown: without user and password, and without the values of what may be secret.
func webName(name string) string {
	u, err := url.Parse(name)
	if err != nil || u.Host == "" {
		// Wherever the password in it ends: nothing before the last @ is shown, and nothing of a query.
		scheme, rest, _ := strings.Cut(name, "://")
		rest, _, _ = strings.Cut(rest, "?")
		rest = rest[strings.LastIndexByte(rest, '@')+1:]
		rest, _, _ = strings.Cut(rest, "#")
		return shown(strings.ToLower(scheme) + "://" + rest)
	}
	plain := *u
	plain.User, plain.Fragment, plain.RawFragment = nil, "", ""
	plain.RawQuery = redact(u.RawQuery)
	return shown(plain.String())
}

// redact replaces the values of parameters that may be secret, and all of a presigned address, which tell nothing.
func redact(query string) string {
	var b strings.Builder
	presigned := false
	for query != "" {
		end := strings.IndexAny(query, "&;")
		parameter, separator := query, ""
		if end >= 0 {
			parameter, separator = query[:end], query[end:end+1]
		}
		query = query[len(parameter)+len(separator):]
		name, _, found := strings.Cut(parameter, "=")
		switch {
		case !found && len(name) > 20:
			parameter = "…" // a token by itself
		case found && signs(name):
			presigned = true
			continue
		case found && secret(name):
			parameter = name + "=…"
		}
		b.WriteString(parameter + separator)
	}
	if presigned {
		b.WriteString("…")
	}
	return b.String()
}

// signs reports whether a parameter of this name is one of those of a presigned address.
func signs(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "x-amz-") || strings.HasPrefix(name, "x-goog-")
}

// secret reports whether a parameter of this name may be secret.
func secret(name string) bool {
	plain, err := url.QueryUnescape(name)
	if err != nil {
		return true
	}
	plain = strings.ToLower(plain)
	if signs(plain) { // though it is written in an odd way
		return true
	}
	for _, part := range []string{"sig", "token", "cred", "key", "pass", "pwd", "secret", "auth", "session", "jwt", "code", "policy", "hmac", "ticket"} {
		if strings.Contains(plain, part) {
			return true
		}
	}
	return false
}

// webPath is where an object of the web is kept: the last part of its address.
func webPath(u *url.URL) string {
	parts := strings.Split(u.EscapedPath(), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		if parts[i] == "" {
			continue
		}
		plain, err := url.PathUnescape(parts[i])
		if err != nil {
			plain = parts[i]
		}
		return safeElement(plain)
	}
	return safeElement(u.Hostname())
}

// safePath is where an object is kept whose key goes on like this behind the prefix that was asked for. Different keys have different
// paths: what can't be in a path is written as %XX, and so is % itself.
func safePath(rest string) string {
	parts := strings.Split(rest, "/")
	for i := range parts {
		parts[i] = safeElement(parts[i])
	}
	return strings.Join(parts, "/")
}

// Names of files have at most 255 bytes, of which some are needed for those that are not whole yet.
const (
	longestElement = 200
	keptOfElement  = 150
)

// safeElement is the name of one file or folder. It is never empty, nor has it a slash.
func safeElement(part string) string {
	switch part {
	case "": // of a//b
		return "%"
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	var b strings.Builder
	for rest := part; len(rest) > 0; {
		r, n := utf8.DecodeRuneInString(rest)
		if r == utf8.RuneError && n == 1 || !unicode.IsGraphic(r) || strings.ContainsRune(`%/\`, r) {
			escape(&b, rest[:n])
		} else {
			b.WriteString(rest[:n])
		}
		rest = rest[n:]
	}
	name := b.String()
	if len(name) <= longestElement {
		return name
	}
	sum := sha256.Sum256([]byte(part))
	kept := strings.ToValidUTF8(name[:keptOfElement], "")
	return kept + "%" + hex.EncodeToString(sum[:16])
}
