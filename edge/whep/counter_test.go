package whep_test

import (
	"cmp"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/edge/whep"
	"banyan/relay/rtc/peertest"
)

var (
	onlyVP8  = only(webrtc.MimeTypeVP8, 90000, webrtc.RTPCodecTypeVideo)
	onlyAV1  = only(webrtc.MimeTypeAV1, 90000, webrtc.RTPCodecTypeVideo)
	onlyH264 = only(webrtc.MimeTypeH264, 90000, webrtc.RTPCodecTypeVideo, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
	onlyG722 = only(webrtc.MimeTypeG722, 8000, webrtc.RTPCodecTypeAudio)
)

const alice = "Bearer alice"

// provoke posts an offer that cannot be met, and returns our offer and where to answer it.
func (w *world) provoke(path string, option offerOption) (offer, location string) {
	w.Helper()
	r, body := w.do("POST", path, "application/sdp", newPlayer(w, option).offer(), "Authorization", alice)
	h := r.Header
	format, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || r.StatusCode != http.StatusNotAcceptable || format != "application/sdp" {
		w.Fatalf("POST %s: %s %q\n%s; want 406 with SDP", path, r.Status, h.Get("Content-Type"), body)
	}
	if until, err := http.ParseTime(parameters["valid-until"]); err != nil || w.answer == 0 && time.Until(until) < 29*time.Second ||
		time.Until(until) > cmp.Or(w.answer, 30*time.Second)+time.Second {
		w.Errorf("the offer is valid until %q (%v), want %v from now (P11)", parameters["valid-until"], err, cmp.Or(w.answer, 30*time.Second))
	}
	if !strings.HasPrefix(h.Get("Location"), "/sessions/") || h.Get("ETag") == "" || h.Get("Link") == "" ||
		!strings.Contains(h.Get("Accept-Patch"), "application/sdp") {
		w.Errorf("the headers of 406 are %v, want those of 201", h)
	}
	return body, h.Get("Location")
}

// reply is the SDP that answers an offer of ours, with all candidates.
func (p *player) reply(offer string) string {
	p.w.Helper()
	return peertest.Answer(p.w, p.pc, offer)
}

// patch sends an answer and wants the given status.
func (w *world) patch(why, location, answer string, want int) {
	w.Helper()
	w.patchAs(alice, why, location, answer, want)
}

func (w *world) patchAs(who, why, location, answer string, want int) {
	w.Helper()
	if r, body := w.do("PATCH", location, "application/sdp", answer, "Authorization", who); r.StatusCode != want {
		w.Errorf("%s: %s %s, want %d", why, r.Status, body, want)
	}
}

// TestCounterOffer lets viewers whose offers fit nothing answer ours.
func TestCounterOffer(t *testing.T) {
	for _, c := range []struct {
		why   string
		offer offerOption
	}{{"AV1", onlyAV1}, {"VP8", onlyVP8}, {"a codec that nobody carries", onlyG722}} {
		t.Run(c.why, func(t *testing.T) {
			w := newWorld(t)
			camera := w.newCamera("cup/cam1", "baseline")
			camera.shoot(3)
			offer, location := w.provoke("/whep/cup/cam1", c.offer)
			for _, line := range []string{"a=sendonly", "a=setup:actpass", "a=rtcp-mux", "a=group:BUNDLE 0 1", "a=candidate:", "a=rtcp-mux-only",
				"a=ice-options:trickle", "a=msid:banyan video", "a=msid:banyan audio", "H264/90000", "opus/48000"} {
				if !strings.Contains(offer, line) {
					t.Errorf("the offer lacks %q:\n%s", line, offer)
				}
			}
			p := newPlayer(w, fresh)
			w.patch("the answer", location, p.reply(offer), http.StatusNoContent)
			defer camera.roll(4)()
			w.eventually("video and audio", func() bool { return len(p.got("video")) > 2*fps && len(p.got("audio")) > 20 })
			units, _ := frames(t, p.got("video"))
			wantDecodable(t, units)
			if n := w.metric("banyan_whep_counter_offers_total"); n != 1 {
				t.Errorf("%v counter-offers are counted, want 1", n)
			}
		})
	}
}

// TestPartialAnswer refuses one track of our offer.
func TestPartialAnswer(t *testing.T) {
	w := newWorld(t)
	camera := w.newCamera("cup/cam1", "baseline")
	camera.shoot(3)
	offer, location := w.provoke("/whep/cup/cam1", onlyAV1)
	p := newPlayer(w, onlyH264, fresh)
	w.patch("an answer without audio", location, p.reply(offer), http.StatusNoContent)
	defer camera.roll(4)()
	w.eventually("video", func() bool { return len(p.got("video")) > 2*fps })
	if n := len(p.got("audio")); n > 0 {
		t.Errorf("%d packets of the refused track came", n)
	}
}

// TestBadAnswers leaves a session as it is until a good answer comes, and no longer.
func TestBadAnswers(t *testing.T) {
	w := newWorld(t)
	camera := w.newCamera("cup/cam1", "baseline")
	camera.shoot(3)
	offer, location := w.provoke("/whep/cup/cam1", onlyAV1)
	p := newPlayer(w, fresh)
	answer := p.reply(offer)
	replace := func(old, new string) string { return strings.ReplaceAll(answer, old, new) }
	for _, c := range []struct {
		why, answer string
		want        int
	}{
		{"empty", "", 400},
		{"no SDP", "hello", 400},
		{"no fingerprint", replace("a=fingerprint:", "a=x:"), 400},
		{"setup left open", replace("a=setup:active", "a=setup:actpass"), 400},
		{"one m-line too few", answer[:strings.LastIndex(answer, "m=")], 422},
		{"other mids", replace("a=mid:1", "a=mid:7"), 422},
		{"sendonly", replace("a=recvonly", "a=sendonly"), 422},
		{"everything refused", regexp.MustCompile(`(?m)^(m=\w+) 9 `).ReplaceAllString(answer, "$1 0 "), 422},
		{"other codecs", replace("H264/90000", "VP8/90000"), 422},
		{"our own offer", offer, 422},
	} {
		w.patch(c.why, location, c.answer, c.want)
	}
	const candidates = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=end-of-candidates\r\n"
	fragment := func(want int) {
		t.Helper()
		r, body := w.do("PATCH", location, "application/trickle-ice-sdpfrag", candidates, "If-Match", "*", "Authorization", alice)
		if r.StatusCode != want {
			t.Errorf("a fragment: %s %s, want %d", r.Status, body, want)
		}
	}
	fragment(http.StatusConflict)
	w.patchAs("Bearer bob", "somebody else's answer", location, answer, http.StatusForbidden)
	w.patchAs("Bearer bad", "a bad token", location, answer, http.StatusUnauthorized)
	w.patch("the answer at last", location, answer, http.StatusNoContent)
	w.patch("a second answer", location, answer, http.StatusConflict)
	w.eventually("the viewer", func() bool { return w.metric("banyan_whep_sessions") == 1 })
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	fragment(http.StatusOK) // new credentials: ICE restarts
}

// TestLateAnswer comes when nobody waits for it any more.
func TestLateAnswer(t *testing.T) {
	w := newWorld(t, func(c *whep.Config) { c.AnswerTimeout = 50 * time.Millisecond })
	w.newCamera("cup/cam1", "baseline").shoot(3)
	offer, location := w.provoke("/whep/cup/cam1", onlyAV1)
	w.eventually("the session to end", func() bool { return w.connections()+w.signal.Sessions() == 0 })
	w.patch("the answer", location, newPlayer(w, fresh).reply(offer), http.StatusNotFound)
}

// TestUnansweredDelete ends a session before its answer.
func TestUnansweredDelete(t *testing.T) {
	w := newWorld(t)
	w.newCamera("cup/cam1", "baseline").shoot(3)
	offer, location := w.provoke("/whep/cup/cam1", onlyAV1)
	if n := w.signal.Sessions(); n != 1 {
		t.Errorf("%d sessions are counted while one waits for its answer", n)
	}
	if r, body := w.do("DELETE", location, "", "", "Authorization", alice); r.StatusCode != http.StatusOK {
		t.Errorf("DELETE: %s %s", r.Status, body)
	}
	if n := w.connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	w.patch("the answer", location, newPlayer(w, fresh).reply(offer), http.StatusNotFound)
}

// TestNoCounterOffer refuses what no answer could help.
func TestNoCounterOffer(t *testing.T) {
	w := newWorld(t)
	w.newCamera("cup/cam1", "baseline").shoot(3)
	for path, want := range map[string]int{"/whep/cup/none": 409, "/whep/cup/cam1?format=4k": 422} {
		if r, body := w.do("POST", path, "application/sdp", newPlayer(w, onlyAV1).offer()); r.StatusCode != want {
			t.Errorf("POST %s: %s %s, want %d", path, r.Status, body, want)
		}
	}
	p := newPlayer(w)
	p.token = "alice"
	p.watch("/whep/cup/cam1")
	w.patch("an answer that nobody asked for", p.location, "v=0\r\n", http.StatusUnsupportedMediaType)
}
