package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// A group's history: members come and go, a few at a time, and what each one has is what it claims the next time. Whatever happens, all partitions are
// shared out once, evenly, in the same way by whoever is asked, and no more of them move than must.
func TestShareHistory(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		claims := map[string]claim{}
		partitions := rng.IntN(40)
		for step := range 12 {
			for range rng.IntN(4) {
				if m := fmt.Sprintf("m%d", rng.IntN(7)); claims[m].Generation > 0 {
					delete(claims, m)
				} else {
					claims[m] = claim{}
				}
			}
			if rng.IntN(5) == 0 {
				partitions += rng.IntN(10)
			}
			shares := share(claims, partitions)
			checkShares(t, claims, shares, partitions)
			if kept, most := kept(claims, shares), mostKept(claims, partitions); kept != most {
				t.Fatalf("seed %d: %d partitions stay, of %d that can: %v of %v", seed, kept, most, shares, claims)
			}
			for m := range claims {
				claims[m] = claim{Owned: shares[m], Generation: step + 1}
			}
		}
	}
}

// Claims can be anything: the shares are none the less.
func TestShareAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 2000 {
		claims, partitions := map[string]claim{}, rng.IntN(20)
		for m := range rng.IntN(6) {
			c := claim{Generation: rng.IntN(4) - 1}
			for range rng.IntN(30) {
				c.Owned = append(c.Owned, rng.IntN(30)-5)
			}
			claims[fmt.Sprint("m", m)] = c
		}
		checkShares(t, claims, share(claims, partitions), partitions)
	}
}

func checkShares(t *testing.T, claims map[string]claim, shares map[string][]int, partitions int) {
	t.Helper()
	for range 3 { // the order of a map is another one each time
		if again := share(maps.Clone(claims), partitions); !reflect.DeepEqual(again, shares) {
			t.Fatalf("%v and %v of the same claims", shares, again)
		}
	}
	if len(shares) != len(claims) {
		t.Fatalf("%d shares for %d members", len(shares), len(claims))
	}
	var all []int
	least, most := partitions, 0
	for m, s := range shares {
		if _, ok := claims[m]; !ok || !slices.IsSorted(s) {
			t.Fatalf("%s: %v", m, s)
		}
		all = append(all, s...)
		least, most = min(least, len(s)), max(most, len(s))
	}
	if len(claims) == 0 {
		return
	}
	slices.Sort(all)
	for p := range max(partitions, len(all)) {
		if len(all) != partitions || all[p] != p {
			t.Fatalf("%d partitions shared out as %v", partitions, all)
		}
	}
	if most-least > 1 {
		t.Fatalf("uneven: %v", shares)
	}
}

func kept(claims map[string]claim, shares map[string][]int) int {
	n := 0
	for m, c := range claims {
		for _, p := range c.Owned {
			if slices.Contains(shares[m], p) {
				n++
			}
		}
	}
	return n
}

// mostKept tries all ways of saying who gets one partition more, for claims that do not overlap.
func mostKept(claims map[string]claim, partitions int) int {
	members := slices.Sorted(maps.Keys(claims))
	if len(members) == 0 {
		return 0
	}
	small, larger, best := partitions/len(members), partitions%len(members), 0
	for set := range 1 << len(members) {
		n, bits := 0, 0
		for i, m := range members {
			size := small + set>>i&1
			bits += set >> i & 1
			n += min(size, len(claims[m].Owned))
		}
		if bits == larger {
			best = max(best, n)
		}
	}
	return best
}

func TestShare(t *testing.T) {
	for _, tt := range []struct {
		name       string
		claims     map[string]claim
		partitions int
		want       map[string][]int
	}{
		{"nobody", nil, 4, map[string][]int{}},
		{"one", map[string]claim{"a": {}}, 3, map[string][]int{"a": {0, 1, 2}}},
		{"more members than partitions", map[string]claim{"a": {}, "b": {}, "c": {}}, 2, map[string][]int{"a": {0}, "b": {1}, "c": {}}},
		{"no partitions", map[string]claim{"a": {}}, 0, map[string][]int{"a": {}}},
		{"the one that missed a generation has lost what it had", map[string]claim{"a": {Owned: []int{0, 1}, Generation: 5}, "b": {Owned: []int{0, 1}, Generation: 6}}, 2,
			map[string][]int{"a": {1}, "b": {0}}},
		{"whole", map[string]claim{"a": {Owned: []int{0}}, "b": {Whole: 1}, "c": {Owned: []int{1, 2}}}, 4, map[string][]int{"a": {}, "b": {}, "c": {0, 1, 2, 3}}},
		{"whole, of equals", map[string]claim{"b": {Whole: 1, Owned: []int{1}}, "a": {Owned: []int{0}}}, 3, map[string][]int{"a": {0, 1, 2}, "b": {}}},
		{"whole, for the first time", map[string]claim{"b": {Whole: 1}, "a": {}}, 2, map[string][]int{"a": {0, 1}, "b": {}}},
	} {
		if got := share(tt.claims, tt.partitions); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestClaims(t *testing.T) {
	c := claim{Whole: 1, Owned: []int{3, 4}, Generation: 7, Partitions: 8}
	if got := decodeClaim(encodeData(c)); !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, want %+v", got, c)
	}
	for _, foreign := range []string{"", "{", "[1]", `{"owned":"x"}`, "\x00\x01\x02", `{"owned":[1e99]}`} {
		if got := decodeClaim([]byte(foreign)); !reflect.DeepEqual(got, claim{}) {
			t.Errorf("%q: %+v", foreign, got)
		}
		if got := decodeGrant([]byte(foreign)); got != (grant{}) {
			t.Errorf("%q: %+v", foreign, got)
		}
	}
	if n := partitionsOf(map[string]claim{"a": {Partitions: 4}, "b": {Partitions: 6}, "c": {}, "d": {Partitions: 1 << 40}, "e": {Partitions: -1}}); n != 6 {
		t.Errorf("%d partitions", n)
	}
}

func TestRanges(t *testing.T) {
	for want, of := range map[string][]int{"": nil, "3": {3}, "0-3": {0, 1, 2, 3}, "0-1,3,5-7": {0, 1, 3, 5, 6, 7}} {
		if got := ranges(of); got != want {
			t.Errorf("%v: %q, want %q", of, got, want)
		}
	}
}
