package rtc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// watchThrough makes a viewer on a TCP connection that can get stuck.
func watchThrough(t *testing.T, n *Network) (*Viewer, *pipe) {
	t.Helper()
	pipe := newPipe(t, n.Addr().String())
	client := newClient(t, webrtc.NetworkTypeTCP4)
	if _, err := client.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	offer := parse(t, peertest.Offer(t, client, nil), sdp.Play)
	v, err := n.NewViewer(t.Context(), ViewerConfig{PeerConfig: PeerConfig{Offer: offer}, Codecs: offer.Media[0].Codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, client, pipe.redirect(v.Answer()))
	if err := v.Await(); err != nil {
		t.Fatal(err)
	}
	return v, pipe
}

// flood sends packets of 1152 bytes.
func flood(t *testing.T, v *Viewer, from, to int64) {
	t.Helper()
	track := v.Track(media.Video)
	params := &media.Params{Codec: track.Codecs()[0].Codec, ClockRate: media.VideoClockRate}
	payload, err := track.PayloadType(params)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < to; i++ {
		p := *at(i)
		p.Params, p.Payload = params, make([]byte, 1152)
		_ = track.Send(&p, 0, payload) // the test's deadline says when it blocks
	}
}

// TestStuckViewer: a viewer whose TCP connection does not move blocks nobody. What does not fit into its buffer is
// dropped.
func TestStuckViewer(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, pipe := watchThrough(t, n)
	pipe.stuck.Store(true)
	flood(t, v, 0, 16000) // 18 MB: more than what the kernel and the buffer hold
	if v.Err() != nil {
		t.Errorf("the session has ended: %v; a network may recover", v.Err())
	}
	other, _, got := watch(t, n)
	payload, _ := other.Track(media.Video).PayloadType(h264)
	p := *at(1)
	p.Payload = []byte{0x41}
	if err := other.Track(media.Video).Send(&p, 0, payload); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, got)
	v.Close() // does not hang either
}

// TestStuckConnectionIsCut: a TCP connection that takes nothing any more is closed, and the session ends with it.
func TestStuckConnectionIsCut(t *testing.T) {
	n := newTestNetwork(t, Config{StallTimeout: 300 * time.Millisecond, DisconnectTimeout: 300 * time.Millisecond, FailTimeout: 600 * time.Millisecond})
	v, pipe := watchThrough(t, n)
	pipe.stuck.Store(true)
	flood(t, v, 0, 16000)
	wait(t, v.Ending(), "the session to end")
	if !errors.Is(v.Err(), ErrLost) {
		t.Errorf("the cause is %v, want %v", v.Err(), ErrLost)
	}
}

// TestDeafViewerIsCut: a viewer that reports to have got nothing more ends, though it goes on sending.
func TestDeafViewerIsCut(t *testing.T) {
	n := newTestNetwork(t, Config{})
	v, pipe := watchThrough(t, n)
	deadline := time.Now().Add(patience10)
	sent := int64(0)
	send := func() {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
		flood(t, v, sent, sent+1)
		sent++
		time.Sleep(5 * time.Millisecond) // the pace of the stream
	}
	for v.progress.reported.Load() == 0 { // once a second
		send()
	}
	pipe.stuck.Store(true)
	for now := media.Time(1); v.Report(now) == nil; now = now.Add(50 * time.Millisecond) { // ten times the real time
		send()
	}
	if !errors.Is(v.Err(), ErrStuck) {
		t.Errorf("the cause is %v, want %v", v.Err(), ErrStuck)
	}
	wait(t, v.Done(), "the end of the session")
}

func TestProgress(t *testing.T) {
	const patience = 10 * time.Second
	for _, c := range []struct {
		name string
		step func(p *progress, second int) (sent uint32)
		want int // second at which it is stuck; 0 for never
	}{
		{"all is well", func(p *progress, s int) uint32 { p.reported.Store(uint64(s)); return uint32(s) }, 0},
		{"reports every five seconds", func(p *progress, s int) uint32 { p.reported.Store(uint64(s / 5)); return uint32(s) }, 0},
		{"no reports ever", func(_ *progress, s int) uint32 { return uint32(s) }, 0},
		{"nothing is sent", func(p *progress, _ int) uint32 { p.reported.Store(7); return 9 }, 0},
		{"stuck from the fifth second", func(p *progress, s int) uint32 { p.reported.Store(uint64(min(s, 5))); return uint32(s) }, 16},
		{"it recovers in between", func(p *progress, s int) uint32 { p.reported.Store(uint64(1 + s/9)); return uint32(s) }, 0},
	} {
		var p progress
		got := 0
		for second := 1; second <= 60 && got == 0; second++ {
			sent := c.step(&p, second)
			if p.stuck(sent, media.Time(second)*media.Time(time.Second), patience) {
				got = second
			}
		}
		if got != c.want {
			t.Errorf("%s: stuck at second %d, want %d", c.name, got, c.want)
		}
	}
}

// pipe is a TCP wire between a client and the network that can get stuck towards the client.
type pipe struct {
	listener net.Listener
	stuck    atomic.Bool
}

func newPipe(t testing.TB, server string) *pipe {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pipe{listener: l}
	over := make(chan struct{})
	var wires sync.WaitGroup
	wires.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			wires.Go(func() { <-over; _ = near.Close(); _ = far.Close() })
			wires.Go(func() { _, _ = io.Copy(far, near) })
			wires.Go(func() { p.down(near, far, over) })
		}
	})
	t.Cleanup(func() {
		close(over)
		_ = l.Close()
		wires.Wait()
	})
	return p
}

func (p *pipe) down(near, far net.Conn, over <-chan struct{}) {
	buffer := make([]byte, 2048)
	for {
		n, err := far.Read(buffer)
		if err != nil {
			return
		}
		if p.stuck.Load() {
			<-over
			return
		}
		_, _ = near.Write(buffer[:n])
	}
}

// redirect makes an answer lead through the pipe.
func (p *pipe) redirect(answer string) string {
	port := p.listener.Addr().(*net.TCPAddr).Port
	return strings.Replace(withoutCandidates(answer), "a=end-of-candidates\r\n", "", 1) +
		fmt.Sprintf("a=candidate:1 1 tcp 1671430143 127.0.0.1 %d typ host tcptype passive\r\na=end-of-candidates\r\n", port)
}
