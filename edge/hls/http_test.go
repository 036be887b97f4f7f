package hls

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banyan/relay/media"
	"banyan/relay/problem"
)

const video = "cup/cam1/source-video/"

// live is a stage on which cup/cam1 has been live for some seconds.
func live(t *testing.T, seconds float64, change func(*Config)) (*stage, *studio) {
	s := newStage(t, change)
	studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), both)
	studio.play(second(0), second(seconds))
	return s, studio
}

// at is segment number n of the tests, as it stands in URLs.
func at(n int) string { return fmt.Sprint(900000000 + n) }

// counter is the sum of a metric over its labels.
func (s *stage) counter(name string) (sum float64) {
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

func TestHTTP(t *testing.T) {
	s, _ := live(t, 30, nil)
	plain := s.want(200, video+"index.m3u8")
	r := s.want(200, video+"index.m3u8", "Accept-Encoding", "gzip")
	if r.header.Get("Content-Encoding") != "gzip" || r.header.Get("Vary") != "Accept-Encoding" {
		t.Fatalf("H33: headers %v", r.header)
	}
	unzip, err := gzip.NewReader(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(unzip); string(text) != plain.body {
		t.Error("H33: compressed and plain playlists differ")
	}
	for _, path := range []string{video + "index.m3u8", video + at(10) + ".mp4", "cup/cam1/index.m3u8"} {
		get := s.want(200, path)
		head, err := s.try(t.Context(), http.MethodHead, path)
		if err != nil || head.status != 200 || head.body != "" || head.header.Get("Content-Length") != get.header.Get("Content-Length") {
			t.Errorf("HEAD %s: %v, %+v", path, err, head)
		}
		if get.header.Get("Access-Control-Allow-Origin") != "*" || get.header.Get("Access-Control-Allow-Credentials") != "" ||
			get.header.Get("Set-Cookie") != "" {
			t.Errorf("S15: %s: headers %v", path, get.header)
		}
	}
	if o, _ := s.try(t.Context(), http.MethodOptions, video+"index.m3u8"); o.status != 204 ||
		!strings.Contains(o.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("OPTIONS: %+v", o)
	}
	if p, _ := s.try(t.Context(), http.MethodPost, video+"index.m3u8"); p.status != 405 {
		t.Errorf("POST: %+v", p)
	}
}

func TestRanges(t *testing.T) {
	s, _ := live(t, 9, nil)
	s.want(200, video+"index.m3u8")
	path := video + at(2) + ".mp4"
	all := s.want(200, path).body
	if r := s.want(206, path, "Range", "bytes=4-7"); r.body != "moof" || r.header.Get("Content-Range") != fmt.Sprintf("bytes 4-7/%d", len(all)) {
		t.Errorf("a range: %q, %v", r.body, r.header)
	}
	if r := s.want(416, path, "Range", "bytes=9999999-"); r.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", len(all)) {
		t.Errorf("a range past the end: %v", r.header)
	}
	parts := ""
	for i := range 10 {
		parts += s.want(200, fmt.Sprintf("%s%s.%d.mp4", video, at(2), i)).body
	}
	if parts != all {
		t.Error("H13: a segment is not its parts in a row")
	}
}

// H12: what has left a playlist can still be had for a while, as players have the playlist that listed it.
func TestWhatIsListedNoMoreCanBeHad(t *testing.T) {
	s, studio := live(t, 1, func(c *Config) { c.Window = time.Second }) // of which the least is made, 8 segments
	s.want(200, video+"index.m3u8")
	studio.play(second(1), second(50.1))
	text := s.listing(video, at(24)+".mp4")
	const oldestListed, oldestWithParts = 17, 22
	if strings.Contains(text, at(oldestListed-1)+".mp4") || strings.Contains(text, at(oldestWithParts-1)+".0.mp4") {
		t.Fatalf("more is listed than was thought: %s", text)
	}
	for n := oldestListed - 9; n < oldestListed; n++ { // for its length and that of the playlist
		s.want(200, video+at(n)+".mp4")
	}
	for n := oldestWithParts - 3; n < oldestWithParts; n++ { // for three target durations
		for part := range 10 {
			s.want(200, fmt.Sprintf("%s%s.%d.mp4", video, at(n), part))
		}
	}
}

// H17, H18: renditions agree, and say so of each other.
func TestRenditionsAgree(t *testing.T) {
	s, _ := live(t, 9.05, nil)
	v, a := s.want(200, video+"index.m3u8").body, s.want(200, "cup/cam1/aac-audio/index.m3u8").body
	for _, tag := range []string{"#EXT-X-MEDIA-SEQUENCE", "#EXT-X-TARGETDURATION", "#EXT-X-DISCONTINUITY-SEQUENCE", "#EXT-X-PRELOAD-HINT"} {
		if fmt.Sprint(tagged(v, tag)) != fmt.Sprint(tagged(a, tag)) {
			t.Errorf("%s: video %v, audio %v", tag, tagged(v, tag), tagged(a, tag))
		}
	}
	if got, want := tagged(a, "#EXT-X-RENDITION-REPORT"), `#EXT-X-RENDITION-REPORT:URI="../source-video/index.m3u8",LAST-MSN=`+at(4)+",LAST-PART=4"; len(got) != 1 || got[0] != want {
		t.Errorf("reports %v, want %s", got, want)
	}
}

// H28, H30 over HTTP: what a player has and a delta update make the whole playlist of the same instant, to the byte. A
// player may ask for one while what it has is no older than half the skip boundary (RFC 8216bis section 6.2.5.1).
func TestDeltaUpdate(t *testing.T) {
	s := newStage(t, func(c *Config) { c.Window = 20 * time.Second })
	studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), videoOnly) // no report of another rendition comes between
	studio.play(second(0), second(9.5))
	first := s.listing(video, at(4)+".6.mp4")
	for _, skip := range []string{"YES", "v2"} {
		if r := s.want(200, video+"index.m3u8?_HLS_skip="+skip); r.body != first {
			t.Errorf("there is nothing to skip yet: %s", r.body)
		}
	}
	const step, half = 0.7, skipTargets * 2.0 / 2 // s
	type had struct {
		at   float64
		text string
	}
	var olds []had
	skips, moved, renewed := 0, 0, 0
	for from := 9.5; from < 46; from += step {
		if from >= 26 && renewed == 0 { // the encoder is set up anew: another init section, and a discontinuity
			studio.publication.Close()
			studio = newStudio(t, s.hub, "cup/cam1", record(t, "160x90"), videoOnly)
			renewed++
		}
		now := from + step
		studio.play(second(from), second(now))
		part := int((now - float64(int(now)/2*2) + 1e-6) / 0.2) // that is in work now
		if part == 0 || from >= 26 && from < 30 {
			continue // no part to wait for, or the publisher has just returned
		}
		full := s.listing(video, fmt.Sprintf("%s.%d.mp4", at(int(now)/2), part-1))
		delta := s.want(200, video+"index.m3u8?_HLS_skip=YES").body
		if again := s.want(200, video+"index.m3u8").body; again != full {
			t.Fatalf("the playlist does not rest:\n%s\n%s", full, again)
		}
		tag := tagged(delta, "#EXT-X-SKIP")
		for _, old := range olds {
			if len(tag) != 1 || now-old.at > half {
				continue
			}
			merged, ok := merge(old.text, delta)
			if !ok || merged != full {
				t.Fatalf("from %g s and the update at %g s:\n%s\nwant:\n%s", old.at, now, merged, full)
			}
			skips++
			if sequenceOf(old.text) < sequenceOf(full) {
				moved++
			}
		}
		olds = append(olds, had{now, full})
	}
	if skips < 100 || moved < 50 || !strings.Contains(olds[len(olds)-1].text, "#EXT-X-DISCONTINUITY\n") {
		t.Errorf("%d updates were merged, %d of them after segments had left the playlist: too few", skips, moved)
	}
}

