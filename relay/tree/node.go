package tree

import (
	"math"

	"banyan/relay/media"
)

// Marks of Node.Load and Node.Encoding, which are coarse: the last twentieth counts as none.
const (
	Full  = 0.95 // from here on a node has no room for more
	Roomy = 0.8  // below this it has room again for those that went past it
)

// Gate says whether a node takes newcomers, children or viewers, by its own load: one that was full takes nobody new until
// it has ample room. Load is measured now and then, and those whom one look lets in show only in the next. The zero
// Gate is open.
type Gate struct{ shut bool }

// Shut tells whether newcomers are turned away at this load.
func (g *Gate) Shut(load float64) bool {
	g.shut = load >= Full || g.shut && load >= Roomy
	return g.shut
}

func full(n *Node) bool { return n.Load >= Full }

// busy is how far a node is from making one more format: it takes encoders to make it, and a line to pass it on.
func busy(n *Node) float64 { return max(n.Load, n.Encoding) }

// capacity is a positive number whatever the node says of itself.
func capacity(n *Node) float64 {
	const least, most = 1e-3, 1e6
	if n.Capacity == 0 || math.IsNaN(n.Capacity) {
		return 1
	}
	return min(max(n.Capacity, least), most)
}

// free is the share that a load leaves, in sixteenths, and never nothing: small changes of load should move nobody.
func free(load float64) float64 {
	const steps = 16
	if math.IsNaN(load) {
		return 1
	}
	return max(math.Ceil((1-min(max(load, 0), 1))*steps), 1) / steps
}

// isRelay tells whether a node is of tier 2 for a format.
func isRelay(n *Node, f media.Format) bool { return n.Has(Relay) && n.Carries(f) }

// isEdge tells whether a node is of tier 3, and no more, for a format.
func isEdge(n *Node, f media.Format) bool { return n.Has(Edge) && !n.Has(Relay) && n.Carries(f) }

// sameHost tells whether nodes run on one machine, as far as their addresses show.
func sameHost(a, b *Node) bool {
	return a.Link.Addr().IsValid() && a.Link.Addr().Unmap() == b.Link.Addr().Unmap()
}

// rank01 orders no before yes.
func rank01(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
