package tree

import (
	"cmp"
	"math"
	"slices"
)

// Slack is how far above its share of a region's edges a relay may go before the others take what is more. With
// less, more edges move at each change; with more, the spread is worse. That is measured: with 1.15 only 81 % of the edges of a
// relay that dies go to their warm second, with 1.1 76 %, and more than twice as many edges move as had the dead relay.
//
// After a death both add up. A region of twelve shares of relays that loses two has a fifth more for each to carry, so its fullest
// relay has up to 1.2 times 1.2 of what it had before, beside regions that lost nothing: no slack above 1.08 would keep that
// within 1.3 of the mean of the world. Within the region, where there is a choice, it stays.
const Slack = 1.2

// fan is how the edges of one place spread over the relays that carry the format.
type fan struct {
	classes  [][]int32 // relays that do not drain; those of the first class that has any are parents
	draining []int32

	children []int32 // edges, in order of names
	homes    []int32 // the relay of each child
	taken    []int   // how many children each relay of the first class has
	most     []int   // how many it may have

	orders map[int32][]int32 // relays by child, best first, as far as somebody asked
}

// spread works out a fan.
func (p *Plan) spread(at place) *fan {
	f := &fan{orders: map[int32][]int32{}}
	type judged struct {
		relay int32
		full  int
		near  int
	}
	var relays []judged
	for _, r := range p.relays {
		switch n := p.node(r); {
		case !n.Carries(at.format):
		case n.Draining:
			f.draining = append(f.draining, r)
		default:
			relays = append(relays, judged{r, rank01(full(n)), nearness(at.region, n.Region)})
		}
	}
	class := func(a, b judged) int { return cmp.Or(cmp.Compare(a.full, b.full), cmp.Compare(b.near, a.near)) }
	slices.SortStableFunc(relays, class)
	for i, r := range relays {
		if i == 0 || class(relays[i-1], r) != 0 {
			f.classes = append(f.classes, nil)
		}
		last := &f.classes[len(f.classes)-1]
		*last = append(*last, r.relay)
	}
	for _, e := range p.edges[at.region] {
		if isEdge(p.node(e), at.format) {
			f.children = append(f.children, e)
		}
	}
	if len(f.classes) > 0 {
		p.assign(f)
	}
	return f
}

// assign gives each child its relay: the one that it is drawn to most among those that have room (consistent hashing
// with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2016, by rendezvous). Children come in the order of their
// names, so that one more or less changes the turn of no other.
func (p *Plan) assign(f *fan) {
	relays := slices.Clone(f.classes[0])
	slices.SortStableFunc(relays, func(a, b int32) int { return cmp.Compare(capacity(p.node(a)), capacity(p.node(b))) })
	f.classes[0] = relays
	total := 0.0
	weights, seeds := make([]float64, len(relays)), make([]uint64, len(relays))
	for i, r := range relays {
		weights[i], seeds[i] = capacity(p.node(r)), p.seeds[r]
		total += weights[i]
	}
	f.taken, f.most = make([]int, len(relays)), make([]int, len(relays))
	for i, w := range weights {
		f.most[i] = int(math.Ceil(Slack * float64(len(f.children)) * w / total))
	}
	f.homes = make([]int32, len(f.children))
	for i, child := range f.children {
		home := f.favourite(asker(p.seeds[child]), seeds, weights)
		f.homes[i] = relays[home]
		f.taken[home]++
	}
}

// favourite is the relay with room that key is drawn to most. Relays come by weight, so that only the favourites of each
// weight need be compared by pull.
func (f *fan) favourite(key uint64, seeds []uint64, weights []float64) int {
	best, bestPull := -1, 0.0
	for from := 0; from < len(seeds); {
		weight, favourite, highest := weights[from], -1, uint64(0)
		i := from
		for ; i < len(seeds) && weights[i] == weight; i++ {
			if d := draw(seeds[i], key); (favourite < 0 || d > highest) && f.taken[i] < f.most[i] {
				favourite, highest = i, d
			}
		}
		if favourite >= 0 {
			if from == 0 && i == len(seeds) {
				return favourite
			}
			if pull := pull(highest, weight); best < 0 || pull > bestPull {
				best, bestPull = favourite, pull
			}
		}
		from = i
	}
	return best
}

// home is the relay of a child; negative where it is no child of this fan or there is no relay.
func (f *fan) home(child int32) int32 {
	if i, found := slices.BinarySearch(f.children, child); found && len(f.homes) > 0 {
		return f.homes[i]
	}
	return -1
}

// hasRoom tells whether a relay has fewer children than it may have. Relays that are not of the first class have none.
func (f *fan) hasRoom(relay int32) bool {
	if len(f.classes) == 0 {
		return false
	}
	i := slices.Index(f.classes[0], relay)
	return i < 0 || f.taken[i] < f.most[i]
}
