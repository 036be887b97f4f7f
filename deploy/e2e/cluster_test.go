package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// threeTiers starts a cluster with a camera: it is published on one node, encoded on another, passed on by one of two
// relays, and watched at an edge.
func threeTiers(t *testing.T) *Cluster {
	c := NewCluster(t)
	ingest := c.Start("ingest1", "ingest", "eu", small...)
	for _, node := range [][3]string{{"worker1", "transcoder", "eu"}, {"relay1", "relay", "eu"}, {"relay2", "relay", "eu"}, {"edge1", "edge", "eu"}} {
		c.Start(node[0], node[1], node[2], small...)
	}
	camera(t, ingest, "cup/cam1")
	for _, n := range c.Nodes {
		n.WaitLive(t, "cup/cam1")
	}
	return c
}

// wantWhole checks that viewers of the camera got each packet once since WatchGaps, and each picture: sequence numbers
// have no gap where the server skips to a keyframe, but media time has.
func wantWhole(t *testing.T, v *Viewers) {
	t.Helper()
	got := v.Account()
	Record("the same, packets at viewers", "none lost or doubled", "%v", got)
	const frame = 90000 / 25 // ticks, at the camera's rate
	if got.Packets == 0 || got.Lost() > 0 || got.Doubled > 0 || got.Step > frame*3/2 {
		t.Errorf("the viewers got %v; want all, once, and every picture", got)
	}
}

func TestThreeTiers(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	viewers := watchers(t, edge, "&format=180p")
	viewers.webrtc.Screenshot("three-tiers-webrtc")
	audible(t, viewers.webrtc, "webrtc")
	audible(t, viewers.hls, "hls")

	view, err := edge.Cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	if len(view.Nodes) != 5 {
		t.Errorf("the edge knows of %d nodes, want 5", len(view.Nodes))
	}
	for _, r := range view.Replicas {
		birthplace := "worker1"
		if r.Format == "source" {
			birthplace = "ingest1"
		}
		if len(r.Path) != 3 || r.Path[0] != birthplace || r.Path[1] != r.Parent || r.Path[2] != "edge1" {
			t.Errorf("%s %s %s came by %v from %s, want three tiers from %s", r.Stream, r.Format, r.Kind, r.Path, r.Parent, birthplace)
		}
	}

	parent := view.Parent("cup/cam1", "180p", "video")
	if !slices.Contains([]string{"relay1", "relay2"}, parent) {
		t.Fatalf("the edge has the picture from %q, want one of the relays", parent)
	}
	counting := Watch(t, edge.URL("/whep/cup/cam1?format=180p"), 2)
	defer counting.Leave()
	Eventually(t, 30*time.Second, "what viewers were sent at once when they came is behind them", func() error {
		if got := counting.Account(); got.Frames < 2*100 {
			return fmt.Errorf("they got %v", got)
		}
		return nil
	})
	viewers.settled(t)
	viewers.watchGaps()
	counting.WatchGaps()
	c.Kill(parent)
	edge.WaitParent(t, "cup/cam1", "180p", "video", parent)
	const bound = 2000 // CHECKLISTS F1 asks for 1 s, which the benchmark measures; what takes longer than this is no slow machine
	viewers.wantPicture(t, "relay killed -9", "≤ 1 s", "", bound)
	counting.WaitFlowing(t, "viewers who count packets")
	wantWhole(t, counting)
	viewers.wantUndisturbed(t)
	Eventually(t, 10*time.Second, "the edge hangs below the other relay, and knows that the one is gone", func() error {
		view, err := edge.Cluster(t)
		if err != nil {
			return err
		}
		if p := view.Parent("cup/cam1", "180p", "video"); p == parent || p == "" || len(view.Nodes) != 4 {
			return fmt.Errorf("its parent is %q, and it knows of %d nodes", p, len(view.Nodes))
		}
		return nil
	})
}
