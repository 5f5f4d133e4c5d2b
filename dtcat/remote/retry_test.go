package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetry(t *testing.T) {
	refused := hinted("is it there?", "connection refused")
	for _, c := range []struct {
		name  string
		fails int
		err   error
		tries int
		want  string
		said  []string
	}{
		{"good", 0, nil, 1, "", nil},
		{"soon", 3, refused, 4, "", nil},
		{"never", 100, refused, 10, "s3://b/: given up after 10 tries: connection refused (hint: is it there?)",
			[]string{"s3://b/: no answer: connection refused; trying again (hint: is it there?)"}},
		{"final", 100, &failure{err: errors.New("access denied")}, 1, "s3://b/: access denied", nil},
		{"changed", 100, &ChangedError{"s3://b/k", "a", "b"}, 1, "s3://b/k: the object has changed while it was read: it was a, now it is b", nil},
		{"after", 1, &failure{err: errors.New("503 Slow Down"), again: true, after: 30 * time.Second}, 2, "",
			[]string{"s3://b/: no answer: 503 Slow Down; trying again", "s3://b/: goes on after 30 s"}},
		{"long after", 1, &failure{err: errors.New("503 Slow Down"), again: true, after: time.Hour}, 2, "",
			[]string{"s3://b/: no answer: 503 Slow Down; trying again", "s3://b/: goes on after 60 s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var said []string
				client := &Client{settings: *testSettings(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) })}
				n := 0
				err := client.retry(t.Context(), "s3://b/", func() error {
					if n++; n <= c.fails {
						return c.err
					}
					return nil
				})
				if got := fmt.Sprint(err); n != c.tries || got != c.want && (err != nil || c.want != "") || !slices.Equal(said, c.said) {
					t.Errorf("%d tries, said %q, error %v", n, said, err)
				}
			})
		})
	}
}

// The waits double, up to a limit, and are not all the same.
func TestBackOff(t *testing.T) {
	tr := tries{most: 50}
	for i := range 49 {
		wait, again := tr.next(errors.New("refused"), false)
		middle := min(100*time.Millisecond<<min(i, 20), 10*time.Second)
		if !again || wait < middle*3/4 || wait > middle*5/4 {
			t.Error(i, wait, again)
		}
	}
	if _, again := tr.next(errors.New("refused"), false); again {
		t.Error("not given up")
	}
	if _, again := tr.next(errors.New("refused"), true); !again {
		t.Error("given up")
	}
	if _, again := tr.next(&failure{err: errors.New("denied")}, true); again {
		t.Error("a final failure is tried again")
	}
}

func TestSeconds(t *testing.T) {
	for want, d := range map[string]time.Duration{"10 s": 10 * time.Second, "0.25 s": 250 * time.Millisecond, "4321 s": 4321 * time.Second} {
		if got := seconds(d); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestRetryCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		client := &Client{settings: *testSettings(nil)}
		err := client.retry(ctx, "s3://b/", func() error { return errors.New("refused") })
		if !errors.Is(err, context.Canceled) || err.Error() != "s3://b/: context canceled" {
			t.Error(err)
		}
	})
}
