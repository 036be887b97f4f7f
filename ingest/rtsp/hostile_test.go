package rtsp

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"banyan/relay/auth"
	"banyan/relay/log"
	"banyan/relay/media"
)

const announcement = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n" +
	"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:streamid=0\r\n"

// request writes an RTSP request; headers are "Name: value".
func (r *raw) request(method, url string, body string, headers ...string) string {
	all := append([]string{method + " " + url + " RTSP/1.0", "CSeq: 7"}, headers...)
	if body != "" {
		all = append(all, "Content-Type: application/sdp", fmt.Sprint("Content-Length: ", len(body)))
	}
	return r.ask(strings.Join(all, "\r\n") + "\r\n\r\n" + body)
}

func status(response string) string {
	if fields := strings.Fields(response); len(fields) > 1 {
		return fields[1]
	}
	return ""
}

// announced leaves a connection after ANNOUNCE.
func (n *node) announced(t *testing.T, name string) *raw {
	r := n.dial(t)
	if got := status(r.request("ANNOUNCE", n.url(name), announcement)); got != "200" {
		t.Fatalf("ANNOUNCE: %s", got)
	}
	return r
}

const record = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"

// recording leaves a connection after RECORD.
func (n *node) recording(t *testing.T, name string) *raw {
	r := n.announced(t, name)
	setup := r.request("SETUP", n.url(name)+"/streamid=0", "", record)
	if status(setup) != "200" {
		t.Fatalf("SETUP: %s", setup)
	}
	if got := r.request("RECORD", n.url(name), "", "Session: "+sessionOf(setup)); status(got) != "200" {
		t.Fatalf("RECORD: %s", got)
	}
	return r
}

func sessionOf(response string) string {
	_, rest, _ := strings.Cut(response, "Session: ")
	id, _, _ := strings.Cut(rest, "\r\n")
	id, _, _ = strings.Cut(id, ";")
	return id
}

// TestHostileRequests is class E of the checklists, over TCP and over TLS (R12). After each the server lives and
// somebody else's frames flow.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, func(c *Config) {
				c.RequestTimeout, c.Silence = 1500*time.Millisecond, 4*time.Second
				c.TLSAddr, c.TLS = "127.0.0.1:0", selfSigned()
			})
			n.secure = secure
			push(t, n.url("other"), "tcp", picture, x264())
			witness := readFrom(n.track("other", media.Video), log.Live())
			for _, c := range hostileRequests(n) {
				t.Run(c.name, func(t *testing.T) {
					c.check(t, n)
					frames(t, witness, 1)
				})
			}
			eventually(t, "all hostile sessions to be gone", func() bool { s := n.server.Stats(); return s.Publishers == 1 && s.Players == 0 })
		})
	}
}

// hostileRequest is something that a peer should not do.
type hostileRequest struct {
	name string
	want string // statuses, separated by "|"; empty where the connection is closed without an answer
	act  func(*raw) string
}

func (c hostileRequest) check(t *testing.T, n *node) {
	r := n.dial(t)
	defer r.conn.Close()
	response := c.act(r)
	if got := status(response); !strings.Contains("|"+c.want+"|", "|"+got+"|") {
		t.Errorf("answered %q; want %q\n%s", got, c.want, response)
	}
	if strings.Contains(response, "goroutine") || strings.Contains(response, ".go:") {
		t.Errorf("the answer tells of our insides: %s", response)
	}
}