// H35: how long caches may keep an answer, in target durations (RFC 8216bis appendix B.1): errors of requests that wait
// for something longer than those of others, and what is about this server alone not at all. TestNoProgress has the rest.
func TestCacheHeaders(t *testing.T) {
	const target = 3 // s; no other number of a table below is a multiple of it by chance
	s, _ := live(t, 10, func(c *Config) { c.Segment = target * time.Second; c.MaxWaiting = 1; c.Start = 100 * time.Millisecond })
	s.hub.AddSupplier(&onDemand{t: t, mute: true, asked: make(chan struct{}, 1)})
	s.want(200, video+"index.m3u8")
	k := func(n int) string { return fmt.Sprint(600000000 + n) } // segment n; 3 is open
	index, age := video+"index.m3u8", func(targets int) string { return fmt.Sprintf("max-age=%d", targets*target) }
	for _, c := range []struct {
		what   string
		status int
		path   string
		want   string
		header []string
	}{
		{"plain playlist", 200, index, "max-age=1", nil}, // half of 3 s
		{"delta update", 200, index + "?_HLS_skip=YES", "max-age=1", nil},
		{"multivariant playlist", 200, "cup/cam1/index.m3u8", "max-age=1", nil},
		{"blocking playlist", 200, index + "?_HLS_msn=" + k(2), age(6), nil},
		{"segment", 200, video + k(2) + ".mp4", age(6), nil},
		{"part", 200, video + k(2) + ".1.mp4", age(6), nil},
		{"range of a segment", 206, video + k(2) + ".mp4", age(6), []string{"Range", "bytes=0-9"}},
		{"range past the end", 416, video + k(2) + ".mp4", age(1), []string{"Range", "bytes=99999999-"}},
		{"no stream", 404, "no/such/index.m3u8", age(1), nil},
		{"no rendition", 404, "cup/cam1/720p-video/index.m3u8", age(1), nil},
		{"no such path", 404, "cup/cam1/x", age(1), nil},
		{"wrong query", 400, index + "?_HLS_part=1", age(1), nil},
		{"rendition that gives nothing", 503, "cup/cam1/180p-video/index.m3u8", age(1), nil},
		{"blocking, of no rendition", 404, "cup/cam1/720p-video/index.m3u8?_HLS_msn=" + k(3), age(4), nil},
		{"blocking, too far ahead", 400, index + "?_HLS_msn=" + k(9), age(4), nil},
		{"segment expired", 404, video + k(-99) + ".mp4", age(1), nil},
		{"segment of the future", 404, video + k(9) + ".mp4", age(1), nil},
		{"part that never comes", 404, video + k(3) + ".5.mp4", age(1), nil},
		{"init section of another epoch", 404, video + "init-source-1.mp4", age(1), nil},
	} {
		t.Run(c.what, func(t *testing.T) {
			r := s.want(c.status, c.path, c.header...)
			if got := r.header.Get("Cache-Control"); got != c.want {
				t.Errorf("status %d says %q, want %q", r.status, got, c.want)
			}
		})
	}
	ctx, leave := context.WithCancel(t.Context())
	waiting := s.block(ctx, index+"?_HLS_msn="+k(3))
	s.waiters(1)
	if r := s.want(503, index+"?_HLS_msn="+k(3)); r.header.Get("Cache-Control") != "no-store" || r.header.Get("Retry-After") == "" {
		t.Errorf("a full server says %v", r.header)
	}
	leave()
	<-waiting
}

