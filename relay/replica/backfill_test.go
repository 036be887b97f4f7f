package replica

import (
	"context"
	"net/netip"
	"testing"

	"banyan/relay/link"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// gate is a Links that lets nobody follow but those who were let in, until it is opened.
type gate struct {
	Links
	open chan struct{}
	in   string // name of a node
}

func (g *gate) Peer(name string, addr netip.AddrPort) Peer {
	p := g.Links.Peer(name, addr)
	if name == g.in {
		return p
	}
	return &gatedPeer{Peer: p, gate: g}
}

type gatedPeer struct {
	Peer
	gate *gate
}

func (p *gatedPeer) Follow(ctx context.Context, id media.TrackID, from int64, below []string, sink link.Sink) error {
	select {
	case <-p.gate.open:
		return p.Peer.Follow(ctx, id, from, below, sink)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func gated(g *gate) option {
	return func(c *Config, _ *gossip) {
		g.Links = c.Links
		c.Links = g
	}
}

// TestANewcomerComesBeforeAnOrphan kills a parent. Before its child gets to the other relay a new reader has come
// there, and started its replica at a keyframe that is later than what the child needs.
func TestANewcomerComesBeforeAnOrphan(t *testing.T) {
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	parent, other := w.start("relay1", tree.Relay), w.start("relay2", tree.Relay)
	w.update("relay2", func(n *tree.Node) { n.Draining = true }) // for nobody who has a choice
	g := &gate{open: make(chan struct{}), in: "relay1"}
	edge := w.start("edge", tree.Edge, gated(g))
	c.shoot(gop)
	r := edge.read(edge.subscribe(media.Source))
	r.reach(c.next)
	if at := edge.parent(media.Source); at != "relay1" {
		t.Fatalf("the edge has the track from %q, want relay1", at)
	}
	c.shoot(gop / 2)
	r.reach(c.next)
	lacks := c.next

	// The other relay is one to choose before the parent is gone, or the edge would turn to the birthplace.
	w.update("relay2", func(n *tree.Node) { n.Draining = false })
	parent.stop()
	w.forget("relay1")
	eventually(t, "the edge turns to the other relay, where the gate holds it", func() bool { return edge.parent(media.Source) == "relay2" })
	c.shoot(3 * gop)
	newcomer := other.read(other.subscribe(media.Source))
	newcomer.reach(c.next)
	if newcomer.first <= lacks {
		t.Fatalf("the newcomer began at %d, want later than %d", newcomer.first, lacks)
	}
	close(g.open)
	r.reach(c.next)
	c.shoot(gop)
	r.reach(c.next)
	r.wantWhole()
	newcomer.reach(c.next)
	newcomer.wantWhole()
	if at := edge.parent(media.Source); at != "relay2" {
		t.Errorf("the edge has the track from %q, want relay2", at)
	}
	if tail := other.subscribe(media.Source).Log().Tail(); tail > lacks {
		t.Errorf("the relay has the track from %d on, want it from before %d", tail, lacks)
	}
}

// TestWhatNobodyHasIsNotWaitedFor lets a child ask for more than the birthplace has kept, and for another log's
// offsets.
func TestWhatNobodyHasIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	c := publish(w.start("ingest", tree.Ingest))
	between := w.start("relay", tree.Relay)
	first := c.next
	c.shoot(3 * gop)
	sub := between.subscribe(media.Source)
	r := between.read(sub)
	r.reach(c.next)
	for _, from := range []int64{first - 100, first - 10*leap, c.next + 100} {
		track, err := between.Open(t.Context(), pictureID, link.Wish{From: from, Below: []string{"edge"}})
		if err != nil {
			t.Fatalf("a child that wants offset %d: %v", from, err)
		}
		track.Close()
	}
	if tail := sub.Log().Tail(); tail != first {
		t.Errorf("the relay has the track from %d on, want all that there is, from %d", tail, first)
	}
	r.wantWhole()
}
