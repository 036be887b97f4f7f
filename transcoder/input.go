package transcoder

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/g711"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/substructs"

	"banyan/relay/frame"
	"banyan/relay/media"
	"banyan/transcoder/ivf"
)

// input writes frames as FFmpeg reads them. An error of type *badFrame concerns one frame alone; any
// other means that the pipe is gone.
type input interface {
	write(f *frame.Frame) error
}

// badFrame is a frame that cannot be put into the container.
type badFrame struct{ cause error }

func (e *badFrame) Error() string { return "unusable frame: " + e.cause.Error() }
func (e *badFrame) Unwrap() error { return e.cause }

// newInput writes frames of p to w, their times counted from base, in seconds since the Unix epoch.
// Video goes as IVF: FFmpeg takes each of its frames for whole and decodes it at once, where in
// MPEG-TS it looks for the next frame first, and so is one or two late. MPEG-TS carries AAC and Opus;
// G.711 is decoded here and goes as plain samples.
func newInput(w io.Writer, p media.Params, base int64) (input, error) {
	switch {
	case p.Codec.Kind() == media.Video:
		return newIVFInput(w, p, base)
	case isG711(p.Codec):
		return &pcmInput{w: bufio.NewWriter(w), params: p, next: base * int64(p.ClockRate)}, nil
	}
	return newTSInput(w, p, base)
}

// relative is f's time since base in ticks of 90 kHz.
func relative(f *frame.Frame, clock int, base int64) int64 {
	return media.Rescale(f.Ticks-base*int64(clock), clock, media.VideoClockRate)
}

// tsInput writes MPEG-TS with one track of audio.
type tsInput struct {
	w      io.Writer
	packet bytes.Buffer // the frame being written
	ts     mpegts.Writer
	track  *mpegts.Track
	params media.Params
	base   int64
}

func newTSInput(w io.Writer, p media.Params, base int64) (*tsInput, error) {
	t := &tsInput{w: w, params: p, base: base}
	t.track = &mpegts.Track{}
	switch p.Codec {
	case media.Opus:
		t.track.Codec = &codecs.Opus{Desc: &substructs.OpusAudioDescriptor{ChannelConfigCode: uint8(max(1, min(p.Channels, 8)))}}
	case media.AAC:
		config, err := aacConfig(p)
		if err != nil {
			return nil, err
		}
		t.track.Codec = &codecs.MPEG4Audio{Config: config}
	default:
		return nil, fmt.Errorf("codec %q cannot be transcoded", p.Codec)
	}
	t.ts = mpegts.Writer{W: &t.packet, Tracks: []*mpegts.Track{t.track}}
	return t, t.ts.Initialize()
}

// aacConfig is the configuration that ADTS headers can express: LC, with SBR left for the decoder to
// find in the stream.
func aacConfig(p media.Params) (mpeg4audio.AudioSpecificConfig, error) {
	var config mpeg4audio.AudioSpecificConfig
	if len(p.Sets) == 0 {
		return config, errors.New("an AAC source without AudioSpecificConfig cannot be transcoded")
	}
	if err := config.Unmarshal(p.Sets[0]); err != nil {
		return config, fmt.Errorf("AudioSpecificConfig of an AAC source: %w", err)
	}
	if config.SampleRate <= 0 {
		return config, errors.New("an AAC source without sample rate cannot be transcoded")
	}
	config.Type = mpeg4audio.ObjectTypeAACLC
	return config, nil
}

func (t *tsInput) write(f *frame.Frame) error {
	units := nonEmpty(f.Units)
	if len(units) == 0 {
		return nil
	}
	t.packet.Reset()
	if err := t.mux(relative(f, t.params.ClockRate, t.base), units); err != nil {
		return &badFrame{err}
	}
	_, err := t.w.Write(t.packet.Bytes())
	return err
}

func (t *tsInput) mux(pts int64, units [][]byte) error {
	if t.params.Codec == media.Opus {
		return t.ts.WriteOpus(t.track, pts, units)
	}
	return t.ts.WriteMPEG4Audio(t.track, pts, units)
}

func nonEmpty(units [][]byte) [][]byte {
	for i, u := range units {
		if len(u) == 0 {
			kept := append([][]byte(nil), units[:i]...)
			for _, u := range units[i:] {
				if len(u) > 0 {
					kept = append(kept, u)
				}
			}
			return kept
		}
	}
	return units
}

// ivfInput writes IVF in units of 1/90000 s, the header with the first frame.
type ivfInput struct {
	to     io.Writer
	header ivf.Header
	w      *ivf.Writer // nil before the first frame
	params media.Params
	base   int64
	joined []byte // the units of the frame being written
}

