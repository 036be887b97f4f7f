package whip

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/ingest/whip/push"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/wish"
)

const (
	typeSDP      = "application/sdp"
	typeFragment = "application/trickle-ice-sdpfrag"
)

// reply is what the node answered.
type reply struct {
	status int
	header http.Header
	body   string
}

// ask makes a request. Headers are pairs of name and value.
func (n *node) ask(method, path, token, body string, header ...string) reply {
	n.Helper()
	request, err := http.NewRequest(method, n.http.URL+path, strings.NewReader(body))
	if err != nil {
		n.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := n.http.Client().Do(request)
	if err != nil {
		n.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		n.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

// post offers to publish the camera.
func (n *node) post(token, offer string) reply {
	n.Helper()
	return n.ask("POST", "/whip/"+string(camera), token, offer, "Content-Type", typeSDP)
}

// wantProblem checks that a refusal says what to do, and nothing from inside.
func (r reply) wantProblem(t *testing.T, status ...int) {
	t.Helper()
	ok := false
	for _, s := range status {
		ok = ok || r.status == s
	}
	var problem struct{ Detail string }
	err := json.Unmarshal([]byte(r.body), &problem)
	if !ok || r.header.Get("Content-Type") != "application/problem+json" || err != nil || problem.Detail == "" {
		t.Errorf("answered %d %q %.300q, want a problem document with status %v", r.status, r.header.Get("Content-Type"), r.body, status)
	}
	if strings.Contains(r.body, "goroutine") || strings.Contains(r.body, ".go:") {
		t.Errorf("the answer shows our inside: %q", r.body)
	}
}

// peer is a publisher's end of a connection, without media.
func peer(t *testing.T, settings webrtc.SettingEngine) *webrtc.PeerConnection {
	t.Helper()
	settings.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

// offer is that of a publisher with video and audio, as a browser makes it.
func offer(t *testing.T) string {
	t.Helper()
	pc := peer(t, webrtc.SettingEngine{})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		add(t, pc, kind)
	}
	return peertest.Offer(t, pc, nil)
}

func add(t *testing.T, pc *webrtc.PeerConnection, kind webrtc.RTPCodecType) {
	t.Helper()
	mimeType := webrtc.MimeTypeOpus
	if kind == webrtc.RTPCodecTypeVideo {
		mimeType = webrtc.MimeTypeH264
	}
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mimeType}, kind.String(), "camera")
	if err != nil {
		t.Fatal(err)
	}
	init := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
	if _, err := pc.AddTransceiverFromTrack(track, init); err != nil {
		t.Fatal(err)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	r := n.post(n.token("ana", "cup/*"), offer(t))
	if r.status != http.StatusCreated || r.header.Get("Content-Type") != typeSDP { // W1
		t.Fatalf("answered %d %s: %s", r.status, r.header.Get("Content-Type"), r.body)
	}
	if tag := r.header.Get("ETag"); !regexp.MustCompile(`^"[^"]+"$`).MatchString(tag) { // W4
		t.Errorf("ETag %s is not a strong tag", tag)
	}
	if location := r.header.Get("Location"); !regexp.MustCompile(`^/sessions/[A-Z2-7]{26,}$`).MatchString(location) { // W5
		t.Errorf("Location %q has no id of 128 bits", location)
	}
	sections := strings.Split(r.body, "\r\nm=")
	if len(sections) != 3 || !strings.Contains(sections[0], "a=group:BUNDLE ") { // W8
		t.Fatalf("the answer has %d sections, want two bundled m-lines:\n%s", len(sections), r.body)
	}
	for _, m := range sections[1:] {
		if !strings.Contains(m, "a=recvonly\r\n") || !strings.Contains(m, "a=rtcp-mux\r\n") || !strings.Contains(m, "a=rtcp-mux-only\r\n") { // W3, W8
			t.Errorf("an m-line is not recvonly with rtcp-mux and rtcp-mux-only:\n%s", m)
		}
		if !regexp.MustCompile(`a=setup:(active|passive)\r\n`).MatchString(m) { // W10
			t.Errorf("an m-line does not choose its DTLS role:\n%s", m)
		}
	}
	for _, transport := range []string{" udp ", " tcp "} { // W35
		if !regexp.MustCompile(`a=candidate:\S+ 1` + transport).MatchString(r.body) {
			t.Errorf("the answer has no candidate for%s:\n%s", transport, r.body)
		}
	}
	if strings.Contains(r.body, "a=simulcast") || strings.Contains(r.body, "ice-lite") {
		t.Error("the answer promises what is not there")
	}
}

func TestOffersRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	token, good := n.token("ana", "cup/*"), offer(t)
	swap := func(old, new string) string {
		t.Helper()
		changed := regexp.MustCompile(old).ReplaceAllString(good, new)
		if changed == good {
			t.Fatalf("the offer has nothing like %s:\n%s", old, good)
		}
		return changed
	}
	twoVideos := peer(t, webrtc.SettingEngine{})
	add(t, twoVideos, webrtc.RTPCodecTypeVideo)
	add(t, twoVideos, webrtc.RTPCodecTypeVideo)
	data := peer(t, webrtc.SettingEngine{})
	if _, err := data.CreateDataChannel("chat", nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, offer string
		status      int // zero where 400 and 422 are both right
	}{
		{"empty", "", 400},
		{"one byte", "v", 400},
		{"no v=", swap(`v=0\r\n`, ""), 400},
		{"v=1", swap(`v=0`, "v=1"), 0},
		{"no m=", good[:strings.Index(good, "m=")], 0},
		{"two videos (W7)", peertest.Offer(t, twoVideos, nil), 422},
		{"only a data channel", peertest.Offer(t, data, nil), 422},
		{"recvonly (W3)", swap(`a=sendonly`, "a=recvonly"), 0},
		{"inactive", swap(`a=sendonly`, "a=inactive"), 0},
		{"one m-line inactive (W6)", strings.Replace(good, "a=sendonly", "a=inactive", 1), 0},
		{"no codec that we know", swap(`(H264|VP8|VP9|AV1|H265)/90000`, "H999/90000"), 422},
		{"no fingerprint", swap(`a=fingerprint:.*\r\n`, ""), 400},
		{"md5 fingerprint", swap(`a=fingerprint:sha-256`, "a=fingerprint:md5"), 0},
		{"two fingerprints", swap(`(a=fingerprint:sha-256) (..)`, "$1 00:$2\r\n$1 $2"), 0},
		{"fingerprint of 10 KiB", swap(`a=fingerprint:sha-256 `, "a=fingerprint:sha-256 "+strings.Repeat("00:", 3500)), 400},
		{"no ufrag", swap(`a=ice-ufrag:.*\r\n`, ""), 400},
		{"long ufrag", swap(`a=ice-ufrag:.*\r\n`, "a=ice-ufrag:"+strings.Repeat("u", 257)+"\r\n"), 400},
		{"bad ufrag", swap(`a=ice-ufrag:.*\r\n`, "a=ice-ufrag:a b\r\n"), 400},
		{"short password", swap(`a=ice-pwd:.*\r\n`, "a=ice-pwd:abc\r\n"), 400},
		{"setup holdconn", swap(`a=setup:actpass`, "a=setup:holdconn"), 400},
		{"no rtcp-mux", swap(`a=rtcp-mux\r\n`, ""), 0},
		{"duplicate mid", swap(`a=mid:1`, "a=mid:0"), 400},
		{"bundle names an unknown mid", swap(`BUNDLE 0 1`, "BUNDLE 0 7"), 400},
		{"extmap 0", swap(`a=extmap:1 `, "a=extmap:0 "), 400},
		{"extmap 256", swap(`a=extmap:1 `, "a=extmap:256 "), 400},
		{"NUL", swap(`s=-`, "s=\x00"), 400},
		{"not UTF-8", swap(`s=-`, "s=\xff"), 400},
		{"line of 1 MiB", swap(`s=-`, "s="+strings.Repeat("x", 1<<20)), 413},
		{"fmtp of 64 KiB", swap(`a=fmtp:111 `, "a=fmtp:111 "+strings.Repeat("x", 64<<10)), 400},
		{"1,000 m-lines", good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\n", 1000), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			status := []int{c.status}
			if c.status == 0 {
				status = []int{400, 422}
			}
			n.post(token, c.offer).wantProblem(t, status...)
		})
	}
	n.poll("nothing is left of what was refused", func() bool { return n.net.Sessions() == 0 && n.signal.Sessions() == 0 })
	if n.live() {
		t.Error("a refused offer published")
	}
}

