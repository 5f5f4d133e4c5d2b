package main

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"dt/internal/hit"
	"dt/internal/tool"
	"dt/internal/wire"
)

// A content is what the messages of a topic are.
type content string

const (
	contentFrames content = "frames" // each a small stream
	contentJSON   content = "json"   // each a word, as a JSON object
	contentCSV    content = "csv"    // each a word, as a CSV row
	contentLines  content = "lines"  // each a line of text
)

// peek is how much of a message is looked at to see what it is.
const peek = 512

// recognise tells what a topic has from some of its messages, or "" if that can't be seen. A message that is something beats any
// number of those that could be less: frames, then words, then what only looks like words, then lines. So one that is poisoned does not decide; what is
// in no text is nothing.
func recognise(values [][]byte) content {
	var lines bool
	words, likely := map[content]int{}, map[content]int{}
	for _, v := range values {
		c, sure := contentOf(v)
		switch {
		case c == contentFrames:
			return c
		case c == contentLines:
			lines = true
		case sure:
			words[c]++
		default:
			likely[c]++
		}
	}
	switch {
	case words[contentJSON]+words[contentCSV] > 0:
		return more(words)
	case lines:
		return contentLines
	case likely[contentJSON]+likely[contentCSV] > 0:
		return more(likely)
	}
	return ""
}

func more(n map[content]int) content {
	if n[contentCSV] > n[contentJSON] {
		return contentCSV
	}
	return contentJSON
}

// contentOf tells what one message is; sure, that it is a word or the header of some.
func contentOf(v []byte) (c content, sure bool) {
	if wire.IsStream(v) {
		return contentFrames, true
	}
	text := bytes.TrimSpace(v[:min(len(v), hit.MaxLine)])
	switch tool.Sniff(v[:min(len(v), peek)]) {
	case tool.CSV:
		words, _ := hit.DecodeCSV(nil, nil, text, false)
		return contentCSV, len(words) > 0 || hit.IsHeader(text)
	case tool.JSON:
		words, _ := hit.DecodeJSON(nil, nil, text, false)
		return contentJSON, len(words) > 0
	case tool.Results, tool.Text:
		if len(text) > 0 && isText(v) {
			return contentLines, true
		}
	}
	return "", false
}

// isText reports whether a message is one: no NUL in it, and no more than a 16th that is in no text, as tool.Sniff has it.
func isText(v []byte) bool {
	if bytes.IndexByte(v, 0) >= 0 {
		return false
	}
	if utf8.Valid(v) && !slices.ContainsFunc(v[:min(len(v), peek)], func(b byte) bool { return isControl(rune(b)) }) {
		return true
	}
	odd := 0
	for i := 0; i < len(v); {
		r, n := utf8.DecodeRune(v[i:])
		if r == utf8.RuneError && n == 1 || isControl(r) {
			odd++
		}
		i += n
	}
	return odd*16 <= len(v)
}

func isControl(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }

// refused tells of messages that can't be used and counts them.
type refused struct {
	env   *tool.Env
	topic string
	what  string // they should be, in the singular
	n     int
}

// tellAtMost is how many of them are told one by one.
const tellAtMost = 10

func (r *refused) tell(partition int, offset int64, reason string) {
	place := placeOf(r.topic, partition, offset)
	if r.n++; r.n <= tellAtMost {
		r.env.Say("%s: %s", place, reason)
	} else if r.n == tellAtMost+1 {
		r.env.Say("%s: %s; further ones of this topic are counted, not told", place, reason)
	}
}

// total says how many there were. It is for the end.
func (r *refused) total() {
	switch {
	case r.n == 1:
		r.env.Say("%s: 1 message is no %s", r.topic, r.what)
	case r.n > 1:
		r.env.Say("%s: %d messages are no %ss", r.topic, r.n, r.what)
	}
}

// totals is the last of an output: it says how many messages could not be used, and fails if some were lost.
func totals(bad, lost *refused) error {
	bad.total()
	if lost.n > 0 {
		return tool.ErrTold
	}
	return nil
}

// placeOf names a message.
func placeOf(topic string, partition int, offset int64) string {
	return fmt.Sprintf("%s[%d]@%d", topic, partition, offset)
}
