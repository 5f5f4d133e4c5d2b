package hist

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of what is read.
const (
	maxDepth  = 64       // of values in values
	maxString = 64 << 10 // bytes of a string that is kept
)

// A scanner reads one JSON value, piece by piece, each as what it must be. The first error is kept and ends everything: behind it all is empty.
type scanner struct {
	text   []byte
	pos    int
	err    error
	python bool     // a Python literal: strings may be in ', and whole numbers written as 5.0
	path   []string // keys that lead to what is being read
	depth  int

	missing string // the first key that is missing in a line that is not bare
	further bool   // there are keys that bare lines don't have
}

// keys are those of a kind of object.
type keys struct {
	names                []string
	must, whole, further uint64 // bit i: name i must be there; must be in a line that is not bare; is not in bare lines
}

// keysOf makes keys of names, each with a mark: none where it must be there, ? where only a bare line may lack it, + of those that all lines
// but bare ones have, * of those that lines but bare ones may have, and ~ where it may be in any.
func keysOf(names ...string) *keys {
	k := &keys{}
	for i, name := range names {
		bit := uint64(1) << i
		switch name[len(name)-1] {
		case '?':
			k.whole |= bit
		case '+':
			k.whole |= bit
			k.further |= bit
		case '*':
			k.further |= bit
		case '~':
		default:
			k.must |= bit
		}
		k.names = append(k.names, strings.TrimRight(name, "?+*~"))
	}
	return k
}

// find returns the index of a key, or −1. The key is often the one at next.
func (k *keys) find(key []byte, next int) int {
	if next < len(k.names) && string(key) == k.names[next] {
		return next
	}
	for i, name := range k.names {
		if string(key) == name {
			return i
		}
	}
	return -1
}

// fail keeps the first error, with where it is.
func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(s.where()+format, args...)
	}
}

