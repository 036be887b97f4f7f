package tree

import (
	"cmp"
	"slices"

	"banyan/relay/media"
)

// Birthplace is the node that a track is born on, by those that announce it; false where nobody does.
//
// If publishers came to several nodes, the one who came last has the track (the others are left over from lines that
// broke). Their times are by the clocks of their nodes: a node that takes a publisher had better announce it as later than
// whatever it sees announced. A publisher goes before workers. Of workers it is the one that Worker chooses.
func Birthplace(v *View, id media.TrackID) (string, bool) {
	n := birthplace(v, id)
	if n == nil {
		return "", false
	}
	return n.Name, true
}

func birthplace(v *View, id media.TrackID) *Node {
	var newest Track
	var sender *Node
	var makers []*Node
	for _, t := range v.Makers(id) {
		n := v.Node(t.Node)
		switch {
		case n == nil: // it has died, and its tracks are about to go
		case !t.Source:
			makers = append(makers, n)
		case sender == nil || t.Since > newest.Since:
			newest, sender = t, n
		}
	}
	if sender != nil {
		return sender
	}
	return incumbent(makers, id.Stream, id.Format)
}

// Worker is the transcoder that makes a format of a stream, whether it does so yet or not; false where there is none, or
// where f is what the publisher sends.
//
// Whoever announces the format keeps it, unless it drains and there are others. Otherwise it is chosen by rendezvous,
// weighted by free capacity: of those in the region of the source with room, else of all with room, else, weighted by
// capacity, of all. The last must then decide whether the format is worth more than what it makes (Keep).
func Worker(v *View, stream media.Name, f media.Format) (string, bool) {
	if f == media.Source {
		return "", false
	}
	n := incumbent(makers(v, stream, f), stream, f)
	if n == nil || n.Draining {
		if next := candidate(v, stream, f); next != nil {
			n = next
		}
	}
	if n == nil {
		return "", false
	}
	return n.Name, true
}

// makers are the nodes that announce a format as their own making, in whatever kind.
func makers(v *View, stream media.Name, f media.Format) (nodes []*Node) {
	for _, kind := range media.Kinds {
		for _, t := range v.Makers(media.TrackID{Stream: stream, Format: f, Kind: kind}) {
			if n := v.Node(t.Node); n != nil && !t.Source && !slices.Contains(nodes, n) {
				nodes = append(nodes, n)
			}
		}
	}
	return nodes
}

// incumbent settles which of several makers stays. Load is no part of it: it changes as they start and stop, and with
// views a moment apart both might then give way.
func incumbent(makers []*Node, stream media.Name, f media.Format) *Node {
	if len(makers) < 2 {
		return first(makers)
	}
	return best(makers, stream, f, func(n *Node) (rank int, weight float64) { return rank01(n.Draining), capacity(n) })
}

// candidate is whoever should make a format that nobody makes; nil where there is no worker but those that drain.
func candidate(v *View, stream media.Name, f media.Format) *Node {
	workers := slices.DeleteFunc(v.With(Transcoder), func(n *Node) bool { return n.Draining })
	region, known := sourceRegion(v, stream)
	return best(workers, stream, f, func(n *Node) (rank int, weight float64) {
		switch {
		case full(n):
			return 2, capacity(n)
		case known && n.Region != region:
			return 1, capacity(n) * free(n)
		}
		return 0, capacity(n) * free(n)
	})
}

func sourceRegion(v *View, stream media.Name) (region string, known bool) {
	for _, kind := range media.Kinds {
		if n := birthplace(v, media.TrackID{Stream: stream, Format: media.Source, Kind: kind}); n != nil {
			return n.Region, true
		}
	}
	return "", false
}

// best is the node of the lowest rank that the format is drawn to most.
func best(nodes []*Node, stream media.Name, f media.Format, judge func(*Node) (rank int, weight float64)) (winner *Node) {
	key := asker(seed(string(stream) + ":" + string(f)))
	bestRank, bestPull := 0, 0.0
	for _, n := range nodes {
		rank, weight := judge(n)
		p := pull(draw(seed(n.Name), key), weight)
		if winner == nil || cmp.Or(cmp.Compare(rank, bestRank), cmp.Compare(bestPull, p)) < 0 {
			winner, bestRank, bestPull = n, rank, p
		}
	}
	return winner
}

func first(nodes []*Node) *Node {
	if len(nodes) == 0 {
		return nil
	}
	return nodes[0]
}
