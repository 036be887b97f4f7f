package transcoder

import (
	"errors"
	"fmt"
	"io"

	"github.com/asticode/go-astits"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/substructs"

	"banyan/relay/frame"
	"banyan/relay/media"
	"banyan/transcoder/ivf"
)

// readOutput reads what FFmpeg writes until it ends, and gives each frame with its time in ticks of
// the codec's clock since base seconds. It returns io.EOF at the end, and the error of give as it is.
func readOutput(r io.Reader, codec media.Codec, give func(frame.Frame) error) error {
	if writesIVF(codec) {
		return readIVF(r, codec, give)
	}
	return readTS(r, codec, give)
}

// writesIVF tells whether FFmpeg puts a codec into IVF here, and not into MPEG-TS.
func writesIVF(c media.Codec) bool {
	return c == media.VP8 || c == media.VP9 || c == media.AV1
}

func readIVF(r io.Reader, codec media.Codec, give func(frame.Frame) error) error {
	reader, err := ivf.NewReader(r)
	if err != nil {
		return err
	}
	header := reader.Header()
	if header.Codec != fourCC[codec] {
		return fmt.Errorf("FFmpeg wrote %q where %s was asked for", header.Codec, codec)
	}
	for {
		f, err := reader.Read()
		if err != nil {
			return err
		}
		units, err := ivfUnits(codec, f.Payload)
		if err != nil || len(units) == 0 {
			continue
		}
		out := frame.Frame{Ticks: ivfTicks(f.Time, header), Units: units}
		if err := give(out); err != nil {
			return err
		}
	}
}

// ivfTicks converts to ticks of 90 kHz, to the nearest.
func ivfTicks(time int64, h ivf.Header) int64 {
	const most = 1 << 40 // far beyond any run; keeps the product below in range
	time = max(-most, min(most, time))
	seconds, rest := time/int64(h.Rate), time%int64(h.Rate)
	scale := int64(h.Scale)
	if scale > int64(h.Rate) {
		return 0 // units longer than a second: nothing that FFmpeg writes
	}
	return seconds*scale*media.VideoClockRate + (rest*scale*media.VideoClockRate+int64(h.Rate)/2)/int64(h.Rate)
}

func ivfUnits(codec media.Codec, payload []byte) ([][]byte, error) {
	if codec != media.AV1 {
		if len(payload) == 0 {
			return nil, nil
		}
		return [][]byte{payload}, nil
	}
	var units av1.Bitstream
	err := units.Unmarshal(payload)
	return units, err
}

// errNoTrack tells that the transport stream holds something else than what was asked for.
var errNoTrack = errors.New("FFmpeg's transport stream has no track of the codec that was asked for")

// tsType is how FFmpeg calls a codec in a transport stream.
var tsType = map[media.Codec]astits.StreamType{
	media.H264: astits.StreamTypeH264Video,
	media.H265: astits.StreamTypeH265Video,
	media.AAC:  astits.StreamTypeAACAudio,
	media.Opus: astits.StreamTypePrivateData, // with a descriptor
}

func readTS(r io.Reader, codec media.Codec, give func(frame.Frame) error) error {
	reader, err := newTransport(r)
	switch {
	case err != nil:
		return err
	case reader.track.StreamType != tsType[codec]:
		return errNoTrack
	}
	var clock unwrapper
	for {
		pts, payload, err := reader.read()
		if err != nil {
			return err
		}
		units, err := tsUnits(codec, payload)
		if err != nil {
			continue // FFmpeg's own output; a damaged frame shows as a gap
		}
		if err := giveUnits(codec, clock.unwrap(pts), units, give); err != nil {
			return err
		}
	}
}

// tsUnits takes the payload of a PES packet apart: the NAL units of a picture, or frames of sound.
func tsUnits(codec media.Codec, payload []byte) (units [][]byte, err error) {
	switch codec {
	case media.H264, media.H265:
		var picture h264.AnnexB // the same for both
		err = picture.Unmarshal(payload)
		return picture, err
	case media.AAC:
		var packets mpeg4audio.ADTSPackets
		err = packets.Unmarshal(payload)
		for _, p := range packets {
			units = append(units, p.AU)
		}
		return units, err
	}
	for len(payload) > 0 {
		var unit substructs.OpusAccessUnit
		n, err := unit.Unmarshal(payload)
		if err != nil {
			return units, err
		}
		units, payload = append(units, unit.Packet), payload[n:]
	}
	return units, nil
}

// giveUnits gives what came at a time in ticks of 90 kHz: one picture, or frames of sound that follow each other.
func giveUnits(codec media.Codec, at int64, units [][]byte, give func(frame.Frame) error) error {
	if codec.Kind() == media.Video {
		return give(frame.Frame{Ticks: at, Units: units})
	}
	length := int64(media.OpusFrame)
	if codec == media.AAC {
		length = media.AACFrame
	}
	ticks := media.Rescale(at+1, media.VideoClockRate, audioRate)
	for i, unit := range units {
		if err := give(frame.Frame{Ticks: ticks + int64(i)*length, Units: [][]byte{unit}}); err != nil {
			return err
		}
	}
	return nil
}

// unwrapper makes 33-bit times monotonic again (ISO/IEC 13818-1, section 2.4.3.7). A run begins near
// zero, possibly just before it.
type unwrapper struct{ last int64 }

func (u *unwrapper) unwrap(pts int64) int64 {
	const span = 1 << 33
	d := (pts - u.last) & (span - 1)
	if d >= span/2 {
		d -= span
	}
	u.last += d
	return u.last
}
