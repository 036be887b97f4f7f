package tree

import (
	"cmp"
	"slices"

	"banyan/relay/media"
)

// Parents says from whom self takes a track, best first: the parent, the warm second, then further ones to try. It is
// empty at the birthplace, and where nobody has the track. See Plan.Parents.
func Parents(v *View, self string, id media.TrackID) []string { return NewPlan(v).Parents(self, id) }

// How many entries a list of parents has, so that whoever tries them one by one comes to an end.
const (
	mostNear     = 3 // relays of the own region, or of what stands in for it
	mostFar      = 2 // others
	mostDraining = 2
	mostAbove    = 3 // relays, for a relay
)

// Parents says from whom self takes a track, best first: the parent, the warm second (on another host, where there is
// one), then further ones to try. It is empty at the birthplace, and where nobody has the track.
//
// Where self drains, or is full, makes no difference. A node that the view does not know is taken for one that makes something
// of the track.
func (p *Plan) Parents(self string, id media.TrackID) []string {
	top := birthplace(p.view, id)
	if top == nil || top.Name == self {
		return nil
	}
	birth, child := p.find(top.Name), p.find(self)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case child >= 0 && isRelay(p.node(child), id.Format):
		return p.names(birth, p.above(child, birth, id), nil)
	case child >= 0 && isEdge(p.node(child), id.Format):
		f := p.fan(place{p.node(child).Region, id.Format})
		return p.names(-1, p.order(f, child), append([]int32{birth}, f.ending(mostDraining)...))
	}
	f := p.fan(place{p.regionOf(child), id.Format})
	return p.names(birth, p.best(f.nearest(), asker(seed(self)), mostNear), nil)
}

// names strings parts together, each node once. A negative head is none.
func (p *Plan) names(head int32, middle, tail []int32) []string {
	names := make([]string, 0, 1+len(middle)+len(tail))
	add := func(i int32) {
		if name := p.node(i).Name; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if head >= 0 {
		add(head)
	}
	for _, i := range middle {
		add(i)
	}
	for _, i := range tail {
		add(i)
	}
	return names
}

func (p *Plan) regionOf(i int32) string {
	if i < 0 {
		return ""
	}
	return p.node(i).Region
}

func (f *fan) nearest() []int32 {
	if len(f.classes) == 0 {
		return nil
	}
	return f.classes[0]
}

func (f *fan) ending(most int) []int32 { return f.draining[:min(most, len(f.draining))] }

// order lists the relays that an edge may hang below, its home first. p.mu is held.
func (p *Plan) order(f *fan, child int32) []int32 {
	if order, known := f.orders[child]; known {
		return order
	}
	key := asker(p.seeds[child])
	var order []int32
	far := 0
	for i, class := range f.classes {
		if i == 0 {
			order = p.best(class, key, len(class))
			continue
		}
		if far == mostFar {
			break
		}
		more := p.best(class, key, mostFar-far)
		far += len(more)
		order = append(order, more...)
	}
	near := len(f.nearest())
	if home := slices.Index(order, f.home(child)); home > 0 {
		toFront(order, home)
	}
	if second := p.second(f, order, near); second > 1 {
		toFront(order[1:], second-1)
		if second >= near {
			near++
		}
	}
	if near > mostNear { // what is left of the near ones; the far ones stay
		order = slices.Delete(order, mostNear, near)
	}
	f.orders[child] = order
	return order
}

// second finds the best relay after the first that runs on another host: a near one with room, else a near one, else any;
// zero where there is none.
func (p *Plan) second(f *fan, order []int32, near int) int {
	found := 0
	for i := 1; i < len(order); i++ {
		if sameHost(p.node(order[0]), p.node(order[i])) {
			continue
		}
		if i < near && f.hasRoom(order[i]) {
			return i
		}
		if found == 0 {
			found = i
		}
	}
	return found
}

// toFront moves element i to the front and the ones before it back by one.
func toFront(list []int32, i int) {
	x := list[i]
	copy(list[1:i+1], list[:i])
	list[0] = x
}

// best lists the most nodes that key is drawn to, by falling pull.
func (p *Plan) best(nodes []int32, key uint64, most int) []int32 {
	type drawn struct {
		node int32
		pull float64
	}
	all := make([]drawn, len(nodes))
	for i, n := range nodes {
		all[i] = drawn{n, pull(draw(p.seeds[n], key), capacity(p.node(n)))}
	}
	slices.SortFunc(all, func(a, b drawn) int { return cmp.Or(cmp.Compare(b.pull, a.pull), cmp.Compare(a.node, b.node)) })
	list := make([]int32, 0, min(most, len(all)))
	for _, d := range all[:min(most, len(all))] {
		list = append(list, d.node)
	}
	return list
}

// ladder is the order of the relays that carry a track, by which a relay may hang only below those above it. It differs
// from track to track, so that not one relay stands in for all birthplaces. Those that drain are at the end. The
// birthplace is no part of it.
func (p *Plan) ladder(birth int32, id media.TrackID) []int32 {
	type rung struct {
		relay    int32
		draining int
		height   uint64
	}
	key := asker(seed(id.String()))
	var rungs []rung
	for _, r := range p.relays {
		if n := p.node(r); r != birth && n.Carries(id.Format) {
			rungs = append(rungs, rung{r, rank01(n.Draining), draw(p.seeds[r], key)})
		}
	}
	slices.SortFunc(rungs, func(a, b rung) int {
		return cmp.Or(cmp.Compare(a.draining, b.draining), cmp.Compare(a.height, b.height), cmp.Compare(a.relay, b.relay))
	})
	list := make([]int32, len(rungs))
	for i, r := range rungs {
		list[i] = r.relay
	}
	return list
}

// reachable is how many of the relays at the top of a ladder the one at index i may hang below. A path from any of n relays
// over others is then no longer than three and the logarithm of n to the base of four.
func reachable(i int) int { return max(min(i, 3), i/4) }

// above lists the relays that a relay may take a track from when it cannot have it from the birthplace: those that neither
// drain nor are full first, then those on another host than the birthplace, then the nearest.
func (p *Plan) above(relay, birth int32, id media.TrackID) []int32 {
	ladder := p.ladder(birth, id)
	candidates := ladder[:reachable(slices.Index(ladder, relay))]
	self, top := p.node(relay), p.node(birth)
	key := asker(p.seeds[relay])
	rank := func(i int32) (state, host, distance int, draw_ uint64) {
		n := p.node(i)
		return rank01(n.Draining)*2 + rank01(full(n)), rank01(sameHost(n, top) || sameHost(n, self)), -nearness(self.Region, n.Region), draw(p.seeds[i], key)
	}
	slices.SortFunc(candidates, func(a, b int32) int {
		stateA, hostA, distanceA, drawA := rank(a)
		stateB, hostB, distanceB, drawB := rank(b)
		return cmp.Or(cmp.Compare(stateA, stateB), cmp.Compare(hostA, hostB), cmp.Compare(distanceA, distanceB),
			cmp.Compare(drawB, drawA), cmp.Compare(a, b))
	})
	return candidates[:min(mostAbove, len(candidates))]
}
