package frame

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"go.uber.org/goleak"

	"banyan/relay/log"
	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const start = int64(1_800_000_000) * media.VideoClockRate

// encode makes two seconds of a 320x180 picture at 15 frames per second with FFmpeg and returns its
// access units in decoding order.
func encode(t testing.TB, codec media.Codec, options ...string) []Frame {
	t.Helper()
	args := []string{"-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15:duration=2", "-pix_fmt", "yuv420p"}
	switch codec {
	case media.H264:
		args = append(args, "-c:v", "libx264", "-preset", "ultrafast", "-g", "15")
	case media.H265:
		args = append(args, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:keyint=15:pools=1")
	}
	args = append(append(args, options...), "-f", "mpegts", "-")
	out, err := exec.Command("ffmpeg", args...).Output()
	if err != nil {
		t.Fatalf("ffmpeg %v: %v", args, err)
	}
	r := &mpegts.Reader{R: bytes.NewReader(out)}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	var frames []Frame
	r.OnDataH264(r.Tracks()[0], func(pts, _ int64, au [][]byte) error {
		frames = append(frames, Frame{Ticks: start + pts, Units: clone(au)})
		return nil
	})
	if codec == media.H265 {
		r.OnDataH265(r.Tracks()[0], func(pts, _ int64, au [][]byte) error {
			frames = append(frames, Frame{Ticks: start + pts, Units: clone(au)})
			return nil
		})
	}
	for r.Read() == nil {
	}
	if len(frames) != 30 {
		t.Fatalf("ffmpeg made %d frames, want 30", len(frames))
	}
	return frames
}

func clone(units [][]byte) [][]byte {
	out := make([][]byte, len(units))
	for i, u := range units {
		out[i] = bytes.Clone(u)
	}
	return out
}

func newLog(codec media.Codec) *log.Log {
	id := media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: codec.Kind()}
	return log.New(id, log.FirstOffset(time.Unix(1_800_000_000, 0)), log.Config{})
}

func newVideoWriter(t testing.TB, l *log.Log, codec media.Codec) *Writer {
	t.Helper()
	w, err := NewWriter(l.Writer(), media.Params{Codec: codec, ClockRate: media.VideoClockRate})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func writeAll(t testing.TB, w *Writer, frames []Frame) {
	t.Helper()
	for i, f := range frames {
		if err := w.Write(f); err != nil {
			t.Fatalf("write frame %d: %v", i, err)
		}
	}
}

func readAll(l *log.Log) []Frame {
	r := NewReader(l.Cursor(log.KeyframeBefore(0)))
	var frames []Frame
	for f := r.Next(); f != nil; f = r.Next() {
		frames = append(frames, *f)
	}
	return frames
}

// pictures joins the coded picture data of a frame, which must come through untouched.
func pictures(codec media.Codec, f Frame) []byte {
	var out []byte
	for _, u := range f.Units {
		if k := kindOf(codec, u); k == unitSlice || k == unitKeySlice {
			out = append(out, u...)
		}
	}
	return out
}

func TestFramesComeBackAsWritten(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		t.Run(string(codec), func(t *testing.T) {
			written := encode(t, codec, "-bf", "0")
			l := newLog(codec)
			writeAll(t, newVideoWriter(t, l, codec), written)
			read := readAll(l)
			if len(read) != len(written) {
				t.Fatalf("read %d frames of %d", len(read), len(written))
			}
			for i, f := range read {
				if f.Ticks != written[i].Ticks || !bytes.Equal(pictures(codec, f), pictures(codec, written[i])) {
					t.Fatalf("frame %d came back changed", i)
				}
				if wantKey := i%15 == 0; f.Keyframe != wantKey || f.Lost || f.Discontinuity != (i == 0) {
					t.Errorf("frame %d: keyframe %v lost %v discontinuity %v", i, f.Keyframe, f.Lost, f.Discontinuity)
				}
			}
			p := l.Params()
			if p.Width != 320 || p.Height != 180 || p.FPS != 15 || p.Reordered || len(p.Sets) == 0 {
				t.Errorf("learnt %+v, want 320x180 at 15 frames per second with parameter sets", p)
			}
			for offset := l.Tail(); offset < l.Head(); offset++ {
				if n := len(l.Get(offset).Payload); n > MaxPayload {
					t.Fatalf("a payload has %d bytes", n)
				}
			}
		})
	}
}