// hostileRequests are class E. UDP is told by what it answers over TLS: that it is not there.
func hostileRequests(n *node) []hostileRequest {
	u := n.url("victim")
	udp := "200"
	if n.secure {
		udp = "461"
	}
	return []hostileRequest{
		{"no CSeq", "400", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.0\r\n\r\n") }},
		{"CSeq text", "200", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.0\r\nCSeq: abc\r\n\r\n") }},
		{"CSeq 2^64", "200", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.0\r\nCSeq: 18446744073709551616\r\n\r\n") }},
		{"request line of 1 MiB", "400|", func(r *raw) string { return r.ask("OPTIONS rtsp://" + strings.Repeat("a", 1<<20)) }},
		{"header without colon", "400", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.0\r\nCSeq: 1\r\nnonsense\r\n\r\n\r\n") }},
		{"10,000 headers", "400|", func(r *raw) string {
			return r.ask("OPTIONS " + u + " RTSP/1.0\r\nCSeq: 1\r\n" + strings.Repeat("A: b\r\n", 10000) + "\r\n")
		}},
		{"Content-Length -1", "400", func(r *raw) string { return r.request("ANNOUNCE", u, "", "Content-Length: -1") }},
		{"Content-Length 2^63", "400", func(r *raw) string { return r.request("ANNOUNCE", u, "", "Content-Length: 9223372036854775808") }},
		{"body short", "", func(r *raw) string { return r.request("ANNOUNCE", u, "", "Content-Length: 100") }},
		{"body of 128 KiB and a byte", "413", func(r *raw) string { return r.request("ANNOUNCE", u, "", "Content-Length: 131073") }},
		{"two lengths", "400", func(r *raw) string { return r.request("OPTIONS", u, "", "Content-Length: 0", "content-length: 5") }},
		{"64 headers", "200", func(r *raw) string { return r.request("OPTIONS", u, "", slices.Repeat([]string{"A: b"}, 63)...) }},
		{"65 headers", "400", func(r *raw) string { return r.request("OPTIONS", u, "", slices.Repeat([]string{"A: b"}, 64)...) }},
		{"headers of 7 KiB", "200", func(r *raw) string {
			return r.request("OPTIONS", u, "", slices.Repeat([]string{"A: " + strings.Repeat("b", 1021)}, 7)...)
		}},
		{"headers of 9 KiB", "400|", func(r *raw) string {
			return r.request("OPTIONS", u, "", slices.Repeat([]string{"A: " + strings.Repeat("b", 1021)}, 9)...)
		}},
		{"RTSP/9.9", "505", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/9.9\r\nCSeq: 1\r\n\r\n") }},
		{"RTSP/2.0", "505", func(r *raw) string { return r.ask("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n") }},
		{"RTSP/1.1", "505", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.1\r\nCSeq: 1\r\n\r\n") }},
		{"OPTIONS *", "200", func(r *raw) string { return r.ask("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n") }},
		{"method of 4 KiB", "501", func(r *raw) string {
			return r.ask(strings.Repeat("A", 4096) + " " + u + " RTSP/1.0\r\nCSeq: 1\r\n\r\n")
		}},
		{"unknown method", "501", func(r *raw) string { return r.request("DANCE", u, "") }},
		{"method unlike any other", "501", func(r *raw) string { return r.request("HELLO", u, "") }},
		{"method in lower case", "400", func(r *raw) string { return r.request("options", u, "") }},
		{"OPTIONS after an unknown method with a body", "200", func(r *raw) string {
			r.request("HELLO", u, "OPTIONS * RTSP/1.0\r\n\r\n")
			return r.request("OPTIONS", u, "")
		}},
		{"URL without host", "400|404|", func(r *raw) string { return r.request("DESCRIBE", "rtsp:///x", "") }},
		{"URL with ..", "404", func(r *raw) string { return r.request("DESCRIBE", u+"/../../etc/passwd", "") }},
		{"URL with %00", "404|", func(r *raw) string { return r.request("DESCRIBE", u+"%00", "") }},
		{"URL of another scheme", "400", func(r *raw) string { return r.request("DESCRIBE", "http://127.0.0.1/x", "") }},
		{"no such stream", "404", func(r *raw) string { return r.request("DESCRIBE", u, "") }},
		{"format nonsense", "404", func(r *raw) string { return r.request("DESCRIBE", n.url("other?format=../x"), "") }},
		{"format unknown", "404", func(r *raw) string { return r.request("DESCRIBE", n.url("other?format=8k"), "") }},
		{"DESCRIBE for a picture", "406", func(r *raw) string { return r.request("DESCRIBE", n.url("other"), "", "Accept: image/png") }},
		{"ANNOUNCE without type", "400", func(r *raw) string { return r.request("ANNOUNCE", u, "") }},
		{"ANNOUNCE of nonsense", "400", func(r *raw) string { return r.request("ANNOUNCE", u, "nonsense") }},
		{"ANNOUNCE of a codec we lack", "415", func(r *raw) string {
			return r.request("ANNOUNCE", u, strings.ReplaceAll(announcement, "H264/90000", "theora/90000"))
		}},
		{"ANNOUNCE of 17 tracks", "415", func(r *raw) string {
			track := announcement[strings.Index(announcement, "m="):]
			return r.request("ANNOUNCE", u, announcement+strings.Repeat(track, 16))
		}},
		{"ANNOUNCE twice", "455", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			return r.request("ANNOUNCE", u, announcement)
		}},
		{"SETUP twice", "455", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			r.request("SETUP", u+"/streamid=0", "", record)
			return r.request("SETUP", u+"/streamid=0", "", strings.Replace(record, "0-1", "2-3", 1))
		}},
		{"SETUP of an unknown track", "404", func(r *raw) string {
			r.request("ANNOUNCE", u, announcement)
			return r.request("SETUP", u+"/streamid=9", "", record)
		}},
		{"SETUP without Transport", "400", setup(u, "X: y")},
		{"Transport empty", "400", setup(u, "Transport: ")},
		{"interleaved=255-256", "461|400", setup(u, "Transport: RTP/AVP/TCP;unicast;interleaved=255-256;mode=record")},
		{"interleaved=0-5", "400", setup(u, "Transport: RTP/AVP/TCP;unicast;interleaved=0-5;mode=record")},
		{"client_port=0-65536", "461|400", setup(u, "Transport: RTP/AVP;unicast;client_port=0-65536;mode=record")},
		{"client_port=22-23", "461", setup(u, "Transport: RTP/AVP;unicast;client_port=22-23;mode=record")},
		{"destination of another host", "461", setup(u, "Transport: RTP/AVP;unicast;destination=192.0.2.1;client_port=5000-5001;mode=record")},
		{"source that is a name", udp, setup(u, "Transport: RTP/AVP;unicast;source=canary.invalid;client_port=5000-5001;mode=record")},
		{"destination of another host, to play", "461", func(r *raw) string {
			return r.request("SETUP", n.url("other/trackID=0"), "", "Transport: RTP/AVP;unicast;destination=192.0.2.1;client_port=5000-5001")
		}},
		{"client_port=1022-1023, to play", "461", func(r *raw) string {
			return r.request("SETUP", n.url("other/trackID=0"), "", "Transport: RTP/AVP;unicast;client_port=1022-1023")
		}},
		{"multicast", "461", setup(u, "Transport: RTP/AVP;multicast;mode=record")},
		{"ttl 999999999999", "400", setup(u, "Transport: RTP/AVP;unicast;client_port=5000-5001;ttl=999999999999;mode=record")},
		{"mode unknown", "400", setup(u, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=dance")},
		{"unknown transport", "461", setup(u, "Transport: RAW/RAW/UDP;unicast")},
		{"unknown transports before one that is there", "200", setup(u, "Transport: RAW/RAW/UDP;unicast, RTP/AVPF;unicast;client_port=5000-5001,"+
			"RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")},
		{"the same in lines of their own", "200", setup(u, "Transport: RAW/RAW/UDP;unicast\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")},
		{"PLAY before SETUP", "455", func(r *raw) string { return r.request("PLAY", n.url("other"), "") }},
		{"RECORD before ANNOUNCE", "455", func(r *raw) string { return r.request("RECORD", u, "") }},
		{"RECORD on a play session", "455", func(r *raw) string {
			id := sessionOf(r.request("SETUP", n.url("other/trackID=0"), "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"))
			return r.request("RECORD", n.url("other"), "", "Session: "+id)
		}},
		{"mixed transports", map[string]string{"200": "400", "461": "461"}[udp], func(r *raw) string {
			two := announcement + strings.Replace(announcement[strings.Index(announcement, "m="):], "streamid=0", "streamid=1", 1)
			r.request("ANNOUNCE", u, two)
			r.request("SETUP", u+"/streamid=0", "", record)
			return r.request("SETUP", u+"/streamid=1", "", "Transport: RTP/AVP;unicast;client_port=5000-5001;mode=record")
		}},
		{"unknown Session", "454", func(r *raw) string { return r.request("PLAY", n.url("other"), "", "Session: 0123456789abcdef") }},
		{"Session of 64 KiB", "400|", func(r *raw) string {
			return r.request("PLAY", n.url("other"), "", "Session: "+strings.Repeat("a", 64<<10))
		}},
		{"TEARDOWN then PLAY", "454|455", func(r *raw) string {
			id := sessionOf(r.request("SETUP", n.url("other/trackID=0"), "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"))
			r.request("TEARDOWN", n.url("other"), "", "Session: "+id)
			return r.request("PLAY", n.url("other"), "", "Session: "+id)
		}},
		{"Range backwards", "200", func(r *raw) string {
			id := sessionOf(r.request("SETUP", n.url("other/trackID=0"), "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"))
			return r.request("PLAY", n.url("other"), "", "Session: "+id, "Range: npt=20-10")
		}},
		{"$ frame before any session", "400", func(r *raw) string { return r.ask("$\x00\x00\x04abcd") }},
		{"$ frame on an unset channel", "200", func(r *raw) string {
			live := n.recording(r.t, "victim")
			_, _ = io.WriteString(live.conn, "$\x0a\x00\x04abcd")
			return live.request("OPTIONS", u, "")
		}},
		{"garbage in $ frames", "200", func(r *raw) string {
			live := n.recording(r.t, "victim")
			for size := range 40 {
				_, _ = fmt.Fprintf(live.conn, "$%c%c%c%s", size%2, 0, size, strings.Repeat("\x80", size))
			}
			return live.request("OPTIONS", u, "")
		}},
		{"$ of 65535 bytes and no more", "", func(r *raw) string {
			return n.recording(r.t, "victim").ask("$\x00\xff\xff")
		}},
		{"$ within a header", "400|", func(r *raw) string { return r.ask("OPTIONS " + u + " RTSP/1.0\r\nCS$\x00\x00\x04abcdeq: 1\r\n\r\n") }},
		{"HTTP tunnel", "400", func(r *raw) string {
			return r.ask("GET /victim HTTP/1.0\r\nx-sessioncookie: 1\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n")
		}},
		{"idle", "", func(r *raw) string { return r.ask("") }},
		{"1 byte, then nothing", "", func(r *raw) string { return r.ask("O") }},
	}
}

func setup(u, header string) func(*raw) string {
	return func(r *raw) string {
		r.request("ANNOUNCE", u, announcement)
		return r.request("SETUP", u+"/streamid=0", "", header)
	}
}

func TestSlowRequestIsCutOff(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.RequestTimeout = 300 * time.Millisecond })
	r := n.dial(t)
	go func() {
		for _, b := range []byte("OPTIONS " + n.url("x") + " RTSP/1.0\r\nCSeq: 1\r\n\r\n") {
			if _, err := r.conn.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // the attack itself
		}
	}()
	_ = r.conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(r.conn); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("the connection stays open")
	}
}

func TestConnectionsAreBoundedPerAddress(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.MaxConnsPerIP = 3 })
	var admitted []*raw
	for range 3 {
		r := n.dial(t)
		if got := status(r.request("OPTIONS", n.url("x"), "")); got != "200" {
			t.Fatalf("within the bound: %s", got)
		}
		admitted = append(admitted, r)
	}
	if got := n.dial(t).request("OPTIONS", n.url("x"), ""); got != "" {
		t.Errorf("over the bound: %s", got)
	}
	admitted[0].conn.Close()
	eventually(t, "room for another", func() bool { return status(n.dial(t).request("OPTIONS", n.url("x"), "")) == "200" })
	if n.server.Stats().RefusedConns == 0 {
		t.Error("the refusal was not counted")
	}
}

// protected are requests that need credentials, each with what it takes besides.
func protected(n *node) map[string]func(r *raw, headers ...string) string {
	u := n.url("cup/cam1")
	return map[string]func(r *raw, headers ...string) string{
		"DESCRIBE": func(r *raw, headers ...string) string { return r.request("DESCRIBE", u, "", headers...) },
		"ANNOUNCE": func(r *raw, headers ...string) string { return r.request("ANNOUNCE", u, announcement, headers...) },
		"SETUP": func(r *raw, headers ...string) string {
			return r.request("SETUP", u+"/trackID=0", "", append(headers, "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")...)
		},
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	n := locked(t)
	for method, ask := range protected(n) {
		r := n.dial(t)
		got := ask(r)
		if status(got) != "401" || strings.Count(got, "WWW-Authenticate: Digest ") != 2 || !strings.Contains(got, "SHA-256") || !strings.Contains(got, "CSeq: 7") {
			t.Errorf("%s without credentials: %s", method, got)
		}
		for _, nonce := range []string{"", "old"} {
			authorization := `Authorization: Digest username="ana", realm="banyan", nonce="` + nonce + `", uri="x", response="00"`
			if got := ask(r, authorization); status(got) != "401" || !strings.Contains(got, `stale="true"`) {
				t.Errorf("%s with an old nonce: %s", method, got)
			}
		}
	}
}

// TestGuessesCostTheConnection shows wrong credentials more than once.
func TestGuessesCostTheConnection(t *testing.T) {
	t.Parallel()
	n := locked(t)
	for _, authorization := range []string{
		"Basic", "Basic !!!", "Bearer x", "Digest", "Digest username=\"ana\"", "Basic YW5hOndyb25n", "Basic OnBhc3M=",
	} {
		for method, ask := range protected(n) {
			r := n.dial(t)
			guess(r, method, ask, "Authorization: "+authorization)
			r.conn.Close()
		}
	}
}

// guess shows wrong credentials until the connection ends.
func guess(r *raw, method string, ask func(r *raw, headers ...string) string, authorization string) {
	r.t.Helper()
	for range maxFailures {
		if got := ask(r, authorization); status(got) != "401" {
			r.t.Errorf("%s with %q: %s", method, authorization, got)
		}
	}
	if got := r.request("OPTIONS", "*", ""); got != "" {
		r.t.Errorf("after %q the connection goes on: %s", authorization, got)
	}
}

// TestSessionIsNoCredential has another connection use a session it has heard of (S9).
func TestSessionIsNoCredential(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Guard = newGuard(t, auth.NeedToken) })
	n.guard = n.server.config.Guard.(*auth.Guard)
	token := n.token("cam", "cam")
	victim := n.dial(t)
	if got := victim.request("ANNOUNCE", n.url("cam?token="+token), announcement); status(got) != "200" {
		t.Fatal(got)
	}
	setup := victim.request("SETUP", n.url("cam?token="+token)+"/streamid=0", "", record)
	id := sessionOf(setup)
	if len(id) < 32 {
		t.Errorf("the session id is %q; want 128 bits at least", id)
	}
	if got := victim.request("RECORD", n.url("cam?token="+token), "", "Session: "+id); status(got) != "200" {
		t.Fatal(got)
	}
	for _, method := range []string{"RECORD", "PAUSE", "TEARDOWN", "PLAY", "GET_PARAMETER"} {
		if got := status(n.dial(t).request(method, n.url("cam"), "", "Session: "+id)); got == "200" {
			t.Errorf("%s with somebody else's session was accepted", method)
		}
	}
	if got := victim.request("OPTIONS", n.url("cam"), ""); status(got) != "200" {
		t.Errorf("the victim's connection: %q", got)
	}
	if n.server.Stats().Publishers != 1 {
		t.Error("the victim's session ended")
	}
}

