package e2e

import (
	"fmt"
	"testing"
	"time"
)

// twoHalves starts two regions, each of which could live alone: a node that takes cameras and encodes, a relay, an
// edge. A camera is published in the first. Five cheap viewers watch at each edge.
func twoHalves(t *testing.T) (c *Cluster, eu, us *Viewers) {
	c = NewDivisibleCluster(t)
	for i, region := range []string{"eu", "us"} {
		for _, node := range [][2]string{{"ingest", "ingest,transcoder"}, {"relay", "relay"}, {"edge", "edge"}} {
			c.Start(fmt.Sprint(node[0], i+1), node[1], region, small...)
		}
	}
	camera(t, c.Nodes["ingest1"], "cup/cam1")
	for _, n := range c.Nodes {
		n.WaitLive(t, "cup/cam1")
		c.WaitSees(t, n, len(c.Nodes))
	}
	const each = 5
	eu = Watch(t, c.Nodes["edge1"].URL("/whep/cup/cam1?format=180p"), each)
	t.Cleanup(eu.Leave)
	us = Watch(t, c.Nodes["edge2"].URL("/whep/cup/cam1?format=180p"), each)
	t.Cleanup(us.Leave)
	eu.WaitFlowing(t, "viewers in eu")
	us.WaitFlowing(t, "viewers in us")
	return c, eu, us
}

// TestPartition cuts one half of a cluster off, gossip and links. Its broadcaster's second camera then comes to that
// half under the same name, so that both have one when they meet again.
func TestPartition(t *testing.T) {
	c, eu, us := twoHalves(t)
	eu.WatchGaps()
	us.WatchGaps()
	c.Split("ingest2", "relay2", "edge2")
	for _, n := range c.Nodes {
		c.WaitSees(t, n, len(c.Nodes)/2)
	}
	eu.WaitFlowing(t, "viewers whose half has the camera")
	gaps, _ := eu.LargestGaps()
	Record("partition: viewers whose half keeps camera and encoder", "≤ 2 s", "largest gap %v of %d", Worst(gaps), len(gaps))

	back := time.Now()
	camera(t, c.Nodes["ingest2"], "cup/cam1")
	us.WaitFlowing(t, "viewers whose half has got a camera")
	Record("partition: a camera comes to the other half", "live ≤ 3 s", "pictures after %v", time.Since(back).Round(time.Millisecond))

	eu.WatchGaps()
	us.WatchGaps()
	healed := time.Now()
	c.Heal()
	Eventually(t, 5*time.Second, "each track has one owner", func() error { return c.OneOwner(t) })
	whole := time.Since(healed)
	eu.WaitFlowing(t, "viewers in eu")
	us.WaitFlowing(t, "viewers in us")
	one, lostEU := eu.LargestGaps()
	other, lostUS := us.LargestGaps()
	Record("partition healed: one owner for each track", "≤ 5 s", "after %v, largest gaps %v and %v, %d of %d viewers disconnected",
		whole.Round(time.Millisecond), Worst(one), Worst(other), lostEU+lostUS, len(one)+len(other))
	if lostEU+lostUS > 0 {
		t.Errorf("%d viewers lost their connection", lostEU+lostUS)
	}
	publishers := func(name string) float64 {
		return c.Nodes[name].Metric(t, "banyan_rtsp_sessions", `direction="in"`)
	}
	if first, second := publishers("ingest1"), publishers("ingest2"); first != 0 || second != 1 {
		t.Errorf("%v publishers stay at the first node and %v at the second, want only the one who came last", first, second)
	}
}
