package rtc

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// TestStuckViewer: a viewer whose TCP connection does not move blocks nobody. What does not fit into its buffer is
// dropped.
func TestStuckViewer(t *testing.T) {
	n := newTestNetwork(t, Config{})
	pipe := newPipe(t, n.Addr().String())
	client := newClient(t, webrtc.NetworkTypeTCP4)
	if _, err := client.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	offer := parse(t, offerOf(t, client, nil), sdp.Play)
	v, err := n.NewViewer(t.Context(), ViewerConfig{PeerConfig: PeerConfig{Offer: offer}, Codecs: offer.Media[0].Codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	accept(t, client, pipe.redirect(v.Answer()))
	if err := v.Await(); err != nil {
		t.Fatal(err)
	}
	pipe.stuck.Store(true)

	track := v.Track(media.Video)
	params := &media.Params{Codec: offer.Media[0].Codecs[0].Codec, ClockRate: media.VideoClockRate}
	payload, err := track.PayloadType(params)
	if err != nil {
		t.Fatal(err)
	}
	const packets, size = 16000, 1152 // 18 MB: more than what the kernel and the buffer hold
	for i := range int64(packets) {
		p := *at(i)
		p.Params, p.Payload = params, make([]byte, size)
		_ = track.Send(&p, 0, payload) // the test's deadline says when it blocks
	}
	if v.Err() != nil {
		t.Errorf("the session has ended: %v; a network may recover", v.Err())
	}
	other, _, got := watch(t, n)
	payload, _ = other.Track(media.Video).PayloadType(h264)
	p := *at(1)
	p.Payload = []byte{0x41}
	if err := other.Track(media.Video).Send(&p, 0, payload); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, got)
	v.Close() // does not hang either
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