// TestSplitFramesAndRequests is R18: frames and requests take turns, each split at every byte. Every frame arrives, and
// every request is answered.
func TestSplitFramesAndRequests(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	r := n.recording(t, "cam")
	sequence := uint16(0)
	frame := func(timestamp uint32, unit []byte) string {
		sequence++
		packet, err := (&rtp.Packet{
			Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: sequence, Timestamp: timestamp, SSRC: 7,
				Marker: bytes.Equal(unit, keySlices[0])},
			Payload: unit,
		}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(append([]byte{'$', 0, 0, byte(len(packet))}, packet...))
	}
	asked, answers := 0, ""
	request := func() string {
		asked++
		return fmt.Sprintf("OPTIONS %s RTSP/1.0\r\nCSeq: %d\r\n\r\n", n.url("cam"), 1000+asked)
	}
	for i := 0; !n.began("cam") || i < 10; i++ {
		if i == 300 {
			t.Fatal("the split frames make no track")
		}
		timestamp := uint32(i) * 3000
		text := frame(timestamp, sps) + request() + frame(timestamp, pps) + "$\x01\x00\x04abcd" + frame(timestamp, keySlices[0])
		for at := range text {
			if _, err := io.WriteString(r.conn, text[at:at+1]); err != nil {
				t.Fatal(err)
			}
		}
		for !strings.Contains(answers, fmt.Sprintf("CSeq: %d\r\n", 1000+asked)) {
			more := r.ask("")
			if more == "" {
				t.Fatalf("request %d was not answered: %s", asked, answers)
			}
			answers += more
		}
		time.Sleep(time.Second / 30) // the pace of the camera
	}
	if good := strings.Count(answers, "RTSP/1.0 200"); good != asked {
		t.Errorf("%d of %d requests were answered with 200", good, asked)
	}
	for i, f := range frames(t, readFrom(n.track("cam", media.Video), log.KeyframeBefore(0)), 4) {
		if units := pictureUnits(f); len(units) != 1 || !bytes.Equal(units[0], keySlices[0]) {
			t.Errorf("frame %d has %x; want %x", i, units, keySlices[0])
		}
	}
}

