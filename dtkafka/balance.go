package main

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

const (
	protocolType = "consumer" // what Kafka calls readers in groups
	protocolName = "dt"       // how the members know that they share out partitions in the same way
)

// A claim is what a member tells the others when it joins.
type claim struct {
	Whole      int   `json:"whole"`      // 1: the topic is to be read by one member
	Owned      []int `json:"owned"`      // partitions that it read last
	Generation int   `json:"generation"` // when that was
	Partitions int   `json:"partitions"` // of the topic, as far as it knows
}

// A grant is what a member is told with its share.
type grant struct {
	Whole      int `json:"whole"`      // 1: all partitions went to one member
	Partitions int `json:"partitions"` // of the topic
}

// encodeData writes a claim or a grant.
func encodeData(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // of numbers alone
	}
	return data
}

// decodeClaim reads a claim. What is none, of another program's or a later version's, claims nothing.
func decodeClaim(data []byte) claim {
	var c claim
	if json.Unmarshal(data, &c) != nil {
		return claim{}
	}
	return c
}

// decodeGrant reads a grant, in the same manner.
func decodeGrant(data []byte) grant {
	var g grant
	if json.Unmarshal(data, &g) != nil {
		return grant{}
	}
	return g
}

// share gives each partition of a topic, 0 … partitions−1, to one member. Shares differ by one partition at most, as few partitions as
// that allows change hands, and the same claims give the same shares. If any member says so, one gets the whole topic: the one that had
// most of it, and among equals the first by name.
func share(claims map[string]claim, partitions int) map[string][]int {
	members := slices.Sorted(maps.Keys(claims))
	shares := make(map[string][]int, len(members))
	for _, m := range members {
		shares[m] = []int{}
	}
	if len(members) == 0 {
		return shares
	}
	free := []int{}
	for p, owner := range owners(claims, members, partitions) {
		if owner == "" {
			free = append(free, p)
		} else {
			shares[owner] = append(shares[owner], p)
		}
	}
	// Those that have most come first: they have the most to lose where there is one partition more for some.
	most := slices.SortedStableFunc(slices.Values(members), func(a, b string) int { return cmp.Compare(len(shares[b]), len(shares[a])) })
	if isWhole(claims) {
		for _, m := range members {
			shares[m] = []int{}
		}
		for p := range partitions {
			shares[most[0]] = append(shares[most[0]], p)
		}
		return shares
	}
	size := make(map[string]int, len(members))
	for i, m := range most {
		size[m] = partitions / len(members)
		if i < partitions%len(members) {
			size[m]++
		}
		if had := shares[m]; len(had) > size[m] {
			shares[m] = had[:size[m]:size[m]]
			free = append(free, had[size[m]:]...)
		}
	}
	slices.Sort(free)
	for _, m := range members {
		n := size[m] - len(shares[m])
		shares[m] = append(shares[m], free[:n]...)
		free = free[n:]
		slices.Sort(shares[m])
	}
	return shares
}

// owners returns who had each partition last, or "". Of two that claim one, the later generation is right: the other one missed that it
// lost the partition.
func owners(claims map[string]claim, members []string, partitions int) []string {
	owner := make([]string, partitions)
	for _, m := range members {
		for _, p := range claims[m].Owned {
			if p >= 0 && p < partitions && (owner[p] == "" || claims[m].Generation > claims[owner[p]].Generation) {
				owner[p] = m
			}
		}
	}
	return owner
}

// mostPartitions is the most that a topic is believed to have: Kafka's own limit for a cluster is of that order.
const mostPartitions = 1 << 20

// partitionsOf returns how many partitions the topic has: the newest to know of more is right, and joins again who is wrong.
func partitionsOf(claims map[string]claim) int {
	n := 0
	for _, c := range claims {
		if c.Partitions <= mostPartitions {
			n = max(n, c.Partitions)
		}
	}
	return n
}

func isWhole(claims map[string]claim) bool {
	for _, c := range claims {
		if c.Whole == 1 {
			return true
		}
	}
	return false
}
