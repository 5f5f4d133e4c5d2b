package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// readAll reads an object in pieces of random sizes, and is now and then slow.
func readAll(random *rand.Rand, r *Reader) ([]byte, error) {
	var all []byte
	for {
		b := make([]byte, 1+random.IntN(5000))
		n, err := r.Read(b)
		all = append(all, b[:n]...)
		if err == io.EOF { //nolint:errorlint // must be this very one
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if n == 0 {
			return all, errors.New("nothing was read")
		}
		if random.IntN(100) == 0 {
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		}
	}
}

// Whatever breaks, the bytes are those of the objects.
func TestFaults(t *testing.T) {
	for seed := range uint64(12) {
		for _, size := range []int64{100, 1000, 7777} {
			t.Run(fmt.Sprintf("seed %d, parts of %d", seed, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testFaults(t, seed, size) })
			})
		}
	}
}

func testFaults(t *testing.T, seed uint64, size int64) {
	random := rand.New(rand.NewPCG(seed, uint64(size)))
	s := newFake()
	var items []Item
	for i := range 40 {
		n := []int{0, 1, int(size) - 1, int(size), int(size) + 1, 4 * int(size), random.IntN(30 * int(size)), random.IntN(30 * int(size))}[random.IntN(8)]
		o := s.add(fmt.Sprint("s3://b/", i), n, seed+uint64(i))
		item := Item{Object: o}
		switch random.IntN(4) {
		case 0:
			item.Object.ranges = false
			if random.IntN(2) == 0 {
				item.Object.Size = -1
			}
			if random.IntN(2) == 0 {
				item.Object.Tag = ""
			}
		case 1:
			item.From = int64(random.IntN(n + 1))
		}
		items = append(items, item)
	}
	left := 300
	reading := rand.New(rand.NewPCG(uint64(size), seed))
	s.plan = func(o *Object, from int64, _ int) fault {
		f := fault{piece: []int{0, 1 + random.IntN(100), 1 + random.IntN(3000)}[random.IntN(3)]}
		if random.IntN(3) == 0 {
			f.wait, f.pause = time.Duration(random.IntN(300))*time.Millisecond, time.Duration(random.IntN(20))*time.Millisecond
		}
		if left == 0 || random.IntN(3) == 0 {
			return f
		}
		left--
		switch random.IntN(9) {
		case 0:
			f.err = errors.New("connection refused")
		case 1:
			f.err = &failure{err: errors.New("503 Slow Down"), again: true, after: time.Duration(random.IntN(3)) * time.Second}
		case 2:
			f.hang = true
		case 3:
			f.stall = 1 + random.IntN(2*int(size))
		case 4:
			f.from = from + 1 + int64(random.IntN(10))
		case 5:
			f.whole = true
		case 6:
			f.more = 1 + random.IntN(100)
		case 7:
			f.cut, f.with = 1+random.IntN(2*int(size)), io.ErrUnexpectedEOF
		case 8:
			f.cut, f.with = 1+random.IntN(2*int(size)), errReset
			if o.ranges && o.Size >= 0 {
				f.with = nil
			}
		}
		return f
	}
	settings := testSettings(nil)
	settings.Tries = 1000
	settings.Connections = 1 + random.IntN(20)
	f := fetch(t.Context(), settings, size, items...)
	for i, item := range items {
		r := f.Next()
		if r == nil {
			t.Fatal("no reader of object", i)
		}
		want := s.data[item.Object.Name]
		all, err := readAll(reading, r)
		if err != nil || !bytes.Equal(all, want[item.From:]) {
			t.Fatalf("object %d (ranges %v, size %d): %d bytes of %d from %d, error %v", i, item.Object.ranges, item.Object.Size, len(all), len(want), item.From, err)
		}
		if o := r.Object(); o.Size != int64(len(want)) || len(all) > 0 && o.Tag != s.tag[o.Name] {
			t.Fatalf("object %d: in the end it has %d bytes and the tag %q", i, o.Size, o.Tag)
		}
	}
	if f.Next() != nil {
		t.Fatal("more readers than objects")
	}
	synctest.Wait()
	if f.used != 0 || len(f.pool) > f.room || s.open != 0 || s.most > settings.Connections {
		t.Fatalf("%d buffers in use, %d free of %d, %d connections, %d at once", f.used, len(f.pool), f.room, s.open, s.most)
	}
	if left > 0 {
		t.Logf("%d faults were not used", left)
	}
	if f.Stats().Retries == 0 || f.Stats().Bytes == 0 {
		t.Fatalf("stats: %+v", f.Stats())
	}
	f.Close()
}

