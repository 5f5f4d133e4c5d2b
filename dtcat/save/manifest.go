package save

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// An entry is a line of the manifest. It speaks of the file, if Have is Bytes, and else of the part.
type entry struct {
	Path     string // in the folder
	Name     string // of the object
	Bytes    int64  // that the object has; −1: not known
	ETag     string
	Modified time.Time
	Have     int64  // bytes that are there and have the checksum; there may be more
	SHA256   string // of these, in hexadecimal digits
	Old      bool   `json:",omitempty"` // the file of that name is from before, and is replaced

	unnamed bool // whole, but the part has its name not yet
}

func (e *entry) whole() bool { return e.Have == e.Bytes }

// ok reports whether an entry can be one that was written.
func (e *entry) ok() bool {
	sum, err := hex.DecodeString(e.SHA256)
	return err == nil && len(sum) == sha256.Size && checkPath(e.Path) == "" && e.Have >= 0 && (e.Bytes == -1 || e.Bytes >= e.Have)
}

const (
	maxLine     = 64 << 10 // of a manifest; names have at most some thousand bytes
	maxManifest = 1 << 28
)

// parse reads a manifest. odd tells of lines that are none.
func parse(r io.Reader) (entries []*entry, odd, err error) {
	lines := bufio.NewReaderSize(io.LimitReader(r, maxManifest), maxLine)
	first, bad := 0, 0
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			_, err = lines.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, nil, err
		}
		if err != nil && len(line) == 0 && !long {
			break
		}
		e := new(entry)
		// A line without its end is torn, even if it could be read.
		if text, whole := bytes.CutSuffix(line, []byte("\n")); long || !whole || json.Unmarshal(text, e) != nil || !e.ok() {
			if bad++; bad == 1 {
				first = n
			}
			continue
		}
		entries = append(entries, e)
	}
	switch {
	case bad == 1:
		odd = fmt.Errorf("line %d is torn, or was not written by dtcat", first)
	case bad > 1:
		odd = fmt.Errorf("line %d and %d more are torn, or were not written by dtcat", first, bad-1)
	}
	return entries, odd, nil
}
