package frame

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"banyan/relay/frame/settest"
	"banyan/relay/log"
	"banyan/relay/media"
)

// The units of a small H.264 stream: sets by their ids, the PPS with a reference to SPS 0 unless it is said.
var (
	sps0, sps1 = []byte{0x67, 0x42, 0xc0, 0x0b, 0xda, 0x0a, 0x19, 0x10}, []byte{0x67, 0x42, 0xc0, 0x0b, 0x56, 0x82, 0x86, 0x44}
	pps0, pps1 = []byte{0x68, 0xce, 0x3c, 0x80}, []byte{0x68, 0x5b, 0x8f, 0x20}
	pps2of1    = []byte{0x68, 0x6a, 0xe3, 0xc8}
	key0, key1 = []byte{0x65, 0x88, 0x84, 1}, []byte{0x65, 0x88, 0x44, 1} // 1, 0001000, then the PPS: 1 or 010
	key2       = []byte{0x65, 0x88, 0x62, 1}                              // 011
)

func newInspector(codec media.Codec) *Inspector {
	return NewInspector(media.Params{Codec: codec, ClockRate: media.VideoClockRate})
}

// group makes one payload of units.
func group(units ...[]byte) []byte { return aggregates(media.H264, units)[0] }

// All sets that are known stand in front of a keyframe, however many there are of a kind.
func TestKeyframesHaveAllSets(t *testing.T) {
	for _, c := range []struct {
		why      string
		payloads [][]byte // each with the same timestamp
		insert   [][]byte // in front of the last
		params   [][]byte // nil for a payload that begins no keyframe
	}{
		{"two PPS", [][]byte{group(sps0, pps0, pps1), key0}, [][]byte{sps0, pps0, pps1}, [][]byte{sps0, pps0, pps1}},
		{"two PPS, the second in use", [][]byte{group(sps0, pps0, pps1), key1}, [][]byte{sps0, pps0, pps1}, [][]byte{sps0, pps0, pps1}},
		{"two SPS", [][]byte{group(sps0, sps1, pps0, pps2of1), key0}, [][]byte{sps0, sps1, pps0, pps2of1}, [][]byte{sps0, sps1, pps0, pps2of1}},
		{"two SPS, the second in use", [][]byte{group(sps0, sps1, pps0, pps2of1), key2}, [][]byte{sps1, sps0, pps2of1, pps0}, [][]byte{sps1, sps0, pps2of1, pps0}},
		{"all with the keyframe", [][]byte{group(pps1, sps0, pps0, key0)}, nil, [][]byte{sps0, pps0, pps1}},
		{"two PPS with the keyframe, the SPS before", [][]byte{group(sps0, pps0), group(pps0, pps1, key0)}, [][]byte{sps0, pps0, pps1}, [][]byte{sps0, pps0, pps1}},
		{"one PPS of two with the keyframe", [][]byte{group(sps0, pps0, pps1), group(sps0, pps0, key0)}, [][]byte{sps0, pps0, pps1}, [][]byte{sps0, pps0, pps1}},
		{"sets behind the picture", [][]byte{group(sps0, pps0), group(key0, sps0, pps0)}, [][]byte{sps0, pps0}, [][]byte{sps0, pps0}},
		{"the PPS in use is missing", [][]byte{group(sps0, pps0), key1}, nil, nil},
		{"the SPS in use is missing", [][]byte{group(sps0, pps0, pps2of1), key2}, nil, nil},
		{"a PPS without its SPS", [][]byte{group(sps0, pps0, pps2of1), key0}, [][]byte{sps0, pps0}, [][]byte{sps0, pps0}},
		{"sets that say nothing", [][]byte{group([]byte{0x67}, []byte{0x68}, sps0, pps0), key0}, [][]byte{sps0, pps0}, [][]byte{sps0, pps0}},
	} {
		i := newInspector(media.H264)
		var info Info
		for _, p := range c.payloads {
			var err error
			if info, err = i.Inspect(p, 1); err != nil {
				t.Fatal(err)
			}
		}
		var want [][]byte
		if c.insert != nil {
			want = [][]byte{group(c.insert...)}
		}
		if !equal(info.Insert, want) || info.Keyframe != (c.params != nil) || !equal(i.Params().Sets, c.params) {
			t.Errorf("%s: keyframe %v with %x in front, sets %x; want %x, %x", c.why, info.Keyframe, info.Insert, i.Params().Sets, want, c.params)
		}
	}
}