// The bytes that came are handed on before the part is whole.
func TestBytesAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		o := s.add("s3://b/k", 1000, 1)
		s.plan = func(*Object, int64, int) fault { return fault{stall: 10} }
		f := fetch(t.Context(), testSettings(nil), 1<<20, Item{Object: o})
		defer f.Close()
		r := f.Next()
		b := make([]byte, 100)
		start := time.Now()
		for i := range 3 {
			n, err := r.Read(b)
			if n != 10 || err != nil || !bytes.Equal(b[:n], s.data[o.Name][i*10:][:10]) {
				t.Fatal(n, err)
			}
			if i == 0 && time.Since(start) != 0 {
				t.Fatal("the first byte took", time.Since(start))
			}
		}
	})
}

// An object of which all is there already is not asked for.
func TestNothingToRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		var items []Item
		for i := range 500 {
			items = append(items, Item{Object: s.add(fmt.Sprint(i), i%2*10, 1), From: int64(i % 2 * 10)})
			items[i].Object.ranges = i%3 == 0
		}
		f := fetch(t.Context(), testSettings(nil), 100, items...)
		defer f.Close()
		for range items {
			if n, err := f.Next().Read(make([]byte, 1)); n != 0 || err != io.EOF { //nolint:errorlint // must be this very one
				t.Fatal(n, err)
			}
		}
		if f.Next() != nil || len(s.asked) > 0 {
			t.Fatal("something was asked for", s.asked)
		}
		f.Add(Item{Object: s.add("more", 10, 2)})
		if b, err := io.ReadAll(f.Next()); err != nil || !bytes.Equal(b, s.data["more"]) {
			t.Fatal(b, err)
		}
	})
}

// How reads end that can't go on, and that the objects behind are read nevertheless.
func TestErrors(t *testing.T) {
	refused := errors.New("connection refused")
	hint := &failure{err: hinted("see there", "access denied")}
	for _, c := range []struct {
		name  string
		fault func(from int64) fault
		from  int64
		bytes int // that come before
		plain bool
		want  string
	}{
		{"refused", func(int64) fault { return fault{err: refused} }, 0, 0, false, "s3://b/k: given up at byte 0 after 10 tries: connection refused"},
		{"refused later", func(from int64) fault {
			if from >= 200 {
				return fault{err: refused}
			}
			return fault{}
		}, 0, 200, false, "s3://b/k: given up at byte 200 after 10 tries: connection refused"},
		{"hangs", func(from int64) fault { return fault{hang: from >= 250, cut: 50} }, 0, 250, false,
			"s3://b/k: given up at byte 250 after 10 tries: no data for 10 s"},
		{"denied", func(int64) fault { return fault{err: hint} }, 0, 0, false, "s3://b/k: access denied (hint: see there)"},
		{"denied later", func(from int64) fault {
			if from >= 200 {
				return fault{err: hint}
			}
			return fault{}
		}, 0, 200, false, "s3://b/k: given up at byte 200: access denied (hint: see there)"},
		{"went on before", func(int64) fault { return fault{err: refused} }, 300, 0, false, "s3://b/k: given up at byte 300 after 10 tries: connection refused"},
		{"short", func(from int64) fault { return fault{cut: 30, hang: from >= 90} }, 0, 90, false, "s3://b/k: given up at byte 90 after 10 tries: no data for 10 s"},
		{"always early", func(from int64) fault { return fault{from: from + 1} }, 0, 0, false,
			"s3://b/k: given up at byte 0 after 10 tries: the server answers with what is behind byte 1 instead of 0"},
		{"another version", func(from int64) fault {
			if from >= 200 {
				return fault{tag: "v2"}
			}
			return fault{}
		}, 0, 200, false, "s3://b/k: the object has changed while it was read: it was v1, now it is v2"},
		{"another size", func(int64) fault { return fault{size: 999} }, 0, 0, false,
			"s3://b/k: the object has changed while it was read: it was 500 bytes, now it is 999 bytes"},
		{"smaller", func(int64) fault { return fault{} }, 501, 0, false,
			"s3://b/k: the object has changed while it was read: it was at least 501 bytes, now it is 500 bytes"},
		{"plain, another version", func(int64) fault { return fault{tag: "v2"} }, 0, 0, true,
			"s3://b/k: the object has changed while it was read: it was v1, now it is v2"},
		{"plain, hangs", func(int64) fault { return fault{stall: 150} }, 0, 150, true, "s3://b/k: given up at byte 150 after 10 tries: no data for 10 s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				o := s.add("s3://b/k", 500, 1)
				o.ranges = !c.plain
				behind := s.add("s3://b/next", 350, 2)
				s.plan = func(o *Object, from int64, _ int) fault {
					if o.Name == behind.Name {
						return fault{}
					}
					return c.fault(from)
				}
				settings := testSettings(nil)
				settings.Connections = 3
				f := fetch(t.Context(), settings, 100, Item{o, c.from}, Item{Object: behind})
				defer f.Close()
				r := f.Next()
				all, err := io.ReadAll(r)
				if err == nil || err.Error() != c.want {
					t.Errorf("%v\nwant %s", err, c.want)
				}
				if !bytes.Equal(all, s.data[o.Name][min(int(c.from), 500):][:c.bytes]) {
					t.Errorf("%d bytes came, want %d", len(all), c.bytes)
				}
				if _, again := r.Read(make([]byte, 1)); again != err { //nolint:errorlint // must be this very one
					t.Error("the second time:", again)
				}
				if all, err := io.ReadAll(f.Next()); err != nil || !bytes.Equal(all, s.data[behind.Name]) {
					t.Error("the object behind:", len(all), err)
				}
			})
		})
	}
}

