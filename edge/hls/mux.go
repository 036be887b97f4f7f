package hls

import (
	"errors"
	"fmt"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/vp9"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4/seekablebuffer"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mp4/codecs"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// trackID is the number of the one track in every file.
const trackID = 1

// canCarry tells whether tracks of a codec can be put into fragmented MP4 here.
func canCarry(c media.Codec) bool {
	switch c {
	case media.H264, media.H265, media.AV1, media.VP9, media.AAC, media.Opus:
		return true
	}
	return false
}

// initSection makes the init section of an epoch, whose first keyframe is f.
func initSection(f *frame.Frame) ([]byte, error) {
	codec, err := sampleEntry(f)
	if err != nil {
		return nil, fmt.Errorf("describe %s for fragmented MP4: %w", f.Params.Codec, err)
	}
	section := fmp4.Init{Tracks: []*fmp4.InitTrack{{ID: trackID, TimeScale: uint32(f.Params.ClockRate), Codec: codec}}}
	var out seekablebuffer.Buffer
	if err := section.Marshal(&out); err != nil {
		return nil, fmt.Errorf("write an init section for %s: %w", f.Params.Codec, err)
	}
	return withAllSets(out.Bytes(), f.Params)
}

var errNoSets = errors.New("the track's parameter sets are missing")

func sampleEntry(f *frame.Frame) (codecs.Codec, error) {
	p := f.Params
	sets := frame.SetsOf(p)
	if !complete(p, &sets) {
		return nil, errNoSets
	}
	switch p.Codec {
	case media.H264:
		return &codecs.H264{SPS: sets.SPS[0], PPS: sets.PPS[0]}, nil
	case media.H265:
		return &codecs.H265{VPS: sets.VPS[0], SPS: sets.SPS[0], PPS: sets.PPS[0]}, nil
	case media.AV1:
		return &codecs.AV1{SequenceHeader: sets.SPS[0]}, nil
	case media.VP9:
		var h vp9.Header
		if err := h.Unmarshal(f.Units[0]); err != nil {
			return nil, err
		}
		return &codecs.VP9{Width: h.Width(), Height: h.Height(), Profile: h.Profile, BitDepth: h.ColorConfig.BitDepth,
			ChromaSubsampling: h.ChromaSubsampling(), ColorRange: h.ColorConfig.ColorRange}, nil
	case media.AAC:
		entry := &codecs.MPEG4Audio{}
		return entry, entry.Config.Unmarshal(p.Sets[0])
	case media.Opus:
		return &codecs.Opus{ChannelCount: max(1, p.Channels)}, nil
	}
	return nil, fmt.Errorf("there is no mapping for %q", p.Codec)
}

// complete tells whether there is a parameter set of each kind that the codec has.
func complete(p *media.Params, sets *frame.Sets) bool {
	switch p.Codec {
	case media.H264:
		return len(sets.SPS) > 0 && len(sets.PPS) > 0
	case media.H265:
		return len(sets.VPS) > 0 && len(sets.SPS) > 0 && len(sets.PPS) > 0
	case media.AV1:
		return len(sets.SPS) > 0
	case media.AAC:
		return len(p.Sets) > 0
	}
	return true
}

// fragment makes the moof and mdat of a part.
func fragment(c *cut, sequence uint32) ([]byte, error) {
	samples, at := make([]*fmp4.Sample, len(c.frames)), c.decode
	for i, f := range c.frames {
		payload, err := samplePayload(f)
		if err != nil {
			return nil, fmt.Errorf("put a frame of %s into fragmented MP4: %w", f.Params.Codec, err)
		}
		samples[i] = &fmp4.Sample{Duration: uint32(c.durations[i]), PTSOffset: int32(f.Ticks - at), Payload: payload,
			IsNonSyncSample: c.params().Codec.Kind() == media.Video && !f.Keyframe}
		at += c.durations[i]
	}
	part := fmp4.Part{SequenceNumber: sequence, Tracks: []*fmp4.PartTrack{
		{ID: trackID, BaseTime: uint64(c.decode), Samples: samples},
	}}
	var out seekablebuffer.Buffer
	if err := part.Marshal(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// samplePayload is a frame as a sample of ISO/IEC 14496-15 (NAL units with their length in front, without
// the parameter sets that the init section has) or of the AV1, VP9, Opus and AAC mappings.
func samplePayload(f *frame.Frame) ([]byte, error) {
	switch f.Params.Codec {
	case media.H264, media.H265:
		return lengthPrefixed(f), nil
	case media.AV1:
		return av1.Bitstream(f.Units).Marshal()
	}
	return f.Units[0], nil
}

func lengthPrefixed(f *frame.Frame) []byte {
	size := 0
	for _, unit := range f.Units {
		size += 4 + len(unit)
	}
	out := make([]byte, 0, size)
	for _, unit := range f.Units {
		if len(unit) == 0 || outOfBand(f.Params.Codec, unit[0]) {
			continue
		}
		n := len(unit)
		out = append(out, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		out = append(out, unit...)
	}
	return out
}

// outOfBand tells whether a NAL unit has no place in a sample of type avc1 or hvc1.
func outOfBand(codec media.Codec, header byte) bool {
	if codec == media.H264 {
		switch header & 0x1f {
		case 7, 8, 9, 12: // SPS, PPS, delimiter, filler
			return true
		}
		return false
	}
	switch header >> 1 & 0x3f {
	case 32, 33, 34, 35, 38: // VPS, SPS, PPS, delimiter, filler
		return true
	}
	return false
}
