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

// turn is how a source is from some time on.
type turn struct {
	rate   float64 // of its pictures, in those that it had
	jitter float64 // of a frame that it had, by which they come early or late at most
	loss   float64 // of pictures that are lost
	burst  int     // of them that are lost in a row
}

// drawTurn draws any character that a source may take, for one of some frames per second.
func drawTurn(t *rapid.T, fps float64) turn {
	most := max(1, int(0.4*fps)-1) // more would be a silence
	return turn{
		rate:   rapid.SampledFrom([]float64{0.5, 1, 1, 2}).Draw(t, "rate"),
		jitter: rapid.SampledFrom([]float64{0, 0.24, 0.5, 1}).Draw(t, "jitter"),
		loss:   rapid.Float64Range(0, 0.2).Draw(t, "loss"), burst: rapid.IntRange(1, most).Draw(t, "burst"),
	}
}

// changing are frames of a source with these characters one after the other, each for three segments. Time goes on from one
// to the next, as it does where pictures are taken.
func changing(p *media.Params, turns []turn, chance *rand.Rand) (list []*frame.Frame) {
	step := 90000 / p.FPS
	const segments = 3
	newest := int64(0)
	for i, c := range turns {
		begin := media.TicksOf(second(0).Add(time.Duration(i*segments)*testGrid.segment), 90000)
		perSegment := int64(math.Round(testGrid.segment.Seconds() * p.FPS * c.rate))
		left, row := 0, 0
		for n := range segments * perSegment {
			key := n%perSegment == 0
			if left--; left < 0 && chance.Float64() < c.loss/float64(c.burst) {
				left = int(float64(c.burst)*c.rate) - 1
			}
			if row++; left < 0 || key || float64(row) > 0.4*p.FPS*c.rate-1 {
				row = 0
			}
			if row > 0 {
				continue
			}
			even := begin + n/perSegment*media.TicksOf(media.Time(testGrid.segment), 90000) + int64(math.Round(float64(n%perSegment)*step/c.rate))
			newest = max(newest+1, even+int64(math.Round((2*chance.Float64()-1)*c.jitter*step)))
			list = append(list, &frame.Frame{Ticks: newest, Params: p, Keyframe: key, Units: [][]byte{{0x41, byte(n)}}})
		}
	}
	return list
}

// However unevenly pictures come, whichever are lost, and whatever the source turns into, the media of each part is within
// the target, decode time never goes back and has no hole but for parts that are left out, before the next segment, and all
// pictures are shown at their time to the tick. While the source is as it promised none is shown before it is decoded, and
// the lengths of segments add up to media time.
func TestDecodeTimeIsContinuous(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &media.Params{Epoch: 1, Codec: media.H264, ClockRate: 90000}
		p.FPS = rapid.SampledFrom([]float64{5, 10, 15, 20, 25, 30, 50, 60, 30000.0 / 1001}).Draw(t, "fps")
		p.Aligned = p.FPS == math.Trunc(p.FPS) && rapid.Bool().Draw(t, "aligned")
		even := turn{rate: 1, burst: 1}
		if !p.Aligned {
			even.jitter = 0.24 // 0.48 between a frame and its segment's first
		}
		turns := []turn{even, drawTurn(t, p.FPS), drawTurn(t, p.FPS), even}
		kept := rapid.Bool().Draw(t, "promise kept")
		for i := range turns {
			if kept {
				turns[i].rate, turns[i].jitter = 1, min(turns[i].jitter, even.jitter)
			}
			if p.Aligned { // it may have fewer pictures or more, but no others
				turns[i].jitter = 0
			}
		}
		frames := changing(p, turns, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "chance"), 0)))
		w, parts := packaged(frames)
		got := decoded(t, parts, w.targetOf(w.segments), kept)
		broken := false // by a silence, after which the rest of a segment is left out
		for i, f := range frames[1:] {
			broken = broken || f.Time().Sub(frames[i].Time()) >= silence
		}
		if lost := len(frames) - got; !broken && float64(lost) > 0.05*float64(len(frames))+p.FPS/5 {
			t.Fatalf("%d of %d frames are in no part", lost, len(frames))
		}
		for i, s := range w.segments[1:] {
			before := w.segments[i]
			if off := s.date.Sub(before.date) - before.length; kept && i >= lead && off.Abs() > time.Microsecond {
				t.Fatalf("segment %d begins %v off the end of the one before", s.msn, off)
			}
		}
	})
}

// decoded checks the parts of a rendition of pictures as files, one after the other, and counts the pictures. Where the
// source keeps its promise none may be shown before it is decoded.
func decoded(t *rapid.T, parts []cut, target time.Duration, kept bool) (count int) {
	end, shown, inSegment := int64(0), int64(0), 0 // of decode time, the newest picture, and parts so far of the segment
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
		mayLack := int64(0)
		if begins := i > 0 && parts[i-1].msn != c.msn; begins {
			mayLack = int64(c.plan.parts-inSegment) * c.plan.ticks
			if inSegment = 0; media.DurationOf(samples[0].shown-shown, 90000) >= silence {
				mayLack = math.MaxInt64
			}
		}
		if hole := samples[0].decoded - end; i > 0 && (hole < 0 || hole > mayLack) {
			t.Fatalf("part %v is decoded from %d on, %d after the end of the one before; want 0 to %d", places(parts[i:i+1]),
				samples[0].decoded, hole, mayLack)
		}
		for j, s := range samples {
			if s.shown != c.frames[j].Ticks || s.length < 1 {
				t.Fatalf("frame %d of part %v is shown at %d for %d, want %d", j, places(parts[i:i+1]), s.shown, s.length, c.frames[j].Ticks)
			}
			if kept && s.shown < s.decoded {
				t.Fatalf("frame %d of part %v is shown %d ticks before it is decoded", j, places(parts[i:i+1]), s.decoded-s.shown)
			}
			end, shown = s.decoded+s.length, s.shown
		}
		count += len(samples)
		if inSegment++; c.index+1 > inSegment { // the first of all may begin within
			inSegment = c.index + 1
		}
	}
	return count
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
