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
	var makers []maker
	for _, t := range v.Makers(id) {
		n := v.Node(t.Node)
		switch {
		case n == nil: // it has died, and its tracks are about to go
		case !t.Source:
			makers = append(makers, maker{n, t.Waits})
		case sender == nil || t.Since > newest.Since:
			newest, sender = t, n
		}
	}
	if sender != nil {
		return sender
	}
	return incumbent(makers, id.Stream, id.Format).Node
}

// Worker is the transcoder that makes a format of a stream, whether it does so yet or not; false where there is none, or
// where f is what the publisher sends.
//
// Whoever announces the format keeps it, unless it drains and there are others, or has no room for it and others have.
// Otherwise it is chosen by rendezvous, weighted by free capacity: of those in the region of the source with room, else
// of all with room, else, weighted by capacity, of all. The last must then decide whether the format is worth more than
// what it makes (Keep).
func Worker(v *View, stream media.Name, f media.Format) (string, bool) {
	if f == media.Source {
		return "", false
	}
	makers := makers(v, stream, f)
	present := incumbent(makers, stream, f)
	n := present.Node
	if n == nil || n.Draining || present.waits {
		next := candidate(v, stream, f, makers)
		if next != nil && (n == nil || n.Draining || busy(next) < Full) {
			n = next
		}
	}
	if n == nil {
		return "", false
	}
	return n.Name, true
}

// Makes tells whether a node is to offer a format of a stream: where Worker names it, or nobody. A worker that has no room
// for a format, or drains, also goes on offering it until the one that is named in its place does: if it withdrew at once,
// nobody would make the format for as long as word is under way, and whoever hears of a withdrawal for want of room first
// would know of no reason not to choose it again.
func Makes(v *View, self string, stream media.Name, f media.Format) bool {
	worker, ok := Worker(v, stream, f)
	if !ok || worker == self {
		return true
	}
	present := incumbent(makers(v, stream, f), stream, f)
	return present.Node != nil && present.Name == self
}

// maker is a node that announces a format as its own making.
type maker struct {
	*Node
	waits bool // for room
}

// makers are those of a format, in whatever kind.
func makers(v *View, stream media.Name, f media.Format) (list []maker) {
	for _, kind := range media.Kinds {
		for _, t := range v.Makers(media.TrackID{Stream: stream, Format: f, Kind: kind}) {
			n := v.Node(t.Node)
			if n == nil || t.Source {
				continue
			}
			if i := slices.IndexFunc(list, func(m maker) bool { return m.Node == n }); i >= 0 {
				list[i].waits = list[i].waits || t.Waits
				continue
			}
			list = append(list, maker{n, t.Waits})
		}
	}
	return list
}

// incumbent settles which of several makers stays; none where there are none. Load is no part of it: it changes as they
// start and stop, and with views a moment apart both might then give way.
func incumbent(makers []maker, stream media.Name, f media.Format) maker {
	return best(makers, stream, f, func(m maker) (node *Node, rank int, weight float64) {
		return m.Node, 2*rank01(m.Draining) + rank01(m.waits), capacity(m.Node)
	})
}

// candidate is whoever should make a format that nobody makes, or else that the present makers cannot; nil where there is
// no worker but those that drain or wait for room themselves.
func candidate(v *View, stream media.Name, f media.Format, present []maker) *Node {
	workers := slices.DeleteFunc(v.With(Transcoder), func(n *Node) bool {
		return n.Draining || slices.ContainsFunc(present, func(m maker) bool { return m.Node == n && m.waits })
	})
	region, known := sourceRegion(v, stream)
	return best(workers, stream, f, func(n *Node) (node *Node, rank int, weight float64) {
		switch {
		case busy(n) >= Full:
			return n, 2, capacity(n)
		case known && n.Region != region:
			return n, 1, capacity(n) * free(busy(n))
		}
		return n, 0, capacity(n) * free(busy(n))
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

// best is the one of the lowest rank that the format is drawn to most.
func best[T any](list []T, stream media.Name, f media.Format, judge func(T) (node *Node, rank int, weight float64)) (winner T) {
	key := asker(seed(string(stream) + ":" + string(f)))
	bestRank, bestPull := 0, 0.0
	for i, t := range list {
		n, rank, weight := judge(t)
		p := pull(draw(seed(n.Name), key), weight)
		if i == 0 || cmp.Or(cmp.Compare(rank, bestRank), cmp.Compare(bestPull, p)) < 0 {
			winner, bestRank, bestPull = t, rank, p
		}
	}
	return winner
}