// A set that comes again with another content replaces the one of its id, and an epoch begins; another id adds to it.
func TestSetsAreReplacedById(t *testing.T) {
	changed := []byte{0x68, 0xce, 0x3c, 0x81}
	i := newInspector(media.H264)
	for n, c := range []struct {
		sets    [][]byte
		changed bool
		want    [][]byte
	}{
		{[][]byte{sps0, pps0}, true, [][]byte{sps0, pps0}},
		{[][]byte{sps0, pps0}, false, [][]byte{sps0, pps0}},
		{[][]byte{sps0, pps1}, true, [][]byte{sps0, pps0, pps1}},
		{[][]byte{sps0, pps0}, false, [][]byte{sps0, pps0, pps1}},
		{[][]byte{changed}, true, [][]byte{sps0, changed, pps1}},
		{nil, false, [][]byte{sps0, changed, pps1}},
	} {
		info, err := i.Inspect(group(append(c.sets, key0)...), uint32(n))
		if err != nil || info.Changed != c.changed || !equal(i.Params().Sets, c.want) {
			t.Errorf("keyframe %d: changed %v, sets %x (%v); want %v, %x", n, info.Changed, i.Params().Sets, err, c.changed, c.want)
		}
	}
}

// A publisher that numbers its sets on and on cannot make keyframes grow: the oldest are forgotten, and counted.
func TestSetsAreBounded(t *testing.T) {
	i := newInspector(media.H264)
	feed := func(unit []byte) {
		if _, err := i.Inspect(unit, 1); err != nil {
			t.Fatal(err)
		}
	}
	feed(sps0)
	for id := range maxPPS264 + 1 {
		feed(settest.Renumber(media.H264, pps0, 0, id))
		feed(sps0)
	}
	last := settest.Renumber(media.H264, key0, 0, maxPPS264)
	info, err := i.Inspect(last, 1)
	n := maxSets(media.H264)
	if err != nil || !info.Keyframe || len(i.Params().Sets) != n || i.ForgottenSets() != maxPPS264+2-n {
		t.Errorf("keyframe %v with %d sets, %d forgotten (%v); want %d, %d", info.Keyframe, len(i.Params().Sets), i.ForgottenSets(), err, n, maxPPS264+2-n)
	}
	long := func(id, size int) []byte {
		return append(settest.Renumber(media.H264, pps0, 0, id), bytes.Repeat([]byte{0xff}, size)...)
	}
	for id := range 20 {
		feed(long(id, 600))
		feed(sps0)
	}
	feed(long(0, 2*maxSetBytes))
	info, err = i.Inspect(settest.Renumber(media.H264, key0, 0, 19), 2)
	total := 0
	for _, set := range i.Params().Sets {
		total += len(set)
	}
	if err != nil || !info.Keyframe || total > maxSetBytes || total < maxSetBytes-700 {
		t.Errorf("keyframe %v with %d bytes of sets (%v), want up to %d", info.Keyframe, total, err, maxSetBytes)
	}
	for _, p := range info.Insert {
		if len(p) > MaxPayload {
			t.Errorf("a payload of %d bytes is inserted", len(p))
		}
	}
}

