package bench

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"banyan/deploy/e2e"
)

// worst and middle are of durations in ascending order.
func worst(sorted []time.Duration) time.Duration {
	return sorted[len(sorted)-1].Round(time.Millisecond)
}
func middle(sorted []time.Duration) time.Duration {
	return sorted[len(sorted)/2].Round(time.Millisecond)
}

// fleet starts nodes, "name roles region" each, and a camera at the first.
func fleet(b *testing.B, c *e2e.Cluster, nodes [][3]string, flags ...map[string][]string) {
	b.Helper()
	for _, n := range nodes {
		var own []string
		for _, f := range flags {
			own = append(own, f[n[0]]...)
		}
		start(c, n, own...)
	}
	camera(b, c.Nodes[nodes[0][0]], "cup/cam1", "640x360", "800k")
	for _, n := range c.Nodes {
		n.WaitLive(b, "cup/cam1")
		c.WaitSees(b, n, len(nodes))
	}
}

func start(c *e2e.Cluster, n [3]string, flags ...string) {
	c.Start(n[0], n[1], n[2], append([]string{"--transcoder.preset", "ultrafast", "--ladder.default", "source,180p,opus,aac"}, flags...)...)
}

// twoEdges are the flags of edge1 and edge2 at addresses of their own with one port, as edges have on machines of their own:
// HLS players turn only to such.
func twoEdges(b *testing.B) map[string][]string {
	port := e2e.SharedPort(b, "127.0.0.2", "127.0.0.3")
	return map[string][]string{"edge1": {"--http.addr", "127.0.0.2:" + port}, "edge2": {"--http.addr", "127.0.0.3:" + port}}
}

// BenchmarkTiers is the delay that each tier adds, and what is left of it at the viewer.
func BenchmarkTiers(b *testing.B) {
	c := e2e.NewCluster(b)
	fleet(b, c, [][3]string{{"ingest1", "ingest", "eu"}, {"relay1", "relay", "eu"}, {"edge1", "edge", "eu"}})
	edge := c.Nodes["edge1"]
	audience := e2e.Watch(b, edge.URL("/whep/cup/cam1?format=source"), 1)
	defer audience.Leave()
	audience.WaitFlowing(b, "a viewer")
	time.Sleep(30 * time.Second)
	// From the packet's arrival at the ingest node, so that the waits on the nodes before count as well.
	const age = "banyan_link_age_seconds"
	for _, tier := range []struct{ name, what, aim string }{
		{"relay1", "delay of the second tier, ingest to relay", "p99 ≤ 3 ms"},
		{"edge1", "delay of the second and third tier, ingest to edge", "p99 ≤ 6 ms"},
	} {
		n := c.Nodes[tier.name]
		p50, p99 := n.Quantile(b, age, 0.5), n.Quantile(b, age, 0.99)
		b.ReportMetric(p99*1000, "ms/p99-"+tier.name)
		report(tier.what, tier.aim, "p50 ≤ %.2g ms, p99 ≤ %.2g ms of %.0f packets", p50*1000, p99*1000, n.Metric(b, age+"_count"))
	}
	const whole = "banyan_whep_delay_seconds"
	report("delay from the camera's packet to WHEP, three tiers", "", "p50 ≤ %.2g ms, p90 ≤ %.2g ms", edge.Quantile(b, whole, 0.5)*1000, edge.Quantile(b, whole, 0.9)*1000)
}

