package e2e

import (
	"testing"
	"time"
)

// TestAWorkerDies kills the transcoder below which two viewers watch. Another takes over. What was not encoded
// meanwhile is a hole in the picture, over which the sound goes on.
func TestAWorkerDies(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	webrtc, hls := watchers(t, edge)
	c.Start("worker2", "transcoder", "eu", small...)
	posts := func() float64 {
		return edge.Metric(t, "banyan_signal_requests_total", `endpoint="whep"`, `method="POST"`)
	}
	sessions := posts()
	hls.WatchBreaks()
	webrtc.WatchGaps()
	hls.WatchGaps()
	hls.WatchHalts()
	c.Kill("worker1")
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker2")
	time.Sleep(time.Second) // the page has up to a second in hand
	webrtc.WaitPlaying("webrtc", 50, 30*time.Second)
	hls.WaitPlaying("hls", 50, 30*time.Second)
	byWebRTC, byHLS := webrtc.LargestGap(), hls.LargestGap()
	Record("worker killed -9", "≤ 3 s", "largest gap between pictures %.0f ms by WebRTC, %.0f ms by HLS (%s)", byWebRTC, byHLS, hls.Halts())
	const bound = 3000 // CHECKLISTS F4
	if byWebRTC > bound || byHLS > bound {
		t.Errorf("a viewer had no picture for longer than %d ms", bound)
	}
	if again := posts(); again != sessions {
		t.Errorf("the WebRTC viewer had to connect %v times more", again-sessions)
	}
	if what := hls.Breaks(); what != "" {
		t.Errorf("the HLS viewer did not just go on: %s", what)
	}
}