func TestIdentify(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		for _, f := range encode(t, codec, "-bf", "0")[:1] {
			for _, u := range f.Units {
				switch kind := kindOf(codec, u); {
				case kind == unitSet && kindOfSet(codec, u) == videoSet:
				case kind == unitSet:
					want, above := setID{kindOfSet(codec, u), 0}, uint8(0)
					if name, up, ok := identify(codec, u); !ok || name != want || up != above {
						t.Errorf("%s: %x is %v of %d, %v", codec, u, name, up, ok)
					}
					want.id = 12
					if want.kind == pictureSet {
						want.id, above = 40, 12
					}
					if name, up, ok := identify(codec, settest.Renumber(codec, u, 12, 40)); !ok || name != want || up != above {
						t.Errorf("%s: renumbered, %x is %v of %d, %v; want %v of %d", codec, u, name, up, ok, want, above)
					}
				case kind == unitKeySlice:
					for _, want := range []int{0, 1, 15, 40} {
						slice := settest.Renumber(codec, u, 0, want)
						if id, ok := pictureSetOf(codec, slice[:sliceStart]); !ok || int(id) != want {
							t.Errorf("%s: a slice of PPS %d refers to %d, %v", codec, want, id, ok)
						}
					}
				}
			}
		}
	}
	for codec, broken := range map[media.Codec][][]byte{
		media.H264: {{0x67}, {0x67, 1, 2, 3}, {0x67, 1, 2, 3, 0, 0}, {0x67, 1, 2, 3, 0x04, 0x20} /* 32 */, {0x68}, {0x68, 0x00, 0x80, 0x80, 0x80} /* 256 */},
		media.H265: {{0x40}, {0x40, 1}, {0x42, 1, 1}, {0x44, 1}, {0x44, 1, 0x02, 0x08, 0x80} /* 64 */, {0x40, 9, 0x0c} /* layer 1 */},
	} {
		for _, u := range broken {
			if name, _, ok := identify(codec, u); ok {
				t.Errorf("%s: %x is taken for %v", codec, u, name)
			}
		}
	}
}

// several makes a stream with two PPS, and where it is said two SPS: frames of every other group of pictures, or every
// other frame, refer to the second. All sets come with the first keyframe and never again.
func several(t *testing.T, codec media.Codec, perGroup bool) (frames []Frame, want int) {
	t.Helper()
	frames = encode(t, codec, "-bf", "0")
	var sets, second [][]byte
	for _, u := range frames[0].Units {
		if kindOf(codec, u) == unitSet {
			sets = append(sets, u)
		}
	}
	id := 0
	if perGroup {
		id = 1
	}
	for _, u := range settest.RenumberAll(codec, sets, id, settest.Second) {
		if !slices.ContainsFunc(sets, func(had []byte) bool { return bytes.Equal(had, u) }) {
			second = append(second, u)
		}
	}
	for i := range frames {
		units := withSets(codec, nil, frames[i].Units)
		if perGroup && i/15%2 == 1 || !perGroup && i%2 == 1 {
			units = settest.RenumberAll(codec, units, id, settest.Second)
		}
		frames[i].Units = units
	}
	frames[0].Units = slices.Concat(sets, second, frames[0].Units)
	return frames, len(sets) + len(second)
}

// A stream with several sets of a kind can be joined at every keyframe, be it packetised or forwarded.
func TestStreamsWithSeveralSets(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		for _, perGroup := range []bool{false, true} {
			frames, want := several(t, codec, perGroup)
			if n := decoded(t, codec, frames); n != len(frames) {
				t.Fatalf("%s: FFmpeg decodes %d pictures of what the test makes, want %d", codec, n, len(frames))
			}
			for how, l := range map[string]*log.Log{"written": written(t, codec, frames), "forwarded": forwarded(t, codec, frames)} {
				read := readAll(l)
				if n := len(l.Params().Sets); n != want || len(read) != len(frames) {
					t.Errorf("%s %s: %d sets and %d frames, want %d and %d", codec, how, n, len(read), want, len(frames))
					continue
				}
				for _, from := range []int{0, 15} {
					if n := decoded(t, codec, read[from:]); n != len(frames)-from {
						t.Errorf("%s %s: FFmpeg decodes %d pictures from frame %d on, want %d", codec, how, n, from, len(frames)-from)
					}
				}
			}
		}
	}
}

// The SPS in use decides on the size, whatever its id; where it is another an epoch begins.
func TestSizeIsThatOfTheSetInUse(t *testing.T) {
	large, small := encode(t, media.H264, "-bf", "0")[:1], encode(t, media.H264, "-bf", "0", "-s", "160x120")[:1]
	small[0].Units = settest.RenumberAll(media.H264, small[0].Units, 1, 1)
	l := newLog(media.H264)
	w := newVideoWriter(t, l, media.H264)
	for i, f := range slices.Concat(large, small, large, large) {
		f.Ticks = start + int64(i)*6000
		writeAll(t, w, []Frame{f})
		if want := []int{180, 120, 180, 180}[i]; w.Params().Height != want {
			t.Errorf("keyframe %d has a height of %d, want %d", i, w.Params().Height, want)
		}
	}
	epochs := 0
	for _, f := range readAll(l) {
		if f.Discontinuity {
			epochs++
		}
	}
	if epochs != 3 {
		t.Errorf("%d epochs, want one for each change", epochs)
	}
}

