package rtsp

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestPushFromGStreamer(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"tcp", "udp"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil)
			start(t, "gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "!", "video/x-raw,width=320,height=180,framerate=15/1", "!",
				"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=15", "threads=1", "!", "h264parse", "!",
				"rtspclientsink", "latency=0", "protocols="+protocol, "location="+n.url("cup/cam1"))
			checkVideo(t, n, media.H264, false)
		})
	}
}

// TestGStreamerEndsInPeace is Ctrl-C: rtspclientsink sends PAUSE and then TEARDOWN.
func TestGStreamerEndsInPeace(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	p := start(t, "gst-launch-1.0", "videotestsrc", "is-live=true", "!", "video/x-raw,width=320,height=180,framerate=15/1", "!",
		"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=15", "threads=1", "!", "h264parse", "!",
		"rtspclientsink", "latency=0", "protocols=tcp", "location="+n.url("cup/cam1"))
	frames(t, readFrom(n.track("cup/cam1", media.Video), log.LastKeyframe()), 5)
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.ended()
	if text := p.output.String(); strings.Contains(text, "ERROR") {
		t.Errorf("GStreamer complains:\n%s", text)
	}
	eventually(t, "the publisher to be gone", func() bool { return n.server.Stats().Publishers == 0 })
}

// TestPublisherPauses keeps its name, and may go on by RECORD (RFC 2326, sections 10.6 and 10.11).
func TestPublisherPauses(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	r := n.announced(t, "cam")
	setup := r.request("SETUP", n.url("cam/streamid=0"), "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")
	session := "Session: " + sessionOf(setup)
	if got := r.request("PAUSE", n.url("cam"), "", session); status(got) != "455" {
		t.Errorf("PAUSE before RECORD: %s", got)
	}
	for _, method := range []string{"RECORD", "PAUSE", "PAUSE", "RECORD", "PAUSE"} {
		got := r.request(method, n.url("cam"), "", session)
		if status(got) != "200" || sessionOf(got) != sessionOf(setup) {
			t.Errorf("%s: %s", method, got)
		}
		if n.server.Stats().Publishers != 1 {
			t.Fatalf("after %s the publisher is gone", method)
		}
	}
	if got := status(r.request("TEARDOWN", n.url("cam"), "", session)); got != "200" {
		t.Errorf("TEARDOWN: %s", got)
	}
	eventually(t, "the publisher to be gone", func() bool { return n.server.Stats().Publishers == 0 })
}

// TestTheLogSaysHowPublishersComeAndGo looks for the words in which an operator is told.
func TestTheLogSaysHowPublishersComeAndGo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, transport string
		end             func(n *node, camera *process)
		want            string
	}{
		{"killed over TCP", "tcp", func(_ *node, camera *process) { camera.kill() }, "the peer was killed, or the network cut it off"},
		{"killed over UDP", "udp", func(_ *node, camera *process) { camera.kill() }, "the peer was killed, or the network cut it off"},
		{"ended by itself", "tcp", func(_ *node, camera *process) { _ = camera.cmd.Process.Signal(syscall.SIGINT) }, "the peer ended it"},
		{"frozen", "tcp", func(_ *node, camera *process) { _ = camera.cmd.Process.Signal(syscall.SIGSTOP) }, "nothing came for 1s"},
		{"frozen over UDP", "udp", func(_ *node, camera *process) { _ = camera.cmd.Process.Signal(syscall.SIGSTOP) }, "no packet came for 1s"},
		{"taken over", "tcp", func(n *node, _ *process) {
			publication, err := n.hub.Publish("cam", "somebody else")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(publication.Close)
		}, relay.ErrTakenOver.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, func(c *Config) { c.Silence = time.Second })
			camera := push(t, n.url("cam"), c.transport, picture, x264())
			frames(t, readFrom(n.track("cam", media.Video), log.LastKeyframe()), 2)
			if text := n.logs.String(); strings.Count(text, `"track began"`) != 1 || !strings.Contains(text, "kind=video codec=h264") {
				t.Errorf("the log does not say once that a track began: %s", text)
			}
			c.end(n, camera)
			eventually(t, "the log to tell of the end", func() bool { return strings.Contains(n.logs.String(), "RTSP session ended") })
			if text := n.logs.String(); !strings.Contains(text, c.want) || strings.Contains(text, "not in use") {
				t.Errorf("the log does not say %q: %s", c.want, text)
			}
		})
	}
}

