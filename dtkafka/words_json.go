package main

import "slices"

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