// Without ranges what comes again must be what came before.
func TestWithoutRanges(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int64
		tag   string
		fault func(n int) fault
		after func(data []byte) []byte // what is there after the first break
		want  string
	}{
		{"the same", -1, "", func(n int) fault { return fault{cut: 170 * (n + 1), with: io.ErrUnexpectedEOF} }, nil, ""},
		{"an end that is none", -1, "", func(n int) fault {
			return fault{cut: []int{500, 0}[n], with: &failure{err: fmt.Errorf("read: %w", io.EOF), again: true}}
		}, nil, ""},
		{"the same, of a known size", 1000, "", func(n int) fault { return fault{cut: 170 * (n + 1)} }, nil, ""},
		{"breaks where it was there already", -1, "", func(n int) fault { return fault{cut: []int{500, 100, 499, 0}[n], with: errReset} }, nil, ""},
		{"other bytes", -1, "", func(n int) fault { return fault{cut: []int{500, 0}[n], with: errReset} },
			func(data []byte) []byte { data[100]++; return data },
			"s3://b/k: the object has changed while it was read: it was one version, now it is another, as its first 500 bytes say"},
		{"shorter", -1, "", func(n int) fault { return fault{cut: []int{500, 0}[n], with: errReset} },
			func(data []byte) []byte { return data[:400] },
			"s3://b/k: the object has changed while it was read: it was at least 500 bytes, now it is 400 bytes"},
		{"shorter, and says so", 1000, "", func(n int) fault { return fault{cut: []int{500, 0}[n], with: errReset} },
			func(data []byte) []byte { return data[:400] },
			"s3://b/k: the object has changed while it was read: it was 1000 bytes, now it is 400 bytes"},
		{"no version", 1000, "v1", func(n int) fault { return fault{cut: []int{500, 0, 0}[n], with: errReset} }, nil, ""},
		{"breaks at the end of a part", -1, "", func(n int) fault { return fault{cut: []int{500, 0}[n], with: errReset, soon: true} }, nil, ""},
		{"breaks at the end of a part, for good", -1, "", func(n int) fault {
			if n == 0 {
				return fault{cut: 500, with: errReset, soon: true}
			}
			return fault{err: errReset}
		}, nil, "s3://b/k: given up at byte 500 after 10 tries: the server cut the connection"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				o := s.add("s3://b/k", 1000, 1)
				data := bytes.Clone(s.data[o.Name])
				o.ranges, o.Size, o.Tag = false, c.size, c.tag
				s.plan = func(_ *Object, from int64, n int) fault {
					if from != 0 {
						t.Error("asked from", from)
					}
					if n == 0 && c.after != nil {
						s.data[o.Name] = c.after(bytes.Clone(data))
					}
					return c.fault(n)
				}
				f := fetch(t.Context(), testSettings(nil), 100, Item{Object: o})
				defer f.Close()
				r := f.Next()
				all, err := io.ReadAll(r)
				if c.want == "" && (err != nil || !bytes.Equal(all, data)) {
					t.Errorf("%d bytes, %v", len(all), err)
				}
				if c.want != "" && (err == nil || err.Error() != c.want || !bytes.Equal(all, data[:500])) {
					t.Errorf("%d bytes, %v", len(all), err)
				}
				if o := r.Object(); c.want == "" && (o.Size != 1000 || o.Tag != "v1") {
					t.Errorf("size %d, tag %q", o.Size, o.Tag)
				}
			})
		})
	}
}

