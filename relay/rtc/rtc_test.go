package rtc

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"

	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestNetwork(t testing.TB, config Config) *Network {
	t.Helper()
	config.Addr = "127.0.0.1:0"
	config.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	n, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the network: %v", err)
		}
	})
	return n
}

// newClient is the peer at the other end: the stack with its defaults, on loopback.
func newClient(t testing.TB, networks ...webrtc.NetworkType) *webrtc.PeerConnection {
	t.Helper()
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		t.Fatal(err)
	}
	engine.RegisterFeedback(webrtc.RTCPFeedback{Type: "nack"}, webrtc.RTPCodecTypeAudio)
	registry := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(engine, registry); err != nil {
		t.Fatal(err)
	}
	settings := webrtc.SettingEngine{LoggerFactory: logAdapter{slog.New(slog.DiscardHandler)}}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetReceiveMTU(2048) // a packet may be larger than the stack's 1460 bytes
	if len(networks) == 0 {
		networks = []webrtc.NetworkType{webrtc.NetworkTypeUDP4}
	}
	settings.SetNetworkTypes(networks)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.GracefulClose() })
	return pc
}

func parse(t testing.TB, text string, role sdp.Role) *sdp.Offer {
	t.Helper()
	offer, err := sdp.ParseOffer(text, role)
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

const patience10 = 10 * time.Second // for what takes milliseconds when all is well

func wait(t testing.TB, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience10):
		t.Fatalf("waited %v in vain for %s", patience10, what)
	}
}

func addTrack(t testing.TB, pc *webrtc.PeerConnection, mime string, id string) *webrtc.TrackLocalStaticRTP {
	t.Helper()
	track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, id, "cam")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}); err != nil {
		t.Fatal(err)
	}
	return track
}

// TestPublisher sends real RTP over each transport and reads it at the other end.
func TestPublisher(t *testing.T) {
	for _, transport := range []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4} {
		t.Run(transport.String(), func(t *testing.T) {
			n := newTestNetwork(t, Config{})
			client := newClient(t, transport)
			video := addTrack(t, client, webrtc.MimeTypeH264, "video")
			offer := parse(t, peertest.Offer(t, client, nil), sdp.Publish)
			if offer.Of(media.Video).Codecs[0].RTX == 0 {
				t.Log("the client offers no retransmission")
			}

			got := make(chan string, 1)
			p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: offer, Stream: "cup/cam1"},
				func(track *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
					packet, _, err := track.ReadRTP()
					if err != nil {
						return
					}
					got <- track.Codec().MimeType + " " + string(packet.Payload)
					for err == nil {
						_, _, err = track.ReadRTP()
					}
				})
			if err != nil {
				t.Fatal(err)
			}
			peertest.Accept(t, client, p.Answer())
			wait(t, p.Connected(), "the connection")
			if addr, err := netip.ParseAddrPort(p.RemoteAddr()[4:]); err != nil || !addr.Addr().IsLoopback() {
				t.Errorf("the peer's address is %q, want one on loopback", p.RemoteAddr())
			}

			deadline := time.After(patience10)
			for seq := uint16(1); ; seq++ {
				_ = video.WriteRTP(newPacket(seq, "hello"))
				select {
				case s := <-got:
					if s != "video/H264 hello" {
						t.Errorf("got %q, want the codec that we prefer and the payload", s)
					}
				case <-time.After(10 * time.Millisecond):
					continue
				case <-deadline:
					t.Fatal("no packet arrived")
				}
				break
			}
			p.Close()
			if err := p.Err(); err != ErrHangup {
				t.Errorf("the cause is %v, want %v", err, ErrHangup)
			}
			if n.Sessions() != 0 {
				t.Errorf("%d sessions are left after Close", n.Sessions())
			}
		})
	}
}

// TestTrickle adds candidates after the offer; one that the stack does not understand costs none of the others (W20).
func TestTrickle(t *testing.T) {
	n := newTestNetwork(t, Config{})
	client := newClient(t)
	addTrack(t, client, webrtc.MimeTypeVP8, "video")
	offer := *parse(t, peertest.Offer(t, client, nil), sdp.Publish)
	offer.Text = withoutCandidates(offer.Text)
	p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: &offer}, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Trickle(&sdp.Fragment{Candidates: []string{
		"candidate:1 1 udp 2130706431 127.0.0.1 7001 typ host", "candidate:nonsense", "candidate:2 1 udp 2130706430 127.0.0.1 7002 typ host",
	}})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience10)
	for ; len(remoteCandidates(p)) < 2 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
	}
	if got := remoteCandidates(p); len(got) != 2 || !slices.Contains(got, 7001) || !slices.Contains(got, 7002) {
		t.Errorf("the session tries the ports %v, want 7001 and 7002", got)
	}
}

// TestReaping ends sessions that never connect.
func TestReaping(t *testing.T) {
	if patience := (Config{}).withDefaults().ConnectTimeout; patience > 15*time.Second {
		t.Errorf("they are kept for %v, want 15 s at most (W34)", patience)
	}
	n := newTestNetwork(t, Config{ConnectTimeout: 50 * time.Millisecond})
	client := newClient(t)
	addTrack(t, client, webrtc.MimeTypeVP8, "video")
	p, err := n.NewPublisher(t.Context(), PeerConfig{Offer: parse(t, peertest.Offer(t, client, nil), sdp.Publish)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, p.Done(), "the end of a session that never connected")
	if p.Err() != ErrTimeout {
		t.Errorf("the cause is %v, want %v", p.Err(), ErrTimeout)
	}
}
