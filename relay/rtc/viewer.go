package rtc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// ViewerConfig describes a session whose peer receives.
type ViewerConfig struct {
	PeerConfig
	// Codecs are those of the offer that may be sent, per kind the preferred one first. A kind without any is
	// refused in the answer, or left out of an offer of ours.
	Codecs []sdp.Codec
}

// Viewer is a session whose peer receives.
type Viewer struct {
	*Peer
	ours     *sdp.Offer    // that the peer is to answer; nil where it made the offer
	tracks   []*Track      // those negotiated; while not answered, those offered
	keyframe chan struct{} // the peer's requests for a keyframe, merged; capacity 1, never closed
	progress progress
}

// NewViewer answers the offer of a peer that receives, sendonly. Losses that the peer reports are repaired by
// themselves. Send on its tracks after Await, and Report once a second.
func (n *Network) NewViewer(ctx context.Context, config ViewerConfig) (*Viewer, error) {
	return n.newViewer(ctx, config, (*Viewer).open)
}

// newViewer makes a session whose first description is made by open.
func (n *Network) newViewer(ctx context.Context, config ViewerConfig,
	open func(*Viewer, context.Context, ViewerConfig) error,
) (*Viewer, error) {
	if config.Role == "" {
		config.Role = "viewer"
	}
	engine := &webrtc.MediaEngine{}
	for _, kind := range media.Kinds {
		ours := ofKind(config.Codecs, kind)
		// No retransmission format: its payload type belongs to one codec, and a stream that changes codec would
		// have its repairs decoded as another. Repairs come as the packets they are (RFC 4585).
		if err := register(engine, ours, feedbackOf(ours, viewerVideo, viewerAudio), false); err != nil {
			return nil, err
		}
	}
	config.receives = true
	peer, err := n.newPeer(config.PeerConfig, engine, &interceptor.Registry{})
	if err != nil {
		return nil, err
	}
	v := &Viewer{Peer: peer, keyframe: make(chan struct{}, 1)}
	if err := open(v, ctx, config); err != nil {
		peer.Close()
		return nil, err
	}
	return v, nil
}

// open makes the tracks and negotiates them.
func (v *Viewer) open(ctx context.Context, config ViewerConfig) error {
	for _, m := range config.Offer.Media {
		if err := v.add(m.Kind, config.Codecs); err != nil {
			return err
		}
	}
	return v.negotiate(ctx, config.Offer.Text, v.prefer)
}

// add adds a track of a kind, if any of the codecs is of it.
func (v *Viewer) add(kind media.Kind, codecs []sdp.Codec) error {
	ours := ofKind(codecs, kind)
	if len(ours) == 0 {
		return nil
	}
	track := newTrack(kind, ours)
	transceiver, err := v.pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{
		Direction: webrtc.RTPTransceiverDirectionSendonly,
	})
	if err != nil {
		return fmt.Errorf("add a %v track: %w", kind, err)
	}
	v.tracks = append(v.tracks, track)
	v.handle(func() { v.readReports(track, transceiver.Sender()) })
	return nil
}

// prefer makes the description to come list codecs in our order.
func (v *Viewer) prefer() error {
	for _, t := range v.tracks {
		if err := prefer(v.pc, t.codecs, feedbackOf(t.codecs, viewerVideo, viewerAudio), false); err != nil {
			return err
		}
	}
	return nil
}

func ofKind(codecs []sdp.Codec, kind media.Kind) []sdp.Codec {
	return slices.DeleteFunc(slices.Clone(codecs), func(c sdp.Codec) bool { return c.Codec.Kind() != kind })
}

// Await returns when media can flow, or with an error when the session ends first, as it does when it takes too long.
func (v *Viewer) Await() error {
	select {
	case <-v.answered: // an answer may refuse tracks
	case <-v.Ending():
		return v.Err()
	}
	ready := []<-chan struct{}{v.Connected()}
	for _, t := range v.tracks {
		ready = append(ready, t.bound)
	}
	for _, ch := range ready {
		select {
		case <-ch:
		case <-v.Ending():
			return v.Err()
		}
	}
	return nil
}

