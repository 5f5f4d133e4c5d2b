package main

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// A doc is JSON that is being written. Commas come by themselves; key begins a member, and what follows it is its value.
type doc struct{ b []byte }

func (t *doc) comma() {
	if n := len(t.b); n > 0 && t.b[n-1] != '{' && t.b[n-1] != '[' && t.b[n-1] != ':' {
		t.b = append(t.b, ',')
	}
}

func (t *doc) key(name string) {
	t.comma()
	t.b = append(t.b, '"')
	t.b = append(t.b, name...) // ours: nothing in it needs an escape
	t.b = append(t.b, `":`...)
}

func (t *doc) open(bracket byte) {
	t.comma()
	t.b = append(t.b, bracket)
}

func (t *doc) close(bracket byte) { t.b = append(t.b, bracket) }

func (t *doc) object(key string) {
	t.key(key)
	t.b = append(t.b, '{')
}

func (t *doc) list(key string) {
	t.key(key)
	t.b = append(t.b, '[')
}

func (t *doc) int(key string, v int64) {
	t.key(key)
	t.b = strconv.AppendInt(t.b, v, 10)
}

func (t *doc) uint(key string, v uint64) {
	t.key(key)
	t.b = strconv.AppendUint(t.b, v, 10)
}

func (t *doc) bit(key string, v bool) {
	n := int64(0)
	if v {
		n = 1
	}
	t.int(key, n)
}

// float writes a number with at most so many decimals.
func (t *doc) float(key string, v float64, decimals int) {
	t.key(key)
	t.b = appendFloat(t.b, v, decimals)
}

func (t *doc) string(key, v string) {
	t.key(key)
	t.b = appendString(t.b, v)
}

// raw writes a value that is JSON already.
func (t *doc) raw(key string, v []byte) {
	t.key(key)
	t.b = append(t.b, v...)
}

// value writes anything that package json knows. It is for what is small and rare.
func (t *doc) value(key string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = appendString(nil, err.Error())
	}
	t.raw(key, b)
}

// ints writes a list.
func (t *doc) ints(key string, list []int64) {
	t.key(key)
	t.b = appendInts(t.b, list)
}

// counts writes a list that ends at the last that is not 0.
func (t *doc) counts(key string, list []int64) {
	t.key(key)
	t.b = appendInts(t.b, trimmed(list))
}

// trimmed returns a list up to the last that is not 0.
func trimmed(list []int64) []int64 {
	n := len(list)
	for n > 0 && list[n-1] == 0 {
		n--
	}
	return list[:n]
}

func appendInts(dst []byte, list []int64) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		if uint64(v) < 10 {
			dst = append(dst, '0'+byte(v))
			continue
		}
		dst = strconv.AppendInt(dst, v, 10)
	}
	return append(dst, ']')
}

// appendFloat appends a number with at most so many decimals. What is no number in JSON is 0.
func appendFloat(dst []byte, v float64, decimals int) []byte {
	if v != v || v > 1e18 || v < -1e18 {
		return append(dst, '0')
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', decimals, 64)
	if decimals > 0 {
		for dst[len(dst)-1] == '0' {
			dst = dst[:len(dst)-1]
		}
		if dst[len(dst)-1] == '.' {
			dst = dst[:len(dst)-1]
		}
	}
	if string(dst[n:]) == "-0" {
		dst = append(dst[:n], '0')
	}
	return dst
}

// appendString appends a string as JSON that is no HTML and one line in every reading of it.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r < ' ' || r == 0x7f || r == '<' || r == '>' || r == '&' || r == 0x2028 || r == 0x2029:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			dst = utf8.AppendRune(dst, r) // an invalid byte is U+FFFD by now
		}
	}
	return append(dst, '"')
}

// compact returns JSON without space and line feeds.
func compact(b []byte) []byte {
	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		return []byte("{}")
	}
	return out.Bytes()
}
