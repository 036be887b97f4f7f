package whep_test

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"banyan/edge/whep"
	"banyan/relay/rtc"
	"banyan/relay/rtc/wish"
)

// TestFlood offers to watch a hundred times as often as the limits allow, and never connects, while somebody watches, who
// does not notice (S3, class M). Half of the offers are such that they get an offer of ours.
func TestFlood(t *testing.T) {
	const requests, most, burst = 2000, 10, 20
	// The viewer must be able to connect in time, on a busy machine too.
	w := newLimitedWorld(t, rtc.Config{ConnectTimeout: 1500 * time.Millisecond},
		wish.Config{MaxPerClient: most, PostRate: burst / 5}, func(c *whep.Config) { c.AnswerTimeout = time.Millisecond })
	camera := w.newCamera("cup/cam1", "baseline")
	camera.shoot(3)
	defer camera.roll(1)()
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("the viewer", func() bool { return w.metric("banyan_whep_sessions") == 1 })
	received := func() int { // whatever order they come in
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.packets["video"])
	}
	offers := []string{newPlayer(w).offer(), newPlayer(w, onlyAV1).offer()}
	stream, err := w.hub.Stream("cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	readers := func() (n int) {
		for _, track := range stream.Tracks() {
			n += track.Readers
		}
		return n
	}
	goroutines, reading := runtime.NumGoroutine(), readers()
	var memory []int64
	for range 2 {
		counts := map[int]int{}
		for i := range requests {
			r := httptest.NewRequest("POST", "/whep/cup/cam1", strings.NewReader(offers[i%2])) // from 192.0.2.1
			r.Header.Set("Content-Type", "application/sdp")
			answer := httptest.NewRecorder()
			w.http.Config.Handler.ServeHTTP(answer, r)
			counts[answer.Code]++
			if there := w.signal.Sessions(); there > most+1 {
				t.Fatalf("%d sessions at a time, want at most %d", there, most+1)
			}
			if answer.Code == 429 && answer.Header().Get("Retry-After") == "" {
				t.Fatal("429 does not say when to come back (W31)")
			}
		}
		made := counts[201] + counts[406]
		if made == 0 || made > requests/10 || counts[429] != requests-made {
			t.Errorf("the answers are %v, want few sessions made and the rest put off by 429", counts)
		}
		seen := received()
		w.eventually("the viewer to go on", func() bool { return received() > seen })
		w.eventually("all to be reaped but the viewer", func() bool { return w.connections() == 1 && w.signal.Sessions() == 1 })
		w.eventually("nobody else to read", func() bool { return readers() == reading })
		w.eventually("the sessions' goroutines to be gone", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what finalizers let go
		runtime.ReadMemStats(&m)
		memory = append(memory, int64(m.HeapAlloc))
	}
	if grown := memory[1] - memory[0]; grown > 2<<20 { // what the camera has sent meanwhile is in it
		t.Errorf("the memory in use grows by %d KiB in a flood", grown>>10)
	}
}