// Track is the track of a kind, or nil where none was negotiated. Ask after Await.
func (v *Viewer) Track(kind media.Kind) *Track {
	for _, t := range v.tracks {
		if t.kind == kind {
			return t
		}
	}
	return nil
}

// KeyframeRequests delivers the peer's requests for a keyframe (PLI, FIR), merged. The channel is never closed.
func (v *Viewer) KeyframeRequests() <-chan struct{} { return v.keyframe }

// readReports reads RTCP until the session ends, and sends again what the peer reports as lost.
func (v *Viewer) readReports(t *Track, sender *webrtc.RTPSender) {
	defer v.endOnPanic()
	failures := 0
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			// A packet that makes no sense is passed over. Errors that do not end are not about packets.
			const most = 1000
			if failures++; failures > most || errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
				return
			}
			continue
		}
		failures = 0
		for _, packet := range packets {
			v.hear(t, packet, time.Now())
		}
	}
}

// hear does what the peer asks for in a packet of RTCP about t. What it says of other things is passed over.
func (v *Viewer) hear(t *Track, packet rtcp.Packet, now time.Time) {
	switch packet := packet.(type) {
	case *rtcp.TransportLayerNack:
		t.repair(packet, now)
	case *rtcp.ReceiverReport:
		v.noteReports(t, packet.Reports)
	case *rtcp.SenderReport:
		v.noteReports(t, packet.Reports)
	case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
		if t.kind == media.Video {
			v.noteKeyframeRequest()
		}
	}
}

func (v *Viewer) noteKeyframeRequest() {
	select {
	case v.keyframe <- struct{}{}:
	default: // one is waiting to be passed on
	}
}

// noteReports notes how much of a track has reached the peer.
func (v *Viewer) noteReports(t *Track, reports []rtcp.ReceptionReport) {
	for _, r := range reports {
		if r.SSRC != uint32(t.ssrc) {
			continue
		}
		heard := uint64(r.LastSequenceNumber)
		v.progress.reported.Add(heard - t.heard) // the sum moves with each of its parts
		t.heard = heard
	}
}

// Report sends the peer a report of what was sent on each track so far, and which timestamp stands for now, so that
// it can play them in step (RFC 3550 section 6.4.1). Call it once a second, from the goroutine that sends. A session
// whose peer reads nothing ends here.
func (v *Viewer) Report(now media.Time) error {
	var sent uint32
	for _, t := range v.tracks {
		sent += t.packets
	}
	if v.progress.stuck(sent, now, v.network.config.StallTimeout) {
		v.End(ErrStuck)
		return ErrStuck
	}
	for _, t := range v.tracks {
		if t.packets == 0 {
			continue
		}
		err := v.pc.WriteRTCP([]rtcp.Packet{
			&rtcp.SenderReport{
				SSRC: uint32(t.ssrc), NTPTime: now.NTP(), RTPTime: t.timeline.At(now),
				PacketCount: t.packets, OctetCount: t.octets,
			},
			&rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
				Source: uint32(t.ssrc),
				Items:  []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: streamID}},
			}}},
		})
		if err != nil {
			return fmt.Errorf("report on %v: %w", t.kind, err)
		}
	}
	return nil
}

// streamID joins the tracks of a session: it names their media stream and is their CNAME, without which a browser
// would not keep them in step.
const streamID = "banyan"

// Track is what a viewer gets of one kind. Its sending methods are owned by one goroutine.
type Track struct {
	kind    media.Kind
	offered []sdp.Codec // that may be negotiated
	codecs  []sdp.Codec // that are, once Await has returned

	refusable bool // by the peer's answer; set before it is asked for

	// Set by the stack, which then closes bound.
	ssrc   webrtc.SSRC
	writer webrtc.TrackLocalWriter
	bound  chan struct{}
	bind   sync.Once

	heard uint64 // highest sequence number that the peer reported; owned by readReports

	// Owned by the goroutine that sends.
	timeline        Timeline
	header          rtp.Header
	packets, octets uint32 // sent, for reports; they wrap
	source          weak.Pointer[log.Log]

	history history
}

