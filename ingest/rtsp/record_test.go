package rtsp

import (
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestPushFromFFmpeg(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, transport string
		video, audio    media.Codec
		args            [][]string
	}{
		{"h264-aac-tcp", "tcp", media.H264, media.AAC, [][]string{picture, tone, x264(), {"-c:a", "aac"}}},
		{"h264-opus-udp", "udp", media.H264, media.Opus, [][]string{picture, tone, x264(), {"-c:a", "libopus"}}},
		{"h264-b-frames-pcmu", "tcp", media.H264, media.PCMU, [][]string{picture, tone, x264("-bf", "2"), {"-c:a", "pcm_mulaw", "-ar", "8000", "-ac", "1"}}},
		{"h265-pcma-udp", "udp", media.H265, media.PCMA, [][]string{picture, tone,
			{"-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-x265-params", "keyint=15:bframes=0:log-level=none:pools=1", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"}}},
		{"vp8", "tcp", media.VP8, "", [][]string{picture, {"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "15"}}},
		{"vp9", "tcp", media.VP9, "", [][]string{picture, {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-g", "15", "-strict", "experimental"}}},
		{"aac as LATM", "tcp", "", media.AAC, [][]string{tone, {"-c:a", "aac", "-rtpflags", "latm"}}},
		{"aac alone", "tcp", "", media.AAC, [][]string{tone, {"-c:a", "aac"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil)
			push(t, n.url("cup/cam1"), c.transport, c.args...)
			if c.video != "" {
				checkVideo(t, n, c.video, c.name == "h264-b-frames-pcmu")
			}
			if c.audio != "" {
				checkAudio(t, n, c.audio)
			}
		})
	}
}

func checkVideo(t *testing.T, n *node, codec media.Codec, reordered bool) {
	t.Helper()
	l := n.track("cup/cam1", media.Video)
	got := frames(t, readFrom(l, log.LastKeyframe()), 25)
	if p := got[24].Params; p.Codec != codec || p.Width != 320 || p.Height != 180 || p.Reordered != reordered {
		t.Errorf("got %s %dx%d, reordered %v; want %s 320x180, %v", p.Codec, p.Width, p.Height, p.Reordered, codec, reordered)
	}
	if !got[0].Keyframe {
		t.Error("the first frame is no keyframe")
	}
	for i, f := range got {
		if f.Lost {
			t.Errorf("frame %d comes after a loss", i)
		}
		if age := time.Since(f.Time().Wall()); age < -time.Second || age > patience {
			t.Errorf("frame %d has media time %v, %v ago; want about now", i, f.Time().Wall(), age)
		}
	}
	if span := span(got); span < 23*time.Second/15 || span > 28*time.Second/15 {
		t.Errorf("25 frames at 15 Hz span %v", span)
	}
}

func span(all []*frame.Frame) time.Duration {
	first, last := all[0].Time(), all[0].Time()
	for _, f := range all {
		first, last = min(first, f.Time()), max(last, f.Time())
	}
	return last.Sub(first)
}

func checkAudio(t *testing.T, n *node, codec media.Codec) {
	t.Helper()
	got := frames(t, readFrom(n.track("cup/cam1", media.Audio), log.LastKeyframe()), 30)
	if p := got[0].Params; p.Codec != codec || p.Channels < 1 {
		t.Errorf("got %s with %d channels; want %s", p.Codec, p.Channels, codec)
	}
	if codec != media.AAC && codec != media.Opus {
		return
	}
	step := map[media.Codec]int64{media.AAC: 1024, media.Opus: 960}[codec]
	exact := 0
	for i := 1; i < len(got); i++ {
		if got[i].Ticks-got[i-1].Ticks == step {
			exact++
		}
	}
	if exact < 28 { // one correction may fall into the stretch
		t.Errorf("%d of 29 steps of %s are %d samples", exact, codec, step)
	}
}
