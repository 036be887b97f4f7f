package rtc

import (
	"context"
	"fmt"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/interceptor/pkg/report"
	"github.com/pion/interceptor/pkg/twcc"
	"github.com/pion/rtcp"
	pionsdp "github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"

	"banyan/relay/rtc/sdp"
)

// Publisher is a session whose peer sends.
type Publisher struct {
	*Peer
}

// NewPublisher answers the offer of a peer that sends, recvonly, with the codecs that we prefer first. onTrack is
// called in a goroutine of its own for each track when its first packet has arrived; it should read until the track
// ends, which it does when the session does, and Close waits for it to return. Losses are asked for again and
// reports are sent by themselves; whoever reads the track also reads RTCP from its receiver, or reports of the
// sender are lost.
func (n *Network) NewPublisher(ctx context.Context, config PeerConfig,
	onTrack func(*webrtc.TrackRemote, *webrtc.RTPReceiver),
) (*Publisher, error) {
	if config.Role == "" {
		config.Role = "publisher"
	}
	engine := &webrtc.MediaEngine{}
	for _, m := range config.Offer.Media {
		ours := forPublishing(m.Codecs)
		if err := register(engine, ours, feedbackOf(ours, publisherVideo, publisherAudio), true); err != nil {
			return nil, err
		}
	}
	interceptors, err := receiving(engine)
	if err != nil {
		return nil, err
	}
	peer, err := n.newPeer(config, engine, interceptors)
	if err != nil {
		return nil, err
	}
	p := &Publisher{Peer: peer}
	peer.pc.OnTrack(func(t *webrtc.TrackRemote, r *webrtc.RTPReceiver) {
		peer.handle(func() { onTrack(t, r) })
	})
	err = peer.negotiate(ctx, config.Offer.Text, p.order)
	if err != nil {
		peer.Close()
		return nil, err
	}
	return p, nil
}

// order puts the codecs that we prefer first into the answer.
func (p *Publisher) order() error {
	for _, m := range p.config.Offer.Media {
		ours := forPublishing(m.Codecs)
		if err := prefer(p.pc, ours, feedbackOf(ours, publisherVideo, publisherAudio), true); err != nil {
			return err
		}
	}
	return nil
}

func feedbackOf(codecs []sdp.Codec, video, audio feedback) feedback {
	if len(codecs) > 0 && kindOf(codecs[0].Codec.Kind()) == webrtc.RTPCodecTypeVideo {
		return video
	}
	return audio
}

// receiving are the interceptors for what we receive: NACK for losses, receiver reports, transport-wide feedback.
func receiving(engine *webrtc.MediaEngine) (*interceptor.Registry, error) {
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		extension := webrtc.RTPHeaderExtensionCapability{URI: pionsdp.TransportCCURI}
		if err := engine.RegisterHeaderExtension(extension, kind); err != nil {
			return nil, fmt.Errorf("register transport-wide feedback: %w", err)
		}
	}
	// Soon, because readers wait for a tenth of a second or two. Not for ever, because the stack does not see that
	// a packet came on a retransmission stream (RFC 4588), and would ask until it is 512 packets old.
	const askEvery, askTimes = 25 * time.Millisecond, 4
	generator, err := nack.NewGeneratorInterceptor(nack.GeneratorInterval(askEvery), nack.GeneratorMaxNacksPerPacket(askTimes))
	if err != nil {
		return nil, err
	}
	reports, err := report.NewReceiverInterceptor()
	if err != nil {
		return nil, err
	}
	transport, err := twcc.NewSenderInterceptor()
	if err != nil {
		return nil, err
	}
	registry := &interceptor.Registry{}
	registry.Add(generator)
	registry.Add(reports)
	registry.Add(transport)
	return registry, nil
}

// RequestKeyframe asks the publisher for a keyframe of the track with the given SSRC (RFC 4585 section 6.3.1).
func (p *Publisher) RequestKeyframe(ssrc webrtc.SSRC) error {
	return p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}})
}
