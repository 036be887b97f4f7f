package transcoder

import (
	"errors"
	"fmt"
	"io"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"

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

func readTS(r io.Reader, codec media.Codec, give func(frame.Frame) error) error {
	reader := &mpegts.Reader{R: r}
	if err := reader.Initialize(); err != nil {
		return err
	}
	reader.OnDecodeError(func(error) {}) // FFmpeg's own output; a damaged frame shows as a gap
	var clock unwrapper
	video := func(pts, _ int64, units [][]byte) error {
		return give(frame.Frame{Ticks: clock.unwrap(pts), Units: units})
	}
	audio := func(samples int64) func(int64, [][]byte) error {
		return func(pts int64, units [][]byte) error {
			ticks := media.Rescale(clock.unwrap(pts)+1, media.VideoClockRate, audioRate)
			for i, unit := range units {
				if err := give(frame.Frame{Ticks: ticks + int64(i)*samples, Units: [][]byte{unit}}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	found := false
	for _, track := range reader.Tracks() {
		switch track.Codec.(type) {
		case *codecs.H264:
			found = codec == media.H264
			reader.OnDataH264(track, video)
		case *codecs.H265:
			found = codec == media.H265
			reader.OnDataH265(track, video)
		case *codecs.Opus:
			found = codec == media.Opus
			reader.OnDataOpus(track, audio(media.OpusFrame))
		case *codecs.MPEG4Audio:
			found = codec == media.AAC
			reader.OnDataMPEG4Audio(track, audio(media.AACFrame))
		}
	}
	if !found || len(reader.Tracks()) != 1 {
		return errNoTrack
	}
	for {
		if err := reader.Read(); err != nil {
			return err
		}
	}
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
