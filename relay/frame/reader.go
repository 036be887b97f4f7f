package frame

import (
	"context"
	"io"

	"github.com/pion/rtp"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Reader reads the frames of a track from a log. It is owned by one goroutine. A frame of which a
// packet is missing is left out, and the next one says so (Frame.Lost).
type Reader struct {
	cursor *log.Cursor
	params *media.Params
	decode depacketizer

	open    bool  // a frame has begun and is not complete
	ticks   int64 // of the open frame
	pending Frame // flags gathered for the frame to come
	queue   []Frame
}

// NewReader reads frames from c, which it owns from now on.
func NewReader(c *log.Cursor) *Reader { return &Reader{cursor: c} }

// Cursor is what r reads from.
func (r *Reader) Cursor() *log.Cursor { return r.cursor }

// Ready returns a channel that is closed as soon as Next may return a frame, or the log has ended.
func (r *Reader) Ready() <-chan struct{} { return r.cursor.FrameReady() }

// ReadyAt is Ready for who can do nothing before a frame of time t or later, or one of another epoch. It may be closed
// before.
func (r *Reader) ReadyAt(t media.Time) <-chan struct{} { return r.cursor.FrameReadyAt(t, r.params) }

// Read waits for the next frame. It returns io.EOF when the log has ended, and the context's error
// when that ends first.
func (r *Reader) Read(ctx context.Context) (*Frame, error) {
	for {
		if f := r.Next(); f != nil {
			return f, nil
		}
		if r.cursor.Ended() {
			return nil, io.EOF
		}
		select {
		case <-r.Ready():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Next returns the next whole frame, or nil where there is none yet.
func (r *Reader) Next() *Frame {
	for len(r.queue) == 0 {
		p, lost := r.cursor.Next()
		if p == nil {
			return nil
		}
		r.take(p, lost)
	}
	f := r.queue[0]
	r.queue = r.queue[1:]
	return &f
}

func (r *Reader) take(p *media.Packet, lost int64) {
	if p.Params != r.params {
		r.params = p.Params
		r.pending.Discontinuity = true
		r.restart()
	}
	if lost > 0 || r.open && p.Ticks != r.ticks {
		// What was open will never be complete.
		r.pending.Lost = true
		r.restart()
	}
	if r.decode == nil {
		return // a codec that nobody can depacketise
	}
	r.open, r.ticks = !p.Has(media.FrameEnd), p.Ticks
	r.pending.Keyframe = r.pending.Keyframe || p.Has(media.Keyframe)
	units, err := r.decode(&rtp.Packet{
		Header: rtp.Header{Version: 2, SequenceNumber: uint16(p.Offset), Timestamp: p.RTPTime(),
			Marker: p.Has(media.FrameEnd)},
		Payload: p.Payload,
	})
	switch {
	case err != nil:
		r.pending.Lost = true
		r.restart()
	case units != nil && r.pending.Lost && beheaded(p.Params.Codec, units):
		r.pending.Keyframe = false // the rest of a frame that lost its beginning; the next one says so
	case units != nil:
		r.emit(p, units)
	}
}

// restart forgets the open frame.
func (r *Reader) restart() {
	r.open, r.pending.Keyframe = false, false
	r.decode, _ = newDepacketizer(r.params.Codec)
}

// emit queues what one packet completed: a frame, or several of audio.
func (r *Reader) emit(p *media.Packet, units [][]byte) {
	f := r.pending
	r.pending = Frame{}
	f.Ticks, f.Params, f.Arrived = p.Ticks, p.Params, p.Arrived
	if p.Params.Codec != media.AAC {
		f.Units = units
		r.queue = append(r.queue[:0], f)
		return
	}
	r.queue = r.queue[:0]
	for i, unit := range units {
		f.Ticks, f.Units = p.Ticks+int64(i)*media.AACFrame, [][]byte{unit}
		r.queue = append(r.queue, f)
		f.Discontinuity, f.Lost = false, false
	}
}
