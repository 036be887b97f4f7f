package transcoder

import (
	"slices"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

func TestFiller(t *testing.T) {
	const ms, packet = time.Millisecond, 20 * audioRate / 1000
	at := func(d time.Duration) media.Time { return media.Time(1_700_000_000 * time.Second).Add(d) }
	s := filler{clock: audioRate}
	ticks := func(d time.Duration) int64 { return media.TicksOf(at(d), audioRate) }
	sound := func(d, shown time.Duration) bool { return s.sound(ticks(d), ticks(d)+packet, at(shown)) }
	fill := func(shown time.Duration) (n int) {
		for s.silence(packet, at(shown)) {
			n++
		}
		return n
	}
	want := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("sound while the picture is half a second ahead", sound(0, 500*ms), true)
	want("silence while the picture has moved less than it may", fill(800*ms), 0)
	want("silence after that", fill(920*ms), 6)
	want("once more", fill(920*ms), 0)
	want("silence for a picture that goes back", fill(100*ms), 0)
	want("sound where silence is", sound(100*ms, 920*ms), false)
	want("silence while such sound comes", fill(1200*ms), 0)
	want("sound after the silence", sound(140*ms, 1200*ms), true)
	want("silence after a leap of the picture", fill(time.Hour), 0)
	want("and after it has moved on from there", fill(time.Hour+340*ms), 2)
}

// Sound stops while the picture goes on, and comes back: what is made of it never stops, never repeats,
// stays on its grid, and has the new sound where it belongs.
func TestSoundStops(t *testing.T) {
	for _, c := range []struct {
		name   string
		source clip
		format media.Format
		length int64
	}{
		{"AAC to Opus", tone(t, media.AAC, "8"), "opus", media.OpusFrame},
		{"AAC of six channels", tone(t, media.AAC, "8", "-ac", "6"), "opus", media.OpusFrame},
		{"Opus to AAC", tone(t, media.Opus, "8"), "aac", media.AACFrame},
		{"µ-law to Opus", pcmu(t, "8"), "opus", media.OpusFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.name == "AAC of six channels" {
				c.source.params.Channels, c.source.params.Sets = 6, [][]byte{{0x11, 0xb0}}
			}
			fx := newFixture(t, Config{})
			sound := c.source.from(fx.epoch)
			sound.frames = slices.DeleteFunc(sound.frames, func(f frame.Frame) bool {
				at := media.TimeAt(f.Ticks, sound.params.ClockRate).Sub(fx.epoch)
				return at > 2*time.Second && at < 5*time.Second
			})
			fx.play(2, small(t, "4").repeat(2).from(fx.epoch), sound)
			fx.offered(c.format)
			v := fx.watch(c.format, media.Audio)
			got := v.until(fx.epoch.Add(7 * time.Second))
			wantSteady(t, got, media.Codec(c.format), c.length)
			after := clip{params: *got[0].Params}
			for _, f := range got {
				if f.Time() > fx.epoch.Add(3*time.Second) {
					f.Ticks -= media.TicksOf(fx.epoch, audioRate)
					after.frames = append(after.frames, *f)
				}
			}
			if at := onset(t, after); at < 4950*time.Millisecond || at > 5050*time.Millisecond {
				t.Errorf("the sound comes back at %v, want 5s", at)
			}
		})
	}
}

// A format whose source has stopped long ago starts with silence, level with the picture.
func TestStartsInSilence(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{})
	sound := tone(t, media.Opus, "1").from(fx.epoch)
	for i := range sound.frames {
		sound.frames[i].Arrived = media.TimeOf(time.Now().Add(-time.Minute))
	}
	fx.send(sound)
	picture := small(t, "4").repeat(3).from(fx.epoch.Add(time.Minute))
	fx.send(clip{params: picture.params, frames: picture.frames[:60]})
	fx.play(2, clip{params: picture.params, frames: picture.frames[60:]})
	fx.offered("aac")
	got := fx.watch("aac", media.Audio).until(fx.epoch.Add(time.Minute + 6*time.Second))
	wantSteady(t, got, media.AAC, media.AACFrame)
	if at := got[0].Time().Sub(fx.epoch) - time.Minute; at < 0 || at > 4*time.Second {
		t.Errorf("the first frame is %v from where the picture was first seen, want it within its 4 seconds", at)
	}
}
