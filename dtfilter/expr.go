package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"math/big"
	"math/bits"
	"slices"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dt/internal/hit"
)

// From EXPR to bitmaps, in four steps:
//
//	scan     tokens, checked from left to right: names, numbers, what may follow what. Most errors come from here.
//	parse    go/parser for precedence, then a walk of its tree into conditions: a field and the set of values it may have.
//	lower    conditions into tests of whole words. A field is cut out of the word by a mask and compared in its place, so
//	         that one test, (word & mask) − lo < n, is all that most conditions need. A field that has several places
//	         (see package hit) has a test for each, joined with one of HEAD; what is known of HEAD from other conditions
//	         drops those that cannot matter.
//	eval     each test makes the bits of 64 words at a time.

// Limits of an expression and of what the ledger is told about it.
const (
	maxExpr        = 4096 // bytes
	maxNesting     = 100  // parentheses in each other, or ! in a row
	maxReasons     = 32
	maxReasonBytes = 200
)

// An exprError says what is wrong with an expression, and where.
type exprError struct {
	Expr string
	Pos  int // byte offset in Expr; len(Expr) is its end
	Msg  string
	Hint string // what to write instead; may be empty
}

// Error gives the message, the expression (of a long one the part around Pos) and a caret under Pos.
func (e *exprError) Error() string {
	const window = 100 // columns
	var line, pad []string
	caret := 0
	for i, r := range e.Expr {
		s, space := string(r), " "
		switch {
		case r == '\t':
			space = "\t"
		case unicode.IsSpace(r):
			s = " "
		case !unicode.IsPrint(r):
			s = "\uFFFD"
		case unicode.Is(unicode.Mn, r):
			space = ""
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) || r >= 0xFF01 && r <= 0xFF60:
			space = "  "
		}
		if i < e.Pos {
			caret++
		}
		line, pad = append(line, s), append(pad, space)
	}
	first, last, before, after := 0, len(line), "", ""
	if len(line) > window {
		first = min(max(0, caret-window/2), len(line)-window)
		last = first + window
	}
	if first > 0 {
		before = "…"
	}
	if last < len(line) {
		after = "…"
	}
	var b strings.Builder
	b.WriteString(e.Msg + "\n  " + before + strings.Join(line[first:last], "") + after + "\n  ")
	if before != "" {
		b.WriteByte(' ')
	}
	b.WriteString(strings.Join(pad[first:caret], "") + "^")
	if e.Hint != "" {
		b.WriteString(" (hint: " + e.Hint + ")")
	}
	return b.String()
}

// A filter is a compiled expression. It does not change, so goroutines may share it.
type filter struct {
	terms        []*test // a word that passes them all is kept
	texts        []string
	needsChamber bool // the expression names CHAMBER
}

// compile makes the filter that keeps the words for which expr holds, or with invert the others.
// Its errors are of type *exprError.
func compile(expr string, invert bool) (*filter, error) {
	p := &compiler{expr: expr}
	if err := p.scan(); err != nil {
		return nil, err
	}
	root, err := p.parse()
	if err != nil {
		return nil, err
	}
	f := &filter{needsChamber: p.needsChamber}
	if invert {
		f.terms = []*test{lower(root.normal(true), allHeads)}
		f.texts = []string{shorten("matches "+root.text, maxReasonBytes, "")}
		return f, nil
	}
	terms, texts := splitTerms(root)
	heads := headSet(allHeads)
	for _, t := range terms {
		n := t.normal(false)
		f.terms = append(f.terms, lower(n, heads))
		if h, ok := n.heads(); ok {
			heads &= h // a word that comes to the next term has passed this one
		}
	}
	f.texts = texts
	return f, nil
}

// reasons says why words are set aside, in the order of eval's bitmaps. All are different.
func (f *filter) reasons() []string { return f.texts }

// eval sets bit j%64 of fail[i][j/64] where words[j] is set aside for reason i, the first that applies, and clears
// the others. Each fail[i] has (len(words)+63)/64 elements. chambers goes with words; it may be nil if the
// expression does not name CHAMBER.
func (f *filter) eval(words []uint64, chambers []uint8, fail [][]uint64) {
	var tail block
	var tailChambers chamberBlock
	for b := 0; b*64 < len(words); b++ {
		rest := words[b*64:]
		live := ^uint64(0)
		var ws *block
		var cs *chamberBlock
		if len(rest) >= 64 {
			ws = (*block)(rest)
			if f.needsChamber {
				cs = (*chamberBlock)(chambers[b*64:])
			}
		} else {
			live = 1<<len(rest) - 1
			copy(tail[:], rest)
			ws = &tail
			if f.needsChamber {
				copy(tailChambers[:], chambers[b*64:len(words)])
				cs = &tailChambers
			}
		}
		for i, t := range f.terms {
			pass := live
			if live != 0 {
				pass &= t.bits(ws, cs, live)
			}
			fail[i][b] = live &^ pass
			live = pass
		}
	}
}

// ---- names

type field int

const (
	fieldHead field = iota
	fieldFPGA
	fieldChannel
	fieldOrbit
	fieldBX
	fieldTDC
	fieldChamber
)

var (
	fieldNames    = []string{"HEAD", "FPGA", "TDC_CHANNEL", "ORBIT_CNT", "BX_COUNTER", "TDC_MEAS", "CHAMBER"}
	functionNames = []string{"in", "between"}
)

const (
	inExample      = "in(TDC_CHANNEL, 17, 61)"
	betweenExample = "between(ORBIT_CNT, 617000, 620000)"
)

func example(function string) string {
	if function == "in" {
		return inExample
	}
	return betweenExample
}

