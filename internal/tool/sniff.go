package tool

import (
	"bytes"

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
	if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\r' && r != '\t' }); i >= 0 && i < 64 {
		return Binary
	}
	line, _, whole := bytes.Cut(text, []byte("\n"))
	line = bytes.TrimSpace(line)
	switch {
	case bytes.HasPrefix(line, []byte("{")):
		if bytes.Contains(line, []byte(`"HEAD"`)) || bytes.Contains(line, []byte(`"TDC_CHANNEL"`)) {
			return JSON
		}
		return Results
	case hit.IsHeader(line):
		return CSV
	case isRow(line, whole):
		return CSV
	}
	if bytes.IndexFunc(text, func(r rune) bool { return r == '�' }) >= 0 {
		return Binary
	}
	return Text
}

// isRow reports whether a line, of which only the beginning may be here, looks like numbers between commas.
func isRow(line []byte, whole bool) bool {
	commas := 0
	for _, b := range line {
		switch {
		case b == ',':
			commas++
		case b >= '0' && b <= '9', b == '-', b == '+', b == '.', b == ' ', b == '"':
		default:
			return commas >= 2 // something odd in a row; the decoder says what
		}
	}
	return commas >= 3 || !whole && commas > 0
}
