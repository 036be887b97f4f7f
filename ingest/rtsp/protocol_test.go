package rtsp

import (
	"fmt"
	"strings"
	"testing"

	"banyan/relay/media"
)

// header is a header of a response, "" where it has none.
func header(response, name string) string {
	head, _, _ := strings.Cut(response, "\r\n\r\n")
	for line := range strings.SplitSeq(head, "\r\n") {
		if key, value, _ := strings.Cut(line, ": "); strings.EqualFold(key, name) {
			return value
		}
	}
	return ""
}

// TestProtocol walks through a player's session by hand (CHECKLISTS R1 to R16).
func TestProtocol(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	r := n.dial(t)
	ask := func(method, url string, more ...string) string {
		t.Helper()
		response := r.request(method, url, "", more...)
		if status(response) != "200" || header(response, "CSeq") != "7" {
			t.Fatalf("%s: %s", method, response)
		}
		return response
	}
	options := ask("OPTIONS", n.url("cam"))
	for _, method := range []string{"DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "RECORD", "PAUSE", "TEARDOWN", "GET_PARAMETER"} {
		if !strings.Contains(header(options, "Public"), method) {
			t.Errorf("Public lacks %s: %s", method, options)
		}
	}
	described := ask("DESCRIBE", n.url("cam"))
	if base := header(described, "Content-Base"); base != n.url("cam")+"/" || header(described, "Content-Type") != "application/sdp" {
		t.Errorf("Content-Base is %q: %s", base, described)
	}
	setup := ask("SETUP", n.url("cam/trackID=0"), "Transport: RTP/AVP;unicast;client_port=40010-40011")
	transport := header(setup, "Transport")
	var rtp, rtcp int
	if at := strings.Index(transport, "server_port="); at < 0 {
		t.Errorf("no server port: %s", setup)
	} else if _, err := fmt.Sscanf(transport[at:], "server_port=%d-%d", &rtp, &rtcp); err != nil || rtp%2 != 0 || rtcp != rtp+1 {
		t.Errorf("the ports are no even and odd pair: %s", transport)
	}
	if !strings.Contains(transport, "ssrc=") {
		t.Errorf("no SSRC: %s", transport)
	}
	if !strings.Contains(header(setup, "Session"), "timeout=") {
		t.Errorf("the session does not say how long it lasts: %s", setup)
	}
	session := "Session: " + sessionOf(setup)
	play := ask("PLAY", n.url("cam"), session)
	if header(play, "RTP-Info") == "" || !strings.HasPrefix(header(play, "Range"), "npt=") {
		t.Errorf("PLAY tells not where it begins: %s", play)
	}
	ask("GET_PARAMETER", n.url("cam"), session)
	ask("PAUSE", n.url("cam"), session)
	ask("PLAY", n.url("cam"), session)
	ask("TEARDOWN", n.url("cam"), session)
	if got := status(r.request("PLAY", n.url("cam"), "", session)); got != "454" && got != "455" {
		t.Errorf("PLAY after TEARDOWN: %s", got)
	}
	eventually(t, "the player to be gone", func() bool { return n.server.Stats().Players == 0 })
}
