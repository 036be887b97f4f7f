package transcoder

import (
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// wantSteady checks that audio frames follow each other without gap or overlap, on the grid of their length.
func wantSteady(t *testing.T, frames []*frame.Frame, codec media.Codec, length int64) {
	t.Helper()
	for i, f := range frames {
		if f.Params.Codec != codec || f.Params.ClockRate != audioRate || f.Params.SampleRate != audioRate {
			t.Fatalf("frame %d is of %+v, want %s at 48 kHz", i, f.Params, codec)
		}
		if f.Ticks%length != 0 {
			t.Fatalf("frame %d is at tick %d, off the grid of %d samples", i, f.Ticks, length)
		}
		if i > 0 && f.Ticks != frames[i-1].Ticks+length {
			t.Fatalf("frame %d is %d samples after the one before, want %d", i, f.Ticks-frames[i-1].Ticks, length)
		}
	}
}

func TestAudio(t *testing.T) {
	for _, c := range []struct {
		name   string
		source clip
		format media.Format
		codec  media.Codec
		length int64
	}{
		{"AAC to Opus", tone(t, media.AAC, "5"), "opus", media.Opus, media.OpusFrame},
		{"Opus to AAC", tone(t, media.Opus, "5"), "aac", media.AAC, media.AACFrame},
		{"µ-law to Opus", pcmu(t, "5"), "opus", media.Opus, media.OpusFrame},
		{"µ-law to AAC", pcmu(t, "5"), "aac", media.AAC, media.AACFrame},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{})
			fx.play(8, c.source.from(fx.epoch.Add(777*time.Millisecond)))
			fx.offered(c.format)
			got := fx.watch(c.format, media.Audio).until(fx.epoch.Add(5 * time.Second))
			wantSteady(t, got, c.codec, c.length)
			if late := got[0].Time().Sub(fx.epoch.Add(777 * time.Millisecond)); late < -time.Millisecond*25 || late > 25*time.Millisecond {
				t.Errorf("the first frame is %v after the source's, want it within a frame", late)
			}
			if n := got[0].Params.Channels; n != c.source.params.Channels {
				t.Errorf("%d channels, want %d as the source has", n, c.source.params.Channels)
			}
		})
	}
}

// A click at a known time must come out at that time: within 20 ms of where it went in.
func TestAudioKeepsItsTime(t *testing.T) {
	for _, c := range []struct {
		name   string
		source media.Codec
		format media.Format
	}{{"AAC to Opus", media.AAC, "opus"}, {"Opus to AAC", media.Opus, "aac"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// Sound from 3 s on.
			source := tone(t, c.source, "6", "-af", "volume=0:enable='lt(t,3)'")
			in := onset(t, source)
			fx := newFixture(t, Config{})
			fx.play(8, source.from(fx.epoch))
			fx.offered(c.format)
			frames := fx.watch(c.format, media.Audio).until(fx.epoch.Add(5500 * time.Millisecond))
			made := clip{params: *frames[0].Params}
			for _, f := range frames {
				f.Ticks -= media.TicksOf(fx.epoch, audioRate)
				made.frames = append(made.frames, *f)
			}
			out := onset(t, made)
			t.Logf("sound begins at %v in the source, %v in what was made", in, out)
			if d := out - in; d < -20*time.Millisecond || d > 20*time.Millisecond {
				t.Errorf("sound moved by %v", d)
			}
		})
	}
}

func TestAudioGapIsSilence(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{})
	c := tone(t, media.AAC, "6").from(fx.epoch)
	holed := clip{params: c.params}
	for _, f := range c.frames {
		if at := media.TimeAt(f.Ticks, audioRate).Sub(fx.epoch); at < 2*time.Second || at > 3*time.Second {
			holed.frames = append(holed.frames, f)
		}
	}
	fx.play(8, holed)
	fx.offered("opus")
	wantSteady(t, fx.watch("opus", media.Audio).until(fx.epoch.Add(5500*time.Millisecond)), media.Opus, media.OpusFrame)
}