func TestClassF(t *testing.T) {
	s, _ := live(t, 8.5, nil) // segments 0 to 3 are closed, 4 has parts 0 and 1
	s.want(200, video+"index.m3u8")
	index := video + "index.m3u8?"
	long := strings.Repeat("x", 64<<10)
	for _, c := range []struct {
		name   string
		status int
		path   string
		header []string
	}{
		{"msn -1", 400, index + "_HLS_msn=-1", nil},
		{"msn 1e9", 400, index + "_HLS_msn=1000000000", nil},
		{"msn 2^64", 400, index + "_HLS_msn=18446744073709551616", nil},
		{"msn text", 400, index + "_HLS_msn=text", nil},
		{"msn empty", 400, index + "_HLS_msn=", nil},
		{"msn twice", 400, index + "_HLS_msn=1&_HLS_msn=1", nil},
		{"part alone", 400, index + "_HLS_part=1", nil},
		{"part -1", 400, index + "_HLS_msn=" + at(4) + "&_HLS_part=-1", nil},
		{"part 10^6", 400, index + "_HLS_msn=" + at(4) + "&_HLS_part=1000000", nil},
		{"msn+3", 400, index + "_HLS_msn=" + at(6), nil},
		{"stale msn", 200, index + "_HLS_msn=3", nil},
		{"skip", 200, index + "_HLS_skip=YES", nil},
		{"skip v2", 200, index + "_HLS_skip=v2", nil},
		{"skip v3", 200, index + "_HLS_skip=v3", nil},
		{"skip twice", 400, index + "_HLS_skip=YES&_HLS_skip=YES", nil},
		{"unknown directive", 200, index + "_HLS_x=1", nil},
		{"part of the future", 404, video + at(4) + ".7.mp4", nil},
		{"segment of the future", 404, video + at(5) + ".mp4", nil},
		{"part expired", 404, video + "12.1.mp4", nil},
		{"dot dot", 404, video + "../" + at(2) + ".mp4", nil},
		{"encoded dot dot", 404, video + "%2e%2e/" + at(2) + ".mp4", nil},
		{"backslash", 404, video + "%5c" + at(2) + ".mp4", nil},
		{"double slash", 404, video + "/" + at(2) + ".mp4", nil},
		{"NUL", 404, video + "%00.mp4", nil},
		{"8 KiB path", 404, video + long[:8<<10] + ".mp4", nil},
		{"10 KiB query", 400, index + long[:10<<10], nil},
		{"range 0-0", 206, video + at(2) + ".mp4", []string{"Range", "bytes=0-0"}},
		{"range -1", 206, video + at(2) + ".mp4", []string{"Range", "bytes=-1"}},
		{"1,000 ranges", 200, video + at(2) + ".mp4", []string{"Range", "bytes=0-9" + strings.Repeat(",0-9", 999)}},
		{"range past the end", 416, video + at(2) + ".mp4", []string{"Range", "bytes=99999999-"}},
		{"If-None-Match 64 KiB", 200, video + at(2) + ".mp4", []string{"If-None-Match", long}},
		{"Accept-Encoding list", 200, index, []string{"Accept-Encoding", strings.Repeat("br;q=0.1,", 5000)}},
		{"other stream", 404, "cup/cam2/index.m3u8", nil},
		{"other rendition", 404, "cup/cam1/720p-video/index.m3u8", nil},
		{"init of another epoch", 404, video + "init-source-1.mp4", nil},
	} {
		r, err := s.try(t.Context(), http.MethodGet, c.path, c.header...)
		if err != nil || r.status != c.status {
			t.Errorf("%s: status %d, want %d: %v %.200s", c.name, r.status, c.status, err, r.body)
			continue
		}
		if r.status >= 400 {
			wantProblem(t, c.name, r)
		}
	}
}

