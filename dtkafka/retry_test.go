package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"

	"dt/internal/tool"
)

// testCluster returns a cluster that uses no network, and what it says.
func testCluster(t testing.TB, c connection) (*cluster, *bytes.Buffer) {
	t.Helper()
	var said bytes.Buffer
	l, err := c.open(&tool.Env{Name: "dtkafka", Stderr: &said})
	if err != nil {
		t.Fatal(err)
	}
	return l, &said
}

var errRefused = &dialError{"127.0.0.1:9092", fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}

// away fails for so long.
func away(t testing.TB, r *retrier, err error, d time.Duration) {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < d; {
		if err := r.failed(context.Background(), err); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{})
		r := l.retrier("topic x")
		for range 3 {
			r.ok()
			if err := r.failed(context.Background(), errRefused); err != nil {
				t.Fatal(err)
			}
			if err := r.failed(context.Background(), errRefused); err != nil {
				t.Fatal(err)
			}
			r.ok()
		}
		if said.Len() > 0 {
			t.Errorf("said %q", said)
		}
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{})
		r := l.retrier("topic x")
		for _, text := range []string{
			"no broker at 127.0.0.1:9092: connection refused; trying again (hint: is it running? --bootstrap HOST:PORT names another)",
			"broker 127.0.0.1:9092: connection refused; trying again",
		} {
			said.Reset()
			l.met["127.0.0.1:9092"] = l.reached.Load()
			begin := time.Now()
			tries := 0
			for time.Since(begin) < 12*time.Second {
				tries++
				if err := r.failed(context.Background(), errRefused); err != nil {
					t.Fatal(err)
				}
			}
			if tries < 6 || tries > 30 {
				t.Errorf("%d tries in 12 s", tries)
			}
			took := roughly(time.Since(begin))
			r.ok()
			want := "dtkafka: topic x: " + text + "\n" +
				"dtkafka: the broker is back after " + took + "\n"
			if said.String() != want {
				t.Errorf("said %s\nwant %s", said, want)
			}
		}
	})
}

// What fails in many goroutines is told once, and it is over when it is over for all.
func TestOutageOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{})
		var all sync.WaitGroup
		shared := l.retrier("shared")
		for i := range 16 {
			all.Go(func() {
				r := l.retrier("topic x")
				if i%4 == 0 {
					r = shared
				}
				r.ok()
				away(t, r, errRefused, time.Duration(5+i)*time.Second)
				if r != shared {
					r.ok()
				}
			})
		}
		well := l.retrier("topic y") // goes on working, with a broker that is there
		all.Go(func() {
			for range 300 {
				time.Sleep(100 * time.Millisecond)
				well.ok()
			}
		})
		all.Wait()
		if n := strings.Count(said.String(), "\n"); n != 1 {
			t.Errorf("said %s", said)
		}
		shared.ok()
		if text := said.String(); strings.Count(text, "\n") != 2 || !strings.HasSuffix(text, "dtkafka: the broker is back after 30 s\n") {
			t.Errorf("said %s", text)
		}
	})
}

func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{GiveUp: 5 * time.Minute})
		r := l.retrier("topic x")
		begin := time.Now()
		for {
			err := r.failed(context.Background(), errRefused)
			if err == nil {
				continue
			}
			want := "topic x: no broker at 127.0.0.1:9092: connection refused; gave up after 5 min, since " + begin.Local().Format(time.TimeOnly) +
				" (hint: is it running? --bootstrap HOST:PORT names another)"
			if err.Error() != want || time.Since(begin) != 5*time.Minute || !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			if again := r.failed(context.Background(), err); again == nil || again.Error() != want {
				t.Errorf("its own error: %v", again)
			}
			break
		}
		if !strings.Contains(said.String(), "connection refused; trying again, for 5 min at most (hint: ") || strings.Count(said.String(), "\n") != 1 {
			t.Errorf("said %s", said)
		}
	})
}

func TestNoUseTryingAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Setenv(passwordVariable, "hush")
		l, said := testCluster(t, connection{SASL: "scram-sha-256", User: "bob"})
		l.reached.Store(true)
		begin := time.Now()
		for _, err := range []error{
			&missingTopicError{"x"}, kafka.TopicAuthorizationFailed, kafka.MessageSizeTooLarge, &loginError{"no"},
			fmt.Errorf("kafka.(*Client).Produce: %w", kafka.GroupAuthorizationFailed),
		} {
			got := l.retrier("").failed(context.Background(), err)
			if got == nil || !errors.Is(got, err) && got.Error() == "" {
				t.Errorf("%v: %v", err, got)
			}
		}
		if time.Since(begin) != 0 || said.Len() > 0 {
			t.Errorf("%v, %s", time.Since(begin), said)
		}

		// What may still settle is given its time.
		r := l.retrier("")
		for {
			if err := r.failed(context.Background(), kafka.UnknownTopicOrPartition); err != nil {
				break
			}
		}
		if d := time.Since(begin); d < settleTime || d > 2*settleTime {
			t.Errorf("a topic that is gone: %v", d)
		}
	})
}

func TestStopWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{})
		r, other := l.retrier("x"), l.retrier("y")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		away(t, other, errRefused, 10*time.Second)
		for ctx.Err() == nil {
			if err := r.failed(ctx, errRefused); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		if err := r.failed(ctx, errRefused); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		other.ok() // r has given up its part, so this is the end of it
		if !strings.HasSuffix(said.String(), "the broker is back after 30 s\n") {
			t.Errorf("said %s", said)
		}
	})
}

// A time-out has taken its time already.
func TestTimeoutIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, said := testCluster(t, connection{Bootstrap: []string{"a", "b"}})
		r := l.retrier("topic x")
		time.Sleep(time.Hour)
		r.ok()
		time.Sleep(requestTimeout)
		if err := r.failed(context.Background(), fmt.Errorf("kafka.(*Client).Fetch: %w", context.DeadlineExceeded)); err != nil {
			t.Fatal(err)
		}
		if said.String() != "dtkafka: topic x: no answer from a broker within 10s; trying again\n" {
			t.Errorf("said %s", said)
		}
		time.Sleep(2 * time.Second)
		r.ok()
		if !strings.HasSuffix(said.String(), "dtkafka: the broker is back after 12 s\n") {
			t.Errorf("said %s", said)
		}
	})
}

func TestRoughly(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234 * time.Millisecond: "1.2 s", 12 * time.Second: "12 s", 119 * time.Second: "119 s", 5 * time.Minute: "5 min",
		3*time.Minute + 20*time.Second: "3 min 20 s", 26*time.Hour + 10*time.Second: "26 h 0 min",
	} {
		if got := roughly(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func BenchmarkRetrierOK(b *testing.B) {
	l, _ := testCluster(b, connection{})
	r := l.retrier("x")
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r.ok()
		}
	})
}
