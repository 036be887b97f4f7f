package hls

import (
	"bytes"
	"strings"
	"testing"

	"banyan/relay/frame"
	"banyan/relay/frame/settest"
	"banyan/relay/media"
)

// twoPPS is a clip of which every other picture refers to a second PPS.
func twoPPS(t *testing.T, codec media.Codec) *clip {
	t.Helper()
	c := *recordAs(t, codec, "320x180")
	sets, rest := parted(&c)
	second := settest.RenumberAll(codec, sets, 0, settest.Second)
	pictures := [][][]byte{append(append(append([][]byte(nil), sets...), second[len(second)-1]), rest...)}
	for i, units := range c.pictures[1:] {
		if i%2 == 0 {
			units = settest.RenumberAll(codec, units, 0, settest.Second)
		}
		pictures = append(pictures, units)
	}
	c.pictures = pictures
	return &c
}

// twoSPS is a clip whose pictures refer to a second SPS; the first is of a smaller picture.
func twoSPS(t *testing.T, codec media.Codec) *clip {
	t.Helper()
	c := *recordAs(t, codec, "320x180")
	var pictures [][][]byte
	for _, units := range c.pictures {
		pictures = append(pictures, settest.RenumberAll(codec, units, 1, settest.Second))
	}
	c.pictures = pictures
	other, _ := parted(recordAs(t, codec, "64x48"))
	sets, rest := parted(&c)
	if codec == media.H265 {
		sets = sets[1:] // both refer to one VPS
	}
	c.pictures[0] = append(append(append([][]byte(nil), other...), sets...), rest...)
	return &c
}

// parted gives the parameter sets of a clip's keyframe, and its other units.
func parted(c *clip) (sets, rest [][]byte) {
	known := frame.SetsOf(&media.Params{Codec: c.codec, Sets: c.pictures[0]})
	sets = append(append(append(sets, known.VPS...), known.SPS...), known.PPS...)
	return sets, c.pictures[0][len(sets):]
}

// What is passed through has all of its parameter sets in the init section, as there are none in the segments.
func TestInitSectionHasAllSets(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		for what, c := range map[string]*clip{"two PPS": twoPPS(t, codec), "two SPS": twoSPS(t, codec)} {
			t.Run(string(codec)+", "+what, func(t *testing.T) {
				s := newStage(t, nil)
				newStudio(t, s.hub, "cup/cam1", c, videoOnly).play(second(0), second(9))
				file := s.file(video, 1, 2, 3)
				if n, _ := decode(t, file); n != 180 {
					t.Errorf("FFmpeg decodes %d pictures, want 180", n)
				}
				sets, _ := parted(c)
				for _, set := range sets {
					if n := strings.Count(file, string(set)); n != 1 {
						t.Errorf("set %x stands %d times in the file, want once", set, n)
					}
				}
				if index := s.want(200, "cup/cam1/index.m3u8").body; !strings.Contains(index, "RESOLUTION=320x180") ||
					!strings.Contains(index, codecString(&media.Params{Codec: codec, Sets: inUse(c)})) {
					t.Errorf("the playlist is not that of the sets in use: %s", index)
				}
			})
		}
	}
}

// inUse is the SPS of a clip that its pictures refer to: in these clips the last one.
func inUse(c *clip) [][]byte {
	all := frame.SetsOf(&media.Params{Codec: c.codec, Sets: c.pictures[0]}).SPS
	return all[len(all)-1:]
}

func TestReplaceBox(t *testing.T) {
	inner := []byte("\x00\x00\x00\x0bavcCabc")
	stsd := append([]byte("\x00\x00\x00\x1bstsd\x00\x00\x00\x00\x00\x00\x00\x01"), inner...)
	section := append([]byte("\x00\x00\x00\x08ftyp"), append(stsd, "\x00\x00\x00\x09lastx"...)...)
	longer := func([]byte) ([]byte, error) { return []byte("longer"), nil }
	got, err := replaceBox(section, []string{"stsd", "avcC"}, longer)
	want := "\x00\x00\x00\x08ftyp\x00\x00\x00\x1estsd\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0eavcClonger\x00\x00\x00\x09lastx"
	if err != nil || string(got) != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, bad := range [][]byte{nil, section[:8], []byte("\x00\x00\x00\x07stsd"), []byte("\x00\x00\x00\x99stsd"), []byte("\x00\x00\x00\x0astsd\x00\x00")} {
		if got, err := replaceBox(bytes.Clone(bad), []string{"stsd", "avcC"}, longer); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}