func newTrack(kind media.Kind, codecs []sdp.Codec) *Track {
	return &Track{
		kind: kind, offered: codecs, codecs: codecs, bound: make(chan struct{}),
		timeline: NewTimeline(codecs[0].ClockRate, uint16(rand.Uint32N(1<<15)), rand.Uint32()),
	}
}

// Codecs are those that were negotiated. They must not be changed.
func (t *Track) Codecs() []sdp.Codec { return t.codecs }

// ErrNotNegotiated is returned for packets that the peer cannot take.
var ErrNotNegotiated = errors.New("the peer did not negotiate this codec")

// Join says that packets from ticks from on are sent at once up to live; see Timeline.
func (t *Track) Join(from, live int64) { t.timeline.Join(from, live) }

// Bursting tells whether a packet with these ticks is part of a burst; see Timeline.
func (t *Track) Bursting(ticks int64) bool { return t.timeline.Bursting(ticks) }

// From says that the packets to come are those of source, where they are read again for repairs.
func (t *Track) From(source *log.Log) { t.source = weak.Make(source) }

// Send sends p, before which lost offsets were passed over, with the given payload type.
func (t *Track) Send(p *media.Packet, lost int64, payloadType uint8) error {
	before := t.timeline
	seq, timestamp := t.timeline.Next(p, lost)
	t.header = rtp.Header{
		Version: 2, PayloadType: payloadType, SSRC: uint32(t.ssrc),
		SequenceNumber: uint16(seq), Timestamp: uint32(timestamp),
		// In audio the marker begins a talkspurt (RFC 3551 section 4.1); ours is one that never ends.
		Marker: t.kind == media.Video && p.Has(media.FrameEnd),
	}
	// Noted before it is sent: whoever asks for it again may be quick. What could not be written may be asked for, too.
	sent := sentPacket{
		log: t.source, offset: p.Offset, seq: seq,
		timestamp: t.header.Timestamp, payloadType: payloadType, marker: t.header.Marker,
	}
	if lost > 0 && lost == seq-before.seq-1 && before.exact() && t.timeline.exact() {
		t.history.leave(sent, lost)
	}
	t.history.note(sent, len(p.Payload))
	if _, err := t.writer.WriteRTP(&t.header, p.Payload); err != nil {
		return err
	}
	t.packets++
	t.octets += uint32(len(p.Payload))
	return nil
}

// PayloadType is the payload type for packets with parameters p, or ErrNotNegotiated. Ask when they change, not per
// packet. It prefers a codec that promises to decode p, and is content with one that may.
func (t *Track) PayloadType(p *media.Params) (uint8, error) {
	if p.ClockRate != t.timeline.rate {
		return 0, ErrNotNegotiated
	}
	for _, fits := range []func(sdp.Codec) bool{
		func(c sdp.Codec) bool { return c.Takes(p) },
		func(c sdp.Codec) bool { return c.Carries(p) },
	} {
		if i := slices.IndexFunc(t.codecs, fits); i >= 0 {
			return t.codecs[i].PayloadType, nil
		}
	}
	return 0, ErrNotNegotiated
}

// Bind implements webrtc.TrackLocal.
func (t *Track) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	for _, negotiated := range c.CodecParameters() {
		for _, ours := range t.offered {
			if uint8(negotiated.PayloadType) == ours.PayloadType {
				t.ssrc, t.writer = c.SSRC(), c.WriteStream()
				t.bind.Do(func() { close(t.bound) })
				return negotiated, nil
			}
		}
	}
	if t.refusable { // the stack binds what the peer refused, too; nothing is ever sent on it
		return parameters(t.offered[0], nil), nil
	}
	return webrtc.RTPCodecParameters{}, ErrNotNegotiated
}

// Unbind implements webrtc.TrackLocal.
func (t *Track) Unbind(webrtc.TrackLocalContext) error { return nil }

// ID implements webrtc.TrackLocal.
func (t *Track) ID() string { return t.kind.String() }

// RID implements webrtc.TrackLocal.
func (t *Track) RID() string { return "" }

// StreamID implements webrtc.TrackLocal.
func (t *Track) StreamID() string { return streamID }

// Kind implements webrtc.TrackLocal.
func (t *Track) Kind() webrtc.RTPCodecType { return kindOf(t.kind) }