// An outage is told once when it lasts, and only of the object that is waited for.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		start := time.Now()
		a, b := s.add("s3://b/a", 1000, 1), s.add("s3://b/b", 1000, 2)
		s.plan = func(_ *Object, from int64, _ int) fault {
			if since := time.Since(start); from >= 300 && since < 12*time.Second {
				return fault{err: hinted("is it there?", "connection refused")}
			}
			return fault{}
		}
		var said []string
		settings := testSettings(func(format string, args ...any) {
			said = append(said, fmt.Sprintf("%d s: ", time.Since(start)/time.Second)+fmt.Sprintf(format, args...))
		})
		f := fetch(t.Context(), settings, 100, Item{Object: a}, Item{Object: b})
		defer f.Close()
		for range 2 {
			if all, err := io.ReadAll(f.Next()); err != nil || len(all) != 1000 {
				t.Error(len(all), err)
			}
		}
		if len(said) != 2 || said[0] != "5 s: s3://b/a: stopped at byte 300: connection refused; trying again (hint: is it there?)" ||
			!strings.Contains(said[1], "s: s3://b/a: goes on after ") {
			t.Errorf("said %q", said)
		}
	})
}

// While nobody waits for a part, it is not given up.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		start := time.Now()
		o := s.add("s3://b/k", 1000, 1)
		s.plan = func(_ *Object, from int64, _ int) fault {
			if from >= 100 && time.Since(start) < time.Hour {
				return fault{err: errReset}
			}
			return fault{}
		}
		f := fetch(t.Context(), testSettings(nil), 100, Item{Object: o})
		defer f.Close()
		r := f.Next()
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if all, err := io.ReadAll(r); err != nil || !bytes.Equal(all, s.data[o.Name][100:]) {
			t.Error(len(all), err)
		}
	})
}

// A server that says when to come again is not asked before.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		o := s.add("s3://b/k", 100, 1)
		var times []time.Duration
		start := time.Now()
		s.plan = func(_ *Object, _ int64, n int) fault {
			times = append(times, time.Since(start))
			if n < 2 {
				return fault{err: &failure{err: errReset, again: true, after: 30 * time.Second}}
			}
			return fault{}
		}
		f := fetch(t.Context(), testSettings(nil), 100, Item{Object: o})
		defer f.Close()
		if all, err := io.ReadAll(f.Next()); err != nil || len(all) != 100 {
			t.Error(len(all), err)
		}
		if !slices.Equal(times, []time.Duration{0, 30 * time.Second, time.Minute}) || f.Stats().Retries != 2 {
			t.Error(times, f.Stats())
		}
	})
}

// The connection of a part that all the others wait for is given up if it is much slower, and goes on at its byte.
func TestSlowHead(t *testing.T) {
	for _, c := range []struct {
		name  string
		slow  fault
		times int // that the slow part is asked for
	}{
		{"slow", fault{piece: 10, pause: 200 * time.Millisecond}, 2},
		{"stuck", fault{stall: 100}, 2},
		{"hangs", fault{hang: true}, 2},
		{"not slower", fault{piece: 100, pause: 100 * time.Millisecond}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				o := s.add("s3://b/k", 50_000, 1)
				asked := 0
				s.plan = func(_ *Object, from int64, _ int) fault {
					if from >= 20_000 && from < 21_000 {
						if asked++; asked == 1 {
							return c.slow
						}
					}
					return fault{piece: 100, pause: 50 * time.Millisecond}
				}
				f := fetch(t.Context(), testSettings(nil), 1000, Item{Object: o})
				defer f.Close()
				start := time.Now()
				if all, err := io.ReadAll(f.Next()); err != nil || !bytes.Equal(all, s.data[o.Name]) {
					t.Error(len(all), err)
				}
				if asked != c.times || f.Stats().Retries != 0 || time.Since(start) > 8*time.Second {
					t.Errorf("asked %d times, %d retries, in %v", asked, f.Stats().Retries, time.Since(start))
				}
			})
		})
	}
}