func wantProblem(t *testing.T, name string, r reply) {
	t.Helper()
	var answer struct {
		Status int
		Detail string
	}
	if err := json.Unmarshal([]byte(r.body), &answer); err != nil || answer.Status != r.status || len(answer.Detail) < 20 {
		t.Errorf("%s: the answer is no problem with a sentence: %.200s", name, r.body)
	}
	if r.header.Get("Content-Type") != problem.ContentType {
		t.Errorf("%s: Content-Type %q", name, r.header.Get("Content-Type"))
	}
}

func TestPlayRights(t *testing.T) {
	s, _ := live(t, 8.5, func(c *Config) {
		c.Allow = func(r *http.Request, stream media.Name) error {
			if r.Header.Get("Authorization") == "Bearer "+string(stream) {
				return nil
			}
			return denied{}
		}
	})
	for _, path := range []string{"cup/cam1/index.m3u8", video + "index.m3u8", video + at(2) + ".mp4", "no/such/index.m3u8"} {
		r := s.want(403, path, "Authorization", "Bearer cup/cam2")
		wantProblem(t, path, r)
		if r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a refusal may be cached: %v", path, r.header)
		}
	}
	s.want(200, "cup/cam1/index.m3u8", "Authorization", "Bearer cup/cam1")
}

type denied struct{}

