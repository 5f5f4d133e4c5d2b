package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"dt/internal/tool"
)

// A webStore gets objects by their addresses.
type webStore struct {
	client   *http.Client
	agent    string
	patience time.Duration // with an answer that has begun
}

func newWebStore(transport http.RoundTripper, s Settings) *webStore {
	return &webStore{&http.Client{Transport: transport, CheckRedirect: checkRedirect}, s.Agent, 3 * s.Stall}
}

// checkRedirect follows redirects, but takes nothing secret to another server: net/http would take a password to another port, from
// https to http and to subdomains, and in the Referer the whole address, with the signature in it.
func checkRedirect(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > 10:
		return final("", "more than 10 redirects, one after the other")
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		return final("", "it is redirected to %s://, which is not the web", shown(r.URL.Scheme))
	case r.URL.Host == "":
		return final("", "it is redirected to nowhere")
	case r.URL.Host != first.Host || r.URL.Scheme != first.Scheme:
		r.Header.Del("Authorization")
	}
	r.Header.Del("Referer")
	return nil
}

// newWebObject checks an address. Nothing is known yet of what is there.
func newWebObject(name string, s *webStore) (*Object, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, tool.Hint(fmt.Errorf("%s: this is no web address", webName(name)), "https://host/path; %20 stands for a space, %25 for a %")
	}
	if u.Hostname() == "" {
		return nil, tool.Hint(fmt.Errorf("%s: no server is named", webName(name)), "https://host/path")
	}
	if !goodPort(u) {
		return nil, fmt.Errorf("%s: there is no such port", webName(name))
	}
	u.Fragment, u.RawFragment = "", ""
	return &Object{Name: webName(name), Path: webPath(u), Size: -1, store: s, url: u}, nil
}

func goodPort(u *url.URL) bool {
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && port > 0
}

// ask sends a request for the bytes [from, to) of an object. What is no success is an error.
func (s *webStore) ask(ctx context.Context, o *Object, from, to int64) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.url.String(), nil)
	if err != nil {
		return nil, final("", "this is no web address")
	}
	r.Header.Set("User-Agent", s.agent)
	r.Header.Set("Accept", "*/*")
	r.Header.Set("Accept-Encoding", "identity")
	setConditions(o, from, to, r.Header.Set)
	answer, err := s.client.Do(r)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			answer.Body.Close()
		}
		return nil, ctx.Err()
	case err != nil:
		return nil, unanswered(err, o.url.Scheme)
	}
	switch answer.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable:
		return answer, nil
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusPreconditionFailed && o.Tag != "" {
		is := tagOf(answer.Header)
		if is == "" || is == o.Tag {
			is = "another version"
		}
		return nil, &ChangedError{o.Name, o.Tag, is}
	}
	return nil, s.failure(o.url, answer)
}

// stat finds out whether an object is there, and whether ranges of its very version can be asked for. Not every server allows HEAD, and
// presigned addresses are for GET alone, so one byte is asked for.
func (s *webStore) stat(ctx context.Context, o *Object) error {
	answer, err := s.ask(ctx, o, 0, 1)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := o.describe(answer); err != nil {
		return err
	}
	o.ranges = answer.StatusCode == http.StatusPartialContent && o.Size >= 0 && o.Tag != ""
	return nil
}

func (s *webStore) get(ctx context.Context, o *Object, from, to int64) (got, error) {
	answer, err := s.ask(ctx, o, from, to)
	if err != nil {
		return got{}, o.forNow(err)
	}
	g, err := received(o, from, answer)
	if err != nil {
		answer.Body.Close()
	}
	return g, err
}

// failure says why a server does not give what it was asked for.
func (s *webStore) failure(u *url.URL, r *http.Response) *failure {
	start, _ := readSoon(r.Body, 4<<10, s.patience) // as much as there is of it
	f := &failure{again: mayPass(r.StatusCode), after: retryAfter(r.Header, time.Now())}
	end, signed := expiry(u)
	switch r.StatusCode {
	case http.StatusNotFound:
		f.err = hinted("is the address right?", "there is no such file (404)")
	case http.StatusGone:
		f.err = hinted("ask whoever gave you the address", "the file is gone for good (410)")
	case http.StatusUnauthorized:
		if u.User != nil {
			f.err = hinted("is the password right?", "the server refuses this user and password (401)")
		} else {
			f.err = hinted("https://USER:PASSWORD@"+u.Host+"/…", "the server wants a user and a password (401)")
		}
	case http.StatusForbidden:
		switch {
		case signed && !end.IsZero() && time.Now().After(end):
			f.err = hinted("get a new one", "the presigned address expired on %s (403)", day(end))
		case signed && strings.Contains(strings.ToLower(string(start)), "expired"):
			f.err = hinted("get a new one", "the presigned address has expired (403)")
		case signed:
			f.err = hinted("get a new one, and copy all of it, in quotes", "the server refuses the presigned address (403)")
		default:
			f.err = hinted("does it want a password, or a presigned address?", "access is denied (403)")
		}
	case http.StatusProxyAuthRequired:
		f.err = hinted(proxyHint, "the proxy wants a user and a password (407)")
	default:
		if r.StatusCode == http.StatusBadRequest && plainToTLS(start) {
			return speaksTLS()
		}
		if r.StatusCode == http.StatusBadRequest && !signed && strings.Contains(u.RawQuery, "X-Amz-") {
			f.err = hinted("copy all of it, in quotes", "the server refuses the presigned address, from which the signature is missing (400)")
			break
		}
		f.err = fmt.Errorf("the server answers %s", statusText(r.StatusCode))
	}
	return f
}

// plainToTLS recognises what servers say who speak TLS and were spoken to in plain HTTP.
func plainToTLS(body []byte) bool {
	text := strings.ToLower(string(body))
	return strings.Contains(text, "http request to an https server") || strings.Contains(text, "plain http request was sent to https port")
}

// expiry is until when a presigned address can be used; zero if that is not in it. signed: there is a signature in it.
func expiry(u *url.URL) (end time.Time, signed bool) {
	q := u.Query()
	for _, cloud := range []string{"X-Amz-", "X-Goog-"} {
		if q.Has(cloud + "Signature") {
			begin, err := time.Parse("20060102T150405Z", q.Get(cloud+"Date"))
			seconds, err2 := strconv.ParseUint(q.Get(cloud+"Expires"), 10, 31)
			if err == nil && err2 == nil {
				end = begin.Add(time.Duration(seconds) * time.Second)
			}
			return end, true
		}
	}
	if q.Has("Signature") {
		if unix, err := strconv.ParseUint(q.Get("Expires"), 10, 40); err == nil {
			end = time.Unix(int64(unix), 0)
		}
		return end, true
	}
	if q.Has("sig") {
		end, _ = time.Parse(time.RFC3339, q.Get("se"))
		return end, true
	}
	return end, false
}
