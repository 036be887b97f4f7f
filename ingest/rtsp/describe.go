package rtsp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/media"
)

const (
	// describeWait is how long a player's request waits for the parameters of a track that is starting.
	describeWait = 5 * time.Second
	// settling is how old a publisher may be for the parameters of all of its tracks to be waited for: a track may be
	// negotiated and never sent.
	settling = 2 * time.Second
)

// offer is what a player can have of a stream: at most one track of each kind.
type offer struct {
	stream *relay.Stream
	tracks []*offered
}

type offered struct {
	subscription *relay.Subscription
	params       media.Params
	media        *description.Media
	payloadType  uint8
}

func (o *offer) close() {
	for _, t := range o.tracks {
		t.subscription.Close()
	}
}

// find subscribes to what a player asks for and waits until it is known how to decode it. Without a
// format it is the source. A format of video comes with the source's audio.
func (s *Server) find(ctx context.Context, want target) (*offer, error) {
	stream, err := s.config.Hub.Stream(want.name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, describeWait)
	defer cancel()
	stream.Settle(ctx, settling)
	absent := absentKinds(stream)
	o := &offer{stream: stream}
	formats := map[media.Kind]media.Format{media.Video: media.Source, media.Audio: media.Source}
	if want.format != "" && want.format != media.Source {
		formats = kindsOf(stream, want.format)
	}
	for _, kind := range media.Kinds {
		f, wanted := formats[kind]
		if !wanted || f == media.Source && absent[kind] {
			continue
		}
		subscription, err := stream.Subscribe(f, kind)
		if errors.Is(err, relay.ErrNoTrack) {
			continue
		}
		if err != nil {
			o.close()
			return nil, err
		}
		o.tracks = append(o.tracks, &offered{subscription: subscription})
	}
	o.settle(ctx)
	if len(o.tracks) == 0 {
		return nil, fmt.Errorf("%w: %s", relay.ErrNoTrack, instead(stream, want))
	}
	return o, nil
}

// absentKinds are the kinds that a player would wait for in vain, while there is another: those that the publisher has
// claimed without sending anything, and those that only a publisher before it has sent. While nobody publishes, a
// stream has what the last publisher had.
func absentKinds(stream *relay.Stream) map[media.Kind]bool {
	absent, live, present := map[media.Kind]bool{}, stream.Live(), false
	for _, t := range stream.Published() {
		if t.ID.Format == media.Source {
			absent[t.ID.Kind] = t.Params == nil || live && !t.Live
			present = present || !absent[t.ID.Kind]
		}
	}
	if !present {
		return nil
	}
	return absent
}

// instead says what there is where a player has asked for something else.
func instead(stream *relay.Stream, want target) string {
	var formats []string
	for _, t := range stream.Tracks() {
		if f := string(t.ID.Format); !slices.Contains(formats, f) {
			formats = append(formats, f)
		}
	}
	if want.format == "" || len(formats) == 0 || slices.Contains(formats, string(want.format)) {
		return fmt.Sprintf("stream %q cannot be played yet, try again", want.name)
	}
	return fmt.Sprintf("stream %q has no %q, but %s", want.name, want.format, strings.Join(formats, ", "))
}

// kindsOf tells which tracks a format other than the source means.
func kindsOf(stream *relay.Stream, f media.Format) map[media.Kind]media.Format {
	formats := map[media.Kind]media.Format{}
	for _, t := range stream.Tracks() {
		if t.ID.Format == f {
			formats[t.ID.Kind] = f
		}
	}
	if formats[media.Video] != "" && formats[media.Audio] == "" {
		formats[media.Audio] = media.Source
	}
	return formats
}

// settle waits for the parameters of all tracks, and lets go of those that stay unknown.
func (o *offer) settle(ctx context.Context) {
	known := func(t *offered) bool {
		p := t.subscription.Log().Params()
		if p == nil {
			return false
		}
		m, payloadType, err := describe(p)
		if err != nil {
			return false
		}
		t.params, t.media, t.payloadType = *p, m, payloadType
		return true
	}
	for {
		changed := o.stream.Changed() // before looking, so that nothing is missed
		ready := !slices.ContainsFunc(o.tracks, func(t *offered) bool { return !known(t) })
		if ready {
			break
		}
		poll := time.NewTimer(100 * time.Millisecond) // a supplied track begins without changing the stream
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
		}
		poll.Stop()
		if ctx.Err() != nil {
			break
		}
	}
	o.tracks = slices.DeleteFunc(o.tracks, func(t *offered) bool {
		if known(t) {
			return false
		}
		t.subscription.Close()
		return true
	})
	for i, t := range o.tracks {
		t.media.Control = "trackID=" + strconv.Itoa(i)
	}
}