// fourCC names codecs in IVF. FFmpeg knows those of AVI there, H.264 and H.265 among them, which go as
// byte streams with start codes; it writes the other three only.
var fourCC = map[media.Codec][4]byte{
	media.VP8:  {'V', 'P', '8', '0'},
	media.VP9:  {'V', 'P', '9', '0'},
	media.AV1:  {'A', 'V', '0', '1'},
	media.H264: {'H', '2', '6', '4'},
	media.H265: {'H', 'E', 'V', 'C'},
}

func newIVFInput(w io.Writer, p media.Params, base int64) (*ivfInput, error) {
	code, ok := fourCC[p.Codec]
	if !ok {
		return nil, fmt.Errorf("codec %q cannot be transcoded", p.Codec)
	}
	header := ivf.Header{Codec: code, Width: p.Width, Height: p.Height, Rate: media.VideoClockRate, Scale: 1}
	return &ivfInput{to: w, header: header, params: p, base: base}, nil
}

// temporalDelimiter is the OBU in front of each temporal unit (AV1 specification, section 5.6), which
// RTP leaves out; without its size field.
var temporalDelimiter = []byte{2 << 3}

func (i *ivfInput) write(f *frame.Frame) error {
	units := nonEmpty(f.Units)
	if len(units) == 0 {
		return nil
	}
	payload, err := i.bitstream(units)
	if err != nil {
		return &badFrame{err}
	}
	if len(payload) > ivf.MaxFrame {
		return &badFrame{fmt.Errorf("it has %d bytes", len(payload))}
	}
	if i.w == nil {
		if i.w, err = ivf.NewWriter(i.to, i.header); err != nil {
			return err
		}
	}
	return i.w.Write(ivf.Frame{Time: relative(f, media.VideoClockRate, i.base), Payload: payload})
}

// startCode is in front of each NAL unit of a byte stream (ITU-T H.264 and H.265, annex B).
var startCode = []byte{0, 0, 0, 1}

// bitstream joins the units of a frame as decoders take them, until its next call.
func (i *ivfInput) bitstream(units [][]byte) ([]byte, error) {
	switch i.params.Codec {
	case media.H264, media.H265:
		i.joined = i.joined[:0]
		for _, u := range units {
			i.joined = append(append(i.joined, startCode...), u...)
		}
		return i.joined, nil
	case media.AV1:
		return av1.Bitstream(append([][]byte{temporalDelimiter}, units...)).Marshal()
	}
	return units[0], nil
}

// pcmInput decodes G.711 to samples of 16 bits, little-endian. Plain samples carry no time, so gaps
// are filled with silence here, from the base on, and what overlaps is dropped.
type pcmInput struct {
	w      *bufio.Writer
	params media.Params
	next   int64 // sample that is due, in ticks
}

func (p *pcmInput) write(f *frame.Frame) error {
	if len(f.Units) == 0 {
		return nil
	}
	channels := max(1, p.params.Channels)
	samples := decodeG711(p.params.Codec, f.Units[0])
	samples = samples[:len(samples)/(2*channels)*(2*channels)]
	if err := p.silence(f.Ticks-p.next, channels); err != nil {
		return err
	}
	if late := p.next - f.Ticks; late > int64(p.params.ClockRate)/slackPerSecond {
		samples = samples[min(int64(len(samples)), late*2*int64(channels)):]
	}
	p.next += int64(len(samples) / (2 * channels))
	if _, err := p.w.Write(samples); err != nil {
		return err
	}
	return p.w.Flush()
}

// slackPerSecond: a time that is off by less than a second's 50th, 20 ms, is jitter.
const slackPerSecond = 50

// silence writes n samples for each channel where n is more than jitter.
func (p *pcmInput) silence(n int64, channels int) error {
	if n <= int64(p.params.ClockRate)/slackPerSecond {
		return nil
	}
	p.next += n
	for zeros := make([]byte, 4096); n > 0; {
		chunk := min(n, int64(len(zeros)/(2*channels)))
		if _, err := p.w.Write(zeros[:chunk*2*int64(channels)]); err != nil {
			return err
		}
		n -= chunk
	}
	return nil
}

// decodeG711 decodes to little-endian samples.
func decodeG711(c media.Codec, payload []byte) []byte {
	var samples []byte
	if c == media.PCMU {
		var law g711.Mulaw
		law.Unmarshal(payload)
		samples = law
	} else {
		var law g711.Alaw
		law.Unmarshal(payload)
		samples = law
	}
	for i := 0; i+1 < len(samples); i += 2 {
		samples[i], samples[i+1] = samples[i+1], samples[i]
	}
	return samples
}
