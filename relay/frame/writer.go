package frame

import (
	"fmt"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Writer packetises frames into a log. It is owned by one goroutine.
//
// Video begins with the first keyframe whose parameter sets are known; frames before it are dropped.
// Every keyframe of H.264, H.265 and AV1 carries its parameter sets. When they change, or a VP8 or VP9
// keyframe changes its size, a new epoch begins. A video track whose parameter sets announce frames out of
// the order of display is Reordered; so is one in which a frame is to be shown before one that was
// written earlier, from then on.
type Writer struct {
	// OnParams, if set, is called after each begin of an epoch.
	OnParams func(media.Params)

	description
	log       *log.Writer
	packetize packetizer

	begun  bool // the log has the present params
	wrote  bool // there is something before the next packet
	lost   bool // and something missing in between
	newest int64
	drops  int
}

// NewWriter writes frames as p says to w. Of p, Codec and ClockRate must be set, for audio Channels
// and SampleRate, for AAC Sets; the rest is learnt from the frames. It fails for a codec that cannot be
// packetised.
func NewWriter(w *log.Writer, p media.Params) (*Writer, error) {
	packetize, err := newPacketizer(p.Codec)
	if err != nil {
		return nil, err
	}
	return &Writer{description: newDescription(p), log: w, packetize: packetize}, nil
}

// Params are those of the epoch that is being written, as far as they are known.
func (w *Writer) Params() media.Params { return w.params }

// Dropped is how many frames came before they could be decoded, or lacked their beginning.
func (w *Writer) Dropped() int { return w.drops }

// Discontinuity begins a new epoch with the next frame (for video: the next keyframe): time leaps, or
// something is missing that cannot be made up.
func (w *Writer) Discontinuity() { w.begun = false }

// Break tells the newest break of the stream that the frames are made of; another one than before begins a new epoch
// with the next frame (for video: the next keyframe).
func (w *Writer) Break(b media.Break) {
	if w.params.Break != b {
		w.params.Break, w.begun = b, false
	}
}

// Lost says that something is missing between the frame written last and the next: a packet of the publisher that did
// not arrive. The log gets a hole of one offset there, so that every reader knows. What is left of a frame that has
// lost its beginning is dropped.
func (w *Writer) Lost() { w.lost = true }

// Write packetises f. It returns log.ErrReplaced when another writer has taken over the track; any
// other error concerns this frame alone.
func (w *Writer) Write(f Frame) error {
	units := w.filter(f.Units)
	if len(units) == 0 {
		return nil
	}
	if w.lost && beheaded(w.params.Codec, units) {
		w.drops++
		return nil
	}
	units, key, ok := w.inspect(units)
	switch {
	case !ok:
		w.drops++
		return nil
	case units == nil:
		return nil
	}
	if !w.begun {
		if !key {
			w.drops++
			return nil
		}
		if err := w.begin(); err != nil {
			return err
		}
		w.newest = f.Ticks
	}
	if err := w.checkOrder(f.Ticks); err != nil {
		return err
	}
	return w.send(f, units, key)
}

// filter leaves out delimiters, which RTP has no use for, and empty units.
func (w *Writer) filter(units [][]byte) [][]byte {
	kept := make([][]byte, 0, len(units)+3)
	for _, unit := range units {
		if len(unit) > 0 && kindOf(w.params.Codec, unit) != unitDelimiter {
			kept = append(kept, unit)
		}
	}
	return kept
}

// inspect tells whether a frame is a keyframe. The parameters are then up to date with it, and its units have the
// parameter sets in front; it fails while those are not known. Nothing is left of a frame of parameter sets alone.
func (w *Writer) inspect(units [][]byte) (_ [][]byte, key, ok bool) {
	var found survey
	for _, unit := range units {
		w.see(unit, &found)
	}
	switch {
	case found.setsAlone():
		return nil, false, true
	case !found.keyframe:
		return units, false, true
	}
	changed, ok := w.update(&found)
	if !ok {
		return nil, true, false
	}
	w.begun = w.begun && !changed
	if w.lacksSets(&found) {
		units = withSets(w.params.Codec, w.params.Sets, units)
	}
	return units, true, true
}

// withSets puts a full group of sets in front and leaves out those that were there.
func withSets(codec media.Codec, group, units [][]byte) [][]byte {
	out := append(make([][]byte, 0, len(group)+len(units)), group...)
	for _, unit := range units {
		if kindOf(codec, unit) != unitSet {
			out = append(out, unit)
		}
	}
	return out
}

func (w *Writer) begin() error {
	if err := w.log.Begin(w.params); err != nil {
		return err
	}
	w.begun = true
	if w.OnParams != nil {
		w.OnParams(w.params)
	}
	return nil
}

// checkOrder notes when a frame is to be shown before an earlier one.
func (w *Writer) checkOrder(ticks int64) error {
	if ticks >= w.newest || w.params.Codec.Kind() != media.Video {
		w.newest = ticks
		return nil
	}
	if w.params.Reordered {
		return nil
	}
	w.params.Reordered = true
	return w.begin()
}

func (w *Writer) send(f Frame, units [][]byte, key bool) error {
	packets, err := w.packetize(units)
	if err != nil {
		w.lost = true
		return fmt.Errorf("packetise a frame of %s: %w", w.log.Log().ID(), err)
	}
	next := w.log.Next()
	if w.lost && w.wrote {
		next++
	}
	w.lost, w.wrote = false, true
	for i, p := range packets {
		out := media.Packet{Offset: next + int64(i), Ticks: f.Ticks, Arrived: f.Arrived, Payload: p.Payload}
		if i == len(packets)-1 {
			out.Flags |= media.FrameEnd
		}
		if key && i == 0 {
			out.Flags |= media.Keyframe
		}
		if err := w.log.Write(out); err != nil {
			return err
		}
	}
	return nil
}
