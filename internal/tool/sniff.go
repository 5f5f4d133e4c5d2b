package tool

import (
	"bytes"
	"unicode/utf8"

	"dt/internal/hit"
	"dt/internal/wire"
)

// Content is what an input looks like.
type Content string

// What Sniff knows. Their text completes the sentence "input is …".
const (
	Empty   Content = "empty"
	Stream  Content = "a hit stream"
	CSV     Content = "CSV"
	JSON    Content = "JSON lines of words"
	Results Content = "result lines"
	Gzip    Content = "gzip"
	Zstd    Content = "zstd"
	Binary  Content = "binary" // raw words have no mark of their own
	Text    Content = "text"
)

// Sniff tells what an input is from its first bytes; some hundred are best.
func Sniff(head []byte) Content {
	switch {
	case len(head) == 0:
		return Empty
	case wire.IsStream(head):
		return Stream
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return Gzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return Zstd
	}
	text := bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	if isBinary(text) {
		return Binary
	}
	// Blank and odd lines before the first row are bad records, and no reason to refuse the others.
	for first := true; len(text) > 0; {
		var line []byte
		var whole bool
		line, text, whole = bytes.Cut(text, []byte("\n"))
		line = bytes.TrimSpace(line)
		switch {
		case len(line) == 0:
			continue
		case line[0] == '{' && (bytes.Contains(line, []byte(`"HEAD"`)) || bytes.Contains(line, []byte(`"TDC_CHANNEL"`))):
			return JSON
		case line[0] == '{' && first:
			return Results
		case hit.IsHeader(line), isRow(line, whole, first):
			return CSV
		}
		first = false
	}
	return Text
}

// isBinary reports whether more than a 16th of the first bytes are in no text. A NUL or two does not make binary of text.
func isBinary(head []byte) bool {
	const enough = 512
	head = head[:min(len(head), enough)]
	odd := 0
	for i := 0; i < len(head); {
		r, n := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && utf8.FullRune(head[i:]) || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			odd++
		}
		i += n
	}
	return odd*16 > len(head)
}

// isRow reports whether a line, of which only the beginning may be here, looks like numbers between commas. The first line of an
// input may be odd; the decoder says what is.
func isRow(line []byte, whole, first bool) bool {
	commas := 0
	for _, b := range line {
		switch {
		case b == ',':
			commas++
		case b >= '0' && b <= '9', b == '-', b == '+', b == '.', b == ' ', b == '"':
		case !first:
			return false
		default:
			return commas >= 2
		}
	}
	return commas >= 3 || !whole && commas > 0
}
