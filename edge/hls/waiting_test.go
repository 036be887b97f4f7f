package hls

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// block asks for a playlist in the background.
func (s *stage) block(ctx context.Context, path string) <-chan reply {
	answer := make(chan reply, 1)
	go func() {
		r, err := s.try(ctx, http.MethodGet, path)
		if err != nil {
			r = reply{body: err.Error()}
		}
		answer <- r
	}()
	return answer
}

func (s *stage) waiters(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%d requests wait", n), func() bool { return int(s.server.waiting.Load()) == n })
}

func TestBlockingReload(t *testing.T) {
	s, studio := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	whole := s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(4))
	part := s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(4)+"&_HLS_part=2")
	hint := s.block(t.Context(), video+at(4)+".2.mp4")
	s.waiters(3)
	studio.play(second(8.5), second(8.6)) // part 2 has its last frame at 8.567
	r := <-part
	if r.status != 200 || !strings.Contains(r.body, at(4)+".2.mp4") {
		t.Errorf("H20: status %d: %s", r.status, r.body)
	}
	if h := <-hint; h.status != 200 || !strings.Contains(h.body, "moof") {
		t.Errorf("H31: the hinted part: status %d, %d bytes", h.status, len(h.body))
	}
	if got := r.header.Get("Cache-Control"); got != "max-age=12" {
		t.Errorf("H35: a blocking playlist says %q, want six target durations", got)
	}
	studio.play(second(8.6), second(10))
	if r := <-whole; r.status != 200 || !strings.Contains(r.body, at(4)+".mp4") {
		t.Errorf("H19: status %d: %s", r.status, r.body)
	}
	if r := s.want(200, video+"index.m3u8"); r.header.Get("Cache-Control") != "max-age=1" {
		t.Errorf("H35: a plain playlist says %q, want half a target duration", r.header.Get("Cache-Control"))
	}
	if r := s.want(200, video+at(3)+".mp4"); r.header.Get("Cache-Control") != "max-age=12" {
		t.Errorf("H35: a segment says %q, want six target durations", r.header.Get("Cache-Control"))
	}
}

// H25: a publisher that is away must not keep players hanging.
func TestNoProgress(t *testing.T) {
	s, _ := live(t, 5, func(c *Config) { c.Segment, c.Part = time.Second, 100*time.Millisecond })
	s.want(200, video+"index.m3u8")
	hint := s.block(t.Context(), video+fmt.Sprint(1800000005)+".0.mp4")
	r := s.want(503, video+"index.m3u8?_HLS_msn=1800000005")
	if r.header.Get("Retry-After") == "" || r.header.Get("Cache-Control") != "max-age=4" {
		t.Errorf("headers %v", r.header)
	}
	if r := <-hint; r.status != 404 || r.header.Get("Cache-Control") != "max-age=1" {
		t.Errorf("H32, H35: a hinted part that never comes: status %d, %v", r.status, r.header)
	}
}

// H23 and H21 at the edges of what may be asked for.
func TestRequestsAheadWait(t *testing.T) {
	s, studio := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	next := s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(5)+"&_HLS_part=0")
	beyond := s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(4)+"&_HLS_part=10")
	s.waiters(2)
	studio.play(second(8.5), second(10.21))
	for _, answer := range []<-chan reply{next, beyond} {
		if r := <-answer; r.status != 200 || !strings.Contains(r.body, at(5)+".0.mp4") {
			t.Errorf("status %d: %s", r.status, r.body)
		}
	}
}

// H26: after the end directives mean nothing.
func TestAfterTheEnd(t *testing.T) {
	s, _ := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	s.hub.Close()

	eventually(t, "the playlist ends", func() bool { return strings.Contains(s.get(video+"index.m3u8").body, "#EXT-X-ENDLIST") })
	for _, query := range []string{"?_HLS_msn=" + at(2), "?_HLS_msn=" + at(9), "?_HLS_skip=YES"} {
		if r := s.want(200, video+"index.m3u8"+query); !strings.Contains(r.body, "#EXT-X-ENDLIST") || strings.Contains(r.body, "HINT") {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	s.want(200, video+at(3)+".mp4")
	s.want(404, "cup/cam1/index.m3u8")
}

// H36: parts and playlists are made once, whatever the number of players.
func TestManyWaitersOneBuild(t *testing.T) {
	const players = 1000
	s, studio := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	s.want(200, "cup/cam1/aac-audio/index.m3u8") // which started with it
	before := s.counter("banyan_hls_parts_total")
	var answers []<-chan reply
	for range players {
		answers = append(answers, s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(4)+"&_HLS_part=2"))
	}
	s.waiters(players)
	studio.audio = nil // its parts are built, too
	studio.play(second(8.5), second(8.6))
	first := <-answers[0]
	for i, answer := range answers[1:] {
		if r := <-answer; r.status != 200 || r.body != first.body {
			t.Fatalf("player %d: status %d, %s", i, r.status, r.body)
		}
	}
	if built := s.counter("banyan_hls_parts_total") - before; built != 1 {
		t.Errorf("%g parts were built for %d players, want 1", built, players)
	}
}

// M: ten thousand requests wait in goroutines of their connections, and leave nothing behind.
func TestTenThousandWaiters(t *testing.T) {
	const players, most = 10_000, 9_000
	s, _ := live(t, 8.5, func(c *Config) { c.MaxWaiting = most })
	s.want(200, video+"index.m3u8")
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var crowded sync.Map
	for i := range players {
		all.Go(func() {
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, Root+video+"index.m3u8?_HLS_msn="+at(4), nil)
			w := httptest.NewRecorder()
			s.server.ServeHTTP(w, r)
			if w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != "" {
				crowded.Store(i, true)
			}
		})
	}
	s.waiters(most)
	eventually(t, "the rest is refused", func() bool {
		n := 0
		crowded.Range(func(any, any) bool { n++; return true })
		return n == players-most
	})
	if extra := runtime.NumGoroutine() - before - most; extra > 50 {
		t.Errorf("%d goroutines beside those of the requests", extra)
	}
	cancel()
	all.Wait()
	s.waiters(0)
}

// H27: a player that goes frees its place.
func TestWaiterLeaves(t *testing.T) {
	s, _ := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	ctx, cancel := context.WithCancel(t.Context())
	answer := s.block(ctx, video+"index.m3u8?_HLS_msn="+at(4))
	s.waiters(1)
	cancel()
	s.waiters(0)
	<-answer
}

// Shutdown answers those who wait, and nobody after it.
func TestShutdown(t *testing.T) {
	s, _ := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	answer := make(chan int, 1)
	ask := func() int {
		w := httptest.NewRecorder()
		s.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Root+video+"index.m3u8?_HLS_msn="+at(4), nil))
		return w.Code
	}
	go func() { answer <- ask() }()
	s.waiters(1)
	s.server.close()
	if got := <-answer; got != 503 {
		t.Errorf("a request that waited was answered %d", got)
	}
	if got := ask(); got != 503 {
		t.Errorf("a request after the end was answered %d", got)
	}
}