// where returns the keys that lead to what is being read, for an error that follows. It has no % in it.
func (s *scanner) where() string {
	var b strings.Builder
	for i, key := range s.path {
		if i > 0 {
			b.WriteByte('.')
		}
		if strings.Trim(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ ") != "" || len(key) > 40 {
			key = strings.ReplaceAll(fmt.Sprintf("%.40q", key), "%", "%%")
		}
		b.WriteString(key)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	return b.String()
}

// expected fails at what is here.
func (s *scanner) expected(what string) {
	if s.pos >= len(s.text) {
		s.fail("the line ends where there should be %s", what)
		return
	}
	s.fail("%q where there should be %s, at byte %d", s.text[s.pos:min(s.pos+1, len(s.text))], what, s.pos)
}

// peek returns the next byte that is not white space, or 0.
func (s *scanner) peek() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// open begins a list or object, and reports whether there is anything in it.
func (s *scanner) open(begin, end byte, what string) bool {
	if s.err != nil {
		return false
	}
	if s.peek() != begin {
		s.expected(what)
		return false
	}
	s.pos++
	if s.depth++; s.depth > maxDepth {
		s.fail("more than %d values in one another", maxDepth)
		return false
	}
	if s.peek() == end {
		s.pos++
		s.depth--
		return false
	}
	return true
}

// more goes on in a list or object, and reports whether it does.
func (s *scanner) more(end byte) bool {
	if s.err != nil {
		return false
	}
	switch s.peek() {
	case ',':
		s.pos++
		return true
	case end:
		s.pos++
		s.depth--
	default:
		s.expected("a comma or " + string(end))
	}
	return false
}

// list reads a list; value reads each of its values.
func (s *scanner) list(value func()) {
	for on := s.open('[', ']', "a list"); on; on = s.more(']') {
		value()
	}
}

// object reads an object; value reads the value of each key.
func (s *scanner) object(value func(key []byte)) {
	for on := s.open('{', '}', "an object"); on; on = s.more('}') {
		key := s.string()
		if s.err == nil && s.peek() != ':' {
			s.expected("a colon")
		}
		if s.err != nil {
			return
		}
		s.pos++
		value(key)
	}
}

// fields reads an object of which the keys are known; value reads the value of each, or, for the key "", of one that is not. The key is the last
// of s.path.
func (s *scanner) fields(k *keys, value func(key string)) {
	seen, next := uint64(0), 0
	s.object(func(key []byte) {
		name := ""
		if i := k.find(key, next); i < 0 {
			s.path = append(s.path, string(key))
		} else {
			if name = k.names[i]; seen>>i&1 != 0 {
				s.fail("%s is there twice", name)
				return
			}
			seen |= 1 << i
			next = i + 1
			s.path = append(s.path, name)
		}
		value(name)
		s.path = s.path[:len(s.path)-1]
	})
	if m := k.must &^ seen; m != 0 {
		s.fail("no %s", k.names[bits.TrailingZeros64(m)])
	}
	if m := k.whole &^ seen; m != 0 && s.missing == "" {
		s.missing = s.where() + "no " + k.names[bits.TrailingZeros64(m)]
	}
	s.further = s.further || seen&k.further != 0
}

// number reads a number, which is ±u / 10^digits where it is exact: where u has room for it, it has no more digits than that, and no
// exponent. It is whole if it is written without a point.
func (s *scanner) number(digits int) (u uint64, negative, whole, exact bool) {
	if s.err != nil {
		return 0, false, true, true
	}
	s.peek()
	text, i := s.text, s.pos
	exact, whole = true, true
	add := func(d byte) {
		if u > (math.MaxUint64-9)/10 {
			high, low := bits.Mul64(u, 10)
			if exact = exact && high == 0 && low <= math.MaxUint64-uint64(d); !exact {
				return
			}
		}
		u = u*10 + uint64(d)
	}
	digit := func() bool { return i < len(text) && text[i] >= '0' && text[i] <= '9' }
	if i < len(text) && text[i] == '-' {
		negative = true
		i++
	}
	first := i
	for ; digit(); i++ {
		add(text[i] - '0')
	}
	good := i == first+1 || i > first && text[first] != '0'
	if good && i < len(text) && text[i] == '.' {
		whole = false
		i++
		good = digit()
		for ; digit(); i++ {
			if digits > 0 {
				add(text[i] - '0')
				digits--
			} else {
				exact = exact && text[i] == '0'
			}
		}
	}
	if good && i < len(text) && text[i]|0x20 == 'e' {
		whole, exact = false, false
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		for good = digit(); digit(); i++ {
		}
	}
	if !good {
		s.expected("a number")
		return 0, false, true, true
	}
	for ; digits > 0; digits-- {
		add(0)
	}
	s.pos = i
	return u, negative, whole, exact
}

// signed gives a number its sign.
func signed(u uint64, negative bool) (v int64, ok bool) {
	if u > math.MaxInt64 {
		return 0, false
	}
	if negative {
		return -int64(u), true
	}
	return int64(u), true
}

// decimal reads a number as a multiple of 1/10^digits. Exponents are not read.
func (s *scanner) decimal(digits int) int64 {
	s.peek()
	start := s.pos
	u, negative, _, exact := s.number(digits)
	v, ok := signed(u, negative)
	if !exact || !ok {
		s.fail("%.40q is not a decimal number of this precision", s.text[start:s.pos])
	}
	return v
}

// int reads a whole number from low to high.
func (s *scanner) int(low, high int64) int64 {
	s.peek()
	start := s.pos
	u, negative, whole, exact := s.number(0)
	v, ok := signed(u, negative)
	switch {
	case s.err != nil:
		return 0
	case !ok || !exact || !whole && !s.python:
		s.fail("%.40q is not a whole number", s.text[start:s.pos])
	default:
		s.within(v, low, high)
	}
	return v
}

// uint reads a whole number of 64 bits.
func (s *scanner) uint() uint64 {
	s.peek()
	start := s.pos
	u, negative, whole, exact := s.number(0)
	if negative || !exact || !whole && !s.python {
		s.fail("%.40q is not a whole number from 0 on", s.text[start:s.pos])
	}
	return u
}

// flag reads 0 or 1.
func (s *scanner) flag() bool { return s.int(0, 1) == 1 }

// within checks that a number is in range.
func (s *scanner) within(v, low, high int64) {
	if v < low || v > high {
		s.fail("%d is not within %d and %d", v, low, high)
	}
}

// counts appends a list of counts to dst, most in all, and returns it and their sum.
func (s *scanner) counts(dst []int64, most int) (list []int64, sum int64) {
	for on := s.open('[', ']', "a list"); on; {
		// Almost all are short and stand between commas.
		v, i := int64(0), s.pos
		for i < len(s.text) && s.text[i]-'0' <= 9 {
			v = v*10 + int64(s.text[i]-'0')
			i++
		}
		if n := i - s.pos; n == 0 || n > 15 || n > 1 && s.text[s.pos] == '0' || i == len(s.text) || s.text[i] != ',' && s.text[i] != ']' {
			v = s.int(math.MinInt64, math.MaxInt64)
		} else {
			s.pos = i
		}
		if v < 0 || v > maxCount || sum > maxCount {
			s.fail("a count of %d", v)
			return dst, 0
		}
		if len(dst) == most {
			s.fail("more than %d counts", most)
			return dst, 0
		}
		dst = append(dst, v)
		sum += v
		if s.pos < len(s.text) && s.text[s.pos] == ',' {
			s.pos++
		} else {
			on = s.more(']')
		}
	}
	return dst, sum
}

// fill reads a list of as many counts as dst has, and returns their sum.
func (s *scanner) fill(dst []int64) int64 {
	list, sum := s.counts(dst[:0], len(dst))
	if len(list) != len(dst) {
		s.fail("%d counts where there should be %d", len(list), len(dst))
	}
	return sum
}

// str reads a string that is kept. What is not UTF-8 in it is replaced.
func (s *scanner) str() string {
	return s.kept(s.string())
}

// kept returns text as a string that is kept.
func (s *scanner) kept(text []byte) string {
	v := string(text)
	if !utf8.ValidString(v) {
		v = string([]rune(v))
	}
	if len(v) > maxString {
		s.fail("a text of more than %d bytes", maxString)
		return ""
	}
	return v
}

// string reads a string. It is part of the text, unless something is escaped in it.
func (s *scanner) string() []byte {
	if s.err != nil {
		return nil
	}
	quote := s.peek()
	if quote != '"' && !(quote == '\'' && s.python) {
		s.expected("a string")
		return nil
	}
	s.pos++
	var text []byte // what comes before start
	start := s.pos
	for ; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == quote:
			part := s.text[start:s.pos]
			s.pos++
			if text == nil {
				return part
			}
			return append(text, part...)
		case c < ' ':
			s.expected("a string without control characters")
			return nil
		case c == '\\':
			text = append(text, s.text[start:s.pos]...)
			s.pos++
			if text = s.escape(text); s.err != nil {
				return nil
			}
			start = s.pos
			s.pos--
		}
	}
	s.expected("the end of a string")
	return nil
}