func TestPublisherIsKilledAndReturns(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Silence = 3 * time.Second })
	camera := push(t, n.url("cam"), "tcp", picture, x264())
	reader := readFrom(n.track("cam", media.Video), log.LastKeyframe())
	before := frames(t, reader, 5)[4]
	camera.kill()
	stream, err := n.hub.Stream("cam")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the publisher to be gone", func() bool { return !stream.Live() })
	push(t, n.url("cam"), "udp", picture, x264())
	for {
		after := frames(t, reader, 1)[0] // the same reader of the same log
		if after.Params.Epoch != before.Params.Epoch {
			if !after.Discontinuity || !after.Keyframe || after.Time() <= before.Time() {
				t.Errorf("the new epoch begins with %+v; want a keyframe, marked, later than before", after)
			}
			return
		}
		before = after
	}
}

func TestSilentUDPPublisherIsReaped(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Silence = 3 * time.Second })
	camera := push(t, n.url("cam"), "udp", picture, x264())
	n.track("cam", media.Video)
	if err := camera.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stream, err := n.hub.Stream("cam")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the silent publisher to be gone", func() bool { return !stream.Live() })
}

func TestSecondPublisherTakesOver(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	first := push(t, n.url("cam"), "tcp", picture, x264())
	reader := readFrom(n.track("cam", media.Video), log.LastKeyframe())
	epoch := frames(t, reader, 5)[4].Params.Epoch
	push(t, n.url("cam"), "tcp", []string{"-re", "-f", "lavfi", "-i", "testsrc=size=160x90:rate=15"}, x264())
	first.ended() // its connection was closed
	for {
		f := frames(t, reader, 1)[0]
		if f.Params.Epoch != epoch {
			if f.Params.Width != 160 {
				t.Errorf("after the takeover the picture is %d wide; want 160", f.Params.Width)
			}
			break
		}
	}
	if text := n.logs.String(); !strings.Contains(text, "another publisher has taken the name over") {
		t.Error("the takeover is not in the log")
	}
}

func TestKickIsNoTakeover(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	publisher := push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	stream, err := n.hub.Stream("cam")
	if err != nil {
		t.Fatal(err)
	}
	if !stream.Kick() {
		t.Fatal("there was nobody to kick")
	}
	publisher.ended() // its connection was closed
	eventually(t, "the session to be gone", func() bool { return n.server.Stats().Publishers == 0 })
	text := n.logs.String()
	if !strings.Contains(text, relay.ErrKicked.Error()) || strings.Contains(text, relay.ErrTakenOver.Error()) {
		t.Errorf("the log tells another cause:\n%s", text)
	}
}

func TestPlayerStaysWhilePublisherIsAway(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	camera := push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	viewer := newNode(t, func(c *Config) {
		c.Pull = []Pull{{Stream: "copy", URL: n.url("cam"), Transport: "tcp"}}
	})
	copied := readFrom(viewer.track("copy", media.Video), log.LastKeyframe())
	first := frames(t, copied, 5)
	camera.kill()
	eventually(t, "the publisher to be gone", func() bool { return n.server.Stats().Publishers == 0 })
	push(t, n.url("cam"), "tcp", picture, x264())
	frames(t, copied, 40)
	if failures := viewer.server.Stats().PullFailures; failures != 0 {
		t.Errorf("the player had to connect %d times more", failures)
	}
	if first[0].Params.Width != 320 {
		t.Errorf("the copy is %d wide", first[0].Params.Width)
	}
}

func TestFileWithoutPaceIsHeldBack(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	unpaced := []string{"-f", "lavfi", "-i", "testsrc=size=320x180:rate=15:duration=600"}
	push(t, n.url("cam"), "tcp", unpaced, x264())
	l := n.track("cam", media.Video)
	frames(t, readFrom(l, log.LastKeyframe()), 60)
	if ahead := time.Until(l.NewestTime().Wall()); ahead > 4*time.Second {
		t.Errorf("media time is %v ahead of the clock; want the publisher held back", ahead)
	}
}
