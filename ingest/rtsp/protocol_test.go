package rtsp

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"

	"banyan/relay/log"
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

// udpPair opens two sockets for RTP and RTCP, which close with the test.
func udpPair(t *testing.T) (own, reports net.PacketConn) {
	t.Helper()
	own, reports, err := listenPair("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close(); reports.Close() })
	return own, reports
}

func portOf(conn net.PacketConn) int { return conn.LocalAddr().(*net.UDPAddr).Port }

// receive waits for a datagram and gives the port that it comes from.
func receive(t *testing.T, conn net.PacketConn) (datagram []byte, port int) {
	t.Helper()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	space := make([]byte, 2048)
	n, from, err := conn.ReadFrom(space)
	if err != nil {
		t.Fatal(err)
	}
	return space[:n], from.(*net.UDPAddr).Port
}

// drain reads what was sent before an answer that has come, and fails where more comes than was on its way: a camera sends
// 15 pictures a second.
func drain(t *testing.T, conn net.PacketConn) {
	t.Helper()
	const calm = 500 * time.Millisecond
	space, since := make([]byte, 2048), time.Now()
	for time.Since(since) < patience {
		_ = conn.SetReadDeadline(time.Now().Add(calm))
		if _, _, err := conn.ReadFrom(space); err != nil {
			return
		}
	}
	t.Error("media comes on and on")
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
	own, reports := udpPair(t)
	setup := ask("SETUP", n.url("cam/trackID=0"), fmt.Sprintf("Transport: RTP/AVP;unicast;client_port=%d-%d", portOf(own), portOf(reports)))
	transport := header(setup, "Transport")
	var from, reportsFrom int
	if at := strings.Index(transport, "server_port="); at < 0 {
		t.Fatalf("no server port: %s", setup)
	} else if _, err := fmt.Sscanf(transport[at:], "server_port=%d-%d", &from, &reportsFrom); err != nil || from%2 != 0 || reportsFrom != from+1 {
		t.Errorf("the ports are no even and odd pair: %s", transport)
	}
	if !strings.Contains(header(setup, "Session"), "timeout=") {
		t.Errorf("the session does not say how long it lasts: %s", setup)
	}
	session := "Session: " + sessionOf(setup)
	play := ask("PLAY", n.url("cam"), session)
	if header(play, "RTP-Info") == "" || !strings.HasPrefix(header(play, "Range"), "npt=") {
		t.Errorf("PLAY tells not where it begins: %s", play)
	}
	checkSource := func() {
		t.Helper()
		for socket, port := range map[net.PacketConn]int{own: from, reports: reportsFrom} {
			datagram, sender := receive(t, socket)
			at := 8 // of the SSRC in RTP, and in a sender report
			if socket == reports {
				at = 4
			}
			if ssrc := fmt.Sprintf("%X", datagram[at:at+4]); sender != port || !strings.Contains(transport, "ssrc="+ssrc) {
				t.Errorf("%s comes from port %d; SETUP said %s", ssrc, sender, transport)
			}
		}
	}
	checkSource()
	ask("GET_PARAMETER", n.url("cam"), session)
	ask("PAUSE", n.url("cam"), session)
	drain(t, own)
	drain(t, reports)
	ask("PLAY", n.url("cam"), session)
	checkSource()
	ask("TEARDOWN", n.url("cam"), session)
	drain(t, own)
	if got := status(r.request("PLAY", n.url("cam"), "", session)); got != "454" && got != "455" {
		t.Errorf("PLAY after TEARDOWN: %s", got)
	}
	eventually(t, "the player to be gone", func() bool { return n.server.Stats().Players == 0 })
}

// TestRequestsAreAnsweredInTurn sends several at once (R19: one in flight).
func TestRequestsAreAnsweredInTurn(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	r := n.dial(t)
	var requests, answers string
	for i := range 20 {
		requests += fmt.Sprintf("OPTIONS %s RTSP/1.0\r\nCSeq: %d\r\n\r\n", n.url("cam"), i)
	}
	if _, err := io.WriteString(r.conn, requests); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		for !strings.Contains(answers, fmt.Sprintf("CSeq: %d\r\n", i)) {
			more := r.ask("")
			if more == "" {
				t.Fatalf("request %d was not answered in its turn: %s", i, answers)
			}
			answers += more
		}
	}
}

// TestUDPComesFromThePublisherAlone is R20: packets from another port of the same host are not the publisher's.
func TestUDPComesFromThePublisherAlone(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	own, reports := udpPair(t)
	foreign, _ := udpPair(t)
	r := n.announced(t, "cam")
	setup := r.request("SETUP", n.url("cam/streamid=0"), "", fmt.Sprintf("Transport: RTP/AVP;unicast;client_port=%d-%d;mode=record",
		portOf(own), portOf(reports)))
	if got := r.request("RECORD", n.url("cam"), "", "Session: "+sessionOf(setup)); status(got) != "200" {
		t.Fatal(got)
	}
	to := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	transport := header(setup, "Transport")
	if _, err := fmt.Sscanf(transport[strings.Index(transport, "server_port="):], "server_port=%d-", &to.Port); err != nil {
		t.Fatal(err)
	}
	ownSlice, foreignSlice := keySlices[0], []byte{0x65, 0x88, 9}
	sequence := uint16(0)
	send := func(from net.PacketConn, timestamp uint32, payload []byte) {
		packet, err := (&rtp.Packet{
			Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: sequence, Timestamp: timestamp, SSRC: 7,
				Marker: payload[0] == ownSlice[0]},
			Payload: payload,
		}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.WriteTo(packet, to); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; !n.began("cam"); i++ {
		if i == 300 {
			t.Fatal("the publisher's own packets make no track")
		}
		for _, unit := range [][]byte{sps, pps, foreignSlice} {
			sequence++
			send(foreign, uint32(2*i)*1500, unit)
		}
		for _, unit := range [][]byte{sps, pps, ownSlice} {
			sequence++
			send(own, uint32(2*i+1)*1500, unit)
		}
		time.Sleep(time.Second / 30) // the pace of the camera
	}
	for i, f := range frames(t, readFrom(n.track("cam", media.Video), log.KeyframeBefore(0)), 4) {
		if units := pictureUnits(f); len(units) != 1 || !bytes.Equal(units[0], ownSlice) {
			t.Errorf("frame %d has %x; want the publisher's %x", i, units, ownSlice)
		}
	}
}

// TestHandshakesAreBounded has peers of the TLS listener who never get to a request, and one of the other who speaks TLS.
func TestHandshakesAreBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) {
		c.TLSAddr, c.TLS, c.RequestTimeout = "127.0.0.1:0", selfSigned(), time.Second
	})
	const hello = "\x16\x03\x01\x00\xc0\x01\x00\x00\xbc\x03\x03"
	for _, c := range []struct {
		name, sent, want string
		addr             net.Addr
	}{
		{"nothing, to TLS", "", "", n.server.TLSAddr()},
		{"the beginning of a hello, to TLS", hello, "", n.server.TLSAddr()},
		{"the beginning of a hello, without TLS", hello, "400", n.server.Addr()},
	} {
		conn, err := net.Dial("tcp", c.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		r := &raw{t: t, conn: conn}
		if got := r.ask(c.sent); status(got) != c.want {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
		conn.Close()
	}
}
