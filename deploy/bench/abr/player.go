package abr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// replayWindow is how many packets later than others one may come, as in browsers (libsrtp). The stack's default is 64: a
// burst may bring more packets between two looks.
const replayWindow = 1024

// Player is a viewer: the WebRTC stack, with transport-wide feedback, and an asker for what is missing. It keeps all that
// comes. Call Close when done.
type Player struct {
	connection *webrtc.PeerConnection
	work       sync.WaitGroup
	done       chan struct{}

	mu    sync.Mutex // guards all below
	video []arrival
	ssrc  uint32
	asker asker
}

// arrival is a packet that has come.
type arrival struct {
	*rtp.Packet
	at time.Time
}

// Detour is given the UDP address of a server, and makes another by which it is reached.
type Detour func(server netip.AddrPort) (netip.AddrPort, error)

// Watch makes a player of what is served at a WHEP URL, by a detour if there is one.
func Watch(ctx context.Context, url string, detour Detour) (*Player, error) {
	p := &Player{done: make(chan struct{})}
	if err := p.prepare(); err != nil {
		return nil, err
	}
	p.connection.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		p.work.Go(func() { p.read(track) })
		p.work.Go(func() { hear(receiver) })
	})
	p.work.Go(p.ask)
	if err := p.negotiate(ctx, url, detour); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Player) prepare() error {
	codecs, registry := &webrtc.MediaEngine{}, &interceptor.Registry{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return err
	}
	codecs.RegisterFeedback(webrtc.RTCPFeedback{Type: "nack"}, webrtc.RTPCodecTypeVideo)
	if err := webrtc.ConfigureRTCPReports(registry); err != nil {
		return err
	}
	if err := webrtc.ConfigureTWCCSender(codecs, registry); err != nil {
		return err
	}
	var settings webrtc.SettingEngine
	settings.SetSRTPReplayProtectionWindow(replayWindow)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetReceiveMTU(2048) // a packet may be larger than the stack's 1460 bytes
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer = io.Discard
	settings.LoggerFactory = quiet
	var err error
	p.connection, err = webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithInterceptorRegistry(registry),
		webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	return err
}

// negotiate offers to receive, and uses the answer.
func (p *Player) negotiate(ctx context.Context, url string, detour Detour) error {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := p.connection.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return err
		}
	}
	offer, err := p.connection.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(p.connection)
	if err := p.connection.SetLocalDescription(offer); err != nil {
		return err
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer, err := post(ctx, url, p.connection.LocalDescription().SDP)
	if err != nil {
		return err
	}
	if detour != nil {
		if answer, err = detour.lead(answer); err != nil {
			return err
		}
	}
	return p.connection.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

func post(ctx context.Context, url, offer string) (answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(offer))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/sdp")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("POST %s: %s: %.200s", url, response.Status, body)
	}
	return string(body), nil
}

// lead puts the detour in the place of the candidates of an answer, of which the first one by UDP and IPv4 counts.
func (d Detour) lead(answer string) (string, error) {
	var b strings.Builder
	var by netip.AddrPort
	for line := range strings.Lines(answer) {
		candidate, ok := strings.CutPrefix(line, "a=candidate:")
		if !ok {
			b.WriteString(line)
			continue
		}
		fields := strings.Fields(candidate)
		if len(fields) < 8 || !strings.EqualFold(fields[2], "udp") {
			continue
		}
		server, err := netip.ParseAddrPort(net.JoinHostPort(fields[4], fields[5]))
		if err != nil || !server.Addr().Is4() {
			continue
		}
		if !by.IsValid() {
			if by, err = d(server); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(&b, "a=candidate:1 1 udp 2130706431 %v %d typ host\r\n", by.Addr(), by.Port())
	}
	if !by.IsValid() {
		return "", errors.New("the answer has no candidate by UDP and IPv4")
	}
	return b.String(), nil
}

// Close ends the player, and waits.
func (p *Player) Close() {
	close(p.done)
	_ = p.connection.GracefulClose() // the server notices, whatever comes of it
	p.work.Wait()
}

func (p *Player) read(track *webrtc.TrackRemote) {
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if track.Kind() != webrtc.RTPCodecTypeVideo {
			continue
		}
		p.mu.Lock()
		p.ssrc = uint32(track.SSRC())
		p.video = append(p.video, arrival{packet, time.Now()})
		p.asker.note(packet.SequenceNumber)
		p.mu.Unlock()
	}
}

// hear reads reports, as interceptors see only what is read.
func hear(receiver *webrtc.RTPReceiver) {
	for {
		if _, _, err := receiver.ReadRTCP(); err != nil {
			return
		}
	}
}

// ask asks for what is missing.
func (p *Player) ask() {
	ticker := time.NewTicker(askInterval)
	defer ticker.Stop()
	for {
		select {
		case <-p.done:
			return
		case now := <-ticker.C:
			p.mu.Lock()
			list, ssrc := p.asker.due(now), p.ssrc
			p.mu.Unlock()
			if len(list) > 0 {
				_ = p.connection.WriteRTCP([]rtcp.Packet{&rtcp.TransportLayerNack{MediaSSRC: ssrc, Nacks: rtcp.NackPairsFromSequenceNumbers(list)}})
			}
		}
	}
}

// arrived are the packets of video so far, as they came.
func (p *Player) arrived() []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.video)
}
