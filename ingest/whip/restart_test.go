package whip

import (
	"fmt"
	"net"
	"testing"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/peertest"
)

// onAir connects a publisher, and waits until its video is there.
func (n *node) onAir(t *testing.T) (*sender, *log.Log, *session) {
	t.Helper()
	s := n.connect(t)
	s.until("the stream", func() bool {
		stream, err := n.hub.Stream(camera)
		return err == nil && len(stream.Published()) == 1 && stream.Published()[0].Params != nil
	})
	return s, n.track(media.Video), n.session(t)
}

// TestRefusedRestartsLeaveTheMedia is W24: who asks for an ICE restart in a way that cannot be is told so, and its
// media goes on, well beyond what consent would last.
func TestRefusedRestartsLeaveTheMedia(t *testing.T) {
	t.Parallel()
	consent := 2 * time.Second
	n := newNode(t, rtc.Config{DisconnectTimeout: consent / 2, FailTimeout: consent})
	s, video, x := n.onAir(t)
	epoch := video.Params().Epoch
	const ufrag, secret = "a=ice-ufrag:abcd1234\r\n", "a=ice-pwd:abcdefghijklmnopqrstuv12\r\n"
	for _, c := range []struct {
		name, user, tag, body string
		status                int
	}{
		{"by a stale tag", "ana", `"stale"`, ufrag + secret, 412},
		{"by no tag", "ana", "", ufrag + secret, 428},
		{"by somebody else", "eve", "*", ufrag + secret, 403},
		{"without a password", "ana", "*", ufrag, 400},
		{"with a short password", "ana", "*", ufrag + "a=ice-pwd:abc\r\n", 400},
		{"with two names", "ana", "*", ufrag + "a=ice-ufrag:other123\r\n" + secret, 400},
		{"by a whole description", "ana", s.tag, peertest.Offer(t, s.pc, nil), 400},
	} {
		header := []string{"Content-Type", typeFragment}
		if c.tag != "" {
			header = append(header, "If-Match", c.tag)
		}
		r := n.ask("PATCH", s.session, n.token(c.user, "cup/*"), c.body, header...)
		if r.wantProblem(t, c.status); t.Failed() {
			t.Fatalf("a restart %s", c.name)
		}
	}
	for refused := time.Now(); time.Since(refused) < 2*consent; {
		head := video.Head()
		s.until("packets after the refused restarts", func() bool { return video.Head() > head+5 })
	}
	if n.session(t) != x || video.Params().Epoch != epoch {
		t.Error("the media goes on in another session or epoch")
	}
	// The tag is still that of the first generation.
	if r := n.ask("PATCH", s.session, n.token("ana", "cup/*"), "a=end-of-candidates\r\n", "Content-Type", typeFragment, "If-Match", s.tag); r.status != 204 {
		t.Errorf("a candidate by the first tag: %d %s", r.status, r.body)
	}
}

// TestRestartWithoutItsAnswer: a publisher whose network goes away under its ICE restart makes the same request again,
// and its media goes on, however far the first had come (W24).
func TestRestartWithoutItsAnswer(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s, video, x := n.onAir(t)
	epoch := video.Params().Epoch
	for range 5 {
		fragment := peertest.Restart(t, s.pc)
		conn, err := net.Dial("tcp", n.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: banyan\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nIf-Match: *\r\nContent-Length: %d\r\n\r\n%s",
			s.session, s.token, typeFragment, len(fragment), fragment)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		r := n.ask("PATCH", s.session, s.token, fragment, "Content-Type", typeFragment, "If-Match", "*")
		if r.status != 200 {
			t.Fatalf("the second request is answered %d %q", r.status, r.body)
		}
		peertest.AcceptRestart(t, s.pc, r.body)
		head := video.Head()
		s.until("packets after the restart", func() bool { return video.Head() > head+5 })
	}
	if n.session(t) != x || video.Params().Epoch != epoch {
		t.Error("the media goes on in another session or epoch")
	}
}
