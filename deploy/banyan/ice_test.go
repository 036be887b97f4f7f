package main

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // as TURN servers do
	"encoding/base64"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/peertest"
)

// TestClientsAreToldOfICEServers asks a node that is configured with ICE servers for sessions by WHIP and WHEP, over
// its door, and looks at the links of the answers (RFC 9725 section 4.6).
func TestClientsAreToldOfICEServers(t *testing.T) {
	n := start(t, "--roles=ingest,edge", "--rtc.loopback", "--auth.publish=open", `--rtc.ice_servers=[{url: "stun:stun.example.org:3478"}, `+
		`{url: "turn:turn.example.org?transport=tcp", username: ana, credential: "pass \"word\""}, `+
		`{url: "turns:turn.example.org:5349", secret: north-wind}]`)
	n.readLogs()
	film := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10", "-c:v", "libx264",
		"-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-rtsp_transport", "tcp", "-f", "rtsp", "rtsp://"+n.rtsp+"/cup/cam2")
	if err := film.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = film.Process.Kill(); _ = film.Wait() })
	for _, door := range []struct {
		path      string
		direction webrtc.RTPTransceiverDirection
	}{
		{"/whip/cup/cam1", webrtc.RTPTransceiverDirectionSendonly},
		{"/whep/cup/cam2", webrtc.RTPTransceiverDirectionRecvonly},
	} {
		links := n.links(t, door.path, offerOf(t, door.direction))
		for _, want := range []string{
			`<stun:stun.example.org:3478>; rel="ice-server"`,
			`<turn:turn.example.org?transport=tcp>; rel="ice-server"; username="ana"; credential="pass \"word\""; credential-type="password"`,
		} {
			if !strings.Contains(links, want+"\n") {
				t.Errorf("%s: the links lack %s:\n%s", door.path, want, links)
			}
		}
		limited := regexp.MustCompile(`<turns:turn.example.org:5349>; rel="ice-server"; username="(\d+)"; credential="([^"]+)"`).FindStringSubmatch(links)
		if limited == nil {
			t.Fatalf("%s: the links lack credentials with a time limit:\n%s", door.path, links)
		}
		mac := hmac.New(sha1.New, []byte("north-wind"))
		mac.Write([]byte(limited[1]))
		if want := base64.StdEncoding.EncodeToString(mac.Sum(nil)); limited[2] != want {
			t.Errorf("%s: the credential is %s, want %s", door.path, limited[2], want)
		}
		until, err := strconv.ParseInt(limited[1], 10, 64)
		if left := time.Until(time.Unix(until, 0)); err != nil || left <= 0 || left > turnLifetime {
			t.Errorf("%s: the credential is good for %v, want up to %v", door.path, left, turnLifetime)
		}
		preflight, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, "http://"+n.addr["http"]+door.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if status, header, _ := n.answer(t, preflight); status != http.StatusOK || len(header.Values("Link")) > 0 {
			t.Errorf("OPTIONS %s: %d, and whoever asks is told %q", door.path, status, header.Values("Link"))
		}
	}
}

func TestNobodyIsToldOfICEServersThatAreNot(t *testing.T) {
	n := start(t, "--roles=ingest", "--rtc.loopback", "--auth.publish=open")
	n.readLogs()
	links := n.links(t, "/whip/cup/cam1", offerOf(t, webrtc.RTPTransceiverDirectionSendonly))
	if strings.Contains(links, "ice-server") {
		t.Errorf("got %s", links)
	}
}

func TestTURNCredentialsNameTheUser(t *testing.T) {
	until := time.Unix(1700000000, 0)
	for user, want := range map[string]string{
		"": "1700000000", "ana": "1700000000:ana", `a"b é`: "1700000000:a%22b+%C3%A9",
		strings.Repeat("x", 500): "1700000000:" + strings.Repeat("x", maxTURNUser),
	} {
		if got, _ := turnCredentials("north-wind", user, until); got != want {
			t.Errorf("%.20q: got %q, want %q", user, got, want)
		}
	}
}

// readLogs reads what the node logs from now on, which would wait for it otherwise, until it has stopped.
func (n *running) readLogs() {
	read := make(chan struct{})
	go func() {
		defer close(read)
		for n.logs.Scan() {
		}
	}()
	n.t.Cleanup(func() {
		n.stop()
		<-read
	})
}

// links posts an offer, again while the stream is not live, and returns the links of the session, each with a line
// break.
func (n *running) links(t *testing.T, path, offer string) string {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		post, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+n.addr["http"]+path, strings.NewReader(offer))
		if err != nil {
			t.Fatal(err)
		}
		post.Header.Set("Content-Type", "application/sdp")
		status, header, body := n.answer(t, post)
		if status == http.StatusCreated {
			return strings.Join(header.Values("Link"), "\n") + "\n"
		}
		if status != http.StatusConflict || time.Now().After(deadline) {
			t.Fatalf("POST %s: %d %s", path, status, body)
		}
	}
}

func (n *running) answer(t *testing.T, r *http.Request) (status int, header http.Header, body string) {
	t.Helper()
	response, err := n.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// offerOf is what a browser would offer for video in one direction.
func offerOf(t *testing.T, direction webrtc.RTPTransceiverDirection) string {
	t.Helper()
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	if _, err := pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: direction}); err != nil {
		t.Fatal(err)
	}
	return peertest.Offer(t, pc, nil)
}
