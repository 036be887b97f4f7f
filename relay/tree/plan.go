package tree

import (
	"slices"
	"strings"
	"sync"

	"banyan/relay/media"
)

// Plan answers for all tracks of one view. It is safe for concurrent use. Make one per view: it works out how the
// edges of a region spread over the relays of a format when it is first asked, and remembers that.
type Plan struct {
	view   *View
	seeds  []uint64           // of the nodes' names
	relays []int32            // nodes, in order of names
	edges  map[string][]int32 // nodes by region, in order of names; relays are none of them

	places     places                // regions of edges, relays or not
	restricted map[media.Format]bool // formats that some edge is restricted to

	mu    sync.Mutex // guards what is remembered
	fans  map[place]*fan
	doors map[string]*doors
}

// place is where children of one parentage are: edges of a region that want a format.
type place struct {
	region string
	format media.Format
}

// NewPlan makes a plan of a view.
func NewPlan(v *View) *Plan {
	p := &Plan{view: v, seeds: make([]uint64, len(v.Nodes)), edges: map[string][]int32{}, fans: map[place]*fan{}, doors: map[string]*doors{},
		places: places{}, restricted: map[media.Format]bool{}}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		p.seeds[i] = seed(n.Name)
		if isDoor(n) {
			p.places.add(n.Region)
			for _, f := range n.Formats {
				p.restricted[f] = true
			}
		}
		switch {
		case n.Has(Relay):
			p.relays = append(p.relays, int32(i))
		case n.Has(Edge):
			p.edges[n.Region] = append(p.edges[n.Region], int32(i))
		}
	}
	return p
}

// View is what the plan was made of.
func (p *Plan) View() *View { return p.view }

// Birthplace is the function of that name.
func (p *Plan) Birthplace(id media.TrackID) (string, bool) { return Birthplace(p.view, id) }

// Worker is the function of that name.
func (p *Plan) Worker(stream media.Name, f media.Format) (string, bool) {
	return Worker(p.view, stream, f)
}

func (p *Plan) node(i int32) *Node { return &p.view.Nodes[i] }

// find is where a node stands in the view; negative where it does not.
func (p *Plan) find(name string) int32 {
	i, found := slices.BinarySearchFunc(p.view.Nodes, name, func(n Node, name string) int { return strings.Compare(n.Name, name) })
	if !found {
		return -1
	}
	return int32(i)
}

// fan is that of a place. p.mu is held.
func (p *Plan) fan(at place) *fan {
	f := p.fans[at]
	if f == nil {
		f = p.spread(at)
		p.fans[at] = f
	}
	return f
}