// Sets that change with each group of pictures and keep their ids do not pile up.
func TestSetsThatChangeWithEachGroup(t *testing.T) {
	large, small := encode(t, media.H264, "-bf", "0"), encode(t, media.H264, "-bf", "0", "-s", "160x120")
	frames := slices.Concat(large[:15], small[:15], large[15:], small[15:])
	for i := range frames {
		frames[i].Ticks = start + int64(i)*6000
	}
	for how, l := range map[string]*log.Log{"written": written(t, media.H264, frames), "forwarded": forwarded(t, media.H264, frames)} {
		read, epochs := readAll(l), 0
		for _, f := range read {
			if f.Discontinuity {
				epochs++
			}
			if len(f.Params.Sets) != 2 {
				t.Errorf("%s: %d sets, want 2", how, len(f.Params.Sets))
			}
		}
		if n := decoded(t, media.H264, read); n != len(frames) || epochs != 4 {
			t.Errorf("%s: FFmpeg decodes %d pictures of %d epochs, want %d of 4", how, n, epochs, len(frames))
		}
	}
}

func written(t *testing.T, codec media.Codec, frames []Frame) *log.Log {
	t.Helper()
	l := newLog(codec)
	writeAll(t, newVideoWriter(t, l, codec), frames)
	return l
}

// forwarded sends parameter sets in packets of their own, as many publishers do.
func forwarded(t *testing.T, codec media.Codec, frames []Frame) *log.Log {
	t.Helper()
	packetize, err := newPacketizer(codec)
	if err != nil {
		t.Fatal(err)
	}
	l, i := newLog(codec), newInspector(codec)
	w := l.Writer()
	for _, f := range frames {
		groups := split(codec, f.Units)
		for n, units := range groups {
			packets, err := packetize(units)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range packets {
				forward(t, w, i, p.Payload, f.Ticks, p.Marker && n == len(groups)-1)
			}
		}
	}
	return l
}

// decoded is how many pictures FFmpeg makes of frames; a single complaint is an error.
func decoded(t *testing.T, codec media.Codec, frames []Frame) int {
	t.Helper()
	var stream []byte
	for _, f := range frames {
		text, err := h264.AnnexB(f.Units).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		stream = append(stream, text...)
	}
	format := map[media.Codec]string{media.H264: "h264", media.H265: "hevc"}[codec]
	c := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-xerror", "-f", format, "-i", "pipe:0", "-f", "framecrc", "-")
	c.Stdin = bytes.NewReader(stream)
	var complaints strings.Builder
	c.Stderr = &complaints
	out, err := c.Output()
	if err != nil || complaints.Len() > 0 {
		t.Errorf("ffmpeg: %v: %s", err, &complaints)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return n
}

// FuzzIdentify reads ids from anything: those that are found are within their bounds.
func FuzzIdentify(f *testing.F) {
	for _, u := range [][]byte{sps0, pps0, key0, {0x40, 1, 0x0c, 1}, {0x42, 1, 1, 0xff}, {0x44, 1, 0xc1}, {0x26, 1, 0xaf}} {
		f.Add(u)
	}
	f.Fuzz(func(t *testing.T, unit []byte) {
		for _, codec := range []media.Codec{media.H264, media.H265, media.AV1} {
			if kindOf(codec, unit) == unitSet {
				name, above, ok := identify(codec, unit)
				if most := map[setKind]uint8{videoSet: 15, sequenceSet: 31, pictureSet: 255}[name.kind]; ok && (name.id > most || above > 31) {
					t.Errorf("%s: %v refers to %d", codec, name, above)
				}
			}
			pictureSetOf(codec, unit)
		}
	})
}
