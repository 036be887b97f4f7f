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
		c.waitSees(t, n, len(c.Nodes))
	}
	const each = 5
	eu = Watch(t, c.Nodes["edge1"].URL("/whep/cup/cam1?format=180p"), each)
	t.Cleanup(eu.Leave)
	us = Watch(t, c.Nodes["edge2"].URL("/whep/cup/cam1?format=180p"), each)
	t.Cleanup(us.Leave)
	eu.waitFlowing(t, "viewers in eu")
	us.waitFlowing(t, "viewers in us")
	return c, eu, us
}

// waitFlowing waits until pictures come to all of them.
func (v *Viewers) waitFlowing(t testing.TB, who string) {
	t.Helper()
	began := time.Now()
	Eventually(t, 30*time.Second, "pictures flow to "+who, func() error {
		if n := v.since(began); n < len(v.all) {
			return fmt.Errorf("to %d of %d", n, len(v.all))
		}
		return nil
	})
}

// oneOwner tells why a node does not see one owner for each track of the stream.
func oneOwner(t testing.TB, c *Cluster) error {
	t.Helper()
	owners := map[string]string{}
	for name, n := range c.Nodes {
		view, err := n.Cluster(t)
		if err != nil {
			return err
		}
		if len(view.Nodes) != len(c.Nodes) {
			return fmt.Errorf("%s knows of %d nodes", name, len(view.Nodes))
		}
		for _, r := range view.Replicas {
			if len(r.Path) == 0 {
				return fmt.Errorf("%s looks for a parent for %s %s", name, r.Format, r.Kind)
			}
			track := r.Format + " " + r.Kind
			if owner := owners[track]; owner != "" && owner != r.Path[0] {
				return fmt.Errorf("%s is born at %s, and for %s at %s", track, owner, name, r.Path[0])
			}
			owners[track] = r.Path[0]
		}
	}
	return nil
}

// TestPartition cuts one half of a cluster off, gossip and links. Its broadcaster's second camera then comes to that
// half under the same name, so that both have one when they meet again.
func TestPartition(t *testing.T) {
	c, eu, us := twoHalves(t)
	eu.WatchGaps()
	us.WatchGaps()
	c.Split("ingest2", "relay2", "edge2")
	for _, n := range c.Nodes {
		c.waitSees(t, n, len(c.Nodes)/2)
	}
	eu.waitFlowing(t, "viewers whose half has the camera")
	gaps, _ := eu.LargestGaps()
	Record("partition: viewers whose half keeps camera and encoder", "≤ 2 s", "largest gap %v of %d", Worst(gaps), len(gaps))

	back := time.Now()
	camera(t, c.Nodes["ingest2"], "cup/cam1")
	us.waitFlowing(t, "viewers whose half has got a camera")
	Record("partition: a camera comes to the other half", "live ≤ 3 s", "pictures after %v", time.Since(back).Round(time.Millisecond))

	eu.WatchGaps()
	us.WatchGaps()
	healed := time.Now()
	c.Heal()
	Eventually(t, 30*time.Second, "each track has one owner", func() error { return oneOwner(t, c) })
	whole := time.Since(healed)
	eu.waitFlowing(t, "viewers in eu")
	us.waitFlowing(t, "viewers in us")
	one, lostEU := eu.LargestGaps()
	other, lostUS := us.LargestGaps()
	Record("partition healed: one owner for each track", "≤ 5 s", "after %v, largest gaps %v and %v, %d of %d viewers disconnected",
		whole.Round(time.Millisecond), Worst(one), Worst(other), lostEU+lostUS, len(one)+len(other))
	if lostEU+lostUS > 0 {
		t.Errorf("%d viewers lost their connection", lostEU+lostUS)
	}
	sources := 0
	for _, name := range []string{"ingest1", "ingest2"} {
		n := c.Nodes[name]
		live := n.Metric(t, "banyan_rtsp_sessions", `direction="in"`)
		t.Logf("%s has %v publishers", name, live)
		sources += int(live)
	}
	if sources != 1 {
		t.Errorf("%d publishers go on under one name", sources)
	}
}