// BenchmarkStorm lets 1,000 viewers come at once (CHECKLISTS F29), and then kills two of three relays above them (F28).
func BenchmarkStorm(b *testing.B) {
	const viewers = 1000
	c := e2e.NewCluster(b)
	nodes := [][3]string{{"ingest1", "ingest", "eu"}, {"relay1", "relay", "eu"}, {"relay2", "relay", "eu"}, {"relay3", "relay", "eu"}, {"edge1", "edge", "eu"}}
	for _, n := range nodes {
		start(c, n)
	}
	camera(b, c.Nodes["ingest1"], "cup/cam1", "320x180", "100k") // the viewers, on this machine too, cost more than the server
	edge := c.Nodes["edge1"]
	edge.WaitLive(b, "cup/cam1")
	before := ticks(b, edge)
	storm := e2e.StartStorm(b, edge.URL("/whep/cup/cam1?format=source"), viewers)
	defer storm.Leave()
	const msPerTick = 1000 / ticksPerSecond
	each := float64(ticks(b, edge)-before) * msPerTick / viewers
	late := 0
	for _, t := range storm.FirstPicture {
		if t > 5*time.Second {
			late++
		}
	}
	b.ReportMetric(storm.FirstPicture[viewers-1].Seconds(), "s/all-back")
	report(fmt.Sprintf("%d viewers come at once", viewers), "100 % back ≤ 5 s", "median %v, worst %v, %.1f %% within 5 s; %d told to wait, %d refused otherwise; %.1f ms of the edge's processor for each",
		middle(storm.FirstPicture), worst(storm.FirstPicture), 100*float64(viewers-late)/viewers, storm.Refused, storm.Rude, each)

	time.Sleep(5 * time.Second)
	view, err := edge.Cluster(b)
	if err != nil {
		b.Fatal(err)
	}
	parent := view.Parent("cup/cam1", "source", "video")
	storm.WatchGaps()
	second := map[string]string{"relay1": "relay2", "relay2": "relay3", "relay3": "relay1"}[parent]
	if second == "" {
		b.Fatalf("the edge has the picture from %q, want one of the relays", parent)
	}
	c.Kill(parent, second)
	edge.WaitParent(b, "cup/cam1", "source", "video", parent, second)
	time.Sleep(8 * time.Second)
	gaps, lost := storm.LargestGaps()
	if lost > 0 {
		b.Errorf("%d viewers lost their connection", lost)
	}
	b.ReportMetric(float64(worst(gaps).Milliseconds()), "ms/largest-gap")
	report(fmt.Sprintf("two of three relays killed -9 at once, %d viewers below", viewers), "≤ 5 s, 0 disconnects",
		"median %v, worst %v; %d lost their connection", middle(gaps), worst(gaps), lost)
}

// BenchmarkPartition cuts a half off for a minute (CHECKLISTS F17), whose broadcaster comes again there meanwhile.
func BenchmarkPartition(b *testing.B) {
	const apart, viewers = 60 * time.Second, 20
	c := e2e.NewDivisibleCluster(b)
	fleet(b, c, [][3]string{{"ingest1", "ingest,transcoder", "eu"}, {"relay1", "relay", "eu"}, {"edge1", "edge", "eu"},
		{"ingest2", "ingest,transcoder", "us"}, {"relay2", "relay", "us"}, {"edge2", "edge", "us"}})
	eu := e2e.Watch(b, c.Nodes["edge1"].URL("/whep/cup/cam1?format=180p"), viewers)
	defer eu.Leave()
	us := e2e.Watch(b, c.Nodes["edge2"].URL("/whep/cup/cam1?format=180p"), viewers)
	defer us.Leave()
	eu.WaitFlowing(b, "viewers in eu")
	us.WaitFlowing(b, "viewers in us")
	eu.WatchGaps()
	c.Split("ingest2", "relay2", "edge2")
	time.Sleep(apart / 2)
	camera(b, c.Nodes["ingest2"], "cup/cam1", "640x360", "800k")
	us.WaitFlowing(b, "viewers in us, of their own camera")
	time.Sleep(apart / 2)
	gaps, lost := eu.LargestGaps()
	report(fmt.Sprintf("partition of %v, the half with camera and encoder", apart), "viewers go on", "largest gap %v at %d viewers, %d disconnected", worst(gaps), viewers, lost)
	eu.WatchGaps()
	us.WatchGaps()
	healed := time.Now()
	c.Heal()
	e2e.Eventually(b, time.Minute, "each track has one owner", func() error { return c.OneOwner(b) })
	took := time.Since(healed)
	eu.WaitFlowing(b, "viewers in eu")
	us.WaitFlowing(b, "viewers in us")
	here, lostHere := eu.LargestGaps()
	there, lostThere := us.LargestGaps()
	b.ReportMetric(took.Seconds(), "s/one-owner")
	report("partition healed, two publishers of one name", "one owner ≤ 5 s, 0 disconnects", "one owner after %v; largest gaps %v and %v; %d disconnected",
		took.Round(time.Millisecond), worst(here), worst(there), lostHere+lostThere)
}