func TestOffersTaken(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	token, good := n.token("ana", "cup/*"), offer(t)
	for _, c := range []struct{ name, offer string }{
		{"simulcast is left out (W11)", strings.Replace(good, "a=sendonly\r\n",
			"a=sendonly\r\na=rid:h send\r\na=rid:l send\r\na=simulcast:send h;l\r\n", 1)},
		{"mDNS candidate is not used (W20)", strings.Replace(good, "a=setup:", "a=candidate:1 1 udp 2130706431 abc.local 5000 typ host\r\na=setup:", 1)},
		{"a MediaStream for each track (W9)", strings.Replace(good, "a=msid:camera video", "a=msid:screen video", 1)},
		{"tracks in no MediaStream (W9)", strings.ReplaceAll(good, "a=msid:camera ", "a=msid:- ")},
		{"tracks without msid (W9)", regexp.MustCompile(`a=(ssrc:\d+ )?msid:.*\r\n`).ReplaceAllString(good, "")},
		{"active (W10)", strings.ReplaceAll(good, "a=setup:actpass", "a=setup:active")},
		{"sprop-parameter-sets that are none", strings.ReplaceAll(good, "packetization-mode=1", "packetization-mode=1;sprop-parameter-sets=%%,AAAA,")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.offer == good {
				t.Fatal("the offer is as it was")
			}
			r := n.post(token, c.offer)
			if r.status != http.StatusCreated {
				t.Fatalf("answered %d: %s", r.status, r.body)
			}
			if strings.Contains(r.body, "simulcast") || strings.Contains(r.body, "a=rid") {
				t.Errorf("the answer takes up simulcast:\n%s", r.body)
			}
			if got := n.ask("DELETE", r.header.Get("Location"), token, ""); got.status != http.StatusOK {
				t.Errorf("DELETE answered %d: %s", got.status, got.body)
			}
		})
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	ana, eve, good := n.token("ana", "cup/*"), n.token("eve", "cup/*"), offer(t)
	stranger := n.token("mallory", "other/*")

	t.Run("endpoint", func(t *testing.T) {
		path := "/whip/" + string(camera)
		n.ask("POST", path, ana, good, "Content-Type", "text/plain").wantProblem(t, 415) // W2
		n.ask("POST", path, ana, good).wantProblem(t, 415)
		n.ask("POST", path, "", good, "Content-Type", typeSDP).wantProblem(t, 401) // W28
		if got := n.ask("POST", path, "", good, "Content-Type", typeSDP).header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Bearer") {
			t.Errorf("WWW-Authenticate is %q", got)
		}
		n.ask("POST", path, stranger, good, "Content-Type", typeSDP).wantProblem(t, 403)
		for _, odd := range []string{"/whip/cup/../cam1", "/whip//cup/cam1", "/whip/cup/cam1/", "/whip"} { // W30
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", odd, strings.NewReader(good))
			n.http.Config.Handler.ServeHTTP(w, r)
			if w.Code == 301 || w.Code == 302 || w.Code == 303 {
				t.Errorf("POST %s is redirected by %d, upon which clients would GET", odd, w.Code)
			}
		}
		n.ask("POST", "/whip/cup%2f..%2fcam1", ana, good, "Content-Type", typeSDP).wantProblem(t, 404)
		for _, method := range []string{"PUT", "PATCH", "DELETE", "TRACE"} {
			n.ask(method, path, ana, "").wantProblem(t, 405)
		}
		if r := n.ask("GET", path, "", ""); r.status/100 != 2 || r.body != "" { // W12
			t.Errorf("GET answered %d %q", r.status, r.body)
		}
		r := n.ask("OPTIONS", path, "", "", "Origin", "https://example.com", "Access-Control-Request-Method", "POST") // W27
		if r.status != 200 || r.header.Get("Accept-Post") != typeSDP || r.header.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(r.header.Get("Access-Control-Expose-Headers"), "Location") {
			t.Errorf("OPTIONS answered %d %v", r.status, r.header)
		}
	})

	made := n.post(ana, good)
	session, tag := made.header.Get("Location"), made.header.Get("ETag")
	const candidate = "a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
	patch := func(token, body string, header ...string) reply {
		return n.ask("PATCH", session, token, body, append([]string{"Content-Type", typeFragment}, header...)...)
	}
	t.Run("session", func(t *testing.T) {
		n.ask("PATCH", session, ana, candidate, "Content-Type", typeSDP, "If-Match", tag).wantProblem(t, 415) // W16
		patch(ana, "nonsense", "If-Match", tag).wantProblem(t, 400)
		patch(ana, candidate).wantProblem(t, 428)                                                       // W17
		patch(ana, candidate, "If-Match", `"stale"`).wantProblem(t, 412)                                // W18
		if r := patch(ana, candidate, "If-Match", tag); r.status != 204 || r.header.Get("ETag") != "" { // W19
			t.Errorf("a candidate answered %d with ETag %q", r.status, r.header.Get("ETag"))
		}
		restart := "a=ice-ufrag:abcd1234\r\na=ice-pwd:abcdefghijklmnopqrstuv12\r\n" + candidate
		r := patch(ana, restart, "If-Match", "*") // W21
		if r.status != 200 || r.header.Get("ETag") == tag || !strings.Contains(r.body, "a=ice-ufrag:") {
			t.Errorf("an ICE restart answered %d with ETag %q: %s", r.status, r.header.Get("ETag"), r.body)
		}
		for _, name := range []string{"ice-options", "ice-lite", "ice-pacing"} { // W23
			attribute := regexp.MustCompile("a=" + name + ".*\r\n")
			if said, says := attribute.FindString(made.body), attribute.FindString(r.body); said != says {
				t.Errorf("an ICE restart answered %q where the SDP answer said %q", says, said)
			}
		}
		// S9: the id is no credential.
		patch("", candidate, "If-Match", "*").wantProblem(t, 401)
		patch(eve, candidate, "If-Match", "*").wantProblem(t, 403)
		n.ask("DELETE", session, "", "").wantProblem(t, 401)
		n.ask("DELETE", session, eve, "").wantProblem(t, 403)
		n.ask("DELETE", session, stranger, "").wantProblem(t, 403)
		n.ask("POST", session, ana, good, "Content-Type", typeSDP).wantProblem(t, 405)
		if n.net.Sessions() != 1 {
			t.Error("a stranger has ended the session")
		}
		if r := n.ask("DELETE", session, ana, "", "If-Match", `"stale"`); r.status != 200 { // W13, W14
			t.Errorf("DELETE answered %d: %s", r.status, r.body)
		}
		if n.net.Sessions() != 0 {
			t.Error("DELETE left something of the session")
		}
		n.ask("DELETE", session, ana, "").wantProblem(t, 404) // W15
		patch(ana, candidate, "If-Match", "*").wantProblem(t, 404)
	})
	t.Run("draining", func(t *testing.T) {
		n.signal.Drain()
		r := n.post(ana, good) // W31
		r.wantProblem(t, 503)
		if r.header.Get("Retry-After") == "" {
			t.Error("does not say when to come back")
		}
	})
}

