package tree

import (
	"cmp"
	"slices"
	"sync"

	"banyan/relay/media"
)

// Edges says which edges are good for a viewer, best first. See Plan.Edges.
func Edges(v *View, region, key string, formats ...media.Format) []string {
	return NewPlan(v).Edges(region, key, formats...)
}

// mostEdges is how many edges a viewer is told of: one to go to, and others should that fail on the way.
const mostEdges = 4

// Edges says which edges are good for a viewer, best first and at most four: those that viewers can reach (Node.HTTP), that do
// not drain, and that carry at least one of the formats (any edge, if none is named). Those with room come before those
// without; then those in the viewer's region, or in the nearest that has any; then those that carry more of the formats.
// Among equals viewers spread by rendezvous over key, which is anything that tells them apart, weighted by free
// capacity: a new edge fills up faster than others, but not with all who come. Where there are edges with room elsewhere, the
// last one is of those: when a region fails, the next one may be full before gossip tells. Edges that drain are named only
// where there are no others.
//
// A region that nobody knows is near to those whose names begin alike, else equally far from all, and such viewers spread
// over all edges. For formats that nobody carries there is no edge: a viewer sent anywhere would only be refused there.
//
// A viewer who asks again while it plays well had better stay as long as Serves says so.
func (p *Plan) Edges(region, key string, formats ...media.Format) []string {
	d := p.doorsFor(region, formats)
	var found [mostEdges]door
	n := 0
	viewer := asker(seed(key))
	for i := 0; i < len(d.classes) && n < len(found); i++ {
		n += d.classes[i].best(viewer, found[n:])
		if n == len(found) && i < d.elsewhere {
			d.classes[d.elsewhere].best(viewer, found[n-1:])
		}
	}
	names := make([]string, n)
	for i := range names {
		names[i] = p.node(found[i].node).Name
	}
	return names
}

// Serves tells whether viewers of an edge who want any of the formats may stay there: it lives, does not drain, and carries
// one. It may be full: those who are there have their place.
func (p *Plan) Serves(edge string, formats ...media.Format) bool {
	i := p.find(edge)
	return i >= 0 && isDoor(p.node(i)) && !p.node(i).Draining && (len(formats) == 0 || carried(p.node(i), formats) > 0)
}

func isDoor(n *Node) bool { return n.Has(Edge) && n.HTTP != "" }

func carried(n *Node, formats []media.Format) (count int) {
	for _, f := range formats {
		count += rank01(n.Carries(f))
	}
	return count
}

// doors are the edges for viewers of one region who want the same formats.
type doors struct {
	once      sync.Once   // fills the fields below
	classes   []doorClass // best first
	elsewhere int         // the first class with room in another region than the first class; zero where there is none
}

// doorClass are edges that differ in nothing but their weight.
type doorClass []doorGroup

// doorGroup are edges of equal weight.
type doorGroup struct {
	weight float64
	nodes  []int32
	seeds  []uint64
}

// mostDoors bounds what a plan remembers. Where there are more regions times formats, those that are asked for again
// take the places of others.
const mostDoors = 256

// doorsFor looks up the doors of a region and some formats, or works them out.
//
// Regions and formats come from viewers, who may make them up, so doors are remembered by what can make a difference: how
// near the region is to those of the edges, and which formats some edge is restricted to. So made-up names are all alike.
func (p *Plan) doorsFor(region string, formats []media.Format) *doors {
	region, formats = p.places.class(region), p.known(formats)
	key := make([]byte, 0, 64)
	key = append(key, region...)
	for _, f := range formats {
		key = append(append(key, 0), f...)
	}
	p.mu.Lock()
	d := p.doors[string(key)]
	if d == nil {
		d = &doors{}
		if len(p.doors) >= mostDoors {
			for old := range p.doors { // any
				delete(p.doors, old)
				break
			}
		}
		p.doors[string(key)] = d
	}
	p.mu.Unlock()
	d.once.Do(func() { p.openDoors(d, region, formats) }) // others need not wait for these
	return d
}

