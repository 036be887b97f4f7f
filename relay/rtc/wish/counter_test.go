package wish

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// answer accepts H.264 in an m-line with mid 0.
const answer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=video 9 UDP/TLS/RTP/SAVPF 102\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=setup:active\r\n" +
	"a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
	"a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF\r\n" +
	"a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"

// counter makes a session that is to be answered.
func (d *testServer) counter() (location, tag string) {
	d.Helper()
	d.ours = sdp.Everything(media.Video)
	d.ours.Text, d.ours.Media[0].MID = "v=0\r\nours\r\n", "0"
	r, body := d.postCounter()
	if r.StatusCode != http.StatusNotAcceptable || body != d.ours.Text ||
		r.Header.Get("Content-Type") != `application/sdp; valid-until="Wed, 09 Oct 2024 10:00:00 GMT"` {
		d.Fatalf("POST: %s %q %q, want 406 with our offer", r.Status, r.Header.Get("Content-Type"), body)
	}
	return r.Header.Get("Location"), r.Header.Get("ETag")
}

// postCounter does without do, which wants every answer of 4xx to be a problem.
func (d *testServer) postCounter() (*http.Response, string) {
	d.Helper()
	r, err := http.NewRequest("POST", d.http.URL+"/whip/cup/cam1", strings.NewReader(d.offer))
	if err != nil {
		d.Fatal(err)
	}
	r.Header.Set("Authorization", token)
	r.Header.Set("Content-Type", isSDP)
	return d.send(r)
}

// TestConclude answers a counter-offer: once, after what is no answer.
func TestConclude(t *testing.T) {
	d := newTestServer(t, Config{MaxSessions: 1})
	location, tag := d.counter()
	if r, _ := d.do("POST", "/whip/cup/cam1", d.offer, "Content-Type", isSDP); r.StatusCode != 503 {
		t.Errorf("another offer: %s, want 503: the session that waits for its answer has the only place", r.Status)
	}
	patch := func(why, kind, body string, want int) {
		t.Helper()
		if r, text := d.do("PATCH", location, body, "Content-Type", kind, "If-Match", tag); r.StatusCode != want {
			t.Errorf("%s: %s %s, want %d", why, r.Status, text, want)
		}
	}
	const fragment = "a=end-of-candidates\r\n"
	patch("candidates before the answer", isFragment, fragment, 409)
	patch("no SDP", isSDP, "hello", 400)
	patch("an answer to something else", isSDP, strings.ReplaceAll(answer, "a=mid:0", "a=mid:1"), 422)
	patch("another type", "text/plain", answer, 415)
	d.last.concluded = []error{&sdp.Error{Detail: "The stack does not like it."}}
	patch("an answer that the stack refuses", isSDP, answer, 400)
	patch("the answer", isSDP, answer, 204)
	patch("a second one", isSDP, answer, 409)
	patch("candidates after the answer", isFragment, fragment, 204)
	if d.last.answers != 1 {
		t.Errorf("%d answers were used, want 1", d.last.answers)
	}
}

// TestConcludeTooLate answers when the session has just ended.
func TestConcludeTooLate(t *testing.T) {
	d := newTestServer(t, Config{})
	location, _ := d.counter()
	d.last.concluded = []error{errors.New("it is over")}
	if r, _ := d.do("PATCH", location, answer, "Content-Type", isSDP); r.StatusCode != 404 {
		t.Errorf("an answer to a session that is ending: %s, want 404", r.Status)
	}
}

// TestAnswersRace lets one of many answers win.
func TestAnswersRace(t *testing.T) {
	d := newTestServer(t, Config{})
	location, _ := d.counter()
	var taken, late atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch r, _ := d.do("PATCH", location, answer, "Content-Type", isSDP); r.StatusCode {
			case 204:
				taken.Add(1)
			case 409:
				late.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != 1 || late.Load() != 7 || d.last.answers != 1 {
		t.Errorf("%d answers were taken and %d late, want 1 and 7", taken.Load(), late.Load())
	}
}
