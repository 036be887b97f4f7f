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

// A format that another worker made up to some time goes on right there, in the middle of a segment, if the source still has
// it; what is too long ago, or has not been yet, is no place to go on from.
func TestGoesOnWhereAnotherWorkerEnded(t *testing.T) {
	const segment = 2 * time.Second
	epoch := media.TimeOf(time.Unix(1_700_000_000, 0))
	picture, sound := small(t, "4").repeat(2).from(epoch), tone(t, media.AAC, "8").from(epoch)
	ended := epoch.Add(2700 * time.Millisecond)
	for _, c := range []struct {
		name   string
		after  media.Time
		begins media.Time // the first picture at the latest
	}{
		{"in the window", ended, ended.Add(time.Second / 15)},
		{"long ago", epoch.Add(-time.Hour), epoch.Add(4 * time.Second)},
		{"to come", epoch.Add(time.Hour), epoch.Add(4 * time.Second)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Segment: segment, Ladders: onlySmall})
			fx.waits = true
			fx.play(4, picture, sound)
			fx.offered("48p")
			fx.offered("opus")
			fx.release()
			for source := fx.source(media.Video); source.NewestTime() < epoch.Add(3500*time.Millisecond); {
				time.Sleep(time.Millisecond)
			}
			video, audio := fx.watchAfter("48p", media.Video, c.after), fx.watchAfter("opus", media.Audio, c.after)
			pictures, sounds := video.until(epoch.Add(7*time.Second)), audio.until(epoch.Add(7*time.Second))
			if first := pictures[0].Time(); first > c.begins || c.after == ended && first <= ended {
				t.Errorf("pictures begin %v behind the source's beginning, want %v", first.Sub(epoch), c.begins.Sub(epoch))
			}
			wantWhole(t, pictures, segment)
			if first := sounds[0].Time(); c.after == ended && (first <= ended || first.Sub(ended) > 20*time.Millisecond) {
				t.Errorf("sound begins %v behind where it ended", first.Sub(ended))
			}
		})
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