// TestQuotas exceeds each bound by one (CHECKLISTS S3).
func TestQuotas(t *testing.T) {
	t.Parallel()
	good := offer(t)
	for _, c := range []struct {
		name   string
		limits wish.Config
		taken  int
		status int
	}{
		{"sessions of one client", wish.Config{MaxPerClient: 2}, 2, 429},
		{"sessions of all", wish.Config{MaxSessions: 2}, 2, 503},
		{"requests of one client", wish.Config{PostRate: 0.4}, 2, 429}, // in a burst of five seconds' worth
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newLimitedNode(t, rtc.Config{}, c.limits)
			token := n.token("ana", "cup/*")
			for i := range c.taken {
				if r := n.post(token, good); r.status != http.StatusCreated {
					t.Fatalf("session %d: answered %d: %s", i, r.status, r.body)
				}
			}
			for range 20 {
				r := n.post(token, good)
				r.wantProblem(t, c.status)
				if r.header.Get("Retry-After") == "" {
					t.Error("does not say when to come back (W31)")
				}
			}
			if got := n.net.Sessions(); got != c.taken {
				t.Errorf("%d sessions, want %d", got, c.taken)
			}
		})
	}
}

// TestUnusedSessionIsReaped checks that a session without a connection goes by itself and never had the name.
func TestUnusedSessionIsReaped(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{ConnectTimeout: 300 * time.Millisecond})
	token := n.token("ana", "cup/*")
	if r := n.post(token, offer(t)); r.status != http.StatusCreated {
		t.Fatalf("answered %d: %s", r.status, r.body)
	}
	n.poll("the session is reaped (W34)", func() bool { return n.net.Sessions() == 0 && n.signal.Sessions() == 0 })
	if _, err := n.hub.Stream(camera); err == nil {
		t.Error("the session took the name without ever being there")
	}
	if n.metric("banyan_whip_sessions_ended_total", endNeverConnected) != 1 {
		t.Error("not counted")
	}
}

// TestDeleteEndsTheBroadcast checks that nothing is left when DELETE is answered, and that the publisher hears of it by
// DTLS, within a second (W13, W36).
func TestDeleteEndsTheBroadcast(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s := n.connect(t)
	s.until("the stream", n.live)
	asked := time.Now()
	if r := n.ask("DELETE", s.session, n.token("ana", "cup/*"), ""); r.status != http.StatusOK {
		t.Fatalf("DELETE answered %d: %s", r.status, r.body)
	}
	if n.live() || n.net.Sessions() != 0 {
		t.Error("DELETE is answered, and something is left of the session")
	}
	select {
	case <-s.closed:
	case <-time.After(patience):
		t.Fatal("the publisher does not hear of it")
	}
	n.soon("the publisher hears of the end", time.Since(asked))
	p := n.publish(push.Config{}, film("60")...)
	n.track(media.Video)
	p.stop() // sends DELETE
	n.poll("the name is free", func() bool { return !n.live() })
	n.poll("the session is gone", func() bool { return n.net.Sessions() == 0 })
}
