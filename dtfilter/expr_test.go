package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"dt/internal/hit"
)

const defaultTestExpr = "HEAD == 2 && TDC_CHANNEL <= 128"

func TestExprErrors(t *testing.T) {
	tests := []struct{ name, expr, want string }{
		{"misspelt field", `HEAD == 2 && TDC_CHANEL <= 128`, `
unknown field TDC_CHANEL
  HEAD == 2 && TDC_CHANEL <= 128
               ^ (hint: TDC_CHANNEL)`},
		{"lower-case field", `head == 2`, `
unknown field head
  head == 2
  ^ (hint: HEAD)`},
		{"short field", `HEAD == 2 && BX < 100`, `
unknown field BX
  HEAD == 2 && BX < 100
               ^ (hint: BX_COUNTER)`},
		{"short field with two candidates", `TDC > 3`, `
unknown field TDC
  TDC > 3
  ^ (hint: TDC_MEAS)`},
		{"unknown field", `HEAD == 2 && LAYER == 1`, `
unknown field LAYER
  HEAD == 2 && LAYER == 1
               ^ (hint: fields are HEAD FPGA TDC_CHANNEL ORBIT_CNT BX_COUNTER TDC_MEAS CHAMBER)`},
		{"a Go keyword as field", `HEAD == 2 && range == 1`, `
unknown field range
  HEAD == 2 && range == 1
               ^ (hint: fields are HEAD FPGA TDC_CHANNEL ORBIT_CNT BX_COUNTER TDC_MEAS CHAMBER)`},
		{"misspelt function", `HEAD == 2 && betwen(ORBIT_CNT, 1, 2)`, `
unknown function betwen
  HEAD == 2 && betwen(ORBIT_CNT, 1, 2)
               ^ (hint: between)`},
		{"lower-case name of the wrong case", `IN(TDC_CHANNEL, 17)`, `
unknown function IN
  IN(TDC_CHANNEL, 17)
  ^ (hint: in)`},
		{"unknown function", `sqrt(TDC_MEAS) == 2`, `
unknown function sqrt
  sqrt(TDC_MEAS) == 2
  ^ (hint: in or between)`},
		{"field as function", `HEAD(2)`, `
HEAD is a field, not a function
  HEAD(2)
  ^ (hint: HEAD == 2)`},
		{"function without arguments", `HEAD == 2 && in`, `
in is a function and needs its arguments
  HEAD == 2 && in
               ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"function behind the field", `TDC_CHANNEL in (17, 61)`, `
in stands before its field
  TDC_CHANNEL in (17, 61)
              ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"function with no arguments", `in()`, `
in() needs a field and numbers
  in()
     ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"function cut", `HEAD == 2 && in(`, `
a field is missing after (
  HEAD == 2 && in(
                  ^`},
		{"in without numbers", `in(TDC_CHANNEL)`, `
in() needs numbers after the field
  in(TDC_CHANNEL)
  ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"in with the field second", `in(17, TDC_CHANNEL)`, `
in() takes the field first, then numbers
  in(17, TDC_CHANNEL)
     ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"in with two fields", `in(TDC_CHANNEL, FPGA)`, `
in() takes numbers after the field, and FPGA is a field
  in(TDC_CHANNEL, FPGA)
                  ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"in of a condition", `in(TDC_CHANNEL == 2, 3)`, `
in() takes a field and numbers, no condition
  in(TDC_CHANNEL == 2, 3)
     ^ (hint: in(TDC_CHANNEL, 17, 61))`},
		{"in with a trailing comma", `in(TDC_CHANNEL, 3,)`, `
a number is missing before )
  in(TDC_CHANNEL, 3,)
                    ^`},
		{"in with two commas", `in(TDC_CHANNEL,, 3)`, `
a number is missing before the comma
  in(TDC_CHANNEL,, 3)
                 ^`},
		{"between with one number", `between(ORBIT_CNT, 617000)`, `
between() takes a field and two numbers, not 1
  between(ORBIT_CNT, 617000)
  ^ (hint: between(ORBIT_CNT, 617000, 620000))`},
		{"between with three numbers", `between(ORBIT_CNT, 1, 2, 3)`, `
between() takes a field and two numbers, not 3
  between(ORBIT_CNT, 1, 2, 3)
  ^ (hint: between(ORBIT_CNT, 617000, 620000))`},
		{"between the wrong way round", `between(ORBIT_CNT, 620000, 617000)`, `
nothing is between 620000 and 617000
  between(ORBIT_CNT, 620000, 617000)
                     ^ (hint: the smaller first)`},
		{"single equals sign", `HEAD = 2`, `
= does not compare
  HEAD = 2
       ^ (hint: ==)`},
		{"single equals sign after a condition", `FPGA == 1 && HEAD=2`, `
= does not compare
  FPGA == 1 && HEAD=2
                   ^ (hint: ==)`},
		{"three equals signs", `HEAD === 2`, `
== has two signs, not three
  HEAD === 2
       ^ (hint: ==)`},
		{"exclamation mark and space", `HEAD ! = 2`, `
! stands before a condition, not between two things
  HEAD ! = 2
       ^ (hint: !=)`},
		{"less and equals apart", `FPGA < = 2`, `
< = is written <=
  FPGA < = 2
       ^ (hint: <=)`},
		{"equals and less", `FPGA =< 2`, `
=< is written <=
  FPGA =< 2
       ^ (hint: <=)`},
		{"equals and greater", `FPGA => 2`, `
=> is written >=
  FPGA => 2
       ^ (hint: >=)`},
		{"less and greater", `FPGA <> 2`, `
a field or a number is missing between < and >
  FPGA <> 2
        ^ (hint: !=)`},
		{"colon and equals", `FPGA := 2`, `
:= does not compare
  FPGA := 2
       ^ (hint: ==)`},
		{"and", `HEAD == 2 and FPGA == 1`, `
and is written &&
  HEAD == 2 and FPGA == 1
            ^ (hint: &&)`},
		{"OR", `HEAD == 2 OR FPGA == 1`, `
OR is written ||
  HEAD == 2 OR FPGA == 1
            ^ (hint: ||)`},
		{"not", `not HEAD == 2`, `
not is written !
  not HEAD == 2
  ^ (hint: !)`},
		{"not in", `TDC_CHANNEL not in (1, 2)`, `
not is written !, before the condition
  TDC_CHANNEL not in (1, 2)
              ^ (hint: !in(TDC_CHANNEL, 17, 61))`},
		{"single ampersand", `HEAD == 2 & FPGA == 1`, `
a single & is no operator here
  HEAD == 2 & FPGA == 1
            ^ (hint: &&)`},
		{"single bar", `HEAD == 2 | FPGA == 1`, `
a single | is no operator here
  HEAD == 2 | FPGA == 1
            ^ (hint: ||)`},
		{"three ampersands", `HEAD == 2 &&& FPGA == 1`, `
a single & is no operator here
  HEAD == 2 &&& FPGA == 1
              ^ (hint: &&)`},
		{"missing closing parenthesis", `HEAD == 2 && (FPGA == 1 || FPGA == 2`, `
( is not closed
  HEAD == 2 && (FPGA == 1 || FPGA == 2
               ^`},
		{"missing closing parenthesis of a function", `in(TDC_CHANNEL, 1, 2`, `
( is not closed
  in(TDC_CHANNEL, 1, 2
    ^`},
		{"missing opening parenthesis", `HEAD == 2 && FPGA == 1)`, `
) closes no (
  HEAD == 2 && FPGA == 1)
                        ^`},
		{"empty parentheses", `HEAD == 2 && ()`, `
a condition is missing before )
  HEAD == 2 && ()
                ^`},
		{"chained comparison", `1 < FPGA < 3`, `
comparisons do not chain
  1 < FPGA < 3
           ^ (hint: 1 < FPGA && FPGA < 3)`},
		{"chained equality", `HEAD == 2 && FPGA == TDC_CHANNEL == 3`, `
comparisons do not chain
  HEAD == 2 && FPGA == TDC_CHANNEL == 3
                                   ^ (hint: two comparisons with && between them)`},
		{"three in a chain", `1 < FPGA < 3 < 4`, `
comparisons do not chain
  1 < FPGA < 3 < 4
           ^ (hint: 1 < FPGA && FPGA < 3)`},
		{"condition compared", `(HEAD == 2) == 1`, `
a condition cannot be compared: == takes a field and a number
  (HEAD == 2) == 1
  ^`},
		{"comparison with a condition", `FPGA == (HEAD == 2)`, `
a condition cannot be compared: == takes a field and a number
  FPGA == (HEAD == 2)
          ^`},
		{"function compared", `in(FPGA, 1) == 1`, `
a condition cannot be compared: == takes a field and a number
  in(FPGA, 1) == 1
  ^`},
		{"two numbers", `HEAD == 2 && 1 == 1`, `
1 == 1 compares two numbers: one side must be a field
  HEAD == 2 && 1 == 1
               ^`},
		{"two fields", `HEAD == 2 && FPGA == TDC_CHANNEL`, `
FPGA and TDC_CHANNEL are both fields: a field is compared with a number
  HEAD == 2 && FPGA == TDC_CHANNEL
                       ^`},
		{"field alone", `HEAD == 2 && FPGA`, `
FPGA stands alone: compare it with a number
  HEAD == 2 && FPGA
               ^ (hint: FPGA == 2)`},
		{"field alone after not", `!FPGA`, `
FPGA stands alone: compare it with a number
  !FPGA
   ^ (hint: FPGA == 2)`},
		{"number alone", `HEAD == 2 && 1`, `
1 stands alone: compare a field with it
  HEAD == 2 && 1
               ^`},
		{"negative number alone", `-1 || HEAD == 2`, `
-1 stands alone: compare a field with it
  -1 || HEAD == 2
  ^`},
		{"not before a field that is compared", `!HEAD == 2`, `
! negates a condition, not a field or a number
  !HEAD == 2
  ^ (hint: !(HEAD == 2))`},
		{"not between", `HEAD ! 2`, `
! stands before a condition, not between two things
  HEAD ! 2
       ^ (hint: !=)`},
		{"not among arguments", `in(TDC_CHANNEL, !3)`, `
! has no place among arguments
  in(TDC_CHANNEL, !3)
                  ^`},
		{"left operand missing", `== 2`, `
a field or a number is missing before ==
  == 2
  ^`},
		{"left operand missing after and", `HEAD == 2 && <= 128`, `
a field or a number is missing before <=
  HEAD == 2 && <= 128
               ^`},
		{"right operand missing", `HEAD ==`, `
a field or a number is missing after ==
  HEAD ==
         ^`},
		{"right operand missing before and", `HEAD == && FPGA == 1`, `
a field or a number is missing between == and &&
  HEAD == && FPGA == 1
          ^`},
		{"condition missing at the end", `HEAD == 2 &&`, `
a condition is missing after &&
  HEAD == 2 &&
              ^`},
		{"condition missing between", `HEAD == 2 && || FPGA == 1`, `
a condition is missing before ||
  HEAD == 2 && || FPGA == 1
               ^`},
		{"operator missing before a number", `HEAD 2`, `
an operator is missing before 2
  HEAD 2
       ^`},
		{"operator missing before a field", `HEAD == 2 FPGA == 1`, `
an operator is missing before FPGA
  HEAD == 2 FPGA == 1
            ^`},
		{"operator missing before a parenthesis", `HEAD == 2 (FPGA == 1)`, `
an operator is missing before (
  HEAD == 2 (FPGA == 1)
            ^`},
		{"comma outside", `HEAD == 2, FPGA == 1`, `
a comma belongs in in() and between() only
  HEAD == 2, FPGA == 1
           ^ (hint: && or ||)`},
		{"arithmetic plus", `FPGA + 1 == 2`, `
there is no arithmetic here: + stands before a number only
  FPGA + 1 == 2
       ^`},
		{"arithmetic times", `FPGA * 2 == 2`, `
there is no arithmetic here: * is no operator
  FPGA * 2 == 2
       ^`},
		{"arithmetic modulo", `TDC_CHANNEL % 4 == 0`, `
there is no arithmetic here: % is no operator
  TDC_CHANNEL % 4 == 0
              ^`},
		{"minus before a field", `-FPGA == 1`, `
- stands before a number only
  -FPGA == 1
  ^`},
		{"two minus signs", `FPGA > - -1`, `
- stands before a number only
  FPGA > - -1
         ^`},
		{"shift", `FPGA << 2`, `
there is no arithmetic here: << is no operator
  FPGA << 2
       ^`},
		{"hexadecimal number", `TDC_CHANNEL == 0x1F`, `
0x1F is not a decimal number
  TDC_CHANNEL == 0x1F
                 ^ (hint: 31)`},
		{"number with underscores", `ORBIT_CNT > 617_000`, `
617_000 is not a decimal number
  ORBIT_CNT > 617_000
              ^ (hint: 617000)`},
		{"imaginary number", `FPGA == 2i`, `
2i is not a decimal number
  FPGA == 2i
          ^`},
		{"exponent without digits", `ORBIT_CNT > 6e`, `
6e is not a decimal number
  ORBIT_CNT > 6e
              ^`},
		{"number stuck to a name", `FPGA == 2x`, `
an operator is missing before x
  FPGA == 2x
           ^`},
		{"two points", `TDC_MEAS < 1.2.3`, `
an operator is missing before .3
  TDC_MEAS < 1.2.3
                ^`},
		{"text", `HEAD == "2"`, `
"2" is text, not a number
  HEAD == "2"
          ^ (hint: no quotes)`},
		{"character", `HEAD == '2'`, `
'2' is text, not a number
  HEAD == '2'
          ^ (hint: no quotes)`},
		{"comment", `HEAD == 2 // hits`, `
// hits has no meaning here
  HEAD == 2 // hits
            ^`},
		{"semicolon", `HEAD == 2; FPGA == 1`, `
; has no meaning here
  HEAD == 2; FPGA == 1
           ^`},
		{"brackets", `TDC_CHANNEL == [17]`, `
[ has no meaning here
  TDC_CHANNEL == [17]
                 ^`},
		{"mathematical sign", `TDC_CHANNEL ≤ 128`, `
≤ has no meaning here
  TDC_CHANNEL ≤ 128
              ^ (hint: <=)`},
		{"accents before the caret", `TDC_CHANNÉL == 2 && FPGA = 1`, `
unknown field TDC_CHANNÉL
  TDC_CHANNÉL == 2 && FPGA = 1
  ^ (hint: TDC_CHANNEL)`},
		{"multi-byte text before the caret", `FPGA == é`, `
unknown field é
  FPGA == é
          ^ (hint: fields are HEAD FPGA TDC_CHANNEL ORBIT_CNT BX_COUNTER TDC_MEAS CHAMBER)`},
		{"control character", "HEAD == \x01 2", `
"\x01" has no meaning here
  HEAD == � 2
          ^`},
		{"tab before the caret", "HEAD == 2 &&\tFGPA == 1", "unknown field FGPA\n  HEAD == 2 &&\tFGPA == 1\n              \t^ (hint: FPGA)"},
		{"line end before the caret", "HEAD == 2 &&\n  FGPA == 1", `
unknown field FGPA
  HEAD == 2 &&   FGPA == 1
                 ^ (hint: FPGA)`},
		{"empty", ``, `
the expression is empty
  
  ^ (hint: HEAD == 2)`},
		{"white space", ``, `
the expression is empty
  
  ^ (hint: HEAD == 2)`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := compile(tt.expr, false)
			if err == nil {
				t.Fatalf("%q compiles to %q", tt.expr, f.reasons())
			}
			if got := err.Error(); got != strings.TrimPrefix(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestExprErrorBounds(t *testing.T) {
	deep := func(open, closed string, n int) string {
		return strings.Repeat(open, n) + "HEAD == 2" + strings.Repeat(closed, n)
	}
	for _, tt := range []struct {
		name, expr, msg string
		pos             int
	}{
		{"too long", "HEAD == 2" + strings.Repeat(" ", maxExpr), "the expression is longer than 4096 bytes", maxExpr},
		{"parentheses too deep", deep("(", ")", maxNesting+1), "the expression is nested more than 100 deep", maxNesting + 1},
		{"not too deep", "!" + deep("!(", ")", maxNesting+1), "the expression is nested more than 100 deep", 2*maxNesting + 3},
		{"nots in a row", strings.Repeat("!", maxNesting+1) + "HEAD == 2", "the expression is nested more than 100 deep", maxNesting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := compile(tt.expr, false)
			var e *exprError
			if !errors.As(err, &e) || e.Msg != tt.msg || e.Pos != tt.pos {
				t.Errorf("got %+v", e)
			}
		})
	}
	for _, expr := range []string{
		deep("(", ")", maxNesting), deep("!(", ")", maxNesting), strings.Repeat("!", maxNesting) + "(HEAD == 2)",
		"HEAD == 2" + strings.Repeat("&&FPGA!=3", (maxExpr-9)/9), "TDC_MEAS < " + strings.Repeat("9", maxExpr-11),
	} {
		if _, err := compile(expr, false); err != nil {
			t.Error(err)
		}
	}
}

// A long expression is shown around the caret.
func TestExprErrorWindow(t *testing.T) {
	long := strings.Repeat("FPGA == 1 || ", 100)
	_, err := compile(long+"FGPA == 1 || "+long+"FPGA == 1", false)
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 3 || utf8.RuneCountInString(lines[1]) != 2+1+100+1 {
		t.Fatalf("got %q", lines)
	}
	if at := strings.Index(lines[2], "^"); !strings.HasPrefix(string([]rune(lines[1])[at:]), "FGPA == 1") {
		t.Errorf("the caret is at the wrong place:\n%s", err)
	}
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct {
		expr   string
		invert bool
		want   []string
	}{
		{defaultTestExpr, false, []string{"HEAD is not 2 (ancillary word)", "TDC_CHANNEL above 128"}},
		{"2 == HEAD && 128 >= TDC_CHANNEL", false, []string{"HEAD is not 2 (ancillary word)", "TDC_CHANNEL above 128"}},
		{"HEAD != 2", false, []string{"HEAD is 2 (hit)"}},
		{"ORBIT_CNT >= 617000 && FPGA == 1 && TDC_CHANNEL != 138", false,
			[]string{"ORBIT_CNT below 617000", "FPGA is not 1", "TDC_CHANNEL is 138"}},
		{"BX_COUNTER < 3564 && TDC_MEAS > -0.5", false, []string{"BX_COUNTER not below 3564", "TDC_MEAS not above -0.5"}},
		{"in(TDC_CHANNEL,17,  61)", false, []string{"TDC_CHANNEL is none of 17, 61"}},
		{"in(TDC_CHANNEL, 17) && !in(FPGA, 3)", false, []string{"TDC_CHANNEL is not 17", "FPGA is 3"}},
		{"!in(TDC_CHANNEL, 17, 61)", false, []string{"TDC_CHANNEL is one of 17, 61"}},
		{"between(ORBIT_CNT, 617000, 620000)", false, []string{"ORBIT_CNT not between 617000 and 620000"}},
		{"!between(ORBIT_CNT, -1, 6e5)", false, []string{"ORBIT_CNT between -1 and 6e5"}},
		{"!(FPGA < 2) && !(FPGA >= 4)", false, []string{"FPGA below 2", "FPGA not below 4"}},
		{"!(TDC_MEAS < 2)", false, []string{"not (!(TDC_MEAS < 2))"}},
		{"(HEAD == 2 && (FPGA == 0 ||\n\tFPGA == 1)) && CHAMBER != 255", false,
			[]string{"HEAD is not 2 (ancillary word)", "not (FPGA == 0 || FPGA == 1)", "CHAMBER is 255"}},
		{"HEAD == 2 && (HEAD == 2) && FPGA == 0", false, []string{"HEAD is not 2 (ancillary word)", "FPGA is not 0"}},
		{" HEAD == 2  && FPGA == 0 ", true, []string{"matches HEAD == 2 && FPGA == 0"}},
	} {
		if got := mustCompile(t, tt.expr, tt.invert).reasons(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", tt.expr, got, tt.want)
		}
	}
}

func TestReasonsBounds(t *testing.T) {
	var terms []string
	for i := range 60 {
		terms = append(terms, fmt.Sprintf("TDC_CHANNEL != %d", i))
	}
	terms[35] = "(FPGA == 0 || FPGA == 1)"
	got := mustCompile(t, strings.Join(terms, " && "), false).reasons()
	if len(got) != maxReasons || got[30] != "TDC_CHANNEL is 30" || !strings.HasPrefix(got[31], "not (TDC_CHANNEL != 31 && TDC_CHANNEL != 32 &&") ||
		!strings.HasSuffix(got[31], "…)") || len(got[31]) > maxReasonBytes || !strings.Contains(got[31], "TDC_CHANNEL != 34 && (FPGA == 0 || FPGA == 1)") {
		t.Errorf("got %d: %q", len(got), got)
	}
	long := "(" + strings.Repeat("FPGA == 1 || ", 50) + "FPGA == 2)"
	longer := "(" + strings.Repeat("FPGA == 1 || ", 50) + "FPGA == 3)"
	got = mustCompile(t, long+"&&"+longer, false).reasons()
	if len(got) != 2 || got[0] == got[1] || len(got[0]) > maxReasonBytes || len(got[1]) > maxReasonBytes {
		t.Errorf("two long terms that begin alike: %q", got)
	}
	if got := mustCompile(t, long, true).reasons(); len(got) != 1 || len(got[0]) != maxReasonBytes {
		t.Errorf("inverted: %q", got)
	}
}

// ---- evaluation

// A slow filter, which shares nothing with the fast one but package hit.
type slowTerm func(w uint64, chamber uint8) bool

func slowValue(name string, w uint64, chamber uint8) float64 {
	switch name {
	case "HEAD":
		return float64(hit.Head(w))
	case "FPGA":
		return float64(hit.FPGA(w))
	case "TDC_CHANNEL":
		return float64(hit.Channel(w))
	case "ORBIT_CNT":
		return float64(hit.Orbit(w))
	case "BX_COUNTER":
		return float64(hit.BX(w))
	case "CHAMBER":
		return float64(chamber)
	}
	if hit.HasHalf(w) {
		return hit.Half(w)
	}
	return float64(hit.TDC(w))
}

func compareSlow(op string, a, b float64) bool {
	switch op {
	case "==":
		return a == b
	case "!=":
		return a != b
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}

// A grower makes random expressions and, apart from the compiler, what they mean. pool holds numbers of each field that occur in the words.
type grower struct {
	*rand.Rand
	pool map[string][]string
}

func (g *grower) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *grower) number(name string) (string, float64) {
	text := g.pick("0", "1", "2", "-1", "4", "5", "128", "138", "255", "1e30", "-2.5e-9", "0.1", "6e5", "3387000000", "00031", "65504", "-0.5", "1e-400", "-1e400", "4294967295", "4294967296", ".5", "7.")
	if p := g.pool[name]; g.IntN(4) != 0 && len(p) > 0 {
		text = g.pick(p...)
	}
	v, _ := strconv.ParseFloat(text, 64)
	if v == 0 && strings.Contains(text, "e-400") {
		v = math.SmallestNonzeroFloat64
	}
	if math.IsInf(v, 0) { // infinite halves are above every number
		v = math.Copysign(math.MaxFloat64, v)
	}
	return text, v
}

func (g *grower) tree(depth int) (string, slowTerm) {
	if depth > 0 && g.IntN(4) != 0 {
		a, fa := g.tree(depth - 1)
		if g.IntN(4) == 0 {
			return "!(" + a + ")", func(w uint64, c uint8) bool { return !fa(w, c) }
		}
		b, fb := g.tree(depth - 1)
		if g.IntN(2) == 0 {
			return "(" + a + ") && " + b, func(w uint64, c uint8) bool { return fa(w, c) && fb(w, c) }
		}
		return "(" + a + " || " + b + ")", func(w uint64, c uint8) bool { return fa(w, c) || fb(w, c) }
	}
	name := g.pick(append([]string{"HEAD", "HEAD", "HEAD"}, fieldNames...)...)
	if name == "HEAD" && g.IntN(2) == 0 {
		return "HEAD == 2", func(w uint64, _ uint8) bool { return hit.IsHit(w) }
	}
	switch g.IntN(6) {
	case 0:
		var texts []string
		var nums []float64
		for range 1 + g.IntN(9)*(1+g.IntN(2)*2) {
			text, v := g.number(name)
			texts, nums = append(texts, text), append(nums, v)
		}
		return "in(" + name + ", " + strings.Join(texts, ", ") + ")", func(w uint64, c uint8) bool {
			for _, v := range nums {
				if slowValue(name, w, c) == v {
					return true
				}
			}
			return false
		}
	case 1:
		a, va := g.number(name)
		b, vb := g.number(name)
		if va > vb {
			a, va, b, vb = b, vb, a, va
		}
		return "between(" + name + "," + a + "," + b + ")", func(w uint64, c uint8) bool {
			x := slowValue(name, w, c)
			return va <= x && x <= vb
		}
	case 2:
		op := g.pick("==", "!=", "<", "<=", ">", ">=")
		text, v := g.number(name)
		return text + op + name, func(w uint64, c uint8) bool { return compareSlow(op, v, slowValue(name, w, c)) }
	}
	op := g.pick("==", "!=", "<", "<=", ">", ">=")
	text, v := g.number(name)
	return name + op + text, func(w uint64, c uint8) bool { return compareSlow(op, slowValue(name, w, c), v) }
}

func randomWords(r *rand.Rand, n int) ([]uint64, []uint8) {
	words, chambers := make([]uint64, n), make([]uint8, n)
	for i := range words {
		words[i] = r.Uint64()
		if r.IntN(2) == 0 {
			words[i] = hit.NewHit(r.IntN(2), r.IntN(140), uint32(617000+r.IntN(100)), r.IntN(3564), r.IntN(31))
		} else if r.IntN(3) == 0 { // few different payloads, so that equalities hold
			words[i] = words[i]&^0xffffff | uint64([]uint16{0, 1, 0x8000, 0x3c00, 0xb800, 0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7bff}[r.IntN(10)])
		}
		chambers[i] = []uint8{0, 1, 2, 3, 4, 255, uint8(r.Uint32())}[r.IntN(7)]
	}
	return words, chambers
}

func poolOf(words []uint64, chambers []uint8) map[string][]string {
	pool := map[string][]string{}
	for i, w := range words {
		for _, name := range fieldNames {
			if v := slowValue(name, w, chambers[i]); !math.IsNaN(v) && !math.IsInf(v, 0) {
				pool[name] = append(pool[name], exactDecimal(v))
			}
		}
	}
	return pool
}

// exactDecimal writes all digits: the shortest form that gives the same float64 is a little beside it.
func exactDecimal(v float64) string {
	if v == math.Trunc(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'f', 24, 64)
}

func newFail(f *filter, n int) [][]uint64 {
	fail := make([][]uint64, len(f.reasons()))
	for i := range fail {
		fail[i] = make([]uint64, (n+63)/64)
		for j := range fail[i] {
			fail[i][j] = 0xdeadbeefdeadbeef // eval overwrites
		}
	}
	return fail
}

func bit(m []uint64, j int) bool { return m[j/64]>>(j%64)&1 != 0 }

func TestEvalAgainstInterpreter(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	r := rand.New(rand.NewPCG(3, 5))
	kept, set, ops := 0, 0, map[testOp]int{}
	for range rounds {
		words, chambers := randomWords(r, r.IntN(200))
		g := &grower{r, poolOf(words, chambers)}
		var exprs []string
		var terms []slowTerm
		for range 1 + r.IntN(3) {
			expr, slow := g.tree(r.IntN(4))
			exprs, terms = append(exprs, "("+expr+")"), append(terms, slow)
		}
		expr, invert := strings.Join(exprs, "&&"), r.IntN(4) == 0
		f := mustCompile(t, expr, invert)
		for _, term := range f.terms {
			countOps(term, ops)
		}
		fail := newFail(f, len(words))
		given := chambers
		if !f.needsChamber {
			given = nil
		}
		f.eval(words, given, fail)
		for j := range words {
			holds := true
			for _, slow := range terms {
				holds = holds && slow(words[j], chambers[j])
			}
			count := 0
			for i := range fail {
				if bit(fail[i], j) {
					count++
				}
			}
			want := 1
			if holds != invert {
				want = 0
				kept++
			} else {
				set++
			}
			if count != want {
				t.Fatalf("%s (inverted: %v)\nword %#016x (HEAD %d) chamber %d: set aside %d times, want %d",
					expr, invert, words[j], hit.Head(words[j]), chambers[j], count, want)
			}
		}
		for i := range fail {
			for j := len(words); j < len(fail[i])*64; j++ {
				if bit(fail[i], j) {
					t.Fatalf("%s: bit %d of %d words is set", expr, j, len(words))
				}
			}
		}
	}
	if kept < 1000 || set < 1000 {
		t.Errorf("%d words kept, %d set aside: the test proves little", kept, set)
	}
	for op := testFalse; op <= testAny; op++ {
		if ops[op] == 0 {
			t.Errorf("no expression used test %d", op)
		}
	}
}

func countOps(t *test, ops map[testOp]int) {
	ops[t.op]++
	for _, kid := range t.kids {
		countOps(kid, ops)
	}
}

// A word is set aside for the first term it fails.
func TestEvalFirstReason(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words, chambers := randomWords(r, 1000)
	for _, tt := range []struct {
		expr  string
		terms []slowTerm
	}{
		{defaultTestExpr, []slowTerm{
			func(w uint64, _ uint8) bool { return hit.IsHit(w) },
			func(w uint64, _ uint8) bool { return hit.Channel(w) <= 128 },
		}},
		{"TDC_CHANNEL <= 128 && HEAD == 2 && BX_COUNTER < 2000 && CHAMBER != 255", []slowTerm{
			func(w uint64, _ uint8) bool { return hit.Channel(w) <= 128 },
			func(w uint64, _ uint8) bool { return hit.IsHit(w) },
			func(w uint64, _ uint8) bool { return hit.BX(w) < 2000 },
			func(_ uint64, c uint8) bool { return c != 255 },
		}},
		{"HEAD != 2 && (HEAD != 4 || TDC_MEAS < 0) && TDC_MEAS != 0", []slowTerm{
			func(w uint64, _ uint8) bool { return !hit.IsHit(w) },
			func(w uint64, c uint8) bool { return hit.Head(w) != 4 || slowValue("TDC_MEAS", w, c) < 0 },
			func(w uint64, c uint8) bool { return slowValue("TDC_MEAS", w, c) != 0 },
		}},
	} {
		f := mustCompile(t, tt.expr, false)
		fail := newFail(f, len(words))
		f.eval(words, chambers, fail)
		for i := range tt.terms {
			n := 0
			for j, w := range words {
				want := !tt.terms[i](w, chambers[j])
				for k := range i {
					want = want && tt.terms[k](w, chambers[j])
				}
				if bit(fail[i], j) != want {
					t.Fatalf("%s: word %#x, reason %q: %v, want %v", tt.expr, w, f.reasons()[i], !want, want)
				}
				if want {
					n++
				}
			}
			if n == 0 {
				t.Errorf("%s: no word is set aside for %q", tt.expr, f.reasons()[i])
			}
		}
	}
}

// Every half-float, against numbers at and next to its value.
func TestHalfFloatsCompareExactly(t *testing.T) {
	words := make([]uint64, 1<<16)
	for h := range words {
		words[h] = 4<<hit.HeadShift | uint64(h)
	}
	for _, tt := range []struct {
		expr string
		want func(v float64) bool
	}{
		{"TDC_MEAS == -0.537109375", func(v float64) bool { return v == -0.537109375 }},
		{"TDC_MEAS == -0.537109", func(float64) bool { return false }}, // the text form is rounded
		{"TDC_MEAS <= -0.537109", func(v float64) bool { return v <= -0.537109 }},
		{"TDC_MEAS == 0", func(v float64) bool { return v == 0 }}, // −0 too
		{"TDC_MEAS >= 0.000000059604644775390625", func(v float64) bool { return v >= 0x1p-24 }},
		{"TDC_MEAS > 0.000000059604644775390625", func(v float64) bool { return v > 0x1p-24 }},
		{"TDC_MEAS >= 0.0000000596046447753906250000000000000000000000000000000000001", func(v float64) bool { return v > 0x1p-24 }},
		{"TDC_MEAS >= 0.0000000596046447753906249999999999999999999999999999999999999", func(v float64) bool { return v >= 0x1p-24 }},
		{"TDC_MEAS <= 65504", func(v float64) bool { return v <= 65504 }},
		{"TDC_MEAS < 1e4000", func(v float64) bool { return v < math.Inf(1) }},
		{"TDC_MEAS > 1e400000000000000000000", func(v float64) bool { return math.IsInf(v, 1) }},
		{"TDC_MEAS < -1e300", func(v float64) bool { return math.IsInf(v, -1) }},
		{"TDC_MEAS != 1", func(v float64) bool { return v != 1 }},     // holds for not-a-number
		{"!(TDC_MEAS < 1)", func(v float64) bool { return !(v < 1) }}, // so does this
		{"!in(TDC_MEAS, 1, -1, 2, -2, 3)", func(v float64) bool { return math.Abs(v) != 1 && math.Abs(v) != 2 && v != 3 }},
		{"between(TDC_MEAS, -1.0, 1)", func(v float64) bool { return -1 <= v && v <= 1 }},
		{"TDC_MEAS > -1e-999999", func(v float64) bool { return v >= 0 }},
	} {
		f := mustCompile(t, tt.expr, false)
		fail := newFail(f, len(words))
		f.eval(words, nil, fail)
		for h := range words {
			v := hit.HalfToFloat(uint16(h))
			if got := !bit(fail[0], h); got != tt.want(v) {
				t.Errorf("%s: %v (%#04x): %v", tt.expr, v, h, got)
				break
			}
		}
	}
}

// ORBIT_CNT of an ancillary word is at bits 24–55.
func TestAncillaryFields(t *testing.T) {
	word := func(head, fpga, orbit, payload uint64) uint64 { return head<<61 | fpga<<58 | orbit<<24 | payload }
	for _, tt := range []struct {
		word uint64
		expr string
	}{
		{word(4, 1, 617123, 0xb84c), "HEAD == 4 && FPGA == 1 && ORBIT_CNT == 617123 && TDC_MEAS == -0.537109375 && TDC_CHANNEL == 0 && BX_COUNTER == 0"},
		{word(5, 1, 1<<32-1, 0x3c00), "HEAD == 5 && ORBIT_CNT == 4294967295 && TDC_MEAS == 1"},
		{word(0, 0, 5, 3567<<12|29<<7|3), "HEAD == 0 && TDC_CHANNEL == 3 && TDC_MEAS == 29 && BX_COUNTER == 3567 && ORBIT_CNT == 5"},
		{word(1, 0, 5, 200<<16), "HEAD == 1 && TDC_MEAS == 200 && TDC_CHANNEL == 0 && BX_COUNTER == 0"},
		{word(3, 7, 5, 0xffff), "HEAD == 3 && FPGA == 7 && BX_COUNTER == 65535 && TDC_MEAS == 0"},
		{word(7, 7, 5, 0xffff), "HEAD == 7 && BX_COUNTER == 0 && TDC_MEAS == 0 && TDC_CHANNEL == 0"},
	} {
		f := mustCompile(t, tt.expr, false)
		fail := newFail(f, 1)
		f.eval([]uint64{tt.word}, nil, fail)
		for i := range fail {
			if fail[i][0] != 0 {
				t.Errorf("%s: %s", tt.expr, f.reasons()[i])
			}
		}
	}
}

func TestEvalDoesNotAllocate(t *testing.T) {
	words, chambers := randomWords(rand.New(rand.NewPCG(1, 1)), 1000)
	for _, b := range benchmarks {
		f := mustCompile(t, b.expr, false)
		fail := newFail(f, len(words))
		if n := testing.AllocsPerRun(10, func() { f.eval(words, chambers, fail) }); n != 0 {
			t.Errorf("%s: %v allocations", b.expr, n)
		}
	}
}

func mustCompile(t testing.TB, expr string, invert bool) *filter {
	t.Helper()
	f, err := compile(expr, invert)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func FuzzExpr(f *testing.F) {
	for _, b := range benchmarks {
		f.Add(b.expr)
	}
	for _, expr := range []string{
		"", " ", "HEAD = 2", "1 < FPGA < 3", "!HEAD == 2", "in(17, FPGA)", "FPGA<-1", "TDC_MEAS > -1e9999999999", "HEAD == 2\n||\tFPGA != .5", "HEAD ≤ 2", "\x00\xff",
		"head == 0x1F && \"é\"", "between(ORBIT_CNT, 2, 1)", "(((", "in(HEAD", "FPGA[1] == 2", "func(){}", "in(HEAD, 1, 3, 5, 7) && !(CHAMBER > 3)", "HEAD == 2 // x", "1 == 1",
	} {
		f.Add(expr)
	}
	words, chambers := randomWords(rand.New(rand.NewPCG(7, 7)), 130)
	f.Fuzz(func(t *testing.T, expr string) {
		kept, err := compile(expr, false)
		dropped, err2 := compile(expr, true)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("inverted %v, else %v", err2, err)
		}
		if err != nil {
			var e *exprError
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(expr) || e.Msg == "" || e.Expr != expr {
				t.Fatalf("%#v", err)
			}
			if e.Pos < len(expr) && utf8.ValidString(expr) && !utf8.RuneStart(expr[e.Pos]) {
				t.Fatalf("the caret is within a character: %#v", err)
			}
			text := e.Error()
			lines := strings.Split(text, "\n")
			if len(lines) != 3 || !strings.Contains(lines[2], "^") || !utf8.ValidString(text) {
				t.Fatalf("%q", text)
			}
			return
		}
		if n := len(kept.reasons()); n == 0 || n > maxReasons || n != len(kept.terms) || len(dropped.reasons()) != 1 {
			t.Fatalf("%d reasons", n)
		}
		seen := map[string]bool{}
		for _, r := range append(kept.reasons(), dropped.reasons()...) {
			if seen[r] || r == "" || len(r) > maxReasonBytes || !utf8.ValidString(r) || strings.ContainsAny(r, "\n\t") {
				t.Fatalf("reason %q", r)
			}
			seen[r] = true
		}
		a, b := newFail(kept, len(words)), newFail(dropped, len(words))
		kept.eval(words, chambers, a)
		dropped.eval(words, chambers, b)
		for j := range b[0] { // each word is kept by just one of the two
			var failed uint64
			for i := range a {
				if failed&a[i][j] != 0 {
					t.Fatal("a word has two reasons")
				}
				failed |= a[i][j]
			}
			if live := ^uint64(0) >> (64 - min(64, len(words)-64*j)); failed^b[0][j] != live {
				t.Fatalf("%x and %x", failed, b[0][j])
			}
		}
	})
}

var benchmarks = []struct{ name, expr string }{
	{"default", defaultTestExpr},
	{"head", "HEAD == 2"},
	{"in", "HEAD == 2 && in(TDC_CHANNEL, 17, 61)"},
	{"in_many", "HEAD == 2 && in(TDC_CHANNEL, 1, 3, 5, 17, 61, 90, 128)"},
	{"in_many_orbits", "HEAD == 2 && in(ORBIT_CNT, 617001, 617003, 617010, 617050, 617090)"},
	{"search", "in(ORBIT_CNT, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 617001, 617003, 617010, 617050, 617090)"},
	{"between_or", "between(ORBIT_CNT, 617000, 620000) || FPGA == 1"},
	{"chamber", "HEAD == 2 && CHAMBER == 3"},
	{"channel_without_head", "TDC_CHANNEL <= 128"},
	{"tdc_half", "in(HEAD, 4, 5) && TDC_MEAS < 0.5"},
}

func BenchmarkEval(b *testing.B) {
	words, chambers := randomWords(rand.New(rand.NewPCG(1, 1)), 16384)
	for _, bb := range benchmarks {
		b.Run(bb.name, func(b *testing.B) {
			f := mustCompile(b, bb.expr, false)
			fail := newFail(f, len(words))
			b.SetBytes(int64(8 * len(words)))
			b.ReportAllocs()
			for b.Loop() {
				f.eval(words, chambers, fail)
			}
			b.ReportMetric(float64(b.N)*float64(len(words))/b.Elapsed().Seconds()/1e6, "Mwords/s")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := compile(defaultTestExpr, false); err != nil {
			b.Fatal(err)
		}
	}
}
