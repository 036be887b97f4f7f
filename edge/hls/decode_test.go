package hls

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/fmp4"
	"pgregory.net/rapid"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// sample is a frame as a file has it, in ticks.
type sample struct{ decoded, shown, length int64 }

// samplesOf reads the file of a part.
func samplesOf(t failer, file []byte) (list []sample) {
	var parts fmp4.Parts
	if err := parts.Unmarshal(file); err != nil {
		t.Fatalf("a part cannot be read: %v", err)
	}
	for _, p := range parts {
		at := int64(p.Tracks[0].BaseTime)
		for _, s := range p.Tracks[0].Samples {
			list = append(list, sample{at, at + int64(s.PTSOffset), int64(s.Duration)})
			at += int64(s.Duration)
		}
	}
	return list
}

// uneven are frames of a camera whose keyframes stand near the grid, that come up to jitter of a frame early or late, and of
// which some are lost.
func uneven(p *media.Params, seconds, jitter float64, lost func(n int64) bool, chance *rand.Rand) (list []*frame.Frame) {
	step := 90000 / p.FPS
	perSegment := int64(math.Round(testGrid.segment.Seconds() * p.FPS))
	first := int64(math.Round(float64(media.TicksOf(second(0), 90000)) / step))
	for n := range int64(seconds * p.FPS) {
		key := n%perSegment == 0
		if lost(n) && !key {
			continue
		}
		ticks := int64(math.Round(float64(first+n)*step + (2*chance.Float64()-1)*jitter*step))
		list = append(list, &frame.Frame{Ticks: ticks, Params: p, Keyframe: key, Units: [][]byte{{0x41, byte(n)}}})
	}
	return list
}

// However unevenly pictures come and whichever are lost, the media of each part is within the target, decode time has no hole
// and no overlap in a segment, all pictures are shown at their time to the tick and none before it is decoded, and the
// lengths of segments add up to media time.
func TestDecodeTimeIsContinuous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000}
		p.FPS = rapid.SampledFrom([]float64{5, 10, 15, 20, 25, 30, 50, 60, 30000.0 / 1001}).Draw(t, "fps")
		var jitter float64
		if p.Aligned = p.FPS == math.Trunc(p.FPS) && rapid.Bool().Draw(t, "aligned"); !p.Aligned {
			jitter = rapid.Float64Range(0, 0.24).Draw(t, "jitter") // 0.48 between a frame and its segment's first
		}
		chance := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "chance"), 0))
		most := max(1, int(0.4*p.FPS)-1) // more would be a silence
		loss, burst := rapid.Float64Range(0, 0.2).Draw(t, "loss"), rapid.IntRange(1, most).Draw(t, "burst")
		left, row := 0, 0
		frames := uneven(p, 16, jitter, func(int64) bool {
			if left--; left < 0 && chance.Float64() < loss/float64(burst) {
				left = burst - 1
			}
			if row++; left < 0 || row > most {
				row = 0
			}
			return row > 0
		}, chance)
		w, parts := packaged(frames)
		target := w.targetOf(w.segments)
		var got []sample
		for i := range parts {
			c := &parts[i]
			file, err := fragment(c, 1)
			if err != nil {
				t.Fatal(err)
			}
			samples := samplesOf(t, file)
			if length := media.DurationOf(c.ticks(), 90000); length > target {
				t.Fatalf("the media of part %v lasts %v, over the target %v", places(parts[i:i+1]), length, target)
			}
			if n := len(got); i > 0 && parts[i-1].msn == c.msn && got[n-1].decoded+got[n-1].length != samples[0].decoded {
				t.Fatalf("part %v is decoded from %d on, and the one before ends at %d", places(parts[i:i+1]), samples[0].decoded,
					got[n-1].decoded+got[n-1].length)
			}
			for j, s := range samples {
				if s.shown != c.frames[j].Ticks || s.length < 1 {
					t.Fatalf("frame %d of part %v is shown at %d for %d, want %d", j, places(parts[i:i+1]), s.shown, s.length, c.frames[j].Ticks)
				}
				if s.shown < s.decoded {
					t.Fatalf("frame %d of part %v is shown %d ticks before it is decoded", j, places(parts[i:i+1]), s.decoded-s.shown)
				}
			}
			got = append(got, samples...)
		}
		if waits := len(frames) - len(got); waits > int(0.2*p.FPS) {
			t.Fatalf("%d of %d frames are in no part", waits, len(frames))
		}
		for i, s := range w.segments[1:] {
			before := w.segments[i]
			if off := s.date.Sub(before.date) - before.length; i >= lead && off.Abs() > time.Microsecond {
				t.Fatalf("segment %d begins %v off the end of the one before", s.msn, off)
			}
		}
	})
}

// FFmpeg and GStreamer read what comes unevenly as it is, without complaint.
func TestUnevenPicturesAreRead(t *testing.T) {
	c := record(t, "320x180")
	p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000, FPS: clipRate}
	frames := uneven(p, 6, 0.24, func(n int64) bool {
		return slices.Contains([]int64{12, 13, 14, 29, 38, 39, 64, 65, 66, 67, 68, 100, 101}, n)
	},
		rand.New(rand.NewPCG(1, 2)))
	origin := media.TicksOf(second(0), 90000)
	for _, f := range frames {
		n := int64(math.Round(float64(f.Ticks-origin) * clipRate / 90000))
		f.Units = c.pictures[n%gop]
	}
	params := *p
	for _, unit := range c.pictures[0] {
		switch unit[0] & 0x1f {
		case 7, 8:
			params.Sets = append(params.Sets, unit)
		}
	}
	var file bytes.Buffer
	for _, f := range frames {
		f.Params = &params
	}
	section, err := initSection(frames[0])
	if err != nil {
		t.Fatal(err)
	}
	file.Write(section)
	_, parts := packaged(frames)
	packed := 0
	for i := range parts {
		data, err := fragment(&parts[i], uint32(i))
		if err != nil {
			t.Fatal(err)
		}
		file.Write(data)
		packed += len(parts[i].frames)
	}
	name := filepath.Join(t.TempDir(), "uneven.mp4")
	if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "ffprobe", "-v", "warning", "-show_packets", "-show_entries", "packet=pts,dts", "-of", "csv=p=0", name)
	lines := strings.Fields(out)
	if len(lines) != packed {
		t.Fatalf("FFmpeg reads %d pictures, want %d: %s", len(lines), packed, out)
	}
	for i, line := range lines {
		if pts, _, _ := strings.Cut(line, ","); pts != fmt.Sprint(frames[i].Ticks) {
			t.Fatalf("FFmpeg shows picture %d at %s, want %d", i, pts, frames[i].Ticks)
		}
	}
	probe, err := exec.LookPath("gst-launch-1.0")
	if err != nil {
		t.Fatal(err)
	}
	out = run(t, probe, "-v", "filesrc", "location="+name, "!", "qtdemux", "!", "fakesink", "silent=false", "sync=false")
	if n := strings.Count(out, "chain  "); n != packed || strings.Contains(out, "WARN") || strings.Contains(out, "ERROR") {
		t.Errorf("GStreamer reads %d pictures, want %d: %.4000s", n, packed, out)
	}
}
