package hls

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// sink is an answer that nobody reads.
type sink struct {
	header http.Header
	status int
	bytes  int64
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { s.bytes += int64(len(p)); return len(p), nil }

// warm is a stage with a stream whose playlist is whole and has been asked for.
func warm(b *testing.B) (*stage, *studio) {
	b.Helper()
	s := newStage(b, nil)
	studio := newStudio(b, s.hub, "cup/cam1", record(b, "320x180"), videoOnly)
	studio.play(second(0), second(9.5))
	s.want(http.StatusOK, video+indexFile)
	return s, studio
}

// BenchmarkServe is one request for what is there already, by one player of many.
func BenchmarkServe(b *testing.B) {
	s, _ := warm(b)
	for _, c := range []struct{ what, path string }{
		{"multivariant", "cup/cam1/index.m3u8"},
		{"playlist", video + "index.m3u8"},
		{"blocking-playlist", video + "index.m3u8?_HLS_msn=" + at(4) + "&_HLS_part=1"},
		{"part", video + at(4) + ".1.mp4"},
		{"segment", video + at(3) + ".mp4"},
	} {
		b.Run(c.what, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, Root+c.path, nil)
			r.Header.Set("Accept-Encoding", "gzip")
			var bytes int64
			b.ReportAllocs()
			for b.Loop() {
				w := sink{header: http.Header{}}
				s.server.ServeHTTP(&w, r)
				if w.status != http.StatusOK {
					b.Fatalf("status %d", w.status)
				}
				bytes = w.bytes
			}
			b.ReportMetric(float64(bytes), "B/answer")
		})
	}
}

// BenchmarkPart is one part from its last frame to the last of the players that wait for it by a
// blocking reload and then load it. parts/op stays 1, whatever the number of players.
func BenchmarkPart(b *testing.B) {
	for _, players := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("players=%d", players), func(b *testing.B) {
			s, studio := warm(b)
			built := s.counter("banyan_hls_parts_total")
			const perSegment, part = 10, 200 * time.Millisecond
			answers := make(chan int, players)
			from, n := second(9.5), 4*perSegment+7 // part 7 of segment 4 has begun
			b.ReportAllocs()
			for b.Loop() {
				msn, index := at(n/perSegment), n%perSegment
				for range players {
					go func() {
						status := s.ask(fmt.Sprintf("%sindex.m3u8?_HLS_msn=%s&_HLS_part=%d", video, msn, index))
						answers <- max(status, s.ask(fmt.Sprintf("%s%s.%d.mp4", video, msn, index)))
					}()
				}
				studio.play(from, from.Add(part))
				for range players {
					if status := <-answers; status != http.StatusOK {
						b.Fatalf("status %d", status)
					}
				}
				from, n = from.Add(part), n+1
			}
			b.ReportMetric((s.counter("banyan_hls_parts_total")-built)/float64(b.N), "parts/op")
		})
	}
}

// ask makes a request without a connection and gives its status.
func (s *stage) ask(path string) int {
	w := sink{header: http.Header{}}
	s.server.ServeHTTP(&w, httptest.NewRequest(http.MethodGet, Root+path, nil))
	return w.status
}
