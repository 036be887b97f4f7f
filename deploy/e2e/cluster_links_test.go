package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestOnlyTheLinksAreCut cuts a relay off from the node that makes its track, in their links alone: gossip is whole, and so
// are the links of the relay to those below it. Nothing tells but the track, which has to come by another way.
func TestOnlyTheLinksAreCut(t *testing.T) {
	c := NewDivisibleCluster(t)
	c.Start("ingest1", "ingest,transcoder", "eu", small...)
	for _, name := range []string{"relay1", "relay2", "relay3"} {
		c.Start(name, "relay", "eu", small...)
	}
	edge := c.Start("edge1", "edge", "eu", small...)
	camera(t, c.Nodes["ingest1"], "cup/cam1")
	for _, n := range c.Nodes {
		n.WaitLive(t, "cup/cam1")
		c.WaitSees(t, n, len(c.Nodes))
	}
	const format = "source"
	viewers := Watch(t, edge.URL("/whep/cup/cam1?format="+format), 5)
	t.Cleanup(viewers.Leave)
	viewers.WaitFlowing(t, "viewers of the edge")
	Eventually(t, 30*time.Second, "what viewers were sent at once when they came is behind them", func() error {
		if got := viewers.Account(); got.Frames < 5*100 {
			return fmt.Errorf("they got %v", got)
		}
		return nil
	})
	parent := edge.WaitParent(t, "cup/cam1", format, "video")
	if !slices.Contains([]string{"relay1", "relay2", "relay3"}, parent) {
		t.Fatalf("the edge has the picture from %q, want one of the relays", parent)
	}
	viewers.WatchGaps()
	c.CutLink(parent, "ingest1")
	Eventually(t, 20*time.Second, "the picture comes by another way", func() error {
		view, err := edge.Cluster(t)
		if err != nil {
			return err
		}
		for _, r := range view.Replicas {
			i := slices.Index(r.Path, parent)
			if r.Format == format && r.Kind == "video" && (len(r.Path) < 3 || i >= 0 && slices.Index(r.Path, "ingest1") == i-1) {
				return fmt.Errorf("it comes by %v", r.Path)
			}
		}
		return nil
	})
	viewers.WaitFlowing(t, "viewers, by another way")
	wantWhole(t, viewers)
	gaps, lost := viewers.LargestGaps()
	Record("links of a relay cut, gossip whole", "≤ 2 s, no disconnect", "largest gap %v of %d; %d disconnected", Worst(gaps), len(gaps), lost)
	if Worst(gaps) > 2*time.Second || lost > 0 {
		t.Errorf("the largest gap was %v, and %d viewers were disconnected", Worst(gaps), lost)
	}
	for _, n := range c.Nodes {
		c.WaitSees(t, n, len(c.Nodes)) // nobody was taken for dead
	}

	viewers.WatchGaps()
	c.Heal()
	viewers.WaitFlowing(t, "viewers when the links are whole")
	Eventually(t, 30*time.Second, "two seconds have come, in which the mended link may move something", func() error {
		if got := viewers.Account(); got.Frames < 5*50 {
			return fmt.Errorf("they got %v", got)
		}
		return nil
	})
	wantWhole(t, viewers)
	if gaps, lost := viewers.LargestGaps(); Worst(gaps) > 2*time.Second || lost > 0 {
		t.Errorf("when the links were mended the largest gap was %v, and %d viewers were disconnected", Worst(gaps), lost)
	}
}
