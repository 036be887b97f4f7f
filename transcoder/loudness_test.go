package transcoder

import (
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// packets of Opus, as many seconds of each as its size says.
type spell struct {
	seconds, bytes int
}

func opusOf(spells ...spell) clip {
	c := clip{params: media.Params{Codec: media.Opus, ClockRate: audioRate, SampleRate: audioRate, Channels: 2}}
	ticks := int64(0)
	for _, s := range spells {
		for range s.seconds * audioRate / media.OpusFrame {
			unit := make([]byte, s.bytes)
			unit[0] = 0xfc // 20 ms, stereo (RFC 6716, section 3.1)
			c.frames = append(c.frames, frame.Frame{Ticks: ticks, Units: [][]byte{unit}})
			ticks += media.OpusFrame
		}
	}
	return c
}

// TestSilenceIsNoPoverty: a source is as rich as its sound, however much of the window is silence.
func TestSilenceIsNoPoverty(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		source clip
		want   string // of AAC
	}{
		{"music", opusOf(spell{10, 300}), "aac=2ch/120"},
		{"a poor voice", opusOf(spell{10, 50}), "aac=1ch/20"},
		{"a poor voice now and then", opusOf(spell{8, 3}, spell{2, 50}), "aac=1ch/20"},
		{"a good voice now and then", opusOf(spell{4, 3}, spell{1, 150}, spell{5, 3}), "aac=2ch/60"},
		{"a microphone that is muted", opusOf(spell{10, 3}), "aac=2ch/128"},
	} {
		fx := newFixture(t, Config{})
		fx.send(c.source.from(fx.epoch))
		l := fx.source(media.Audio)
		target, err := ParseTarget("aac")
		if err != nil {
			t.Fatal(err)
		}
		if got := show(Ladder([]Target{target}, sourceOf(*l.Params(), l))); got != c.want {
			t.Errorf("%s: %s, want %s (measured %.0f)", c.name, got, c.want, l.Stats().Bitrate)
		}
	}
}

// TestPoorSoundGrowsAndDoesNotShrink: a process for music takes the place of one for a poor voice; one that comes while
// a good source is poor for a moment makes what those before it made.
func TestPoorSoundGrowsAndDoesNotShrink(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{})
	fx.send(opusOf(spell{10, 50}).from(fx.epoch))
	target, err := ParseTarget("aac")
	if err != nil {
		t.Fatal(err)
	}
	j := &job{t: fx.transcoder, target: target, source: fx.source(media.Audio), last: noTicks}
	first := &frame.Frame{Ticks: media.TicksOf(fx.epoch, audioRate), Params: j.source.Params(), Keyframe: true}
	plan := func() media.Params { return j.plan(first).Out }
	poor := plan()
	if poor.Channels != 1 || poor.Bitrate != 20000 {
		t.Fatalf("of a poor voice comes %+v", poor)
	}
	r := &run{job: j, plan: j.plan(first), started: time.Now().Add(-time.Minute)}
	if r.outgrown() {
		t.Error("it has outgrown itself")
	}
	fx.send(opusOf(spell{10, 300}).from(fx.epoch.Add(10 * time.Second)))
	if !r.outgrown() {
		t.Error("music has not outgrown a poor voice")
	}
	rich := plan()
	if rich.Channels != 2 || rich.Bitrate < 100000 {
		t.Fatalf("of music comes %+v", rich)
	}
	// What is good enough stays, though there could be more.
	r.plan.Out.Channels, r.plan.Out.Bitrate = 2, 2*plainSound
	if r.outgrown() {
		t.Error("a process that is good enough is to end")
	}

	j.writer, j.params, j.of = &frame.Writer{}, rich, *first.Params
	fx.send(opusOf(spell{30, 50}).from(fx.epoch.Add(20 * time.Second)))
	if got := plan(); got.Channels != rich.Channels || got.Bitrate != rich.Bitrate {
		t.Errorf("after music comes %+v, want it as before", got)
	}
	other := *first.Params
	other.Channels, first.Params = 1, &other
	if got := plan(); got.Channels != 1 || got.Bitrate != 20000 {
		t.Errorf("of another source comes %+v", got)
	}
}

// TestEncodersTakeTheLeast: the smallest of what a rung may ask for starts every encoder.
func TestEncodersTakeTheLeast(t *testing.T) {
	t.Parallel()
	c := Config{}.withDefaults()
	for _, codec := range []media.Codec{media.H264, media.H265, media.VP8, media.VP9, media.AV1} {
		p := plan{Encoder: softwareEncoder(codec, c.Preset), Segment: c.Segment}
		if codec == media.H264 {
			p.Encoder = x264(c.Preset)
		}
		p.Out = media.Params{Codec: codec, Width: probeWidth, Height: probeHeight, FPS: 1, Bitrate: leastRate}
		p.In = p.Out
		out, err := runOnce(c.FFmpeg, probeArgs(p), limitsFor(c, p.Encoder), make([]byte, probeFrames*30*probeWidth*probeHeight*3/2), patience, probeOutput)
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %d bytes, %v", codec, len(out), err)
		}
	}
	for codec, least := range leastSound {
		for i, bits := range least {
			p := plan{Encoder: softwareEncoder(codec, c.Preset), Segment: c.Segment}
			p.In = media.Params{Codec: media.PCMU, ClockRate: 8000, Channels: 1}
			p.Out = media.Params{Codec: codec, Channels: i + 1, Bitrate: bits}
			out, err := runOnce(c.FFmpeg, probeArgs(p), limitsFor(c, p.Encoder), make([]byte, 16000), patience, probeOutput)
			if err != nil || len(out) == 0 {
				t.Errorf("%s of %d channels: %d bytes, %v", codec, i+1, len(out), err)
			}
		}
	}
}

// TestSlowSourcesStaySlow makes one frame a second of a source that has no more.
func TestSlowSourcesStaySlow(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: []string{"source", "90p"}}}})
	c := video(t, media.H264, "320x180", "1", "30", "-g", "5", "-bf", "0").from(fx.epoch)
	fx.send(clip{params: c.params, frames: c.frames[:6]})
	fx.offered("90p")
	v := fx.watch("90p", media.Video)
	fx.play(4, clip{params: c.params, frames: c.frames[6:]})
	got := v.until(fx.epoch.Add(16 * time.Second))
	wantGrid(t, got, 2*time.Second)
	if fps := got[0].Params.FPS; fps != 1 {
		t.Errorf("of one frame a second come %v", fps)
	}
	if len(got) < 5 {
		t.Errorf("only %d frames came", len(got))
	}
}
