package whep_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestLogTellsSessionsApart: a session's lines have the beginning of its id in common, where the peer's address changed.
func TestLogTellsSessionsApart(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	if r, body := w.do("DELETE", p.location, "", ""); r.StatusCode != http.StatusOK {
		t.Fatalf("DELETE: %s %s", r.Status, body)
	}
	id := "session=" + strings.TrimPrefix(p.location, "/sessions/")[:8] + " "
	for _, what := range []string{"session connected", "session ended"} {
		w.eventually(what+" with "+id, func() bool { return w.logged.with(what, id, "stream=cup/cam1") != "" })
	}
}
