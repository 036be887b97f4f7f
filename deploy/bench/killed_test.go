package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"banyan/deploy/e2e"
)

// gapsOf reports the gaps between pictures that viewers had, in milliseconds.
func gapsOf(b *testing.B, unit, what, aim string, gaps []float64, more string) {
	b.Helper()
	slices.Sort(gaps)
	n := len(gaps)
	b.ReportMetric(gaps[n-1], unit)
	report(what, aim, "median %.0f ms, p95 %.0f ms, worst %.0f ms of %d gaps; %s", gaps[n/2], gaps[n*95/100], gaps[n-1], n, more)
}

// BenchmarkKilledRelay is what 200 WebRTC viewers and a page with HLS below a relay see when it is killed (CHECKLISTS
// F1). Gaps run until after the edge has moved and the cluster knows.
func BenchmarkKilledRelay(b *testing.B) {
	const viewers = 200
	c := e2e.NewCluster(b)
	nodes := [][3]string{{"ingest1", "ingest,transcoder", "eu"}, {"relay1", "relay", "eu"}, {"relay2", "relay", "eu"}, {"edge1", "edge", "eu"}}
	for _, n := range nodes {
		start(c, n)
	}
	edge := c.Nodes["edge1"]
	camera(b, c.Nodes["ingest1"], "cup/cam1", "320x180", "200k")
	edge.WaitLive(b, "cup/cam1")
	c.WaitSees(b, edge, len(nodes))
	audience := e2e.Watch(b, edge.URL("/whep/cup/cam1?format=source"), viewers)
	defer audience.Leave()
	page := e2e.OpenBrowser(b, 800, 600)
	page.Open(edge.URL("/watch/cup/cam1?format=source&transport=hls"))
	page.WaitPlaying("hls", 90, 60*time.Second)
	page.WatchBreaks()
	var byWebRTC, byHLS []float64
	var got e2e.Account
	lost := 0
	for range *repeat {
		time.Sleep(3 * time.Second) // for the one that was started again
		parent := edge.WaitParent(b, "cup/cam1", "source", "video", "ingest1")
		audience.WatchGaps()
		page.WatchGaps()
		c.Kill(parent)
		edge.WaitParent(b, "cup/cam1", "source", "video", parent)
		time.Sleep(3 * time.Second) // HLS players have that much ahead
		gaps, gone := audience.LargestGaps()
		for _, gap := range gaps {
			byWebRTC = append(byWebRTC, float64(gap.Milliseconds()))
		}
		byHLS = append(byHLS, page.LargestGap())
		got = got.Add(audience.Account())
		lost = max(lost, gone)
		start(c, [3]string{parent, "relay", "eu"})
		c.WaitSees(b, edge, len(nodes))
	}
	if lost > 0 || got.Lost() > 0 || got.Doubled > 0 {
		b.Errorf("%d viewers lost their connection; %v", lost, got)
	}
	times := fmt.Sprintf("%d times", *repeat)
	gapsOf(b, "ms/largest-gap", fmt.Sprintf("relay killed -9, %d WebRTC viewers below, %s", viewers, times), "≤ 1000 ms, p95 ≤ 500 ms, none lost or doubled",
		byWebRTC, fmt.Sprintf("%d lost their connection; %v", lost, got))
	breaks := page.Breaks()
	if breaks == "" {
		breaks = "it just went on"
	}
	gapsOf(b, "ms/largest-gap-hls", "the same, a page with HLS, "+times, "no stall", byHLS, breaks)
}

// BenchmarkKilledEdge is what a watch page sees whose edge is killed (CHECKLISTS F2): it plays on from another one.
func BenchmarkKilledEdge(b *testing.B) {
	c := e2e.NewCluster(b)
	nodes := [][3]string{{"ingest1", "ingest,transcoder", "eu"}, {"relay1", "relay", "eu"}, {"edge1", "edge", "eu"}, {"edge2", "edge", "eu"}}
	addresses := twoEdges(b)
	fleet(b, c, nodes, addresses)
	for _, transport := range []struct{ name, aim string }{{"webrtc", "≤ 2000 ms"}, {"hls", "no stall"}} {
		b.Run(transport.name, func(b *testing.B) {
			const apart = 5 * time.Second // HLS players have some of it ahead
			page := e2e.OpenBrowser(b, 800, 600)
			var gaps, calm []float64
			broken := 0
			for range *repeat {
				page.Open(c.Nodes["edge1"].URL("/watch/cup/cam1?format=180p&transport=" + transport.name))
				page.WaitPlaying(transport.name, 90, 60*time.Second)
				page.WatchBreaks()
				page.WatchGaps()
				time.Sleep(apart)
				calm = append(calm, page.LargestGap())
				page.WatchGaps()
				c.Kill("edge1")
				time.Sleep(apart)
				page.WaitPlaying(transport.name, 30, 60*time.Second)
				gaps = append(gaps, page.LargestGap())
				if transport.name == "hls" && page.Breaks() != "" {
					broken++
				}
				start(c, nodes[2], addresses["edge1"]...)
				c.Nodes["edge1"].WaitLive(b, "cup/cam1")
				for _, n := range c.Nodes {
					c.WaitSees(b, n, len(nodes))
				}
			}
			gapsOf(b, "ms/largest-gap", fmt.Sprintf("edge killed -9, a page below by %s, %d times", transport.name, *repeat), transport.aim,
				gaps, fmt.Sprintf("%d players began anew; in as long before, worst %.0f ms", broken, slices.Max(calm)))
		})
	}
}
