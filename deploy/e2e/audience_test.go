package e2e

import (
	"testing"
	"time"
)

// audience is a page by WebRTC and one by HLS at one edge, whose viewers should notice nothing of what goes on behind
// it.
type audience struct {
	edge        *Node
	webrtc, hls *Browser
	sessions    float64 // that WHEP had opened
}

// watchers opens the two pages, the one by WebRTC with more in its query, and waits until they play.
func watchers(t *testing.T, edge *Node, and string) *audience {
	t.Helper()
	a := &audience{edge: edge, webrtc: OpenBrowser(t, 800, 600), hls: OpenBrowser(t, 800, 600)}
	a.webrtc.Open(edge.URL("/watch/cup/cam1?transport=webrtc" + and))
	a.hls.Open(edge.URL("/watch/cup/cam1?transport=hls"))
	a.webrtc.WaitPlaying("webrtc", 50, 60*time.Second)
	a.hls.WaitPlaying("hls", 50, 60*time.Second)
	return a
}

// opened is how many sessions WHEP has opened at the edge.
func (a *audience) opened(t *testing.T) float64 {
	t.Helper()
	return a.edge.Metric(t, "banyan_signal_requests_total", `endpoint="whep"`, `method="POST"`)
}

// settled begins to count new sessions, and what breaks playback by HLS.
func (a *audience) settled(t *testing.T) {
	t.Helper()
	a.sessions = a.opened(t)
	a.hls.WatchBreaks()
}

// watchGaps begins to measure the time between pictures.
func (a *audience) watchGaps() {
	a.webrtc.WatchGaps()
	a.hls.WatchGaps()
	a.hls.WatchHalts()
}

// wantPicture waits until both show many pictures more, records the largest gap since watchGaps behind the words in
// took, and wants it to be at most bound, in milliseconds.
func (a *audience) wantPicture(t *testing.T, fault, aim, took string, bound float64) {
	t.Helper()
	const frames = 100 // more than a page has in hand
	a.webrtc.WaitPlaying("webrtc", frames, 30*time.Second)
	a.hls.WaitPlaying("hls", frames, 30*time.Second)
	byWebRTC, byHLS := a.webrtc.LargestGap(), a.hls.LargestGap()
	Record(fault, aim, "%slargest gap between pictures %.0f ms by WebRTC, %.0f ms by HLS (%s)", took, byWebRTC, byHLS, a.hls.Halts())
	if byWebRTC > bound || byHLS > bound {
		t.Errorf("%s: a viewer had no picture for longer than %.0f ms", fault, bound)
	}
}

// wantUndisturbed checks that nobody had to begin anew since settled.
func (a *audience) wantUndisturbed(t *testing.T) {
	t.Helper()
	if again := a.opened(t); again != a.sessions {
		t.Errorf("the WebRTC viewer had to connect %v times more", again-a.sessions)
	}
	a.wantHLSWhole(t)
}

// wantHLSWhole checks that playback by HLS did not break.
func (a *audience) wantHLSWhole(t *testing.T) {
	t.Helper()
	if what := a.hls.Breaks(); what != "" {
		t.Errorf("the HLS viewer did not just go on: %s", what)
	}
}
