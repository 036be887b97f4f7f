package rtsp

import (
	"errors"
	"fmt"

	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpav1"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpfragmented"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph265"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpmpeg4audio"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp8"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtpvp9"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/pion/rtp"

	"banyan/relay/media"
)

// maxTracks is how many tracks a session may announce; more is an attack or a mistake.
const maxTracks = 16

// source is a track that a peer sends and that can be published.
type source struct {
	media  *description.Media
	format format.Format
	params media.Params // as announced; parameter sets and size may still be missing
	decode depacketizer
	fresh  func() (depacketizer, error) // makes another one for decode
}

// restart makes decode forget the frame that it is putting together.
func (s *source) restart() (err error) {
	s.decode, err = s.fresh()
	return err
}

// depacketizer joins the payloads of RTP packets to frames; none where more packets are needed.
type depacketizer func(*rtp.Packet) ([]frameUnits, error)

// frameUnits is a frame and when it is due after the packet's timestamp, in ticks.
type frameUnits struct {
	after int64
	units [][]byte
}

// choose picks what is published of a session: the first video track and the first audio track of a
// codec that Banyan carries. ignored describes the others.
func choose(session *description.Session) (chosen []*source, ignored []string, err error) {
	if len(session.Medias) > maxTracks {
		return nil, nil, fmt.Errorf("the description has %d tracks: announce one video and one audio track", len(session.Medias))
	}
	taken := map[media.Kind]bool{}
	for _, m := range session.Medias {
		for _, f := range m.Formats {
			s, err := newSource(m, f)
			switch {
			case err != nil:
				ignored = append(ignored, fmt.Sprintf("%s: %v", f.Codec(), err))
			case taken[s.params.Codec.Kind()]:
				ignored = append(ignored, fmt.Sprintf("%s: there is a %v track already", f.Codec(), s.params.Codec.Kind()))
			default:
				taken[s.params.Codec.Kind()] = true
				chosen = append(chosen, s)
			}
		}
	}
	if len(chosen) == 0 {
		return nil, ignored, errors.New("none of the tracks can be carried: " +
			"send H.264, H.265, VP8, VP9 or AV1, and Opus, AAC or G.711")
	}
	return chosen, ignored, nil
}

var errCodec = errors.New("this codec is not carried")

func newSource(m *description.Media, f format.Format) (*source, error) {
	s := &source{media: m, format: f}
	var err error
	switch f := f.(type) {
	case *format.H264:
		s.params = video(media.H264, f.SPS, f.PPS)
		s.fresh = decoder(f.CreateDecoder, (*rtph264.Decoder).Decode, rtph264.ErrMorePacketsNeeded)
	case *format.H265:
		s.params = video(media.H265, f.VPS, f.SPS, f.PPS)
		s.fresh = decoder(f.CreateDecoder, (*rtph265.Decoder).Decode, rtph265.ErrMorePacketsNeeded)
	case *format.AV1:
		s.params = video(media.AV1)
		s.fresh = decoder(f.CreateDecoder, (*rtpav1.Decoder).Decode, rtpav1.ErrMorePacketsNeeded)
	case *format.VP8:
		s.params = video(media.VP8)
		s.fresh = decoder(f.CreateDecoder, whole((*rtpvp8.Decoder).Decode), rtpvp8.ErrMorePacketsNeeded)
	case *format.VP9:
		s.params = video(media.VP9)
		s.fresh = decoder(f.CreateDecoder, whole((*rtpvp9.Decoder).Decode), rtpvp9.ErrMorePacketsNeeded)
	case *format.Opus:
		s.params = media.Params{Codec: media.Opus, ClockRate: 48000, SampleRate: 48000, Channels: f.ChannelCount}
		s.fresh = payloads
	case *format.G711:
		s.params = media.Params{Codec: media.PCMA, ClockRate: f.SampleRate, SampleRate: f.SampleRate, Channels: f.ChannelCount}
		if f.MULaw {
			s.params.Codec = media.PCMU
		}
		s.fresh = payloads
	case *format.MPEG4Audio:
		if s.params, err = aac(f.Config); err == nil {
			s.fresh = decoder(f.CreateDecoder, (*rtpmpeg4audio.Decoder).Decode, rtpmpeg4audio.ErrMorePacketsNeeded)
			s.fresh = oneByOne(s.fresh)
		}
	case *format.MPEG4AudioLATM:
		err = s.latm(f)
	default:
		err = errCodec
	}
	if err == nil {
		err = s.restart()
	}
	if err == nil && (s.params.ClockRate <= 0 || s.params.ClockRate > 1e6) {
		err = fmt.Errorf("a clock rate of %d Hz makes no sense", s.params.ClockRate)
	}
	if err == nil && s.params.Codec.Kind() == media.Audio && (s.params.Channels < 1 || s.params.Channels > 8) {
		err = fmt.Errorf("%d channels: send 1 to 8", s.params.Channels)
	}
	return s, err
}

