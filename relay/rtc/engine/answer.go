package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
)

// NewViewer answers the offer of a peer that receives, sendonly, with those of its codecs that config lists. Losses that
// the peer reports are repaired by themselves. Serve it after Await.
func (e *Engine) NewViewer(_ context.Context, config rtc.ViewerConfig) (*Viewer, error) {
	v, err := e.newViewer(config)
	if err != nil {
		return nil, err
	}
	for i := range config.Offer.Media {
		m := &config.Offer.Media[i]
		if codecs := ofKind(config.Codecs, m.Kind); len(codecs) > 0 {
			t := newTrack(v, m, codecs)
			t.number(m)
			v.tracks = append(v.tracks, t)
		}
	}
	v.peer = description{
		ufrag: config.Offer.Ufrag, password: config.Offer.Password, fingerprint: config.Offer.Fingerprint,
		passive: config.Offer.Setup == "passive",
	}
	v.answer = v.describe(config.Offer)
	v.config.Offer = nil // it has served its purpose, and is large
	if err := e.adopt(v); err != nil {
		return nil, err
	}
	e.directory.name(v.ours.Load()[0].ufrag, v)
	return v, nil
}

func ofKind(codecs []sdp.Codec, kind media.Kind) []sdp.Codec {
	return slices.DeleteFunc(slices.Clone(codecs), func(c sdp.Codec) bool { return c.Codec.Kind() != kind })
}

// newViewer makes a session that nobody knows of yet.
func (e *Engine) newViewer(config rtc.ViewerConfig) (*Viewer, error) {
	now := time.Now()
	certificate, err := e.certificates.at(now)
	if err != nil {
		return nil, err
	}
	v := &Viewer{
		engine: e, config: config, begun: now, certificate: certificate,
		connected: make(chan struct{}), ending: make(chan struct{}), done: make(chan struct{}), keyframe: make(chan struct{}, 1),
	}
	v.words.pipe = newPipe(e.socket.LocalAddr(), v.write)
	v.ours.Store(&[2]credentials{newCredentials()})
	return v, nil
}

// newCredentials are of more than the 24 and 128 random bits that ICE demands (RFC 8445 section 5.3).
func newCredentials() credentials { return credentials{rand.Text()[:16], rand.Text()} }

// password is ours that belongs to a user name fragment.
func (v *Viewer) password(ufrag string) string {
	for _, c := range v.ours.Load() {
		if c.ufrag == ufrag {
			return c.password
		}
	}
	return ""
}

// used notes that an authenticated check came with a fragment of ours: the peer has moved over to the newest, and the
// one before is of no more use.
func (v *Viewer) used(ufrag string) {
	ours := v.ours.Load()
	if old := ours[1].ufrag; old != "" && ours[0].ufrag == ufrag {
		v.engine.directory.unname(old)
		v.ours.CompareAndSwap(ours, &[2]credentials{ours[0]})
	}
}

// Answer is the answer to the peer's offer, with all candidates.
func (v *Viewer) Answer() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.answer
}

// Trickle takes candidates of the peer, which are of no use to a lite agent: it never checks, it is checked.
func (v *Viewer) Trickle(*sdp.Fragment) error { return nil }

// Restart restarts ICE with the peer's new credentials, and returns ours. The session goes on where it is until the
// peer's checks with the new ones arrive; until then the old ones count too.
func (v *Viewer) Restart(_ context.Context, _ *sdp.Fragment) (*sdp.Fragment, error) {
	fresh := newCredentials()
	v.mu.Lock()
	defer v.mu.Unlock()
	ours := v.ours.Load()
	if old := ours[1].ufrag; old != "" { // never used
		v.engine.directory.unname(old)
	}
	v.ours.Store(&[2]credentials{fresh, ours[0]})
	v.engine.directory.name(fresh.ufrag, v)
	v.answer = strings.NewReplacer(
		"a=ice-ufrag:"+ours[0].ufrag, "a=ice-ufrag:"+fresh.ufrag, "a=ice-pwd:"+ours[0].password, "a=ice-pwd:"+fresh.password,
	).Replace(v.answer)
	return sdp.Restart(v.answer), nil
}

// encodings are the names of codecs in descriptions.
var encodings = map[media.Codec]string{
	media.H264: "H264", media.H265: "H265", media.VP8: "VP8", media.VP9: "VP9", media.AV1: "AV1",
	media.Opus: "opus", media.PCMU: "PCMU", media.PCMA: "PCMA",
}

// describe writes our side of the session, each m-line in the place of the offer's.
func (v *Viewer) describe(offer *sdp.Offer) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	var mids []string
	for _, t := range v.tracks {
		mids = append(mids, t.mid)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // it does not fail
	line("v=0")
	line("o=- %d 2 IN IP4 0.0.0.0", binary.BigEndian.Uint64(id[:])>>1) // fits 63 bits, as browsers like it
	line("s=-")
	line("t=0 0")
	line("a=group:BUNDLE %s", strings.Join(mids, " "))
	line("a=ice-lite")
	line("a=ice-options:trickle")
	line("a=msid-semantic:WMS *")
	for i := range offer.Media {
		m := &offer.Media[i]
		if t := v.Track(m.Kind); t != nil {
			t.describe(line)
			continue
		}
		line("m=%v 0 UDP/TLS/RTP/SAVPF 0", m.Kind) // refused (RFC 9429 section 5.3.1)
		line("c=IN IP4 0.0.0.0")
		line("a=mid:%s", m.MID)
		line("a=inactive")
	}
	return b.String()
}

