package replica

import (
	"errors"
	"testing"
	"time"

	"banyan/relay/link"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// TestRefuse lets children come and go while a node fills up.
func TestRefuse(t *testing.T) {
	var c children
	there, new := child{"there", pictureID}, child{"new", pictureID}
	now := time.Unix(1000, 0)
	want := func(when string, who child, load float64, want error) {
		t.Helper()
		if got := c.refuse(who, load, now); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	want("room", there, 0, nil)
	c.come(there)
	want("nearly full", new, tree.Full-.01, nil)
	want("full", new, tree.Full, link.ErrFull)
	want("full, for another track of who is there", child{"there", media.TrackID{Stream: cup, Format: "360p", Kind: media.Video}}, tree.Full, link.ErrFull)
	want("full, for who is there", there, 1, nil)
	want("a little room after that", new, tree.Full-.01, link.ErrFull)
	c.leave(there, now)
	want("who was there comes back", there, tree.Full-.01, nil)
	now = now.Add(comeback)
	want("who was there comes back late", there, tree.Roomy, link.ErrFull)
	want("ample room", new, tree.Roomy-.01, nil)
	want("nearly full again", new, tree.Full-.01, nil)
	c.drain()
	want("full and draining", new, 1, link.ErrDraining)
}

// TestFullRelays fills relays up: those below them stay, and those who come new go past them to the birthplace, which
// takes everybody.
func TestFullRelays(t *testing.T) {
	w, c, relays, edge := threeTiers(t)
	defer c.run()()
	r := edge.read(edge.subscribe(media.Source))
	r.advance(30)
	parent := edge.parent(media.Source)
	for _, name := range []string{"relay1", "relay2", "ingest"} {
		w.update(name, func(n *tree.Node) { n.Load = 1 })
	}
	late := w.start("late", tree.Edge)
	newcomer := late.read(late.subscribe(media.Source))
	newcomer.advance(30)
	if at := late.parent(media.Source); at != "ingest" {
		t.Errorf("an edge that came when all relays were full has the track from %q, want the birthplace", at)
	}
	r.advance(30)
	if at := edge.parent(media.Source); at != parent || relays[parent].readers(media.Source) != 1 {
		t.Errorf("an edge that was there before has the track from %q, want %q, where %d read it", at, parent, relays[parent].readers(media.Source))
	}
	for _, name := range []string{"relay1", "relay2", "ingest"} {
		w.update(name, func(n *tree.Node) { n.Load = .5 })
	}
	eventually(t, "who came late goes below a relay", func() bool { return relays[late.parent(media.Source)] != nil })
	newcomer.advance(30)
	newcomer.wantWhole()
	r.wantWhole()
}