// video are the parameters of a video track; sets that were not announced are left out.
func video(codec media.Codec, sets ...[]byte) media.Params {
	p := media.Params{Codec: codec, ClockRate: media.VideoClockRate}
	for _, set := range sets {
		if len(set) > 0 {
			p.Sets = append(p.Sets, set)
		}
	}
	return p
}

func aac(config *mpeg4audio.AudioSpecificConfig) (media.Params, error) {
	if config == nil {
		return media.Params{}, errors.New("the AAC configuration is missing from the description")
	}
	blob, err := config.Marshal()
	if err != nil {
		return media.Params{}, fmt.Errorf("the AAC configuration is not usable: %w", err)
	}
	return media.Params{
		Codec: media.AAC, ClockRate: config.SampleRate, SampleRate: config.SampleRate,
		Channels: channels(config), Sets: [][]byte{blob},
	}, nil
}

// channels counts them by ISO/IEC 14496-3, table 1.19: configuration 7 is 7.1, the others are counts.
func channels(config *mpeg4audio.AudioSpecificConfig) int {
	if config.ChannelConfig == 7 {
		return 8
	}
	return int(config.ChannelConfig)
}

// latm takes the access units out of the LATM multiplex (RFC 6416), of which only the usual shape is
// carried: one programme with one layer, its configuration in the description.
func (s *source) latm(f *format.MPEG4AudioLATM) error {
	if f.CPresent || f.StreamMuxConfig == nil || len(f.StreamMuxConfig.Programs) != 1 ||
		len(f.StreamMuxConfig.Programs[0].Layers) != 1 {
		return errors.New("this LATM multiplex is not carried: send mpeg4-generic (RFC 3640)")
	}
	var err error
	if s.params, err = aac(f.StreamMuxConfig.Programs[0].Layers[0].AudioSpecificConfig); err != nil {
		return err
	}
	elements := decoder(f.CreateDecoder, whole((*rtpfragmented.Decoder).Decode), rtpfragmented.ErrMorePacketsNeeded)
	s.fresh = func() (depacketizer, error) {
		decode, err := elements()
		return func(p *rtp.Packet) ([]frameUnits, error) { return subframes(decode, p, f.StreamMuxConfig) }, err
	}
	return nil
}

// subframes takes the frames out of a LATM element, where a packet completes one.
func subframes(decode depacketizer, p *rtp.Packet, config *mpeg4audio.StreamMuxConfig) ([]frameUnits, error) {
	frames, err := decode(p)
	if err != nil || len(frames) == 0 {
		return nil, err
	}
	element := mpeg4audio.AudioMuxElement{StreamMuxConfig: config}
	if err := element.Unmarshal(frames[0].units[0]); err != nil {
		return nil, err
	}
	var out []frameUnits
	for i, subframe := range element.Payloads {
		out = append(out, frameUnits{int64(i) * mpeg4audio.SamplesPerAccessUnit, [][]byte{subframe[0][0]}})
	}
	return out, nil
}

// decoder makes depacketizers of one of gortsplib's, for which "more packets are needed" is an error.
func decoder[D any](create func() (D, error), decode func(D, *rtp.Packet) ([][]byte, error), more error) func() (depacketizer, error) {
	return func() (depacketizer, error) {
		d, err := create()
		if err != nil {
			return nil, err
		}
		return func(p *rtp.Packet) ([]frameUnits, error) {
			units, err := decode(d, p)
			if errors.Is(err, more) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			return []frameUnits{{units: units}}, nil
		}, nil
	}
}

// whole adapts a decoder whose frames are one unit.
func whole[D any](decode func(D, *rtp.Packet) ([]byte, error)) func(D, *rtp.Packet) ([][]byte, error) {
	return func(d D, p *rtp.Packet) ([][]byte, error) {
		frame, err := decode(d, p)
		return [][]byte{frame}, err
	}
}

// oneByOne makes a frame of each access unit of an AAC packet.
func oneByOne(fresh func() (depacketizer, error)) func() (depacketizer, error) {
	return func() (depacketizer, error) {
		decode, err := fresh()
		return func(p *rtp.Packet) ([]frameUnits, error) {
			joined, err := decode(p)
			if err != nil || len(joined) == 0 {
				return nil, err
			}
			var out []frameUnits
			for i, unit := range joined[0].units {
				out = append(out, frameUnits{int64(i) * mpeg4audio.SamplesPerAccessUnit, [][]byte{unit}})
			}
			return out, nil
		}, err
	}
}

func payloads() (depacketizer, error) { return payload, nil }

// payload is for codecs whose packets are frames.
func payload(p *rtp.Packet) ([]frameUnits, error) {
	if len(p.Payload) == 0 {
		return nil, nil
	}
	return []frameUnits{{units: [][]byte{p.Payload}}}, nil
}