// escape appends the character of an escape, behind its backslash, to dst.
func (s *scanner) escape(dst []byte) []byte {
	const short, means = `"\/bfnrt'`, "\"\\/\b\f\n\r\t'"
	if s.pos == len(s.text) {
		s.expected("an escape")
		return dst
	}
	c := s.text[s.pos]
	if i := strings.IndexByte(short, c); i >= 0 && (c != '\'' || s.python) {
		s.pos++
		return append(dst, means[i])
	}
	digits := 0
	switch {
	case c == 'u':
		digits = 4
	case c == 'x' && s.python:
		digits = 2
	case c == 'U' && s.python:
		digits = 8
	}
	r, ok := s.hex(s.pos+1, digits)
	if !ok {
		s.expected("an escape")
		return dst
	}
	s.pos += 1 + digits
	if utf16.IsSurrogate(r) && bytes.HasPrefix(s.text[s.pos:], []byte(`\u`)) {
		// Two of them are one character; a single one becomes U+FFFD.
		if low, ok := s.hex(s.pos+2, 4); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			r = utf16.DecodeRune(r, low)
			s.pos += 6
		}
	}
	return utf8.AppendRune(dst, r)
}

// hex returns the value of some hex digits.
func (s *scanner) hex(at, digits int) (rune, bool) {
	if digits == 0 || at+digits > len(s.text) {
		return 0, false
	}
	v, err := strconv.ParseUint(string(s.text[at:at+digits]), 16, 31)
	return rune(v), err == nil
}

// skip reads a value that nobody wants.
func (s *scanner) skip() {
	if s.err != nil {
		return
	}
	switch c := s.peek(); {
	case c == '{':
		s.object(func([]byte) { s.skip() })
	case c == '[':
		s.list(s.skip)
	case c == '"' || c == '\'':
		s.string()
	case c == '-' || c >= '0' && c <= '9':
		s.number(0)
	default:
		words := []string{"true", "false", "null"}
		if s.python {
			words = []string{"True", "False", "None"}
		}
		for _, word := range words {
			if bytes.HasPrefix(s.text[s.pos:], []byte(word)) {
				s.pos += len(word)
				return
			}
		}
		s.expected("a value")
	}
}

// end checks that nothing follows.
func (s *scanner) end() {
	if s.peek(); s.err == nil && s.pos < len(s.text) {
		s.expected("the end of the line")
	}
}

// at reads something that was skipped before, at a place in the text.
func (s *scanner) at(pos int, path string, read func()) {
	was := s.pos
	s.pos, s.path = pos, append(s.path, path)
	read()
	s.pos, s.path = was, s.path[:len(s.path)-1]
}
