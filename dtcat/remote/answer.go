package remote

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

const modified = "modified " // begins the tags that are times

// tagOf is which version an answer is of: a strong ETag, or else a time. A weak ETag says nothing about bytes.
func tagOf(h http.Header) string {
	if tag := strongTag(h.Get("ETag")); tag != "" {
		return tag
	}
	if t, err := http.ParseTime(h.Get("Last-Modified")); err == nil {
		return timeTag(t)
	}
	return ""
}

const longestTag = 1 << 10 // tags go into marks and manifests

// strongTag is an ETag without its quotes; empty if it is weak, or nothing that could be one.
func strongTag(etag string) string {
	etag = strings.TrimSpace(etag)
	tag := shown(strings.TrimSuffix(strings.TrimPrefix(etag, `"`), `"`))
	if strings.HasPrefix(etag, "W/") || strings.HasPrefix(tag, modified) || len(tag) > longestTag {
		return ""
	}
	return tag
}

func timeTag(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return modified + t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// setConditions asks for the very version of an object, and for the bytes [from, to).
func setConditions(o *Object, from, to int64, set func(name, value string)) {
	if text, found := strings.CutPrefix(o.Tag, modified); found {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			// Files have times finer than a second, and some servers compare those. Each answer's own time is compared in any case.
			set("If-Unmodified-Since", t.Add(time.Second).UTC().Format(http.TimeFormat))
		}
	} else if o.Tag != "" {
		set("If-Match", `"`+o.Tag+`"`)
	}
	switch {
	case from == 0 && to == o.Size: // all of it, which costs servers less
	case to >= 0:
		set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	case from > 0:
		set("Range", fmt.Sprintf("bytes=%d-", from))
	}
}

// received makes of an answer what was got of an object from a byte on, or says why it is not that.
func received(o *Object, from int64, r *http.Response) (got, error) {
	g := got{body: wordsBody{r.Body}, size: -1}
	switch r.StatusCode {
	case http.StatusOK:
		g.size = r.ContentLength
	case http.StatusPartialContent:
		first, end, size, err := parseContentRange(r.Header.Get("Content-Range"))
		switch {
		case err != nil:
			return got{}, final("", "the server sends a part without saying which: %w", err)
		case first != from, r.ContentLength >= 0 && r.ContentLength != end-first:
			return got{}, passing("", "the server sends other bytes than those that were asked for, or says so")
		}
		g.from, g.size = first, size
	case http.StatusRequestedRangeNotSatisfiable:
		switch g.size = wholeSize(r.Header.Get("Content-Range")); {
		case g.size < 0 && (from == 0 || from == o.Size):
			g.size = from // there is not even this byte
		case g.size < 0, g.size > from:
			return got{}, final("", "the server says that there is nothing at byte %d", from)
		}
		g.from, g.body = from, http.NoBody
	default:
		return got{}, final("", "the server answers %s", statusText(r.StatusCode))
	}
	if g.tag = tagOf(r.Header); o.Tag != "" && g.tag != o.Tag {
		// Of the same kind: there are servers that list no ETag, but send one.
		if strings.HasPrefix(o.Tag, modified) {
			t, _ := http.ParseTime(r.Header.Get("Last-Modified"))
			g.tag = timeTag(t)
		} else if strongTag(r.Header.Get("ETag")) == "" {
			g.tag = ""
		}
	}
	if g.tag == "" && r.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		g.tag = o.Tag // its size says enough
	}
	switch {
	case o.Tag != "" && g.tag == "":
		return got{}, passing("", "the server does not say which version it sends")
	case o.Tag != "" && g.tag != "" && g.tag != o.Tag:
		return got{}, &ChangedError{o.Name, o.Tag, g.tag}
	case o.Size >= 0 && g.size >= 0 && g.size != o.Size && r.StatusCode == http.StatusOK && g.tag != "":
		return got{}, passing("", "the server sends %d bytes of the same version, which has %d, or says so", g.size, o.Size)
	case o.Size >= 0 && g.size >= 0 && g.size != o.Size:
		return got{}, &ChangedError{o.Name, fmt.Sprintf("%d bytes", o.Size), fmt.Sprintf("%d bytes", g.size)}
	}
	return g, nil
}

// describe takes from an answer to a HEAD or to a GET of one byte what it says of an object.
func (o *Object) describe(r *http.Response) error {
	whole := Object{Size: -1}
	asked := *r
	if r.Request != nil && r.Request.Method == http.MethodHead {
		asked.Body = http.NoBody
	}
	g, err := received(&whole, 0, &asked)
	if err != nil {
		return err
	}
	o.Size, o.Tag = g.size, g.tag
	o.Modified, _ = http.ParseTime(r.Header.Get("Last-Modified"))
	return nil
}

var errContentRange = errors.New("no Content-Range that can be understood")

// parseContentRange reads "bytes 5-9/20": it begins at 5, ends before 10, of 20. A size that is not told is −1.
func parseContentRange(text string) (from, end, size int64, err error) {
	rest, found := strings.CutPrefix(strings.TrimSpace(strings.ToLower(text)), "bytes ")
	span, whole, slash := strings.Cut(rest, "/")
	a, b, dash := strings.Cut(strings.TrimSpace(span), "-")
	from, errFrom := digits(a)
	end, errEnd := digits(b)
	size, errSize := int64(-1), error(nil)
	if whole = strings.TrimSpace(whole); whole != "*" {
		size, errSize = digits(whole)
	}
	if !found || !slash || !dash || errors.Join(errFrom, errEnd, errSize) != nil || end < from || size >= 0 && end >= size {
		return 0, 0, 0, errContentRange
	}
	return from, end + 1, size, nil
}

// wholeSize reads "bytes */20", which is all that is told if there is no such part; −1 if it is not that.
func wholeSize(text string) int64 {
	rest, found := strings.CutPrefix(strings.TrimSpace(strings.ToLower(text)), "bytes */")
	size, err := digits(rest)
	if !found || err != nil {
		return -1
	}
	return size
}

// digits reads a number without a sign that is small enough to be counted on from.
func digits(text string) (int64, error) {
	n, err := strconv.ParseUint(text, 10, 62)
	return int64(n), err
}

// readSoon reads a body that is not an object's, but a listing or an excuse, up to a size. Who sends it too slowly is given up.
func readSoon(body io.ReadCloser, most int64, limit time.Duration) ([]byte, error) {
	timer := time.AfterFunc(limit, func() { body.Close() })
	text, err := io.ReadAll(io.LimitReader(body, most))
	if !timer.Stop() && err != nil {
		err = os.ErrDeadlineExceeded
	}
	return text, err
}
