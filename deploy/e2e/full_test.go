package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWhereNobodyHasRoom fills the only edge. Whoever comes then is asked to come back, in words and in numbers; those who
// watch go on; and a page that waits plays by itself when there is room.
func TestWhereNobodyHasRoom(t *testing.T) {
	c := NewCluster(t)
	ingest := c.Start("ingest1", "ingest,transcoder", "eu", located...)
	edge := c.Start("edge1", "edge", "eu", append([]string{"--node.line", "1"}, located...)...)
	camera(t, ingest, "cup/cam1")
	edge.WaitLive(t, "cup/cam1")
	c.WaitSees(t, ingest, 2)
	c.WaitSees(t, edge, 2)

	viewers := Watch(t, edge.URL("/whep/cup/cam1"), 5) // faster than the edge looks at its load
	t.Cleanup(viewers.Leave)
	viewers.WaitFlowing(t, "viewers of the edge")
	for method, path := range map[string]string{http.MethodPost: "/whep/cup/cam1", http.MethodGet: "/hls/cup/cam1/index.m3u8"} {
		Eventually(t, 15*time.Second, "the edge is full for "+path, func() error {
			if status, _ := c.directed(t, method, edge, path, "eu"); status != http.StatusServiceUnavailable {
				return fmt.Errorf("it answers %d", status)
			}
			return nil
		})
	}
	Eventually(t, 15*time.Second, "the ingest node knows", func() error {
		if status, _ := c.directed(t, http.MethodPost, ingest, "/whep/cup/cam1", "eu"); status != http.StatusServiceUnavailable {
			return fmt.Errorf("it answers %d", status)
		}
		return nil
	})

	page := OpenBrowser(t, 800, 600)
	page.Open(edge.URL("/watch/cup/cam1"))
	Eventually(t, 20*time.Second, "the page says that all places are taken", func() error {
		s := page.State()
		if s.State != "waiting" || !strings.Contains(s.Text, "All places are taken") {
			return fmt.Errorf("it is %s, and says %q", s.State, s.Text)
		}
		return nil
	})
	viewers.WaitFlowing(t, "those who watch")
	if gaps, lost := viewers.LargestGaps(); lost > 0 {
		t.Errorf("%d viewers lost their connection; largest gaps %v", lost, gaps)
	}
	if n := edge.Metric(t, "banyan_director_refused_total", `door="whep"`, `reason="full"`); n < 2 {
		t.Errorf("%v refusals are counted", n)
	}

	viewers.Leave()
	left := time.Now()
	Eventually(t, 40*time.Second, "the page plays by itself", func() error {
		s := page.State()
		if s.State != "playing" {
			return fmt.Errorf("it is %s, and says %q", s.State, s.Text)
		}
		return nil
	})
	Record("all edges full: a page that waits", "plays when there is room", "%v after the others left", time.Since(left).Round(time.Second))
}