// A server where all connections become slow at byte 20 000 is not asked again and again.
func TestSlowServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		o := s.add("s3://b/k", 50_000, 1)
		s.plan = func(_ *Object, from int64, _ int) fault {
			if from >= 20_000 && from < 21_000 {
				return fault{piece: 1, pause: 100 * time.Millisecond}
			}
			return fault{}
		}
		f := fetch(t.Context(), testSettings(nil), 1000, Item{Object: o})
		defer f.Close()
		if all, err := io.ReadAll(f.Next()); err != nil || !bytes.Equal(all, s.data[o.Name]) {
			t.Error(len(all), err)
		}
		if n := len(s.froms[o.Name]); n != 50+slowMost {
			t.Error("asked", n, "times")
		}
	})
}

// Parts that are under way are few as long as the reader need not wait, and become as many as there may be.
func TestWindow(t *testing.T) {
	for _, c := range []struct {
		name              string
		connections, most int
		size              int64
		wait, read        time.Duration // before each answer, and of the reader before each read
	}{
		{"slow reader", 16, 2, 1000, time.Millisecond, 20 * time.Millisecond},
		{"slow server", 16, 16, 1000, 100 * time.Millisecond, time.Millisecond},
		{"one connection", 1, 1, 1000, 100 * time.Millisecond, 0},
		{"three connections", 3, 3, 1000, 100 * time.Millisecond, 0},
		{"many connections", 64, 64, 256 << 10, 100 * time.Millisecond, 0},
		{"too many connections", 1000, 256, 1 << 20, 100 * time.Millisecond, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFake()
				o := s.add("s3://b/k", int(50*c.size), 1)
				s.plan = func(*Object, int64, int) fault { return fault{wait: c.wait} }
				settings := testSettings(nil)
				settings.Connections = c.connections
				f := fetch(t.Context(), settings, c.size, Item{Object: o})
				defer f.Close()
				r := f.Next()
				var all []byte
				b := make([]byte, c.size/4)
				for {
					n, err := r.Read(b)
					all = append(all, b[:n]...)
					if err != nil {
						break
					}
					time.Sleep(c.read)
				}
				if !bytes.Equal(all, s.data[o.Name]) {
					t.Error("other bytes")
				}
				if s.most > c.most || s.most < min(c.most, 100) || int64(len(f.pool))*f.size > c.size*parts {
					t.Errorf("%d connections at once, %d buffers of %d bytes", s.most, len(f.pool), f.size)
				}
			})
		})
	}
}

// What is behind an object without ranges is read ahead too, but does not take all the room.
func TestAheadOfNoRanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		var items []Item
		for i := range 30 {
			items = append(items, Item{Object: s.add(fmt.Sprint(i), 10+i%3*1000, uint64(i))})
			items[i].Object.ranges = i%5 == 4
		}
		s.plan = func(*Object, int64, int) fault { return fault{wait: time.Second} }
		f := fetch(t.Context(), testSettings(nil), 100, items...)
		defer f.Close()
		start := time.Now()
		for i, item := range items {
			if all, err := io.ReadAll(f.Next()); err != nil || !bytes.Equal(all, s.data[item.Object.Name]) {
				t.Fatal(i, len(all), err)
			}
		}
		if time.Since(start) > 25*time.Second {
			t.Error("one after the other:", time.Since(start))
		}
	})
}

// A Read that waits ends with whatever ends it, and nothing stays behind: synctest.Test says so.
func TestEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(f *Fetch, r *Reader, cancel func())
		want error
	}{
		{"Fetch.Close", func(f *Fetch, _ *Reader, _ func()) { f.Close() }, fs.ErrClosed},
		{"Reader.Close", func(_ *Fetch, r *Reader, _ func()) { r.Close() }, fs.ErrClosed},
		{"Next", func(f *Fetch, _ *Reader, _ func()) { f.Next() }, fs.ErrClosed},
		{"context", func(_ *Fetch, _ *Reader, cancel func()) { cancel() }, context.Canceled},
	} {
		for _, ranges := range []bool{true, false} {
			for _, f := range []fault{{hang: true}, {stall: 10}, {err: errReset}, {wait: time.Hour}} {
				t.Run(fmt.Sprint(c.name, ranges, f), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := newFake()
						s.plan = func(*Object, int64, int) fault { return f }
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						var items []Item
						for i := range 5 {
							items = append(items, Item{Object: s.add(fmt.Sprint(i), 1000, 1)})
							items[i].Object.ranges = ranges
						}
						f := fetch(ctx, testSettings(nil), 100, items...)
						defer f.Close()
						r := f.Next()
						ended := make(chan error)
						go func() {
							_, err := io.ReadAll(r)
							ended <- err
						}()
						time.Sleep(4 * time.Second)
						c.end(f, r, cancel)
						synctest.Wait()
						select {
						case err := <-ended:
							if !errors.Is(err, c.want) {
								t.Error(err)
							}
						default:
							t.Fatal("Read waits on")
						}
						if c.want == context.Canceled { //nolint:errorlint // the very one
							f.Next().Read(make([]byte, 1))
						}
					})
				})
			}
		}
	}
}