// anyFormat stands for all formats that no edge is restricted to. It is the name of none (media.ParseFormat).
const anyFormat media.Format = "*"

// known is formats in order, each once, where those that no edge is restricted to count as one.
func (p *Plan) known(formats []media.Format) []media.Format {
	named := make([]media.Format, 0, len(formats))
	for _, f := range formats {
		if !p.restricted[f] {
			f = anyFormat
		}
		named = append(named, f)
	}
	slices.Sort(named)
	return slices.Compact(named)
}

// openDoors sorts the edges into classes.
func (p *Plan) openDoors(d *doors, region string, formats []media.Format) {
	type judged struct {
		node                  int32
		draining, full, lacks int
		near                  int
		weight                float64
	}
	var edges []judged
	near := map[string]int{}
	for i := range p.view.Nodes {
		n := &p.view.Nodes[i]
		count := carried(n, formats)
		if !isDoor(n) || len(formats) > 0 && count == 0 {
			continue
		}
		if _, known := near[n.Region]; !known {
			near[n.Region] = nearness(region, n.Region)
		}
		edges = append(edges, judged{int32(i), rank01(n.Draining), rank01(full(n)), len(formats) - count, near[n.Region], capacity(n) * free(n.Load)})
	}
	class := func(a, b judged) int {
		return cmp.Or(cmp.Compare(a.draining, b.draining), cmp.Compare(a.full, b.full), cmp.Compare(b.near, a.near), cmp.Compare(a.lacks, b.lacks))
	}
	slices.SortStableFunc(edges, func(a, b judged) int { return cmp.Or(class(a, b), cmp.Compare(a.weight, b.weight)) })
	for i, e := range edges {
		if e.draining > 0 && edges[0].draining == 0 {
			break
		}
		if i == 0 || class(edges[i-1], e) != 0 {
			if d.elsewhere == 0 && e.near != edges[0].near && e.full == 0 {
				d.elsewhere = len(d.classes)
			}
			d.classes = append(d.classes, nil)
		}
		last := &d.classes[len(d.classes)-1]
		if len(*last) == 0 || (*last)[len(*last)-1].weight != e.weight {
			*last = append(*last, doorGroup{weight: e.weight})
		}
		group := &(*last)[len(*last)-1]
		group.nodes, group.seeds = append(group.nodes, e.node), append(group.seeds, p.seeds[e.node])
	}
}

// door is an edge and how much it draws a viewer.
type door struct {
	node int32
	draw uint64
	pull float64
}

// best fills found with the edges that a viewer is drawn to most, and returns how many there are.
func (c doorClass) best(viewer uint64, found []door) (n int) {
	for _, g := range c {
		var drawn [mostEdges]door
		for _, d := range drawn[:g.best(viewer, drawn[:len(found)])] {
			d.pull = pull(d.draw, g.weight)
			n = insert(found, n, d, func(a, b door) bool { return a.pull > b.pull })
		}
	}
	return n
}

// best goes through all edges of a group: this loop is what a viewer's question costs.
func (g *doorGroup) best(viewer uint64, found []door) (n int) {
	bar := uint64(0) // what a draw must be above, once found is full
	for i, s := range g.seeds {
		d := draw(s, viewer)
		if n == len(found) && d <= bar {
			continue
		}
		n = insert(found, n, door{node: g.nodes[i], draw: d}, func(a, b door) bool { return a.draw > b.draw })
		bar = found[n-1].draw
	}
	return n
}

// insert keeps the first n of found sorted, best first, and drops the worst where there is no room.
func insert(found []door, n int, d door, better func(a, b door) bool) int {
	if n < len(found) {
		n++
	} else if !better(d, found[n-1]) {
		return n
	}
	i := n - 1
	for ; i > 0 && better(d, found[i-1]); i-- {
		found[i] = found[i-1]
	}
	found[i] = d
	return n
}
