package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"dt/internal/hit"
	"dt/internal/wire"
)

// A badMessage is one that is no word.
type badMessage struct {
	reason, class string
	text          []byte // for the file of rejects
}

const (
	decodeBytes = 128 << 10 // are decoded at a time, so as to stay in a core's cache
	// classNull is what the ledger says of a message that has no value at all.
	classNull = "null value"
)

// load decodes what was fetched of a partition.
func (o *wordsOutput) load(p *mergePart, f *fetched) error {
	defer f.release()
	ms := f.messages
	gap := mergeItem{kind: itemGap, offset: f.next - 1, time: math.MinInt64}
	if len(ms) > 0 {
		gap.offset, gap.time = ms[0].offset-1, ms[0].time
	}
	if gone := min(f.gap, gap.offset+1-p.expect); gone > 0 {
		gap.word = uint64(gone)
		p.items = append(p.items, gap)
	}
	for len(ms) > 0 && ms[0].offset < p.expect {
		ms = ms[1:]
	}
	p.expect = max(p.expect, f.next)
	p.items = slices.Grow(p.items, len(ms))
	for len(ms) > 0 {
		n := o.decode(ms)
		words, faults := o.decoded, o.faults
		for i := range ms[:n] {
			v := &ms[i]
			it := mergeItem{time: v.time, offset: v.offset}
			if len(faults) == 0 || faults[0].Record != i {
				it.word = words[0]
				words = words[1:]
			} else {
				var bad badMessage
				if it.word, bad, it.kind = o.again(v.value, &faults[0]); it.kind == itemBad {
					p.bad = append(p.bad, bad)
				}
				faults = faults[1:]
			}
			p.items = append(p.items, it)
		}
		ms = ms[n:]
	}
	return nil
}

// decode decodes the first messages, and returns how many. JSON objects go the way of CSV rows, which is much faster; what can't is left for again.
func (o *wordsOutput) decode(ms []message) (n int) {
	text := o.text[:0]
	for n < len(ms) && len(text) < decodeBytes {
		if v := ms[n].value; o.form == wire.FormJSON {
			text = appendRow(text, v)
		} else if len(v) <= hit.MaxLine {
			text = append(text, bytes.TrimRight(v, "\r\n")...)
		}
		text = append(text, '\n')
		n++
	}
	if bytes.Count(text, []byte("\n")) != n {
		text = text[:0]
		for i := range ms[:n] {
			if v := ms[i].value; len(v) <= hit.MaxLine {
				text = appendLine(text, v)
			}
			text = append(text, '\n')
		}
	}
	o.text = text
	o.decoded, o.faults = hit.DecodeCSV(o.decoded[:0], o.faults[:0], text, false)
	return n
}

// again looks at a message again that did not decode.
func (o *wordsOutput) again(v []byte, fault *hit.Bad) (uint64, badMessage, itemKind) {
	if o.form == wire.FormJSON && len(v) <= hit.MaxLine {
		o.line = append(appendLine(o.line[:0], v), '\n')
		words, faults := hit.DecodeJSON(o.one[:0], nil, o.line, false)
		if o.one = words; len(words) > 0 {
			return words[0], badMessage{}, itemWord
		}
		fault = &faults[0]
	}
	return 0, o.badMessage(v, fault), itemBad
}

// appendLine appends a message without the line ends behind it; those within become blanks.
func appendLine(to, v []byte) []byte {
	v = bytes.TrimRight(v, "\r\n")
	at := len(to)
	to = append(to, v...)
	for line := to[at:]; ; {
		i := bytes.IndexByte(line, '\n')
		if i < 0 {
			return to
		}
		if line[i] = ' '; i > 0 && line[i-1] == '\r' {
			line[i-1] = ' '
		}
		line = line[i+1:]
	}
}

// badMessage says why a message is no word.
func (o *wordsOutput) badMessage(v []byte, b *hit.Bad) badMessage {
	bad := badMessage{reason: b.Reason, class: b.Class}
	switch {
	case v == nil:
		bad.reason, bad.class = "a message without a value", classNull
	case len(v) == 0:
		bad.reason = "an empty message"
	case wire.IsStream(v):
		bad.reason = "a piece of a hit stream, among words"
	case len(v) > hit.MaxLine:
		bad.reason, bad.class = fmt.Sprintf("a message of %d bytes is longer than %d", len(v), hit.MaxLine), hit.BadLength
	}
	if o.opt.rejects != nil && v != nil {
		bad.text = append(append(make([]byte, 0, len(v)+1), v...), '\n')
	}
	return bad
}

// The texts before the columns of a word in its object: as Python's json.dumps writes it, and without blanks.
var (
	jsonKeys    = [...]string{`{"HEAD": `, `, "FPGA": `, `, "TDC_CHANNEL": `, `, "ORBIT_CNT": `, `, "BX_COUNTER": `, `, "TDC_MEAS": `}
	compactKeys = [...]string{`{"HEAD":`, `,"FPGA":`, `,"TDC_CHANNEL":`, `,"ORBIT_CNT":`, `,"BX_COUNTER":`, `,"TDC_MEAS":`}
)

const (
	rowDigits   = 12 // in a whole number, as hit has it
	rowDecimals = 20
	rowMost     = len(jsonKeys) * (1 + rowDigits + 1 + rowDecimals + 1)
	halfDigits  = 6 // decimals of a half-float in a row
)

// appendRow appends the CSV row of a word's object, without a line end, if its keys are in their usual order and the numbers are plain. Of any other text it
// appends nothing, or what is no row. So a row that decodes has the word that the object has.
func appendRow(to, v []byte) []byte {
	to = slices.Grow(to, rowMost)
	row := to[len(to) : len(to)+rowMost]
	keys := &jsonKeys
	if space := len(jsonKeys[0]) - 1; len(v) > space && v[space] != ' ' {
		keys = &compactKeys
	}
	n := 0
	for column, key := range keys {
		if len(v) < len(key) || string(v[:len(key)]) != key {
			return to
		}
		v = v[len(key):]
		if column > 0 {
			row[n] = ','
			n++
		}
		i := 0
		if len(v) > 0 && v[0] == '-' {
			row[n] = '-'
			n++
			i++
		}
		for end := min(i+rowDigits, len(v)); i < end && v[i]-'0' <= 9; i++ {
			row[n] = v[i]
			n++
		}
		if i < len(v) && v[i] == '.' {
			decimals := 0
			for end := min(i+1+rowDecimals, len(v)); i+1+decimals < end && v[i+1+decimals]-'0' <= 9; {
				decimals++
			}
			switch half := column == len(keys)-1 && row[0]&6 == 4; {
			case half:
				n += copy(row[n:], v[i:i+1+decimals])
				for k := decimals; k < halfDigits && decimals > 0; k++ {
					row[n] = '0'
					n++
				}
			case decimals != 1 || v[i+1] != '0':
				return to
			}
			i += 1 + decimals
		}
		v = v[i:]
	}
	if string(v) != "}" {
		return to
	}
	return to[:len(to)+n]
}