// What is read ahead ends too when nobody reads it.
func TestCloseUnread(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newFake()
			o := s.add("s3://b/k", 1000, 1)
			o.ranges = ranges
			f := fetch(t.Context(), testSettings(nil), 100, Item{Object: o}, Item{Object: o})
			r := f.Next()
			time.Sleep(time.Hour)
			if n, err := r.Read(make([]byte, 1000)); n != 100 || err != nil {
				t.Error(n, err)
			}
			r.Close()
			synctest.Wait()
			if f.used > f.ahead() || s.open > 1 {
				t.Error(f.used, "buffers in use,", s.open, "connections")
			}
			f.Close()
			if _, err := f.Next().Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) || s.open != 0 {
				t.Error(err, s.open, "connections")
			}
		})
	}
}

// Closing a reader while another goroutine is in Read never lets it have other bytes.
func TestCloseInRead(t *testing.T) {
	s := newFake()
	var items []Item
	for i := range 100 {
		items = append(items, Item{Object: s.add(fmt.Sprint("s3://b/", i), 100_000, uint64(i))})
		items[i].Object.ranges = i%2 == 0
	}
	f := fetch(t.Context(), testSettings(nil), 4000, items...)
	defer f.Close()
	for i, item := range items {
		r := f.Next()
		var done sync.WaitGroup
		done.Go(func() {
			all, err := io.ReadAll(r)
			if err != nil && !errors.Is(err, fs.ErrClosed) || !bytes.HasPrefix(s.data[item.Object.Name], all) {
				t.Error(i, len(all), err)
			}
		})
		if i%3 > 0 {
			r.Close()
		}
		done.Wait()
	}
	for f.Next() != nil {
	}
	deadline := time.Now().Add(time.Minute)
	for {
		f.mu.Lock()
		used := f.used
		f.mu.Unlock()
		if used == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(used, "buffers are not free")
		}
		time.Sleep(time.Millisecond)
	}
}

// A reader that is closed makes room for the objects behind it.
func TestReaderClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		a, b := s.add("a", 100_000, 1), s.add("b", 800, 2)
		settings := testSettings(nil)
		f := fetch(t.Context(), settings, 100, Item{Object: a}, Item{Object: b})
		defer f.Close()
		f.mu.Lock()
		f.window = f.most
		f.plan()
		f.mu.Unlock()
		r := f.Next()
		synctest.Wait()
		if s.asked["a"] != 8 || s.asked["b"] != 0 {
			t.Error(s.asked)
		}
		r.Close()
		synctest.Wait()
		if s.asked["b"] != 8 || len(f.pool)+f.used != 8 {
			t.Error(s.asked, len(f.pool), f.used)
		}
	})
}

// webTestStore reads over a real server.
type webTestStore struct{ url string }

func (s webTestStore) get(ctx context.Context, o *Object, from, to int64) (got, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/"+o.Name, nil)
	if err != nil {
		return got{}, err
	}
	if to >= 0 {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		return got{}, err
	}
	g := got{body: a.Body, size: -1, tag: strings.Trim(a.Header.Get("ETag"), `"`)}
	switch a.StatusCode {
	case http.StatusOK:
		g.size = a.ContentLength
	case http.StatusPartialContent:
		g.from = from
		_, size, _ := strings.Cut(a.Header.Get("Content-Range"), "/")
		g.size, err = strconv.ParseInt(size, 10, 64)
	default:
		a.Body.Close()
		err = &failure{err: errors.New(a.Status), again: true}
	}
	return g, err
}