// A publisher that sends its parameter sets only once still gives a track that can be joined at every
// keyframe.
func TestSetsStandBeforeEveryKeyframe(t *testing.T) {
	frames := encode(t, media.H264, "-bf", "0")
	for i := range frames[1:] {
		frames[i+1].Units = withSets(media.H264, nil, frames[i+1].Units)
	}
	l := newLog(media.H264)
	writeAll(t, newVideoWriter(t, l, media.H264), frames)
	for i, f := range readAll(l) {
		if f.Keyframe && (kindOf(media.H264, f.Units[0]) != unitSet || kindOf(media.H264, f.Units[1]) != unitSet) {
			t.Errorf("keyframe %d begins without SPS and PPS", i)
		}
	}
}

func TestFramesBeforeTheFirstKeyframeAreDropped(t *testing.T) {
	frames := encode(t, media.H264, "-bf", "0")
	l := newLog(media.H264)
	w := newVideoWriter(t, l, media.H264)
	writeAll(t, w, frames[5:])
	if w.Dropped() != 10 || len(readAll(l)) != 15 {
		t.Errorf("dropped %d frames and wrote %d, want 10 and 15", w.Dropped(), len(readAll(l)))
	}
}

// Parameter sets announce B-frames: no viewer is let in who would have to be sent away at the first of them.
func TestReorderedFramesAreKnownAtOnce(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		l := newLog(codec)
		w := newVideoWriter(t, l, codec)
		frames := encode(t, codec, "-bf", "2", "-b_strategy", "0")
		writeAll(t, w, frames[:1])
		first := l.Params()
		if !first.Reordered {
			t.Errorf("%s: the first keyframe of a track with B-frames does not say so", codec)
		}
		writeAll(t, w, frames[1:])
		if l.Params() != first {
			t.Errorf("%s: the first B-frame begins another epoch", codec)
		}
	}
}

// A track whose parameter sets say nothing is found out by its timestamps, for good.
func TestReorderedFramesAreNoticed(t *testing.T) {
	l := newLog(media.H264)
	w := newVideoWriter(t, l, media.H264)
	frames := encode(t, media.H264, "-bf", "0")
	frames[4].Ticks, frames[5].Ticks = frames[5].Ticks, frames[4].Ticks
	writeAll(t, w, frames[:4])
	if l.Params().Reordered {
		t.Error("a track without B-frames is said to have them")
	}
	writeAll(t, w, frames[4:]) // with another keyframe
	if !l.Params().Reordered {
		t.Error("a track with B-frames does not say so")
	}
}

// Messages that share a packet with parameter sets, as captions may, stay with their keyframe.
func TestMessagesStayWithTheirKeyframe(t *testing.T) {
	frames := encode(t, media.H264, "-bf", "0")
	var sps, pps, slice []byte
	for _, u := range frames[0].Units {
		switch u[0] & 0x1f {
		case 7:
			sps = u
		case 8:
			pps = u
		case 5:
			slice = u[:100]
		}
	}
	message, long := []byte{6, 4, 1, 0xaa, 0x80}, append([]byte{6}, make([]byte, MaxPayload)...)
	for _, c := range []struct {
		name     string
		packet   []byte
		keyframe uint32
		want     [][]byte
	}{
		{"sets alone", aggregate(media.H264, [][]byte{sps, pps}), 1, [][]byte{sps, pps}},
		{"with a message", aggregate(media.H264, [][]byte{sps, pps, message}), 1, [][]byte{sps, pps, message}},
		{"of another frame", aggregate(media.H264, [][]byte{sps, pps, message}), 2, [][]byte{sps, pps}},
		{"too long", aggregate(media.H264, [][]byte{sps, pps, message, long}), 1, [][]byte{sps, pps, message}},
	} {
		i := NewInspector(media.Params{Codec: media.H264, ClockRate: media.VideoClockRate})
		if info, err := i.Inspect(c.packet, 1); err != nil || !info.Drop {
			t.Errorf("%s: %+v, %v; want it dropped", c.name, info, err)
		}
		info, err := i.Inspect(slice, c.keyframe)
		if want := [][]byte{aggregate(media.H264, c.want)}; err != nil || !info.Keyframe || !equal(info.Insert, want) {
			t.Errorf("%s: inserted %x, want %x (%v)", c.name, info.Insert, want, err)
		}
		if info, _ := i.Inspect(slice, c.keyframe+1); !equal(info.Insert, [][]byte{aggregate(media.H264, [][]byte{sps, pps})}) {
			t.Errorf("%s: the next keyframe gets %x", c.name, info.Insert)
		}
	}
}

