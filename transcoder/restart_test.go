package transcoder

import (
	"slices"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// TestRestartedNodesMakeTheSameSegments has two nodes that know nothing of each other make formats of one source, the
// second as if it had been started again in the midst of a segment: what both make of the same time stands at the same
// ticks, with keyframes on the same ones, so that segment k is the same k before and after.
func TestRestartedNodesMakeTheSameSegments(t *testing.T) {
	t.Parallel()
	const segment = 2 * time.Second
	epoch := media.TimeOf(time.Now()).Floor(segment)
	picture := video(t, media.H264, "320x180", "30000/1001", "12", "-g", "23", "-bf", "0").from(epoch.Add(333 * time.Millisecond))
	sound := tone(t, media.Opus, "12").from(epoch.Add(345 * time.Millisecond))
	type output struct{ picture, sound []*frame.Frame }
	produce := func(from media.Time) output {
		fx := newFixture(t, Config{Segment: segment, Ladders: []Rule{{Match: "**", Formats: []string{"source", "144p", "aac"}}}})
		fx.waits = true
		fx.play(4, picture.since(from), sound.since(from))
		fx.offered("144p")
		fx.offered("aac")
		p, s := fx.watch("144p", media.Video), fx.watch("aac", media.Audio)
		end := epoch.Add(11 * time.Second)
		return output{p.until(end), s.until(end)}
	}
	before, after := produce(epoch), produce(epoch.Add(4700*time.Millisecond))
	wantGrid(t, after.picture, segment)
	common := epoch.Add(6 * time.Second) // the first segment that both make whole
	for name, pair := range map[string][2][]*frame.Frame{"picture": {before.picture, after.picture}, "sound": {before.sound, after.sound}} {
		a, b := within(pair[0], common, epoch.Add(10*time.Second)), within(pair[1], common, epoch.Add(10*time.Second))
		if len(a) < 100 || !slices.Equal(a, b) {
			t.Errorf("%s: %d frames before and %d after the restart are not at the same times:\n%v\n%v", name, len(a), len(b), a, b)
		}
	}
	if keys := slices.DeleteFunc(within(after.picture, common, epoch.Add(10*time.Second)), func(f instant) bool { return !f.key }); len(keys) != 2 {
		t.Errorf("keyframes at %v, want one for each of two segments", keys)
	}
}

// instant is where a frame stands, in ticks of its track's clock.
type instant struct {
	ticks int64
	key   bool
}

func within(frames []*frame.Frame, from, to media.Time) (list []instant) {
	for _, f := range frames {
		if f.Time() >= from && f.Time() < to {
			list = append(list, instant{f.Ticks, f.Keyframe})
		}
	}
	return list
}

// since is the part of c that is not before from.
func (c clip) since(from media.Time) clip {
	ticks := media.TicksOf(from, c.params.ClockRate)
	return clip{params: c.params, frames: slices.DeleteFunc(slices.Clone(c.frames), func(f frame.Frame) bool { return f.Ticks < ticks })}
}