// Over a real server, whose connections are cut and whose answers are errors.
func TestRealServer(t *testing.T) {
	firstBackOff = time.Millisecond
	defer func() { firstBackOff = 100 * time.Millisecond }()
	s := newFake()
	var items []Item
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		bad, cut := random.IntN(3), random.IntN(100_000)
		mu.Unlock()
		name := strings.TrimPrefix(q.URL.Path, "/")
		w.Header().Set("ETag", `"`+s.tag[name]+`"`)
		switch bad {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			http.ServeContent(&cutWriter{w, cut}, q, "", time.Time{}, bytes.NewReader(s.data[name]))
		default:
			http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(s.data[name]))
		}
	}))
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	for i := range 20 {
		o := s.add(strconv.Itoa(i), i*30_000, uint64(i))
		o.store, o.ranges = webTestStore{server.URL}, i%4 > 0
		if i%8 == 4 {
			o.Size = -1
		}
		items = append(items, Item{Object: o})
	}
	settings := testSettings(nil)
	settings.Tries, settings.Stall = 1000, time.Minute
	f := fetch(t.Context(), settings, 50_000, items...)
	defer f.Close()
	for i, item := range items {
		if err := iotest.TestReader(f.Next(), s.data[item.Object.Name]); err != nil {
			t.Fatal(i, err)
		}
	}
	if f.Stats().Retries == 0 {
		t.Error("nothing broke")
	}
}

// A cutWriter cuts the connection after so many bytes.
type cutWriter struct {
	http.ResponseWriter
	left int
}

func (w *cutWriter) Write(b []byte) (int, error) {
	if len(b) > w.left {
		w.ResponseWriter.Write(b[:w.left])
		panic(http.ErrAbortHandler)
	}
	w.left -= len(b)
	return w.ResponseWriter.Write(b)
}

// zeros is a store of endless speed.
type zeros struct{}

func (zeros) get(_ context.Context, o *Object, from, to int64) (got, error) {
	if to < 0 {
		to = o.Size
	}
	return got{body: io.NopCloser(bytes.NewReader(memory[from%1024:][:to-from])), from: from, size: o.Size, tag: o.Tag}, nil
}

var memory = make([]byte, 1024+partSize)

// BenchmarkRead reads 1 GiB as dtcat does, out of memory.
func BenchmarkRead(b *testing.B) {
	const size = 1 << 30
	o := Object{Name: "o", Size: size, Tag: "t", store: zeros{}, ranges: true}
	settings := testSettings(nil)
	settings.Connections = 16
	buf := make([]byte, 256<<10)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		f := fetch(b.Context(), settings, partSize, Item{Object: o})
		r := f.Next()
		for {
			if _, err := r.Read(buf); err != nil {
				break
			}
		}
		f.Close()
	}
}

// Where the reader is fast and does not wait, a connection brings whole objects; as soon as it waits, there are more connections for less each.
func TestStride(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		slow := false
		s.plan = func(*Object, int64, int) fault {
			if slow {
				return fault{wait: time.Second}
			}
			return fault{}
		}
		var items []Item
		for i := range 20 {
			items = append(items, Item{Object: s.add(fmt.Sprint("s3://b/", i), 30_000, uint64(i))})
		}
		f := fetch(t.Context(), testSettings(nil), 4000, items...)
		defer f.Close()
		read := func(i int) {
			r := f.Next()
			b := make([]byte, 1000)
			var all []byte
			for {
				n, err := r.Read(b)
				all = append(all, b[:n]...)
				if err == io.EOF { //nolint:errorlint // must be this very one
					break
				} else if err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // so that what is read next has come
				time.Sleep(time.Millisecond)
			}
			if !bytes.Equal(all, s.data[items[i].Object.Name]) {
				t.Fatal("other bytes", i)
			}
		}
		for i := range 10 {
			read(i)
		}
		if n := s.asked[items[9].Object.Name]; n != 1 || s.most > firstWindow {
			t.Errorf("a fast server was asked %d times for an object, over %d connections at once", n, s.most)
		}
		if len(f.pool) > firstWindow*unread+1 {
			t.Errorf("%d buffers", len(f.pool))
		}
		slow = true
		for i := 10; i < 20; i++ {
			read(i)
		}
		if n := s.asked[items[19].Object.Name]; n < 4 || s.most < 8 {
			t.Errorf("a slow server was asked %d times for an object, over %d connections at once", n, s.most)
		}
	})
}