// BenchmarkRollingRestart restarts the nodes of a small fleet one after the other, under viewers (CHECKLISTS F21, F22):
// cheap ones for what is above their edge, and the watch page for the edges, as it finds another one by itself. The
// camera goes to another ingest node before its own is stopped, as no node can take a publisher over. With -old it is an
// upgrade: all nodes begin as that version, and each comes back as this one.
func BenchmarkRollingRestart(b *testing.B) {
	const viewers, frozen = 20, 200 * time.Millisecond
	c := e2e.NewCluster(b)
	nodes := [][3]string{{"ingest1", "ingest", "eu"}, {"worker1", "transcoder", "eu"}, {"worker2", "transcoder", "eu"},
		{"relay1", "relay", "eu"}, {"relay2", "relay", "eu"}, {"edge1", "edge", "eu"}, {"edge2", "edge", "eu"},
		{"ingest2", "ingest", "eu"}}
	addresses := twoEdges(b)
	c.Binary = *old
	fleet(b, c, nodes, addresses)
	c.Binary = ""
	what := "rolling restart under load: "
	if *old != "" {
		what = fmt.Sprintf("rolling upgrade under load, %v with each mix of versions: ", *dwell)
	}
	restart := func(n [3]string) (took time.Duration) {
		began := time.Now()
		if err := syscall.Kill(c.Nodes[n[0]].PID(), syscall.SIGTERM); err != nil {
			b.Fatal(err)
		}
		c.Nodes[n[0]].Wait(b, time.Minute)
		took = time.Since(began)
		start(c, n, addresses[n[0]]...)
		for _, other := range c.Nodes {
			c.WaitSees(b, other, len(nodes))
		}
		time.Sleep(*dwell) // for what moves to it
		return took
	}
	var audience []*e2e.Viewers
	for _, edge := range []string{"edge1", "edge2"} {
		v := e2e.Watch(b, c.Nodes[edge].URL("/whep/cup/cam1?format=180p"), viewers/2)
		defer v.Leave()
		v.WaitFlowing(b, "viewers at "+edge)
		audience = append(audience, v)
	}
	edges, behind := nodes[5:7], append(nodes[7:8:8], nodes[:5]...)
	for _, n := range behind {
		for _, v := range audience {
			v.WatchGaps()
		}
		if n[0] == "ingest1" {
			camera(b, c.Nodes["ingest2"], "cup/cam1", "640x360", "800k")
			e2e.Eventually(b, 20*time.Second, "the camera has left ingest1", func() error {
				if n := c.Nodes["ingest1"].Metric(b, "banyan_rtsp_sessions", `direction="in"`); n != 0 {
					return fmt.Errorf("it has %v publishers", n)
				}
				return nil
			})
		}
		took := restart(n)
		largest, lost, froze := time.Duration(0), 0, 0
		for _, v := range audience {
			gaps, gone := v.LargestGaps()
			largest, lost = max(largest, worst(gaps)), lost+gone
			for _, gap := range gaps {
				if gap > frozen {
					froze++
				}
			}
		}
		b.ReportMetric(float64(largest.Milliseconds()), "ms/"+n[0])
		report(what+n[0], "0 frozen s, ≤ 60 s", "gone in %.1f s; largest gap %v at %d viewers, %d of them frozen, %d disconnected",
			took.Seconds(), largest, viewers, froze, lost)
	}
	for _, v := range audience {
		v.Leave()
	}
	for i, transport := range []string{"webrtc", "hls"} {
		page := e2e.OpenBrowser(b, 800, 600)
		page.Open(c.Nodes[edges[i][0]].URL("/watch/cup/cam1?format=180p&transport=" + transport))
		page.WaitPlaying(transport, 100, 60*time.Second)
		page.WatchGaps()
		took := restart(edges[i])
		page.WaitPlaying(transport, 50, 30*time.Second)
		report(what+"the edge of a page, "+transport, "0 frozen s, ≤ 60 s", "gone in %.1f s; largest gap %.0f ms", took.Seconds(), page.LargestGap())
	}
}
