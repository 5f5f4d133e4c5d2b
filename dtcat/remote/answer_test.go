package remote

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestContentRange(t *testing.T) {
	for _, test := range []struct {
		text            string
		from, end, size int64 // end 0: it is wrong
	}{
		{"bytes 0-0/1", 0, 1, 1},
		{"bytes 5-9/20", 5, 10, 20},
		{" Bytes 5-9/* ", 5, 10, -1},
		{"bytes 0-4611686018427387902/4611686018427387903", 0, 4611686018427387903, 4611686018427387903},
		{"", 0, 0, 0},
		{"bytes", 0, 0, 0},
		{"bytes */20", 0, 0, 0},
		{"bytes 5-9", 0, 0, 0},
		{"bytes 9-5/20", 0, 0, 0},
		{"bytes 5-20/20", 0, 0, 0},
		{"bytes -5/20", 0, 0, 0},
		{"bytes 5-/20", 0, 0, 0},
		{"bytes +5-9/20", 0, 0, 0},
		{"bytes 5-9/-1", 0, 0, 0},
		{"items 5-9/20", 0, 0, 0},
		{"bytes 0-9223372036854775807/9223372036854775807", 0, 0, 0},
		{"bytes 0-99999999999999999999/*", 0, 0, 0},
	} {
		from, end, size, err := parseContentRange(test.text)
		if from != test.from || end != test.end || size != test.size || (err != nil) != (test.end == 0) {
			t.Errorf("%q: %d %d %d %v", test.text, from, end, size, err)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	f.Add("bytes 5-9/20")
	f.Add("bytes 5-9/*")
	f.Add("bytes */20")
	f.Fuzz(func(t *testing.T, text string) {
		from, end, size, err := parseContentRange(text)
		if err == nil && (from < 0 || end <= from || size != -1 && size < end) {
			t.Errorf("%q: %d %d %d", text, from, end, size)
		}
		if n := wholeSize(text); n < -1 {
			t.Errorf("%q: %d", text, n)
		}
	})
}

func TestReceived(t *testing.T) {
	const date, other = "Mon, 02 Mar 2026 10:00:00 GMT", "Mon, 02 Mar 2026 10:00:01 GMT"
	const dateTag = "modified 2026-03-02T10:00:00Z"
	for _, test := range []struct {
		name   string
		tag    string // of the object, of 20 bytes
		from   int64
		status int
		header string // Content-Range, ETag, Last-Modified
		length int64
		want   string // from size tag, or an error
	}{
		{"all", `a`, 0, 200, `|"a"|`, 20, "0 20 a"},
		{"the server knows no ranges", `a`, 5, 200, `|"a"|`, 20, "0 20 a"},
		{"all, of unknown length", `a`, 0, 200, `|"a"|`, -1, "0 -1 a"},
		{"part", `a`, 5, 206, `bytes 5-9/20|"a"|`, 5, "5 20 a"},
		{"part of an unknown whole", `a`, 5, 206, `bytes 5-9/*|"a"|`, 5, "5 -1 a"},
		{"by time", dateTag, 5, 206, `bytes 5-9/20||` + date, 5, "5 20 " + dateTag},
		{"by time, with an ETag that was not listed", dateTag, 5, 206, `bytes 5-9/20|"b"|` + date, 5, "5 20 " + dateTag},
		{"no version known", ``, 0, 200, `|"b"|`, 20, "0 20 b"},
		{"a weak ETag is none", ``, 0, 200, `|W/"b"|` + date, 20, "0 20 " + dateTag},
		{"another version", `a`, 5, 206, `bytes 5-9/20|"b"|`, 5, "n: the object has changed while it was read: it was a, now it is b"},
		{"another time", dateTag, 5, 206, `bytes 5-9/20||` + other, 5, "n: the object has changed while it was read: it was " + dateTag + ", now it is modified 2026-03-02T10:00:01Z"},
		{"another size", `a`, 5, 206, `bytes 5-9/21|"a"|`, 5, "n: the object has changed while it was read: it was 20 bytes, now it is 21 bytes"},
		{"another size of all", ``, 0, 200, `||`, 21, "n: the object has changed while it was read: it was 20 bytes, now it is 21 bytes"},
		{"no version told", `a`, 5, 206, `bytes 5-9/20||` + date, 5, "again: the server does not say which version it sends"},
		{"no time told", dateTag, 5, 206, `bytes 5-9/20|"a"|`, 5, "again: the server does not say which version it sends"},
		{"other bytes", `a`, 5, 206, `bytes 6-9/20|"a"|`, 4, "again: the server sends other bytes than those that were asked for, or says so"},
		{"other length", `a`, 5, 206, `bytes 5-9/20|"a"|`, 4, "again: the server sends other bytes than those that were asked for, or says so"},
		{"no range told", `a`, 5, 206, `|"a"|`, 5, "the server sends a part without saying which: no Content-Range that can be understood"},
		{"the end", `a`, 20, 416, `bytes */20||`, 100, "20 20 a"},
		{"the end, not told", `a`, 20, 416, `||`, 100, "20 20 a"},
		{"behind the end, not told", `a`, 19, 416, `||`, 100, "the server says that there is nothing at byte 19"},
		{"behind the end, which it is not", `a`, 19, 416, `bytes */20||`, 100, "the server says that there is nothing at byte 19"},
		{"shorter", `a`, 15, 416, `bytes */10||`, 100, "n: the object has changed while it was read: it was 20 bytes, now it is 10 bytes"},
		{"another status", `a`, 5, 204, `||`, 0, "the server answers 204 No Content"},
	} {
		h := strings.Split(test.header, "|")
		r := &http.Response{StatusCode: test.status, ContentLength: test.length, Body: io.NopCloser(strings.NewReader("")), Header: http.Header{}}
		for i, name := range []string{"Content-Range", "ETag", "Last-Modified"} {
			if h[i] != "" {
				r.Header.Set(name, h[i])
			}
		}
		g, err := received(&Object{Name: "n", Size: 20, Tag: test.tag}, test.from, r)
		got := fmt.Sprint(g.from, g.size, " ", g.tag)
		if err != nil {
			got = err.Error()
			if f := new(failure); errors.As(err, &f) && f.again {
				got = "again: " + got
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestConditions(t *testing.T) {
	for _, test := range []struct {
		tag      string
		from, to int64
		want     string
	}{
		{"", 0, -1, "map[]"},
		{"a", 0, -1, `map[If-Match:["a"]]`},
		{"a", 0, 1, `map[If-Match:["a"] Range:[bytes=0-0]]`},
		{"", 7, -1, "map[Range:[bytes=7-]]"},
		{"modified 2026-03-02T10:00:00Z", 5, 10, "map[If-Unmodified-Since:[Mon, 02 Mar 2026 10:00:01 GMT] Range:[bytes=5-9]]"},
	} {
		h := http.Header{}
		setConditions(&Object{Tag: test.tag}, test.from, test.to, h.Set)
		if got := fmt.Sprint(map[string][]string(h)); got != test.want {
			t.Errorf("%v: %s", test, got)
		}
	}
}

func TestTags(t *testing.T) {
	for etag, want := range map[string]string{`"a"`: "a", `a`: "a", ` "a" `: "a", `W/"a"`: "", `"modified x"`: "", `modified x`: "", "\"a\n\"": "a%0A", strings.Repeat("a", longestTag+1): ""} {
		if got := strongTag(etag); got != want {
			t.Errorf("%.20q: %q, want %q", etag, got, want)
		}
	}
}