func TestNewSizeBeginsAnEpoch(t *testing.T) {
	l := newLog(media.H264)
	w := newVideoWriter(t, l, media.H264)
	var told []int
	w.OnParams = func(p media.Params) { told = append(told, p.Height) }
	writeAll(t, w, encode(t, media.H264, "-bf", "0"))
	later := encode(t, media.H264, "-bf", "0", "-s", "160x120")
	for i := range later {
		later[i].Ticks += 2 * media.VideoClockRate
	}
	writeAll(t, w, later)
	if fmt.Sprint(told) != "[180 120]" {
		t.Errorf("announced heights %v, want 180 then 120", told)
	}
	marks := 0
	for _, f := range readAll(l) {
		if f.Discontinuity {
			marks++
			if !f.Keyframe {
				t.Error("an epoch begins without a keyframe")
			}
		}
	}
	if marks != 2 {
		t.Errorf("%d discontinuities, want one for each epoch", marks)
	}
}

// A lost packet costs its frame and is told with the next; nothing else is touched.
func TestLossCostsOneFrame(t *testing.T) {
	whole := newLog(media.H264)
	writeAll(t, newVideoWriter(t, whole, media.H264), encode(t, media.H264, "-bf", "0"))
	lossy := newLog(media.H264)
	w := lossy.Writer()
	if err := w.Begin(*whole.Params()); err != nil {
		t.Fatal(err)
	}
	missing := whole.Tail() + 1 // a fragment of the first keyframe
	for offset := whole.Tail(); offset < whole.Head(); offset++ {
		if p := *whole.Get(offset); offset != missing {
			if err := w.Write(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := readAll(lossy)
	if len(read) != 29 || !read[0].Lost || read[1].Lost {
		t.Fatalf("read %d frames, first lost %v, second lost %v; want 29, true, false", len(read), read[0].Lost, read[1].Lost)
	}
}

func TestAudio(t *testing.T) {
	for _, c := range []struct {
		params media.Params
		step   int64
	}{
		{media.Params{Codec: media.Opus, ClockRate: 48000, SampleRate: 48000, Channels: 2}, 960},
		{media.Params{Codec: media.AAC, ClockRate: 44100, SampleRate: 44100, Channels: 2, Sets: [][]byte{{0x12, 0x10}}}, 1024},
		{media.Params{Codec: media.PCMU, ClockRate: 8000, SampleRate: 8000, Channels: 1}, 160},
	} {
		l := newLog(c.params.Codec)
		w, err := NewWriter(l.Writer(), c.params)
		if err != nil {
			t.Fatal(err)
		}
		for i := range int64(10) {
			if err := w.Write(Frame{Ticks: i * c.step, Units: [][]byte{bytes.Repeat([]byte{byte(i + 1)}, 150)}}); err != nil {
				t.Fatal(err)
			}
		}
		read := readAll(l)
		if len(read) != 10 {
			t.Fatalf("%s: read %d frames, want 10", c.params.Codec, len(read))
		}
		for i, f := range read {
			if f.Ticks != int64(i)*c.step || !f.Keyframe || f.Units[0][0] != byte(i+1) || len(f.Units[0]) != 150 {
				t.Fatalf("%s: frame %d came back changed: %+v", c.params.Codec, i, f)
			}
		}
	}
}

// TestInspectorForwards plays a publisher's packets through an Inspector, as WHIP does, and reads the
// same pictures back.
func TestInspectorForwards(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		t.Run(string(codec), func(t *testing.T) {
			written := encode(t, codec, "-bf", "0")
			packetize, err := newPacketizer(codec)
			if err != nil {
				t.Fatal(err)
			}
			l := newLog(codec)
			w := l.Writer()
			inspector := NewInspector(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
			for i, f := range written {
				if i > 0 { // parameter sets come once
					f.Units = withSets(codec, nil, f.Units)
				}
				for _, group := range split(codec, f.Units) {
					packets, err := packetize(group)
					if err != nil {
						t.Fatal(err)
					}
					for _, p := range packets {
						forward(t, w, inspector, p.Payload, f.Ticks, p.Marker && kindOf(codec, group[0]) != unitSet)
					}
				}
			}
			read := readAll(l)
			if len(read) != len(written) {
				t.Fatalf("read %d frames of %d", len(read), len(written))
			}
			for i, f := range read {
				if !bytes.Equal(pictures(codec, f), pictures(codec, written[i])) {
					t.Fatalf("frame %d came back changed", i)
				}
				if f.Keyframe != (i%15 == 0) {
					t.Errorf("frame %d: keyframe is %v", i, f.Keyframe)
				}
			}
			join := NewReader(l.Cursor(log.LastKeyframe())).Next()
			if join == nil || kindOf(codec, join.Units[0]) != unitSet {
				t.Error("who joins at a keyframe does not get the parameter sets first")
			}
			if p := l.Params(); p.Width != 320 || p.Height != 180 {
				t.Errorf("learnt %dx%d, want 320x180", p.Width, p.Height)
			}
		})
	}
}

// split puts parameter sets into packets of their own, as many publishers do.
func split(codec media.Codec, units [][]byte) (groups [][][]byte) {
	var rest [][]byte
	for _, u := range units {
		switch kindOf(codec, u) {
		case unitSet:
			groups = append(groups, [][]byte{u})
		case unitDelimiter:
		default:
			rest = append(rest, u)
		}
	}
	return append(groups, rest)
}

func forward(t *testing.T, w *log.Writer, i *Inspector, payload []byte, ticks int64, end bool) {
	t.Helper()
	info, err := i.Inspect(payload, uint32(ticks))
	if err != nil {
		t.Fatal(err)
	}
	if info.Changed {
		if err := w.Begin(i.Params()); err != nil {
			t.Fatal(err)
		}
	}
	if info.Drop || w.Log().Params() == nil {
		return // nothing can be decoded before the first keyframe
	}
	var flags media.Flags
	if info.Keyframe {
		flags = media.Keyframe
	}
	for _, inserted := range info.Insert {
		if err := w.Write(media.Packet{Offset: w.Next(), Ticks: ticks, Flags: flags, Payload: inserted}); err != nil {
			t.Fatal(err)
		}
		flags = 0
	}
	if end {
		flags |= media.FrameEnd
	}
	if err := w.Write(media.Packet{Offset: w.Next(), Ticks: ticks, Flags: flags, Payload: payload}); err != nil {
		t.Fatal(err)
	}
}

// TestSameRules gives the same units to a Writer, as frames, and to an Inspector, as payloads: what is a keyframe, and
// which parameter sets stand in front of it, is the same.
func TestSameRules(t *testing.T) {
	sps, pps := []byte{0x67, 0x42, 0xc0, 0x0b, 0xda, 0x0a, 0x19, 0x10}, []byte{0x68, 0xce, 0x3c, 0x80}
	other := []byte{0x68, 0xce, 0x3c, 0x81}
	key, late, slice := []byte{0x65, 0x88, 1}, []byte{0x65, 0x48, 2}, []byte{0x41, 0x9a, 3} // late is not the first of its picture
	for _, c := range []struct {
		why    string
		frames [][][]byte
		want   []string // what the log has: units by their types, a keyframe with a star
	}{
		{"sets with the keyframe", [][][]byte{{sps, pps, key}, {slice}}, []string{"*7 8 5", "1"}},
		{"sets once", [][][]byte{{sps, pps, key}, {key}}, []string{"*7 8 5", "*7 8 5"}},
		{"sets in a frame of their own", [][][]byte{{sps, pps}, {key}}, []string{"*7 8 5"}},
		{"one set changes in a frame of its own", [][][]byte{{sps, pps, key}, {other}, {key}}, []string{"*7 8 5", "*7 8 5"}},
		{"one set with the keyframe", [][][]byte{{sps, pps, key}, {pps, key}}, []string{"*7 8 5", "*7 8 5"}},
		{"no keyframe without sets", [][][]byte{{sps, key}, {pps, key}}, []string{"*7 8 5"}},
		{"no keyframe without its first slice", [][][]byte{{sps, pps, late}, {key}}, []string{"*7 8 5"}},
		{"nothing before the first keyframe", [][][]byte{{slice}, {sps, pps, key}, {slice}}, []string{"*7 8 5", "1"}},
	} {
		params := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}
		l := newLog(media.H264)
		w := newVideoWriter(t, l, media.H264)
		for i, units := range c.frames {
			if err := w.Write(Frame{Ticks: start + int64(i)*6000, Units: units}); err != nil {
				t.Fatal(err)
			}
		}
		var written []string
		for _, f := range readAll(l) {
			written = append(written, starred(f.Keyframe, f.Units))
		}
		var inspected []string
		i, begun := NewInspector(params), false
		for n, units := range c.frames {
			payload, first := aggregate(media.H264, units), true
			if len(units) == 1 {
				payload = units[0]
			}
			info, err := i.Inspect(payload, uint32(n))
			if err != nil {
				t.Fatal(err)
			}
			if begun = begun || info.Keyframe; !begun || info.Drop {
				continue
			}
			var all [][]byte
			for n, p := range append(info.Insert, payload) {
				first = first && (n < len(info.Insert) || n == 0)
				if h264Units(p, func(u []byte) {
					if kindOf(media.H264, u) != unitSet || first { // those behind inserted ones are a repetition
						all = append(all, u)
					}
				}) != nil {
					t.Fatal("a payload is broken")
				}
			}
			inspected = append(inspected, starred(info.Keyframe, all))
		}
		if !slices.Equal(written, c.want) || !slices.Equal(inspected, c.want) {
			t.Errorf("%s: the writer makes %q and the inspector %q, want %q", c.why, written, inspected, c.want)
		}
	}
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// starred lists the types of NAL units.
func starred(key bool, units [][]byte) string {
	var list []string
	for _, u := range units {
		list = append(list, strconv.Itoa(int(u[0]&0x1f)))
	}
	if key {
		return "*" + strings.Join(list, " ")
	}
	return strings.Join(list, " ")
}

func TestVPXKeyframes(t *testing.T) {
	vp8Key := []byte{0x10, 0x02, 0x00, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00} // descriptor with S set, then 320x180
	i := NewInspector(media.Params{Codec: media.VP8, ClockRate: media.VideoClockRate})
	info, err := i.Inspect(vp8Key, 1)
	if err != nil || !info.Keyframe || !info.Changed || i.Params().Width != 320 || i.Params().Height != 180 {
		t.Errorf("VP8 keyframe: %+v, %v, %+v", info, err, i.Params())
	}
	if info, _ := i.Inspect(vp8Key, 1); info.Keyframe {
		t.Error("the same frame was reported as a keyframe twice")
	}
	if info, _ := i.Inspect([]byte{0x10, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 2); info.Keyframe {
		t.Error("an inter frame was reported as a keyframe")
	}
}

// FuzzInspector feeds two payloads of each codec: nothing may panic, and what is inserted is itself
// well-formed.
func FuzzInspector(f *testing.F) {
	f.Add([]byte{0x67, 0x42, 0xc0, 0x1f}, []byte{0x7c, 0x85, 0x00, 0x00})
	f.Add([]byte{0x78, 0, 1, 0x67, 0, 1, 0x68}, []byte{0x65})
	f.Add([]byte{0x60, 1, 0, 1, 0x40}, []byte{0x62, 1, 0x93, 0})
	f.Add([]byte{0x90, 0x80, 0x81, 0x22}, []byte{0x10, 0, 0, 0x9d, 1, 0x2a, 1, 0, 1, 0})
	f.Add([]byte{0x8a, 0x01, 0x18, 0, 1, 0, 1, 1, 0x04}, []byte{0x18, 0x0a, 0x0b})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, codec := range []media.Codec{media.H264, media.H265, media.VP8, media.VP9, media.AV1, media.Opus} {
			i := NewInspector(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
			for n, payload := range [][]byte{a, b, a} {
				info, err := i.Inspect(payload, uint32(n))
				if err != nil {
					continue
				}
				for _, inserted := range info.Insert {
					if _, err := i.Inspect(inserted, uint32(n)); err != nil {
						t.Fatalf("%s: inserted %x, which is malformed: %v", codec, inserted, err)
					}
				}
			}
		}
	})
}

// FuzzReader lets arbitrary payloads through every depacketiser, as a hostile publisher could.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0x7c, 0x85, 1}, []byte{0x7c, 0x45, 2}, uint8(3))
	f.Add([]byte{0, 16, 0x08, 0x00, 1}, []byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, a, b []byte, flags uint8) {
		for _, codec := range []media.Codec{media.H264, media.H265, media.VP8, media.VP9, media.AV1, media.AAC, media.Opus} {
			l := newLog(codec)
			w := l.Writer()
			_ = w.Begin(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
			for n, payload := range [][]byte{a, b} {
				_ = w.Write(media.Packet{Offset: w.Next() + int64(flags>>6), Ticks: start + int64(n)*int64(flags>>2&1),
					Flags: media.Flags(flags>>(2*n))&3 | media.Keyframe, Payload: payload})
			}
			readAll(l)
		}
	})
}
