package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/opus"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts/codecs"
)

// sample is an access unit or an audio frame.
type sample struct {
	video    bool
	key      bool          // can be decoded without what came before
	at       time.Duration // presentation time since the beginning of the source
	duration time.Duration // audio
	units    [][]byte      // NAL units, or one Opus packet
}

// queued is how many samples may wait to be sent: about a second of video and audio.
const queued = 128

// source demultiplexes MPEG-TS.
type source struct {
	reader  io.Reader
	ready   chan struct{} // closed by run when video and audio are set
	samples chan sample   // run sends and closes

	// Set before ready is closed.
	video, audio bool
}

func newSource(r io.Reader) *source {
	return &source{reader: r, ready: make(chan struct{}), samples: make(chan sample, queued)}
}

// run reads until the source or ctx ends. The end of the source is no error: it shows in samples.
func (s *source) run(ctx context.Context) error {
	defer close(s.samples)
	ts := &mpegts.Reader{R: s.reader}
	if err := ts.Initialize(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("the source is not MPEG-TS: %w", err)
	}
	s.listen(ts, func(x sample) error {
		select {
		case s.samples <- x:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if !s.video && !s.audio {
		return errors.New("the source has neither an H.264 nor an Opus track")
	}
	close(s.ready)
	for {
		err := ts.Read()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read the source: %w", err)
		}
	}
}

// listen takes the first H.264 and the first Opus track.
func (s *source) listen(ts *mpegts.Reader, emit func(sample) error) {
	var clock mpegts.TimeDecoder // both tracks count on one clock that wraps
	ts.OnDecodeError(func(error) {})
	for _, track := range ts.Tracks() {
		switch track.Codec.(type) {
		case *codecs.H264:
			if s.video {
				continue
			}
			s.video = true
			ts.OnDataH264(track, func(pts, _ int64, au [][]byte) error {
				return emit(sample{video: true, key: h264.IsRandomAccess(au), at: since(clock.Decode(pts)), units: clone(au)})
			})
		case *codecs.Opus:
			if s.audio {
				continue
			}
			s.audio = true
			ts.OnDataOpus(track, func(pts int64, packets [][]byte) error {
				at := since(clock.Decode(pts))
				for _, packet := range packets {
					duration := opus.PacketDuration(packet) //nolint:staticcheck // samples are not what is needed
					x := sample{key: true, at: at, duration: duration, units: clone([][]byte{packet})}
					if err := emit(x); err != nil {
						return err
					}
					at += duration
				}
				return nil
			})
		}
	}
}

// since converts 90 kHz ticks.
func since(ticks int64) time.Duration {
	return time.Duration(ticks/90000)*time.Second + time.Duration(ticks%90000)*time.Second/90000
}

// clone copies units and leaves out delimiters, which are for MPEG-TS.
func clone(units [][]byte) [][]byte {
	out := make([][]byte, 0, len(units))
	for _, unit := range units {
		if len(unit) > 0 {
			out = append(out, bytes.Clone(unit))
		}
	}
	return out
}

// probe waits until the tracks are known.
func (s *source) probe(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// next waits for a sample; errEnded where there are no more.
func (s *source) next(ctx context.Context) (sample, error) {
	select {
	case x, ok := <-s.samples:
		if !ok {
			if ctx.Err() != nil {
				return sample{}, context.Cause(ctx)
			}
			return sample{}, errEnded
		}
		return x, nil
	case <-ctx.Done():
		return sample{}, context.Cause(ctx)
	}
}

// discard drops samples for a while.
func (s *source) discard(ctx context.Context, d time.Duration) error {
	pause, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		if _, err := s.next(pause); err != nil {
			if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
				return nil
			}
			return err
		}
	}
}
