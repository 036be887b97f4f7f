package tree

import (
	"slices"

	"banyan/relay/media"
)

// Stay says whether a child that is well where it is takes its track from there also in this view, or had better move to the
// first of Parents. It holds where two views apart by a little load would send a child to and fro: a relay that is full
// keeps its children, and who went past a relay because it was full returns only when it has ample room again.
//
// It never holds a child below a node that drains, that does not carry the track, or that Parents could not name.
func (p *Plan) Stay(self string, id media.TrackID, parent string) bool {
	parents := p.Parents(self, id)
	if len(parents) == 0 {
		return false
	}
	if parents[0] == parent {
		return true
	}
	at, child := p.find(parent), p.find(self)
	if at < 0 || p.node(at).Draining || !p.mayCarry(at, child, id) {
		return false
	}
	home := p.node(p.find(parents[0]))
	if home.Load >= Roomy {
		return true
	}
	region := p.regionOf(child)
	return full(p.node(at)) && nearness(region, p.node(at).Region) >= nearness(region, home.Region) &&
		child >= 0 && isEdge(p.node(child), id.Format)
}

// mayCarry tells whether parent is above child in a track's tree.
func (p *Plan) mayCarry(parent, child int32, id media.TrackID) bool {
	birth := birthplace(p.view, id)
	if p.node(parent) == birth {
		return true
	}
	if child < 0 || !isRelay(p.node(child), id.Format) {
		return isRelay(p.node(parent), id.Format)
	}
	ladder := p.ladder(p.find(birth.Name), id)
	return slices.Contains(ladder[:reachable(slices.Index(ladder, child))], parent)
}
