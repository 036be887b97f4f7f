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
	calm := func(fault, aim string, most time.Duration) {
		t.Helper()
		storm.WaitFlowing(t, "all viewers after: "+fault)
		gaps, lost := storm.LargestGaps()
		Record(fault, aim, "largest gap %v at %d viewers, the median %v; %d disconnected", Worst(gaps), viewers, gaps[viewers/2].Round(time.Millisecond), lost)
		if lost > 0 || Worst(gaps) > most {
			t.Errorf("%s: the largest gap was %v, and %d viewers were disconnected", fault, Worst(gaps), lost)
		}
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
	for _, name := range []string{parent, second} {
		c.Nodes[name].Crash()
	}
	const slowMachine = 10 * time.Second // that of CHECKLISTS is half of it
	calm("two of three relays killed -9 at once", "≤ 5 s, no disconnect", slowMachine)

	storm.WatchGaps()
	ingest.Crash()
	posted := time.Now()
	camera(t, c.Nodes["ingest2"], "cup/cam1")
	storm.WaitFlowing(t, "all viewers from the other ingest node")
	Record("ingest node killed -9, its camera comes to another", "live ≤ 3 s after that", "pictures at all viewers %v after the kill and the start of FFmpeg",
		time.Since(posted).Round(time.Millisecond))
	if _, lost := storm.LargestGaps(); lost > 0 {
		t.Errorf("%d viewers lost their connection when the ingest node died", lost)
	}
}