// nearest returns the one of names that was probably meant, or "".
func nearest(name string, names []string) string {
	upper := strings.ToUpper(name)
	best, distance := "", 1+max(1, min(3, utf8.RuneCountInString(name)/2))
	for _, n := range names {
		if d := editDistance(upper, strings.ToUpper(n)); d < distance {
			best, distance = n, d
		}
	}
	if best != "" {
		return best
	}
	for _, n := range names { // BX, ORBIT, CHANNEL; TDC is the shorter of two
		if slices.Contains(strings.Split(n, "_"), upper) && (best == "" || len(n) < len(best)) {
			best = n
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours.
func editDistance(a, b string) int {
	s, t := []rune(a), []rune(b)
	var before []int
	row := make([]int, len(t)+1)
	for j := range row {
		row[j] = j
	}
	for i := range s {
		next := make([]int, len(t)+1)
		next[0] = i + 1
		for j := range t {
			change := row[j]
			if s[i] != t[j] {
				change++
			}
			next[j+1] = min(change, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(t)]
}

// ---- scan

type lexeme struct {
	kind token.Token // a name is IDENT, a number INT
	text string
	pos  int
	num  number
}

func (l lexeme) end() int { return l.pos + len(l.text) }

type compiler struct {
	expr         string
	toks         []lexeme
	starts       []int // of toks in what the parser sees
	needsChamber bool
}

func (p *compiler) errorf(pos int, hint, format string, args ...any) error {
	return &exprError{p.expr, pos, fmt.Sprintf(format, args...), hint}
}

// scan fills toks and refuses all that is no sequence of operands and operators with known names.
func (p *compiler) scan() error {
	if len(p.expr) > maxExpr {
		return p.errorf(maxExpr, "", "the expression is longer than %d bytes", maxExpr)
	}
	p.tokens()
	var open []lexeme // the ( that are not closed; one of a call has the function's name in text
	operand := true   // an operand is expected, or else an operator
	nots := 0
	for i, t := range p.toks {
		var prev, next lexeme
		if i > 0 {
			prev = p.toks[i-1]
		}
		if i+1 < len(p.toks) {
			next = p.toks[i+1]
		}
		inCall := len(open) > 0 && open[len(open)-1].text != "("
		if t.kind == token.NOT {
			nots++
		} else {
			nots = 0
		}
		if len(open) > maxNesting || nots > maxNesting {
			return p.errorf(t.pos, "", "the expression is nested more than %d deep", maxNesting)
		}
		if err := p.refuse(t, prev, next, operand, inCall); err != nil {
			return err
		}
		switch t.kind {
		case token.IDENT, token.INT:
			if !operand {
				return p.errorf(t.pos, "", "an operator is missing before %s", short(t.text))
			}
			if t.kind == token.INT {
				operand = false
			} else if err := p.name(t, next); err != nil {
				return err
			} else if next.kind != token.LPAREN {
				operand = false
			}
		case token.LPAREN:
			if !operand {
				return p.errorf(t.pos, "", "an operator is missing before (")
			}
			if prev.kind == token.IDENT {
				t.text = prev.text
			}
			open = append(open, t)
		case token.RPAREN:
			switch {
			case len(open) == 0:
				return p.errorf(t.pos, "", ") closes no (")
			case operand && prev.kind == token.LPAREN && inCall:
				f := open[len(open)-1].text
				return p.errorf(t.pos, example(f), "%s() needs a field and numbers", f)
			case operand:
				return p.errorf(t.pos, "", "%s is missing before )", missing(prev, inCall))
			}
			open = open[:len(open)-1]
		case token.COMMA:
			if !inCall {
				return p.errorf(t.pos, "&& or ||", "a comma belongs in in() and between() only")
			}
			if operand {
				return p.errorf(t.pos, "", "%s is missing before the comma", missing(prev, inCall))
			}
			operand = true
		case token.SUB, token.ADD: // refuse saw that a number follows
		case token.NOT: // refuse saw that it stands before an operand
		case token.EOF:
			switch {
			case i == 0:
				return p.errorf(0, "HEAD == 2", "the expression is empty")
			case operand:
				return p.errorf(t.pos, "", "%s is missing after %s", missing(prev, inCall), prev.text)
			case len(open) > 0:
				return p.errorf(open[len(open)-1].pos, "", "( is not closed")
			}
		default: // == != < <= > >= && ||
			if operand {
				if i == 0 || prev.kind == token.LPAREN || prev.kind == token.LAND || prev.kind == token.LOR || prev.kind == token.NOT {
					what := "a field or a number"
					if t.kind == token.LAND || t.kind == token.LOR {
						what = "a condition"
					}
					return p.errorf(t.pos, "", "%s is missing before %s", what, t.text)
				}
				hint := ""
				if prev.text == "<" && t.text == ">" {
					hint = "!="
				}
				return p.errorf(t.pos, hint, "%s is missing between %s and %s", missing(prev, inCall), prev.text, t.text)
			}
			operand = true
		}
	}
	return nil
}

// missing says what should follow t.
func missing(t lexeme, inCall bool) string {
	switch t.kind {
	case token.LPAREN:
		if inCall {
			return "a field"
		}
	case token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		return "a field or a number"
	case token.COMMA, token.SUB, token.ADD:
		return "a number"
	}
	return "a condition"
}

// tokens cuts the expression up with the standard library's scanner. Numbers are read here, since Go's have forms
// that ours have not (017 is octal there).
func (p *compiler) tokens() {
	src := []byte(p.expr)
	for i, c := range src {
		if c == '\n' || c == '\r' { // no semicolons at line ends
			src[i] = ' '
		}
	}
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", 1, len(src)), src, nil, scanner.ScanComments)
	for {
		pos, kind, text := s.Scan()
		l := lexeme{kind: kind, text: text, pos: min(int(pos)-1, len(src))}
		switch {
		case kind == token.SEMICOLON && text == "\n":
			continue // at the end
		case kind == token.EOF:
			l.text, l.pos = "", len(src)
			if n := len(p.toks); n > 0 {
				l.pos = p.toks[n-1].end()
			}
		case kind == token.ARROW: // TDC_MEAS<-1
			p.toks = append(p.toks, lexeme{kind: token.LSS, text: "<", pos: l.pos})
			l = lexeme{kind: token.SUB, text: "-", pos: l.pos + 1}
		case kind.IsKeyword():
			l.kind = token.IDENT
		case kind == token.FLOAT || kind == token.IMAG:
			l.kind = token.INT
		case kind.IsOperator():
			l.text = kind.String()
		}
		if l.kind == token.INT {
			var ok bool
			if l.num, ok = parseNumber(l.text); !ok {
				l.kind = token.IMAG // stands for a number that is none of ours
			} else if n := len(p.toks); n > 0 && p.toks[n-1].kind == token.SUB {
				l.num = l.num.negated()
			}
		}
		p.toks = append(p.toks, l)
		if kind == token.EOF {
			return
		}
	}
}

// refuse gives the errors for what people write who know another language.
func (p *compiler) refuse(t, prev, next lexeme, operand, inCall bool) error {
	between := func(written string) error {
		return p.errorf(t.pos, written, "%s is written %s", t.text, written)
	}
	switch t.kind {
	case token.IDENT:
		switch lower := strings.ToLower(t.text); {
		case lower == "and":
			return between("&&")
		case lower == "or":
			return between("||")
		case lower == "not" && operand:
			return between("!")
		case lower == "not":
			return p.errorf(t.pos, "!"+inExample, "not is written !, before the condition")
		case !operand && slices.Contains(functionNames, lower):
			return p.errorf(t.pos, example(lower), "%s stands before its field", lower)
		}
	case token.ASSIGN, token.DEFINE:
		adjacent := prev.end() == t.pos || operand
		switch {
		case adjacent && (prev.text == "<" || prev.text == ">" || prev.text == "!"):
			return p.errorf(prev.pos, prev.text+"=", "%s = is written %s=", prev.text, prev.text)
		case next.pos == t.end() && (next.text == "<" || next.text == ">"):
			return p.errorf(t.pos, next.text+"=", "=%s is written %s=", next.text, next.text)
		case prev.text == "==":
			return p.errorf(prev.pos, "==", "== has two signs, not three")
		}
		return p.errorf(t.pos, "==", "%s does not compare", t.text)
	case token.AND, token.OR:
		return p.errorf(t.pos, t.text+t.text, "a single %s is no operator here", t.text)
	case token.SUB, token.ADD:
		if !operand {
			return p.errorf(t.pos, "", "there is no arithmetic here: %s stands before a number only", t.text)
		}
		if next.kind != token.INT && next.kind != token.IMAG {
			return p.errorf(t.pos, "", "%s stands before a number only", t.text)
		}
	case token.NOT:
		if !operand {
			return p.errorf(t.pos, "!=", "! stands before a condition, not between two things")
		}
		if inCall {
			return p.errorf(t.pos, "", "! has no place among arguments")
		}
	case token.IMAG:
		return p.errorf(t.pos, decimal(t.text), "%s is not a decimal number", short(t.text))
	case token.STRING, token.CHAR:
		return p.errorf(t.pos, "no quotes", "%s is text, not a number", short(t.text))
	case token.INT, token.LPAREN, token.RPAREN, token.COMMA, token.EOF, token.LAND, token.LOR,
		token.EQL, token.NEQ, token.LSS, token.LEQ, token.GTR, token.GEQ:
		return nil
	case token.ADD_ASSIGN, token.SUB_ASSIGN, token.MUL, token.QUO, token.REM, token.INC, token.DEC, token.SHL, token.SHR:
		return p.errorf(t.pos, "", "there is no arithmetic here: %s is no operator", t.text)
	case token.ILLEGAL:
		hint := map[string]string{"≤": "<=", "≥": ">=", "≠": "!=", "∧": "&&", "∨": "||", "¬": "!", "−": "-"}[t.text]
		return p.errorf(t.pos, hint, "%s has no meaning here", printable(t.text))
	default:
		return p.errorf(t.pos, "", "%s has no meaning here", short(t.text))
	}
	return nil
}

// name checks a field's or, where ( follows, a function's name.
func (p *compiler) name(t, next lexeme) error {
	isField, isFunction := slices.Contains(fieldNames, t.text), slices.Contains(functionNames, t.text)
	call := next.kind == token.LPAREN
	switch {
	case call && isFunction:
	case call && isField:
		return p.errorf(t.pos, t.text+" == 2", "%s is a field, not a function", t.text)
	case call:
		hint := nearest(t.text, functionNames)
		if hint == "" {
			hint = "in or between"
		}
		return p.errorf(t.pos, hint, "unknown function %s", short(t.text))
	case isFunction:
		return p.errorf(t.pos, example(t.text), "%s is a function and needs its arguments", t.text)
	case !isField:
		hint := nearest(t.text, fieldNames)
		if hint == "" {
			hint = "fields are " + strings.Join(fieldNames, " ")
		}
		return p.errorf(t.pos, hint, "unknown field %s", short(t.text))
	case t.text == fieldNames[fieldChamber]:
		p.needsChamber = true
	}
	return nil
}

// short cuts what a message quotes.
func short(s string) string { return printable(shorten(s, 40, "")) }

// printable quotes what would disturb a terminal.
func printable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// shorten cuts s + end to at most limit bytes; … stands for what is cut.
func shorten(s string, limit int, end string) string {
	if len(s)+len(end) <= limit {
		return s + end
	}
	n := limit - len("…") - len(end)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…" + end
}

// ---- numbers

// TDC_MEAS of HEAD 4 and 5 counts in 2⁻²⁴ at its finest, so values are kept as integers of that unit: every value
// of every field is exact, and so is every comparison with a decimal number. Infinities are ±infinity.
const (
	scaleBits = 24
	infinity  = 1 << 62
)

// A number is a decimal number in units of 2⁻²⁴.
type number struct {
	floor int64 // the largest integer not above it
	exact bool  // it is that integer
}

func (n number) negated() number {
	if n.exact {
		return number{-n.floor, true}
	}
	return number{-n.floor - 1, false}
}

// parseNumber reads digits with an optional fraction and exponent.
func parseNumber(text string) (number, bool) {
	mantissa, exponent, hasExponent := strings.Cut(strings.ToLower(text), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return number{}, false
	}
	exp := 0
	if hasExponent {
		unsigned := strings.TrimLeft(exponent, "+-")
		if unsigned == "" || len(exponent)-len(unsigned) > 1 || strings.Trim(unsigned, "0123456789") != "" {
			return number{}, false
		}
		const far = 3 * maxExpr // beyond what the digits can make up for
		if unsigned = strings.TrimLeft(unsigned, "0"); len(unsigned) > 5 {
			exp = far
		} else if unsigned != "" {
			exp, _ = strconv.Atoi(unsigned)
			exp = min(exp, far)
		}
		if exponent[0] == '-' {
			exp = -exp
		}
	}
	exp -= len(fraction)
	digits = strings.TrimLeft(digits, "0")
	// Now the number is 0.digits × 10^(len(digits)+exp). All beyond the fields' range, and all between 0 and the
	// finest step, compare alike, so that a huge exponent costs nothing.
	switch size := len(digits) + exp; {
	case digits == "":
		return number{0, true}, true
	case size > 20:
		return number{infinity / 2, false}, true
	case size < -20:
		return number{0, false}, true
	}
	n, _ := new(big.Int).SetString(digits, 10)
	n.Lsh(n, scaleBits)
	power := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(exp, -exp))), nil)
	remainder := new(big.Int)
	if exp >= 0 {
		n.Mul(n, power)
	} else {
		n.DivMod(n, power, remainder)
	}
	if n.BitLen() > 61 {
		return number{infinity / 2, false}, true
	}
	return number{n.Int64(), remainder.Sign() == 0}, true
}

// decimal gives the hint for a number in one of Go's other forms, if it is that.
func decimal(text string) string {
	if v, err := strconv.ParseInt(text, 0, 64); err == nil {
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// An interval holds both its ends. A list of them is sorted, and there are gaps between them.
type interval struct{ lo, hi int64 }

func (n number) atMost() interval { return interval{-infinity, n.floor} }

func (n number) atLeast() interval {
	if n.exact {
		return interval{n.floor, infinity}
	}
	return interval{n.floor + 1, infinity}
}

func (n number) equal() []interval {
	if n.exact {
		return []interval{{n.floor, n.floor}}
	}
	return nil
}

// merged sorts a list and joins what touches.
func merged(list []interval) []interval {
	slices.SortFunc(list, func(a, b interval) int { return cmp.Compare(a.lo, b.lo) })
	var out []interval
	for _, v := range list {
		switch n := len(out); {
		case v.lo > v.hi:
		case n > 0 && v.lo <= out[n-1].hi+1:
			out[n-1].hi = max(out[n-1].hi, v.hi)
		default:
			out = append(out, v)
		}
	}
	return out
}

// complement returns the rest of [lo, hi].
func complement(list []interval, lo, hi int64) []interval {
	var out []interval
	for _, v := range list {
		if lo < v.lo {
			out = append(out, interval{lo, v.lo - 1})
		}
		lo = v.hi + 1
	}
	if lo <= hi {
		out = append(out, interval{lo, hi})
	}
	return out
}

func contains(list []interval, v int64) bool {
	return slices.ContainsFunc(list, func(i interval) bool { return i.lo <= v && v <= i.hi })
}

// ---- parse

type condKind int

const (
	condLeaf condKind = iota
	condAnd
	condOr
	condNot
)

// A condition is a field with the values it may have, or a combination of conditions.
type condition struct {
	kind condKind
	kids []*condition
	text string // in the expression, white space made single

	field  field
	values []interval // in units of 2⁻²⁴
	nan    bool       // not-a-number is among the values
	op     string     // as if the field stood left; or in, between
	nums   []string   // as written
}

// parse gives the tokens to go/parser and makes conditions of its tree. scan has seen them, so that the parser finds
// nothing wrong; what remains are wrong combinations.
func (p *compiler) parse() (*condition, error) {
	var src strings.Builder
	for _, t := range p.toks[:len(p.toks)-1] {
		p.starts = append(p.starts, src.Len())
		if t.kind == token.INT {
			src.WriteString("0 ") // its value is in toks
		} else {
			src.WriteString(t.text + " ")
		}
	}
	tree, err := parser.ParseExpr(src.String())
	if err != nil {
		pos := 0
		if list, ok := err.(scanner.ErrorList); ok && len(list) > 0 {
			pos = p.lexemeAt(list[0].Pos.Offset).pos
		}
		return nil, p.errorf(pos, "", "the expression is not understood here")
	}
	return p.condition(tree)
}

// lexemeAt returns the last token that starts at or before an offset of what the parser saw.
func (p *compiler) lexemeAt(offset int) lexeme {
	return p.toks[max(0, sort.SearchInts(p.starts, offset+1)-1)]
}

func (p *compiler) pos(pos token.Pos) int { return p.lexemeAt(int(pos) - 1).pos }

func (p *compiler) source(n ast.Node) string {
	text := p.expr[p.pos(n.Pos()):p.lexemeAt(int(n.End())-2).end()]
	return strings.Join(strings.Fields(text), " ")
}

func (p *compiler) condition(e ast.Expr) (*condition, error) {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return p.condition(e.X)
	case *ast.UnaryExpr:
		if e.Op != token.NOT {
			break
		}
		kid, err := p.condition(e.X)
		if err != nil {
			return nil, err
		}
		return &condition{kind: condNot, kids: []*condition{kid}, text: p.source(e)}, nil
	case *ast.BinaryExpr:
		if e.Op != token.LAND && e.Op != token.LOR {
			return p.comparison(e)
		}
		left, err := p.condition(e.X)
		if err != nil {
			return nil, err
		}
		right, err := p.condition(e.Y)
		if err != nil {
			return nil, err
		}
		kind := condAnd
		if e.Op == token.LOR {
			kind = condOr
		}
		return &condition{kind: kind, kids: []*condition{left, right}, text: p.source(e)}, nil
	case *ast.CallExpr:
		return p.call(e)
	case *ast.Ident:
		return nil, p.errorf(p.pos(e.Pos()), e.Name+" == 2", "%s stands alone: compare it with a number", e.Name)
	}
	return nil, p.errorf(p.pos(e.Pos()), "", "%s stands alone: compare a field with it", short(p.source(e)))
}

// operand returns a field's name, or else a number.
func (p *compiler) operand(e ast.Expr) (name string, num lexeme, ok bool) {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return e.Name, lexeme{}, true
	case *ast.BasicLit:
		return "", p.lexemeAt(int(e.Pos()) - 1), true
	case *ast.UnaryExpr:
		if lit, isLit := e.X.(*ast.BasicLit); isLit && e.Op != token.NOT {
			num = p.lexemeAt(int(lit.Pos()) - 1)
			if e.Op == token.SUB {
				num.text = "-" + num.text
			}
			return "", num, true
		}
	}
	return "", lexeme{}, false
}

// fieldsOf reports which operands are fields.
func (p *compiler) fieldsOf(operands ...ast.Expr) (are [3]bool) {
	for i, e := range operands {
		name, _, _ := p.operand(e)
		are[i] = name != ""
	}
	return are
}

var mirrored = map[token.Token]token.Token{
	token.EQL: token.EQL, token.NEQ: token.NEQ,
	token.LSS: token.GTR, token.LEQ: token.GEQ, token.GTR: token.LSS, token.GEQ: token.LEQ,
}

func isComparison(e ast.Expr) (*ast.BinaryExpr, bool) {
	b, ok := e.(*ast.BinaryExpr)
	return b, ok && b.Op != token.LAND && b.Op != token.LOR
}

func (p *compiler) comparison(e *ast.BinaryExpr) (*condition, error) {
	if left, ok := isComparison(e.X); ok {
		for { // the first of several
			if further, ok := isComparison(left.X); ok {
				e, left = left, further
				continue
			}
			break
		}
		hint := "two comparisons with && between them"
		if fields := p.fieldsOf(left.X, left.Y, e.Y); fields == [3]bool{false, true, false} { // 1 < FPGA < 3
			hint = fmt.Sprintf("%s && %s %s %s", p.source(left), p.source(left.Y), e.Op, p.source(e.Y))
		}
		return nil, p.errorf(p.pos(e.OpPos), shorten(hint, 80, ""), "comparisons do not chain")
	}
	for _, side := range []ast.Expr{e.X, e.Y} {
		if _, _, ok := p.operand(side); ok {
			continue
		}
		if u, ok := side.(*ast.UnaryExpr); ok && u.Op == token.NOT {
			hint := fmt.Sprintf("!(%s %s %s)", p.source(u.X), e.Op, p.source(e.Y))
			return nil, p.errorf(p.pos(u.Pos()), shorten(hint, 80, ""), "! negates a condition, not a field or a number")
		}
		return nil, p.errorf(p.pos(side.Pos()), "", "a condition cannot be compared: %s takes a field and a number", e.Op)
	}
	op := e.Op
	name, _, _ := p.operand(e.X)
	other, num, _ := p.operand(e.Y)
	switch {
	case name == "" && other == "":
		return nil, p.errorf(p.pos(e.Pos()), "", "%s compares two numbers: one side must be a field", short(p.source(e)))
	case name != "" && other != "":
		return nil, p.errorf(p.pos(e.Y.Pos()), "", "%s and %s are both fields: a field is compared with a number", name, other)
	case name == "":
		_, num, _ = p.operand(e.X)
		name, op = other, mirrored[op]
	}
	c := &condition{field: field(slices.Index(fieldNames, name)), op: op.String(), nums: []string{num.text}, text: p.source(e)}
	switch n := num.num; op {
	case token.EQL:
		c.values = n.equal()
	case token.NEQ:
		c.values, c.nan = complement(n.equal(), -infinity, infinity), true
	case token.LSS:
		c.values = complement([]interval{n.atLeast()}, -infinity, infinity)
	case token.LEQ:
		c.values = []interval{n.atMost()}
	case token.GTR:
		c.values = complement([]interval{n.atMost()}, -infinity, infinity)
	case token.GEQ:
		c.values = []interval{n.atLeast()}
	}
	return c, nil
}

func (p *compiler) call(e *ast.CallExpr) (*condition, error) {
	f := p.source(e.Fun)
	c := &condition{op: f, text: p.source(e)}
	var nums []lexeme
	for i, arg := range e.Args {
		name, num, ok := p.operand(arg)
		switch {
		case !ok:
			return nil, p.errorf(p.pos(arg.Pos()), example(f), "%s() takes a field and numbers, no condition", f)
		case i == 0 && name == "":
			return nil, p.errorf(p.pos(arg.Pos()), example(f), "%s() takes the field first, then numbers", f)
		case i == 0:
			c.field = field(slices.Index(fieldNames, name))
		case name != "":
			return nil, p.errorf(p.pos(arg.Pos()), example(f), "%s() takes numbers after the field, and %s is a field", f, name)
		default:
			nums = append(nums, num)
			c.nums = append(c.nums, num.text)
		}
	}
	switch {
	case len(nums) == 0:
		return nil, p.errorf(p.pos(e.Pos()), example(f), "%s() needs numbers after the field", f)
	case f == "between" && len(nums) != 2:
		return nil, p.errorf(p.pos(e.Pos()), betweenExample, "between() takes a field and two numbers, not %d", len(nums))
	case f == "between":
		lo, hi := nums[0].num.atLeast().lo, nums[1].num.atMost().hi
		if nums[0].num.floor > nums[1].num.floor {
			return nil, p.errorf(p.pos(e.Args[1].Pos()), "the smaller first", "nothing is between %s and %s", short(nums[0].text), short(nums[1].text))
		}
		c.values = merged([]interval{{lo, hi}})
	default:
		for _, n := range nums {
			c.values = append(c.values, n.num.equal()...)
		}
		c.values = merged(c.values)
	}
	return c, nil
}

// ---- reasons

// splitTerms cuts a condition at its outermost &&, and says for each part what a word is like that fails it.
func splitTerms(root *condition) (terms []*condition, texts []string) {
	seen := map[string]bool{}
	var split func(c *condition)
	split = func(c *condition) {
		if c.kind == condAnd {
			split(c.kids[0])
			split(c.kids[1])
		} else if text := c.reason(); !seen[text] { // a term said twice sets nothing more aside
			seen[text] = true
			terms, texts = append(terms, c), append(texts, text)
		}
	}
	split(root)
	if len(terms) > maxReasons {
		rest := &condition{kind: condAnd, kids: slices.Clone(terms[maxReasons-1:])}
		var joined []string
		for _, t := range rest.kids {
			if t.kind == condOr {
				joined = append(joined, "("+t.text+")")
			} else {
				joined = append(joined, t.text)
			}
		}
		rest.text = strings.Join(joined, " && ")
		terms, texts = append(terms[:maxReasons-1], rest), append(texts[:maxReasons-1], rest.reason())
	}
	clear(seen)
	for i, text := range texts {
		short := shortReason(text, "")
		for n := 2; seen[short]; n++ { // long ones may begin alike
			short = shortReason(text, fmt.Sprintf(" [%d]", n))
		}
		seen[short] = true
		texts[i] = short
	}
	return terms, texts
}

func shortReason(text, end string) string {
	if body, ok := strings.CutSuffix(text, ")"); ok && strings.HasPrefix(text, "not (") {
		return shorten(body, maxReasonBytes, ")"+end)
	}
	return shorten(text, maxReasonBytes, end)
}

// reason describes the words that fail c.
func (c *condition) reason() string {
	leaf, fails := c, true
	for leaf.kind == condNot {
		leaf, fails = leaf.kids[0], !fails
	}
	ordered := strings.ContainsAny(leaf.op, "<>")
	if leaf.kind != condLeaf || ordered && !fails && leaf.field == fieldTDC { // not-a-number is neither below nor above
		return "not (" + c.text + ")"
	}
	op := leaf.op
	if !fails { // what holds now is the opposite of what op says
		op = map[string]string{"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in", "between": "not between"}[op]
	}
	name, num := fieldNames[leaf.field], leaf.nums[0]
	if leaf.op == "in" && len(leaf.nums) == 1 { // as == and !=
		op = map[bool]string{true: "==", false: "!="}[fails]
	}
	switch op {
	case "==":
		if leaf.field == fieldHead && num == strconv.Itoa(hit.HeadHit) {
			return "HEAD is not 2 (ancillary word)"
		}
		return name + " is not " + num
	case "!=":
		if leaf.field == fieldHead && num == strconv.Itoa(hit.HeadHit) {
			return "HEAD is 2 (hit)"
		}
		return name + " is " + num
	case "<":
		return name + " not below " + num
	case "<=":
		return name + " above " + num
	case ">":
		return name + " not above " + num
	case ">=":
		return name + " below " + num
	case "in":
		return name + " is none of " + strings.Join(leaf.nums, ", ")
	case "not in":
		return name + " is one of " + strings.Join(leaf.nums, ", ")
	case "between":
		return name + " not between " + num + " and " + leaf.nums[1]
	default:
		return name + " between " + num + " and " + leaf.nums[1]
	}
}

// ---- lower

// A headSet has bit h set if HEAD may be h.
type headSet uint8

const (
	headMask = hit.MaxHead << hit.HeadShift
	allHeads = 1<<(hit.MaxHead+1) - 1
	hits     = headSet(1 << hit.HeadHit)
)

// normal returns c, or its opposite, with every ! carried out on the values, and && and || of any length.
func (c *condition) normal(negate bool) *condition {
	switch c.kind {
	case condNot:
		return c.kids[0].normal(!negate)
	case condLeaf:
		leaf := *c
		if negate {
			leaf.values, leaf.nan = complement(c.values, -infinity, infinity), !c.nan
		}
		return &leaf
	}
	out := &condition{kind: c.kind}
	if negate {
		out.kind = condAnd + condOr - c.kind
	}
	for _, kid := range c.kids {
		if n := kid.normal(negate); n.kind == out.kind {
			out.kids = append(out.kids, n.kids...)
		} else {
			out.kids = append(out.kids, n)
		}
	}
	return out
}

// heads gives the values of HEAD for which a normal condition holds, if it is about nothing else.
func (c *condition) heads() (headSet, bool) {
	if c.kind == condLeaf {
		var set headSet
		for h := range int64(hit.MaxHead + 1) {
			if contains(c.values, h<<scaleBits) {
				set |= 1 << h
			}
		}
		return set, c.field == fieldHead
	}
	set := headSet(0)
	if c.kind == condAnd {
		set = allHeads
	}
	for _, kid := range c.kids {
		h, ok := kid.heads()
		if !ok {
			return 0, false
		}
		if c.kind == condAnd {
			set &= h
		} else {
			set |= h
		}
	}
	return set, true
}

// lower makes the test of a normal condition. Its result matters only for words with a HEAD in live.
func lower(c *condition, live headSet) *test {
	if c.kind == condLeaf {
		return lowerLeaf(c, live)
	}
	// What only asks for HEAD comes first: the rest of && matters where that holds, the rest of || where it does not.
	known, rest := live, live
	var others []*condition
	for _, kid := range c.kids {
		if h, ok := kid.heads(); !ok {
			others = append(others, kid)
		} else if c.kind == condAnd {
			rest &= h
		} else {
			rest &^= h
		}
	}
	var kids []*test
	if rest != known {
		if c.kind == condAnd {
			kids = append(kids, headTest(rest, live))
		} else {
			kids = append(kids, headTest(live&^rest, live))
		}
	}
	for _, kid := range others {
		kids = append(kids, lower(kid, rest))
	}
	if c.kind == condAnd {
		return all(kids...)
	}
	return anyOf(kids...)
}

// A place is where a field is in words of some HEADs.
type place struct {
	heads headSet
	shift int
	width int
	half  bool // a half-float
}

// places of the fields, as package hit has them; words with other HEADs have 0.
var places = [...][]place{
	fieldHead:    {{heads: allHeads, shift: hit.HeadShift, width: 3}},
	fieldFPGA:    {{heads: allHeads, shift: hit.FPGAShift, width: 3}},
	fieldChannel: {{heads: hits, shift: hit.ChannelShift, width: 9}, {heads: 1 << 0, shift: 0, width: 5}},
	fieldOrbit:   {{heads: hits, shift: hit.OrbitShift, width: 32}, {heads: allHeads &^ hits, shift: 24, width: 32}},
	fieldBX: {{heads: hits, shift: hit.BXShift, width: 12}, {heads: 1 << 0, shift: 12, width: 12},
		{heads: 1 << 3, shift: 0, width: 16}},
	fieldTDC: {{heads: hits, shift: 0, width: 5}, {heads: 1 << 0, shift: 7, width: 5}, {heads: 1 << 1, shift: 16, width: 8},
		{heads: 1<<4 | 1<<5, shift: 0, width: 16, half: true}},
}

func lowerLeaf(c *condition, live headSet) *test {
	if c.field == fieldChamber {
		return lowerPlace(wholeValues(c.values, 8), place{width: 8}, true)
	}
	if set, ok := c.heads(); ok {
		return headTest(set&live, live)
	}
	var tests []*test
	zero, decided := live, headSet(0) // HEADs without a place for the field; those for which every value is right
	for _, pl := range places[c.field] {
		zero &^= pl.heads
		heads := pl.heads & live
		if heads == 0 {
			continue
		}
		runs := wholeValues(c.values, pl.width)
		if pl.half {
			runs = halfValues(c.values, c.nan)
		}
		if t := lowerPlace(runs, pl, false); t.op == testTrue {
			decided |= heads
		} else {
			tests = append(tests, all(headTest(heads, live), t))
		}
	}
	if contains(c.values, 0) {
		decided |= zero
	}
	return anyOf(append(tests, headTest(decided, live))...)
}

// wholeValues gives the whole numbers of up to width bits among values.
func wholeValues(values []interval, width int) []interval {
	var out []interval
	for _, v := range values {
		out = append(out, interval{max(0, (v.lo+1<<scaleBits-1)>>scaleBits), min(1<<width-1, v.hi>>scaleBits)})
	}
	return merged(out)
}

// halfValues gives the bit patterns of half-floats among values. Patterns rise with the value, and those with the
// sign bit fall.
func halfValues(values []interval, nan bool) []interval {
	const inf, sign = 0x7c00, 0x8000
	var out []interval
	magnitudes := func(lo, hi, sign int64) {
		first := sort.Search(inf+1, func(h int) bool { return halfMagnitude(h) >= lo })
		end := sort.Search(inf+1, func(h int) bool { return halfMagnitude(h) > hi })
		out = append(out, interval{sign + int64(first), sign + int64(end) - 1})
	}
	for _, v := range values {
		magnitudes(v.lo, v.hi, 0)
		magnitudes(-v.hi, -v.lo, sign)
	}
	if nan {
		out = append(out, interval{inf + 1, sign - 1}, interval{sign + inf + 1, 0xffff})
	}
	return merged(out)
}

// halfMagnitude is the value of a half-float without sign, in units of 2⁻²⁴.
func halfMagnitude(h int) int64 {
	exp, frac := h>>10, int64(h&1023)
	switch exp {
	case 0:
		return frac
	case 31:
		return infinity
	}
	return (1024 + frac) << (exp - 1)
}

// headTest tells words with a HEAD in set from those with another in live; it may say anything of the rest.
func headTest(set, live headSet) *test {
	set &= live
	switch set {
	case 0:
		return &test{op: testFalse}
	case live:
		return &test{op: testTrue}
	}
	for width := range 2 { // one HEAD, or a pair that differs in the last bit: 4 and 5
		for h := 0; h <= hit.MaxHead; h += 1 << width {
			if set == (1<<(1<<width)-1)<<h {
				shift := hit.HeadShift + width
				return &test{op: testRange, mask: ^uint64(0) << shift, lo: uint64(h) << hit.HeadShift, n: 1 << shift}
			}
		}
	}
	// HEAD is the top of a word, so that a run may go on from 7 to 0, as that of all but 2 does.
	var runs []*test
	has := func(h int) bool { return set>>(h&hit.MaxHead)&1 != 0 }
	for h := range hit.MaxHead + 1 {
		if has(h) && !has(h-1) {
			n := 1
			for has(h + n) {
				n++
			}
			runs = append(runs, &test{op: testRange, mask: headMask, lo: uint64(h) << hit.HeadShift, n: uint64(n) << hit.HeadShift})
		}
	}
	return anyOf(runs...)
}

// lowerPlace tests the bits of a place (or of the chamber's byte) for being in one of runs.
func lowerPlace(runs []interval, pl place, chamber bool) *test {
	maxRanges := 3 // with more of them looking up is faster
	if pl.width > tableBits {
		maxRanges = 16 // than a search
	}
	rest := complement(runs, 0, 1<<pl.width-1)
	switch {
	case len(runs) == 0:
		return &test{op: testFalse}
	case len(rest) == 0:
		return &test{op: testTrue}
	case len(rest) < len(runs):
		t := lowerPlace(rest, pl, chamber)
		t.not = !t.not
		return t
	case len(runs) > maxRanges && pl.width > tableBits:
		t := &test{op: testSearch, shift: uint(pl.shift)}
		for _, r := range runs {
			t.from, t.to = append(t.from, uint32(r.lo)), append(t.to, uint32(r.hi))
		}
		return t
	case len(runs) > maxRanges:
		t := &test{op: testTable, chamber: chamber, shift: uint(pl.shift), mask: 1<<pl.width - 1, table: new(table)}
		for _, r := range runs {
			for v := r.lo; v <= r.hi; v++ {
				t.table[v>>6] |= 1 << (v & 63)
			}
		}
		return t
	}
	var tests []*test
	for _, r := range runs {
		tests = append(tests, &test{
			op: testRange, chamber: chamber,
			mask: (1<<pl.width - 1) << pl.shift, lo: uint64(r.lo) << pl.shift, n: uint64(r.hi-r.lo+1) << pl.shift,
		})
	}
	return anyOf(tests...)
}

// all joins tests with &&.
func all(tests ...*test) *test {
	var kids []*test
	for _, t := range tests {
		switch {
		case t.op == testFalse:
			return t
		case t.op == testTrue:
		case t.op == testAll && !t.not:
			kids = append(kids, t.kids...)
		default:
			kids = append(kids, t)
		}
	}
	// HEAD == 2 and a range of a field below HEAD are one range of both.
	for i := 0; i+1 < len(kids); {
		if f := fused(kids[i], kids[i+1]); f != nil {
			kids = slices.Replace(kids, i, i+2, f)
		} else {
			i++
		}
	}
	switch len(kids) {
	case 0:
		return &test{op: testTrue}
	case 1:
		return kids[0]
	}
	return &test{op: testAll, kids: kids}
}

// fused makes one test of an equality and a range in lower bits: the word under both masks is in the range
// moved up by the equal value. It returns nil where the two are not of that sort.
func fused(equal, t *test) *test {
	unit := equal.mask & -equal.mask
	if equal.op != testRange || t.op != testRange || equal.not || t.not || equal.chamber || t.chamber || equal.n != unit || t.mask >= unit {
		return nil
	}
	return &test{op: testRange, mask: equal.mask | t.mask, lo: equal.lo | t.lo, n: t.n}
}

// anyOf joins tests with ||.
func anyOf(tests ...*test) *test {
	var kids []*test
	for _, t := range tests {
		switch {
		case t.op == testTrue:
			return t
		case t.op == testFalse:
		case t.op == testAny && !t.not:
			kids = append(kids, t.kids...)
		default:
			kids = append(kids, t)
		}
	}
	switch len(kids) {
	case 0:
		return &test{op: testFalse}
	case 1:
		return kids[0]
	}
	return &test{op: testAny, kids: kids}
}

// ---- eval

type testOp uint8

const (
	testFalse testOp = iota
	testTrue
	testRange  // (word & mask) − lo < n
	testTable  // table[word>>shift & mask]
	testSearch // the 32 bits from shift are in from[i] … to[i] for some i
	testAll
	testAny
)

type (
	block        [64]uint64
	chamberBlock [64]uint8
)

// A table has a bit for each value of a field of up to tableBits.
const tableBits = 16

type table [1 << tableBits / 64]uint64

type test struct {
	op          testOp
	not         bool // the other way round; not of testFalse and testTrue
	chamber     bool // of the chamber in place of the word
	shift       uint
	mask, lo, n uint64
	table       *table
	from, to    []uint32
	kids        []*test
}

// bits has bit j set where word j passes. Only the bits in live matter.
func (t *test) bits(ws *block, cs *chamberBlock, live uint64) uint64 {
	var m uint64
	switch t.op {
	case testTrue:
		m = live
	case testRange:
		switch {
		case t.chamber:
			m = chamberRangeBits(cs, t.lo, t.n)
		case t.lo == 0:
			m = belowBits(ws, t.mask, t.n)
		case t.mask == headMask:
			m = topBits(ws, t.lo, t.n)
		default:
			m = rangeBits(ws, t.mask, t.lo, t.n)
		}
	case testTable:
		if t.chamber {
			m = chamberTableBits(cs, t.table)
		} else {
			m = tableBitsOf(ws, t.shift, t.mask, t.table)
		}
	case testSearch:
		m = searchBits(ws, t.shift, t.from, t.to)
	case testAll:
		m = live
		for _, kid := range t.kids {
			if m &= kid.bits(ws, cs, m); m == 0 {
				break
			}
		}
	case testAny:
		for _, kid := range t.kids {
			if m |= kid.bits(ws, cs, live&^m); live&^m == 0 {
				break
			}
		}
	}
	if t.not {
		m = ^m
	}
	return m
}

// push moves m up by one bit and puts x < n below. The compiler makes one compare and one add-with-carry of it,
// which is why the loops below go from the last word to the first.
func push(m, x, n uint64) uint64 {
	_, less := bits.Sub64(x, n, 0)
	m, _ = bits.Add64(m, m, less)
	return m
}

func rangeBits(ws *block, mask, lo, n uint64) (m uint64) {
	for i := len(ws) - 8; i >= 0; i -= 8 {
		w := (*[8]uint64)(ws[i:])
		m = push(m, w[7]&mask-lo, n)
		m = push(m, w[6]&mask-lo, n)
		m = push(m, w[5]&mask-lo, n)
		m = push(m, w[4]&mask-lo, n)
		m = push(m, w[3]&mask-lo, n)
		m = push(m, w[2]&mask-lo, n)
		m = push(m, w[1]&mask-lo, n)
		m = push(m, w[0]&mask-lo, n)
	}
	return m
}

// belowBits is rangeBits with lo = 0, as in most tests of one field.
func belowBits(ws *block, mask, n uint64) (m uint64) {
	for i := len(ws) - 8; i >= 0; i -= 8 {
		w := (*[8]uint64)(ws[i:])
		m = push(m, w[7]&mask, n)
		m = push(m, w[6]&mask, n)
		m = push(m, w[5]&mask, n)
		m = push(m, w[4]&mask, n)
		m = push(m, w[3]&mask, n)
		m = push(m, w[2]&mask, n)
		m = push(m, w[1]&mask, n)
		m = push(m, w[0]&mask, n)
	}
	return m
}

// topBits is rangeBits for HEAD: the bits below it are below the unit of lo and n, and change nothing.
func topBits(ws *block, lo, n uint64) (m uint64) {
	for i := len(ws) - 8; i >= 0; i -= 8 {
		w := (*[8]uint64)(ws[i:])
		m = push(m, w[7]-lo, n)
		m = push(m, w[6]-lo, n)
		m = push(m, w[5]-lo, n)
		m = push(m, w[4]-lo, n)
		m = push(m, w[3]-lo, n)
		m = push(m, w[2]-lo, n)
		m = push(m, w[1]-lo, n)
		m = push(m, w[0]-lo, n)
	}
	return m
}

func chamberRangeBits(cs *chamberBlock, lo, n uint64) (m uint64) {
	for i := len(cs) - 8; i >= 0; i -= 8 {
		c := (*[8]uint8)(cs[i:])
		m = push(m, uint64(c[7])-lo, n)
		m = push(m, uint64(c[6])-lo, n)
		m = push(m, uint64(c[5])-lo, n)
		m = push(m, uint64(c[4])-lo, n)
		m = push(m, uint64(c[3])-lo, n)
		m = push(m, uint64(c[2])-lo, n)
		m = push(m, uint64(c[1])-lo, n)
		m = push(m, uint64(c[0])-lo, n)
	}
	return m
}

func tableBitsOf(ws *block, shift uint, mask uint64, t *table) (m uint64) {
	for i := len(ws) - 1; i >= 0; i-- {
		v := ws[i] >> (shift & 63) & mask
		m = m<<1 | t[v>>6&(1<<tableBits/64-1)]>>(v&63)&1
	}
	return m
}

func chamberTableBits(cs *chamberBlock, t *table) (m uint64) {
	for i := len(cs) - 1; i >= 0; i-- {
		v := cs[i]
		m = m<<1 | t[v>>6]>>(v&63)&1
	}
	return m
}

func searchBits(ws *block, shift uint, from, to []uint32) (m uint64) {
	for i := len(ws) - 1; i >= 0; i-- {
		v := uint32(ws[i] >> (shift & 63))
		first, n := 0, len(from)
		for n > 1 { // from[first] is the last one not above v, if any
			half := n / 2
			if from[first+half] <= v {
				first += half
			}
			n -= half
		}
		m <<= 1
		if from[first] <= v && v <= to[first] {
			m |= 1
		}
	}
	return m
}