func (denied) Error() string { return "denied" }
func (denied) Answer() (int, string, http.Header) {
	return http.StatusForbidden, "This token does not play that stream.", nil
}

// S10: class J on every route.
func TestBadNames(t *testing.T) {
	s, _ := live(t, 1, nil)
	for _, name := range []string{
		"..", "a/../b", ".", "a//b", "a%5cb", "%2e%2e%2f", "%252e", "%c0%ae", "%00", "%0a", strings.Repeat("a", 256), strings.Repeat("a/", 1000),
		"%24(x)", "%60x%60", "a;b", "%25d", "concat:a%7cb", "movie=x", "a:b", "%5b0:v%5d", "%e2%80%ae", "%23EXT-X-ENDLIST",
	} {
		for _, file := range []string{"index.m3u8", "720p-video/index.m3u8", "720p-video/1.mp4", "720p-video/1.0.mp4", "720p-video/init-source-1.mp4"} {
			wantProblem(t, name, s.want(404, name+"/"+file))
		}
	}
}

func TestViewersAreCounted(t *testing.T) {
	s, _ := live(t, 8.5, nil)
	for range 3 {
		s.want(200, video+"index.m3u8", "User-Agent", "one")
		s.want(200, "cup/cam1/index.m3u8", "User-Agent", "two")
	}
	stream, err := s.hub.Stream("cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.Viewers()["hls"]; n != 2 {
		t.Errorf("%d viewers, want 2", n)
	}
	here := func(agent string) bool {
		r := httptest.NewRequest(http.MethodGet, "/hls/cup/cam1/index.m3u8", nil)
		r.RemoteAddr = "127.0.0.1:9" // of another connection
		r.Header.Set("User-Agent", agent)
		return s.server.Plays(r, stream.Name())
	}
	if !here("two") || here("another") {
		t.Error("players who are here are not told from others")
	}
	s.server.viewers.sweep(time.Now().Add(9 * time.Second))
	if n := stream.Viewers()["hls"]; n != 2 {
		t.Errorf("%d viewers after nine seconds, want 2", n)
	}
	s.server.viewers.sweep(time.Now().Add(11 * time.Second))
	if n := stream.Viewers()["hls"]; n != 0 {
		t.Errorf("%d viewers after eleven seconds, want none", n)
	}
	v := viewers{stays: time.Second, most: 2}
	for i := range 5 {
		v.see(viewer{host: fmt.Sprint(i)}, time.Now(), func() func() { return func() {} })
	}
	if len(v.all) != 2 {
		t.Errorf("%d viewers are remembered beyond the bound", len(v.all))
	}
}

func TestConfigIsChecked(t *testing.T) {
	s := newStage(t, nil)
	for _, c := range []Config{{}, {Hub: s.hub, Segment: 1500 * time.Millisecond}, {Hub: s.hub, Part: 3 * time.Second}, {Hub: s.hub, Segment: time.Minute}} {
		if _, err := New(c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