// describe writes an m-line.
func (t *Track) describe(line func(format string, args ...any)) {
	v := t.viewer
	ours := v.ours.Load()[0]
	line("m=%v 9 UDP/TLS/RTP/SAVPF%s", t.kind, t.payloadTypes())
	line("c=IN IP4 0.0.0.0")
	line("a=rtcp:9 IN IP4 0.0.0.0")
	line("a=ice-ufrag:%s", ours.ufrag)
	line("a=ice-pwd:%s", ours.password)
	line("a=fingerprint:%s", v.certificate.fingerprint)
	if v.peer.passive {
		line("a=setup:active")
	} else {
		line("a=setup:passive")
	}
	line("a=mid:%s", t.mid)
	line("a=sendonly")
	line("a=rtcp-mux")
	line("a=rtcp-mux-only")
	if t.reducedSize {
		line("a=rtcp-rsize")
	}
	for _, c := range t.codecs {
		describeCodec(c, line)
		if t.transportSeq != 0 {
			line("a=rtcp-fb:%d %s", c.PayloadType, feedbackTransport)
		}
	}
	if t.transportSeq != 0 {
		line("a=extmap:%d %s", t.transportSeq, sdp.TransportSeqURI)
	}
	line("a=msid:%s %v", streamID, t.kind)
	if t.resends() {
		line("a=ssrc-group:FID %d %d", t.ssrc, t.rtxSSRC)
	}
	line("a=ssrc:%d cname:%s", t.ssrc, streamID) // first: Chromium takes the first one for the media
	if t.resends() {
		line("a=ssrc:%d cname:%s", t.rtxSSRC, streamID)
	}
	for i, host := range v.engine.hosts {
		line("a=candidate:%s", candidate(i, host))
	}
	if v.engine.tcp != nil {
		for i, host := range v.engine.hosts {
			line("a=candidate:%s", candidateTCP(len(v.engine.hosts)+i, host))
		}
	}
	line("a=end-of-candidates")
}

// candidate is a host candidate by UDP, number i of the component (RFC 8839 section 5.1).
func candidate(i int, host netip.AddrPort) string {
	const hostPreference, component = 126, 1 // RFC 8445 section 5.1.2
	priority := hostPreference<<24 | (65535-i)<<8 | (256 - component)
	return fmt.Sprintf("%d %d udp %d %s %d typ host", i+1, component, priority, host.Addr(), host.Port())
}

// candidateTCP is one that waits for a connection (RFC 6544 section 4.5), to be tried when UDP has failed.
func candidateTCP(i int, host netip.AddrPort) string {
	const tcpPreference, passive, component = 90, 4, 1 // RFC 6544 section 4.2
	priority := tcpPreference<<24 | (passive<<13|(8191-i))<<8 | (256 - component)
	return fmt.Sprintf("%d %d tcp %d %s %d typ host tcptype passive", i+1, component, priority, host.Addr(), host.Port())
}

func (t *Track) payloadTypes() string {
	var b strings.Builder
	for _, c := range t.codecs {
		fmt.Fprintf(&b, " %d", c.PayloadType)
		if c.RTX != 0 {
			fmt.Fprintf(&b, " %d", c.RTX)
		}
	}
	return b.String()
}

// resends tells whether the peer knows retransmissions as a stream of their own.
func (t *Track) resends() bool {
	return slices.ContainsFunc(t.codecs, func(c sdp.Codec) bool { return c.RTX != 0 })
}

// feedbacks are what of a peer's feedback is heard, by kind.
var feedbacks = map[media.Kind][]string{
	media.Video: {"nack", "nack pli", "ccm fir"},
	media.Audio: {"nack"},
}

func describeCodec(c sdp.Codec, line func(format string, args ...any)) {
	rate := fmt.Sprintf("%s/%d", encodings[c.Codec], c.ClockRate)
	if c.Codec == media.Opus {
		rate += "/2" // RFC 7587 section 7: always, whatever is in it
	}
	line("a=rtpmap:%d %s", c.PayloadType, rate)
	if c.FMTP != "" {
		line("a=fmtp:%d %s", c.PayloadType, c.FMTP)
	}
	for _, f := range feedbacks[c.Codec.Kind()] {
		if slices.Contains(c.Feedback, f) {
			line("a=rtcp-fb:%d %s", c.PayloadType, f)
		}
	}
	if c.RTX != 0 {
		line("a=rtpmap:%d rtx/%d", c.RTX, c.ClockRate)
		line("a=fmtp:%d apt=%d", c.RTX, c.PayloadType)
	}
}