// TestUDPSessionEndsWithItsConnection is R17, of a publisher and of a player, long before either would be reaped for its
// silence.
func TestUDPSessionEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Silence = 10 * patience })
	push(t, n.url("live"), "tcp", picture, x264())
	n.track("live", media.Video)
	publisher, player := n.announced(t, "cam"), n.dial(t)
	for _, c := range []struct {
		r                        *raw
		track, stream, transport string
		start                    string
	}{
		{publisher, "cam/streamid=0", "cam", "RTP/AVP;unicast;client_port=40000-40001;mode=record", "RECORD"},
		{player, "live/trackID=0", "live", "RTP/AVP;unicast;client_port=40002-40003", "PLAY"},
	} {
		setup := c.r.request("SETUP", n.url(c.track), "", "Transport: "+c.transport)
		if got := c.r.request(c.start, n.url(c.stream), "", "Session: "+sessionOf(setup)); status(got) != "200" {
			t.Fatal(got)
		}
	}
	if s := n.server.Stats(); s.Publishers != 2 || s.Players != 1 {
		t.Fatalf("%+v; want two publishers and a player", s)
	}
	publisher.conn.Close()
	player.conn.Close()
	eventually(t, "both sessions to end", func() bool { s := n.server.Stats(); return s.Publishers == 1 && s.Players == 0 })
}
