package replica

import (
	"maps"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// adopter makes the hub know the streams that are published elsewhere. It is owned by Node.Run.
type adopter struct {
	node    *Node
	adopted map[media.Name]*adopted
	seen    map[media.Name]sighting // since when each is known
	met     map[string]time.Time    // since when each node is in the view without a break
}

type adopted struct {
	*relay.Adoption
	node   string
	since  int64
	tracks []relay.Elsewhere
	made   []offered
}

// follow brings the hub into step with the view.
func (a *adopter) follow(v *tree.View, now time.Time) {
	a.meet(v, now)
	elsewhere := published(v, a.node.config.Name)
	for name, known := range a.adopted {
		if e, still := elsewhere[name]; !still || e.node != known.node || e.since != known.since {
			known.Close()
			delete(a.adopted, name)
		}
	}
	for name, e := range elsewhere {
		a.adopt(name, e)
	}
	a.yield(elsewhere, now)
}

// meet notes which nodes came and went.
func (a *adopter) meet(v *tree.View, now time.Time) {
	maps.DeleteFunc(a.met, func(name string, _ time.Time) bool { return v.Node(name) == nil })
	for i := range v.Nodes {
		if name := v.Nodes[i].Name; a.met[name].IsZero() {
			a.met[name] = now
		}
	}
}

// claim is what the cluster says of a stream that is published on another node.
type claim struct {
	node   string
	since  int64
	tracks []relay.Elsewhere
	made   []offered
}

// offered is a format that other nodes say they make.
type offered struct {
	format media.Format
	kind   media.Kind
}

// published lists the streams that are published on other nodes, each where it was published last.
func published(v *tree.View, self string) map[media.Name]claim {
	streams := map[media.Name]claim{}
	for _, t := range v.Tracks {
		if t.Node == self || !t.Source {
			continue
		}
		c, known := streams[t.ID.Stream]
		switch {
		case !known || c.node != t.Node && (t.Since > c.since || t.Since == c.since && t.Node < c.node):
			c = claim{node: t.Node, since: t.Since}
		case c.node != t.Node:
			continue
		}
		c.tracks = append(c.tracks, relay.Elsewhere{Format: t.ID.Format, Kind: t.ID.Kind, Params: t.Params})
		streams[t.ID.Stream] = c
	}
	for _, t := range v.Tracks { // by ID, so that those of one format follow each other
		c, known := streams[t.ID.Stream]
		one := offered{t.ID.Format, t.ID.Kind}
		if t.Source || t.Node == self || !known || len(c.made) > 0 && c.made[len(c.made)-1] == one {
			continue
		}
		c.made = append(c.made, one)
		streams[t.ID.Stream] = c
	}
	return streams
}

func (a *adopter) adopt(name media.Name, c claim) {
	known := a.adopted[name]
	if known == nil {
		adoption, err := a.node.config.Hub.Adopt(name, "node "+c.node, time.Unix(0, c.since), c.tracks)
		if err != nil {
			a.node.config.Logger.Warn("a stream of another node cannot be had here", "stream", name, "member", c.node, "cause", err)
			return
		}
		a.adopted[name] = &adopted{Adoption: adoption, node: c.node, since: c.since, tracks: c.tracks, made: c.made}
		return
	}
	same := func(x, y relay.Elsewhere) bool {
		if x.Format != y.Format || x.Kind != y.Kind || x.Params == nil || y.Params == nil {
			return x.Format == y.Format && x.Kind == y.Kind && x.Params == y.Params
		}
		return x.Params.Equal(y.Params) && x.Params.Break == y.Params.Break
	}
	if !slices.EqualFunc(known.tracks, c.tracks, same) || !slices.Equal(known.made, c.made) {
		known.tracks, known.made = c.tracks, c.made
		known.Update(c.tracks)
	}
}

const (
	// near is how soon after the publisher here another's claim may be seen and yet be the older one: as long as
	// word of it may have been on its way.
	near = time.Second
	// disputed is how long two publishers may both think that they were last, until stamps decide.
	disputed = 5 * time.Second
)

// yield ends publishers here whose name was published on another node after them.
func (a *adopter) yield(elsewhere map[media.Name]claim, now time.Time) {
	maps.DeleteFunc(a.seen, func(name media.Name, _ sighting) bool { _, there := elsewhere[name]; return !there })
	for name, c := range elsewhere {
		if s := a.seen[name]; s.node != c.node || s.since != c.since {
			a.seen[name] = sighting{node: c.node, since: c.since, at: now, met: a.met[c.node]}
		}
		stream, err := a.node.config.Hub.Stream(name)
		if err != nil || !stream.Local() {
			continue
		}
		_, since, _ := stream.Publisher()
		if a.node.later(a.seen[name], since, now) {
			stream.TakeOver()
		}
	}
}

// sighting is a claim and when it was first seen here.
type sighting struct {
	node  string
	since int64
	at    time.Time
	met   time.Time // since when the node itself is in the view
}

// later tells whether the publisher of a claim came after the one here, which came at since. It goes by what was
// seen here, for clocks need not agree, and by stamps only where that cannot tell: where both came at about one time,
// and where a claim came with its node, after ours. Then the two were cut off from each other, each sees the other's
// as the newer one, and both would yield.
func (n *Node) later(s sighting, since, now time.Time) bool {
	ahead := s.since > since.UnixNano() || s.since == since.UnixNano() && s.node < n.config.Name
	if s.met.After(since) && s.at.Sub(s.met) < disputed {
		return ahead
	}
	switch after := s.at.Sub(since); {
	case after >= near:
		return true
	case after > 0, now.Sub(since) > disputed && now.Sub(s.at) > disputed:
		return ahead
	}
	return false // it was there when ours came
}

func (a *adopter) close() {
	for _, known := range a.adopted {
		known.Close()
	}
}
