package e2e

import (
	"testing"
	"time"
)

// TestManyFaults lets the parts of one cluster fail, one after the other, with viewers at both edges: first those of a
// dead edge come to another one all at once, then two of three relays die, then the ingest node.
func TestManyFaults(t *testing.T) {
	c := NewCluster(t)
	const roles = "ingest,transcoder"
	ingest := c.Start("ingest1", roles, "eu", small...)
	c.Start("ingest2", roles, "eu", small...)
	for _, name := range []string{"relay1", "relay2", "relay3"} {
		c.Start(name, "relay", "eu", small...)
	}
	edge := c.Start("edge1", "edge", "eu", small...)
	camera(t, ingest, "cup/cam1")
	for _, n := range c.Nodes {
		n.WaitLive(t, "cup/cam1")
		c.WaitSees(t, n, len(c.Nodes))
	}

	const viewers = 100
	storm := StartStorm(t, edge.URL("/whep/cup/cam1?format=source"), viewers)
	defer storm.Leave()
	Record("100 viewers come at once", "all back ≤ 5 s, only 503 with Retry-After", "all have a picture after %v, the median after %v; %d were told to wait, %d refused otherwise",
		Worst(storm.FirstPicture), storm.FirstPicture[viewers/2].Round(time.Millisecond), storm.Refused, storm.Rude)
	if storm.Rude > 0 {
		t.Errorf("%d requests were refused without telling when to come back", storm.Rude)
	}
	view, err := edge.Cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	parent := view.Parent("cup/cam1", "source", "video")
	second := map[string]string{"relay1": "relay2", "relay2": "relay3", "relay3": "relay1"}[parent]
	if second == "" {
		t.Fatalf("the edge has the picture from %q, want one of the relays", parent)
	}
	storm.WatchGaps()
	c.Kill(parent, second)
	// The processes have ended, so that whatever comes now by another parent is no picture that was on its way.
	third := edge.WaitParent(t, "cup/cam1", "source", "video", parent, second)
	storm.WaitFlowing(t, "all viewers when two of three relays are dead, by "+third)
	c.WaitSees(t, edge, len(c.Nodes)-2)
	storm.WaitFlowing(t, "all viewers once the cluster knows of it")
	gaps, lost := storm.LargestGaps()
	Record("two of three relays killed -9 at once", "≤ 5 s, no disconnect", "largest gap %v at %d viewers, the median %v; %d disconnected; %v",
		Worst(gaps), viewers, gaps[viewers/2].Round(time.Millisecond), lost, storm.Account())
	const bound = 5 * time.Second // CHECKLISTS F28
	if lost > 0 || Worst(gaps) > bound {
		t.Errorf("two of three relays killed -9: the largest gap was %v, and %d viewers were disconnected", Worst(gaps), lost)
	}
	if got := storm.Account(); got.Lost() > 0 || got.Doubled > 0 {
		t.Errorf("the viewers got %v; want all, once", got)
	}

	storm.WatchGaps()
	c.Kill("ingest1")
	camera(t, c.Nodes["ingest2"], "cup/cam1")
	posted := time.Now()
	edge.WaitBirthplace(t, "cup/cam1", "source", "video", "ingest2")
	storm.WaitFlowing(t, "all viewers from the other ingest node")
	gaps, lost = storm.LargestGaps()
	Record("ingest node killed -9, its camera comes to another", "live ≤ 3 s after that",
		"pictures at all viewers at most %v after FFmpeg was started; largest gap %v; %d disconnected",
		time.Since(posted).Round(time.Millisecond), Worst(gaps), lost)
	if lost > 0 {
		t.Errorf("%d viewers lost their connection when the ingest node died", lost)
	}
}
