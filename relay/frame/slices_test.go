package frame

import (
	"bytes"
	"testing"

	"banyan/relay/log"
	"banyan/relay/media"
)

// sliced makes two seconds of pictures of several slices each, as encoders with sliced threads make them.
func sliced(t *testing.T, codec media.Codec) []Frame {
	t.Helper()
	options := []string{"-bf", "0", "-slices", "4"}
	if codec == media.H265 {
		options = []string{"-bf", "0", "-x265-params", "log-level=none:keyint=15:pools=1:slices=4:ctu=16"}
	}
	frames := encode(t, codec, options...)
	for i, f := range frames {
		if n := len(slicesOf(codec, f)); n < 2 {
			t.Fatalf("frame %d of %s has %d slices", i, codec, n)
		}
	}
	return frames
}

func slicesOf(codec media.Codec, f Frame) (list [][]byte) {
	for _, u := range f.Units {
		if kindOf(codec, u).slice() {
			list = append(list, u)
		}
	}
	return list
}

// Who would begin at a late slice of a keyframe would see half a picture.
func TestLateSlicesBeginNoKeyframe(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		key := sliced(t, codec)[0]
		packetize, err := newPacketizer(codec)
		if err != nil {
			t.Fatal(err)
		}
		for from := range slicesOf(codec, key) {
			i := NewInspector(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
			for _, u := range key.Units {
				if kindOf(codec, u) == unitSet {
					if _, err := i.Inspect(u, 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			begun := false
			for _, slice := range slicesOf(codec, key)[from:] { // the ones before were lost
				packets, err := packetize([][]byte{slice})
				if err != nil {
					t.Fatal(err)
				}
				for n, p := range packets {
					info, err := i.Inspect(p.Payload, 1)
					if err != nil {
						t.Fatal(err)
					}
					if info.Keyframe && (n > 0 || begun) {
						t.Errorf("%s: the keyframe begins with packet %d", codec, n)
					}
					begun = begun || info.Keyframe
				}
			}
			if want := from == 0; begun != want {
				t.Errorf("%s: from slice %d on it is a keyframe: %v, want %v", codec, from, begun, want)
			}
		}
	}
}

// Fragments of parameter sets, which nobody should send, are not taken for whole ones.
func TestFragmentedSetsTeachNothing(t *testing.T) {
	for codec, payload := range map[media.Codec][]byte{
		media.H264: {0x7c, 0x80 | 7, 0x42, 0xc0},
		media.H265: {49 << 1, 1, 0x80 | 33, 0x42, 0xc0},
	} {
		i := NewInspector(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
		if _, err := i.Inspect(payload, 1); err != nil {
			t.Fatal(err)
		}
		if i.sets.kept != nil {
			t.Errorf("%s: learnt %x", codec, i.sets.kept)
		}
	}
}

// Whatever packet is lost, it costs its frame and no other, and the next one says so.
func TestLossCostsOneFrameOfManySlices(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		written := sliced(t, codec)
		whole := newLog(codec)
		writeAll(t, newVideoWriter(t, whole, codec), written)
		for missing := whole.Tail(); missing < whole.Head(); missing++ {
			damaged := int((whole.Get(missing).Ticks - written[0].Ticks) * 15 / media.VideoClockRate)
			lossy := newLog(codec)
			w := lossy.Writer()
			if err := w.Begin(*whole.Params()); err != nil {
				t.Fatal(err)
			}
			for offset := whole.Tail(); offset < whole.Head(); offset++ {
				if offset != missing {
					if err := w.Write(*whole.Get(offset)); err != nil {
						t.Fatal(err)
					}
				}
			}
			r := NewReader(lossy.Cursor(log.Offset(whole.Tail())))
			told := false
			got := r.Next()
			for i, f := range written {
				if i == damaged && (got == nil || got.Ticks != f.Ticks) {
					continue
				}
				// A frame that lost no more than parameter sets or messages may come: its picture is whole.
				if got == nil || got.Ticks != f.Ticks || !bytes.Equal(pictures(codec, *got), pictures(codec, f)) {
					t.Fatalf("%s: with offset %d of frame %d missing, frame %d is missing or changed", codec, missing, damaged, i)
				}
				if want := i >= damaged && !told; got.Lost != want {
					t.Errorf("%s: with offset %d of frame %d missing, frame %d says lost %v", codec, missing, damaged, i, got.Lost)
				}
				if got.Keyframe != (i%15 == 0) && i != damaged {
					t.Errorf("%s: with offset %d of frame %d missing, frame %d says keyframe %v", codec, missing, damaged, i, got.Keyframe)
				}
				told = told || i >= damaged
				got = r.Next()
			}
			if got != nil {
				t.Fatalf("%s: with a packet of frame %d missing, a frame too many", codec, damaged)
			}
		}
	}
}

// What a publisher's packets did not bring is a hole in the log, and a damaged frame is not published.
func TestWriterTellsOfLosses(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		frames := sliced(t, codec)
		l := newLog(codec)
		w := newVideoWriter(t, l, codec)
		w.Lost() // before the first packet there is nothing to miss
		writeAll(t, w, frames[:7])
		w.Lost()
		beheaded := frames[8]
		beheaded.Units = slicesOf(codec, beheaded)[1:]
		writeAll(t, w, []Frame{beheaded, frames[9]})
		writeAll(t, w, frames[10:])
		read := readAll(l)
		if len(read) != 28 {
			t.Fatalf("%s: read %d frames, want 28", codec, len(read))
		}
		for i, f := range read {
			if f.Lost != (i == 7) || f.Discontinuity != (i == 0) {
				t.Errorf("%s: frame %d has lost %v, discontinuity %v", codec, i, f.Lost, f.Discontinuity)
			}
		}
		if read[7].Ticks != frames[9].Ticks || w.Dropped() != 1 {
			t.Errorf("%s: what is left of a damaged frame was published", codec)
		}
		if holes := l.Stats().Holes; holes != 1 {
			t.Errorf("%s: the log has %d holes, want one", codec, holes)
		}
	}
}