// describe says in SDP what a track is like.
func describe(p *media.Params) (*description.Media, uint8, error) {
	m := &description.Media{Type: description.MediaTypeVideo}
	if p.Codec.Kind() == media.Audio {
		m.Type = description.MediaTypeAudio
	}
	const videoType, audioType = 96, 97 // dynamic payload types (RFC 3551, section 3)
	var f format.Format
	switch p.Codec {
	case media.H264:
		f = h264Format(p, videoType)
	case media.H265:
		f = h265Format(p, videoType)
	case media.VP8:
		f = &format.VP8{PayloadTyp: videoType}
	case media.VP9:
		f = &format.VP9{PayloadTyp: videoType}
	case media.AV1:
		f = &format.AV1{PayloadTyp: videoType}
	case media.Opus:
		f = &format.Opus{PayloadTyp: audioType, ChannelCount: p.Channels}
	case media.PCMU, media.PCMA:
		f = g711(p, audioType)
	case media.AAC:
		var config mpeg4audio.AudioSpecificConfig
		if len(p.Sets) == 0 {
			return nil, 0, errors.New("the AAC configuration is not known yet")
		}
		if err := config.Unmarshal(p.Sets[0]); err != nil {
			return nil, 0, err
		}
		f = &format.MPEG4Audio{PayloadTyp: audioType, Config: &config, SizeLength: 13, IndexLength: 3, IndexDeltaLength: 3}
	default:
		return nil, 0, errCodec
	}
	m.Formats = []format.Format{f}
	return m, f.PayloadType(), nil
}

// manySets is H.264 with more than one SPS or PPS, which the library's description has no place for.
type manySets struct {
	*format.H264
	more [][]byte // beside its SPS and PPS
}

// FMTP lists all sets (RFC 6184, section 8.1), first the pair in use: there are players that read no further.
func (m *manySets) FMTP() map[string]string {
	parameters := m.H264.FMTP()
	for _, set := range m.more {
		parameters["sprop-parameter-sets"] += "," + base64.StdEncoding.EncodeToString(set)
	}
	return parameters
}

func h264Format(p *media.Params, payloadType uint8) format.Format {
	h := &format.H264{PayloadTyp: payloadType, PacketizationMode: 1}
	sets := frame.SetsOf(p)
	if len(sets.SPS) == 0 || len(sets.PPS) == 0 {
		return h
	}
	h.SPS, h.PPS = sets.SPS[0], sets.PPS[0]
	if more := slices.Concat(sets.SPS[1:], sets.PPS[1:]); len(more) > 0 {
		return &manySets{h, more}
	}
	return h
}

// h265Format describes one set of each kind, that of the SPS in use. RFC 7798, section 7.1, allows for lists, but players
// made with gortsplib refuse the whole description for them; and all sets come in band before every keyframe.
func h265Format(p *media.Params, payloadType uint8) format.Format {
	h := &format.H265{PayloadTyp: payloadType}
	if sets := frame.SetsOf(p); len(sets.VPS) > 0 && len(sets.SPS) > 0 && len(sets.PPS) > 0 {
		h.VPS, h.SPS, h.PPS = sets.VPS[0], sets.SPS[0], sets.PPS[0]
	}
	return h
}

// g711 uses the static payload types where they fit: some players know no others.
func g711(p *media.Params, dynamic uint8) *format.G711 {
	f := &format.G711{PayloadTyp: dynamic, MULaw: p.Codec == media.PCMU, SampleRate: p.ClockRate, ChannelCount: p.Channels}
	if p.ClockRate == 8000 && p.Channels == 1 {
		f.PayloadTyp = 8
		if f.MULaw {
			f.PayloadTyp = 0
		}
	}
	return f
}

// OnDescribe tells what a stream has.
func (h *handler) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (res *base.Response, stream *gortsplib.ServerStream, err error) {
	c := clientOf(ctx.Conn)
	defer h.contain(c, &res, &err)
	if res := h.whileDraining(); res != nil {
		return res, nil, nil
	}
	want, err := parseTarget(ctx.Path, ctx.Query)
	if err != nil {
		return h.reject(c, ctx.Path, base.StatusNotFound, err), nil, nil
	}
	if _, err := h.prove(c, ctx.Request, play, want.name); err != nil {
		res, err := h.refuse(c, play, want.name, err)
		return res, nil, err
	}
	if !accepts(ctx.Request.Header["Accept"]) {
		return answer(base.StatusNotAcceptable, "Streams are described in application/sdp."), nil, nil
	}
	o, err := h.find(h.life, want)
	if err != nil {
		return answer(statusOf(err), err.Error()), nil, nil
	}
	defer o.close()
	body, err := o.session(want.name).Marshal(false)
	if err != nil {
		return answer(base.StatusInternalServerError, "The stream cannot be described."), nil, fmt.Errorf("describe %q: %w", want.name, err)
	}
	res = ok()
	res.Body = addressed(body, c.peer.Addr())
	return res, nil, nil
}

// addressed makes a description, which gortsplib writes for IPv4, one for IPv6 where the player came by that: GStreamer
// binds its UDP sockets by the family of the connection line, and could not send from them to where we are.
func addressed(description []byte, player netip.Addr) []byte {
	if player.Unmap().Is4() {
		return description
	}
	description = bytes.Replace(description, []byte("IN IP4 127.0.0.1\r\n"), []byte("IN IP6 ::1\r\n"), 1)
	return bytes.Replace(description, []byte("\r\nc=IN IP4 0.0.0.0\r\n"), []byte("\r\nc=IN IP6 ::\r\n"), 1)
}

func (o *offer) session(name media.Name) *description.Session {
	d := &description.Session{Title: string(name)}
	for _, t := range o.tracks {
		d.Medias = append(d.Medias, t.media)
	}
	return d
}

// accepts tells whether SDP is among what a player takes; who says nothing takes it.
func accepts(header base.HeaderValue) bool {
	if len(header) == 0 {
		return true
	}
	for _, value := range header {
		for _, kind := range strings.Split(value, ",") {
			kind, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(kind)), ";")
			if kind == "application/sdp" || kind == "application/*" || kind == "*/*" {
				return true
			}
		}
	}
	return false
}
