package director

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// Where nobody has room, new viewers are told so in words and in numbers, and those who play stay.
func TestWhereNobodyHasRoom(t *testing.T) {
	d := directorOn(t, "eu1", edge("eu1", "eu", isFull), edge("us1", "us", isFull))
	d.config.Plays = func(r *http.Request, _ media.Name) bool { return r.URL.Query().Has("plays") }
	const playlist, offer = "/hls/cup/cam1/index.m3u8", "/whep/cup/cam1"
	after := map[int]bool{}
	for range 50 {
		for _, r := range []*http.Response{
			ask(d.WHEP(served), "POST", offer, ""), ask(d.WHEP(served), "POST", offer+"?via=1&plays", ""), ask(d.HLS(served), "GET", playlist, ""),
		} {
			var body struct{ Detail, Cause string }
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.StatusCode != http.StatusServiceUnavailable || body.Detail == "" || body.Cause != "full" ||
				r.Header.Get("Content-Type") != "application/problem+json" || r.Header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("the answer is %d %v, %+v, %v; want a problem that says what to do", r.StatusCode, r.Header, body, err)
			}
			seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
			if err != nil || time.Duration(seconds)*time.Second < comeback || time.Duration(seconds)*time.Second > 2*comeback {
				t.Fatalf("Retry-After is %q", r.Header.Get("Retry-After"))
			}
			after[seconds] = true
		}
	}
	if len(after) < 3 {
		t.Errorf("all come back after %v seconds; want them spread", after)
	}
	var counted dto.Metric
	if err := d.metrics.refused.WithLabelValues(whepDoor, refusedFull).Write(&counted); err != nil || counted.GetCounter().GetValue() != 100 {
		t.Errorf("%v refusals of WHEP are counted, %v; want 100", counted.GetCounter().GetValue(), err)
	}
	for _, target := range []string{playlist + "?plays=1", "/hls/cup/cam1/720p-video/index.m3u8", "/hls/cup/cam1/720p-video/7.mp4"} {
		if r := ask(d.HLS(served), "GET", target, ""); r.StatusCode != http.StatusTeapot {
			t.Errorf("a player that is here gets %d for %s, want to go on", r.StatusCode, target)
		}
	}
}

// An edge that was full takes new viewers when it has ample room, and not for the first one who leaves.
func TestAFullEdgeOpensWhenItHasAmpleRoom(t *testing.T) {
	load := 0.0
	d, err := New(Config{Load: func() float64 { return load }})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		load  float64
		taken bool
	}{{0.9, true}, {tree.Full, false}, {0.9, false}, {0.79, true}, {0.9, true}} {
		load = step.load
		if got := !d.Serve(Viewer{}, cam, "").NoRoom; got != step.taken {
			t.Errorf("at a load of %v a viewer is taken: %v, want %v", load, got, step.taken)
		}
	}
}

// Word of an edge's load comes late: those sent there meanwhile come back, and no further.
func TestAnEdgeThatHasBecomeFullMeanwhile(t *testing.T) {
	d := directorOn(t, "us1", edge("eu1", "eu"), edge("us1", "us", isFull))
	if r := ask(d.WHEP(served), "POST", "/whep/cup/cam1?via=1", ""); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a viewer who was sent to a full edge gets %d, want 503", r.StatusCode)
	}
	if r := ask(d.WHEP(served), "POST", "/whep/cup/cam1", ""); r.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a viewer who comes to a full edge by itself gets %d, want 307", r.StatusCode)
	}
}
