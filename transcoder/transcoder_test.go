package transcoder

import (
	"bytes"
	"context"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// viewer reads a format.
type viewer struct {
	t      testing.TB
	sub    *relay.Subscription
	frames *frame.Reader
}

func logStart(l *log.Log) log.Start { return log.Offset(l.Tail()) }

// until reads up to the first frame at or after a time and returns what came.
func (v *viewer) until(at media.Time) []*frame.Frame {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var got []*frame.Frame
	for {
		f, err := v.frames.Read(ctx)
		if err != nil {
			v.t.Fatalf("%s: %d frames, then %v", v.sub.Log().ID(), len(got), err)
		}
		got = append(got, f)
		if f.Time() >= at {
			return got
		}
	}
}

// wantGrid checks that frames fall on multiples of the frame length without a gap, and keyframes
// exactly on the segments' starts, but for the first.
func wantGrid(t *testing.T, frames []*frame.Frame, segment time.Duration) {
	t.Helper()
	for i, f := range frames {
		step := int64(media.VideoClockRate / f.Params.FPS)
		if f.Ticks%step != 0 {
			t.Fatalf("frame %d is at tick %d, %d off the grid of %v fps", i, f.Ticks, f.Ticks%step, f.Params.FPS)
		}
		if i > 0 && f.Ticks != frames[i-1].Ticks+step {
			t.Fatalf("frame %d is %d ticks after the one before, want %d", i, f.Ticks-frames[i-1].Ticks, step)
		}
		if want := i == 0 || f.Time().Floor(segment) == f.Time(); f.Keyframe != want {
			t.Fatalf("frame %d at %v into its segment: keyframe is %v, want %v", i, f.Time().Sub(f.Time().Floor(segment)), f.Keyframe, want)
		}
	}
}

func TestFormatsAreAligned(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: []string{"source", "144p", "90p"}}}})
	c := video(t, media.H264, "320x180", "30000/1001", "7", "-g", "40", "-bf", "0").from(fx.epoch.Add(333 * time.Millisecond))
	fx.play(8, c)
	fx.offered("90p")
	high, low := fx.watch("144p", media.Video), fx.watch("90p", media.Video)
	end := fx.epoch.Add(6 * time.Second)
	a, b := high.until(end), low.until(end)
	wantGrid(t, a, 2*time.Second)
	wantGrid(t, b, 2*time.Second)
	t.Logf("%d and %d frames from %v", len(a), len(b), a[0].Time().Sub(fx.epoch))
	for i := range min(len(a), len(b)) {
		if a[i].Ticks != b[i].Ticks || a[i].Keyframe != b[i].Keyframe {
			t.Fatalf("frame %d of the two formats is at %d and %d", i, a[i].Ticks, b[i].Ticks)
		}
	}
	if p := a[0].Params; p.Width != 256 || p.Height != 144 || p.FPS != 30 || !p.Aligned || p.Reordered {
		t.Errorf("144p of 320x180 came out as %+v", p)
	}
	level := byte(media.H264Level(256, 144, 30)) // as playlists have it before there is a picture
	if sps := frame.SetsOf(a[0].Params).SPS[0]; !bytes.Equal(sps[1:4], []byte{0x42, 0xc0, level}) {
		t.Errorf("the profile and level of 144p are %x; want Constrained Baseline, level_idc %d", sps[1:4], level)
	}
}
