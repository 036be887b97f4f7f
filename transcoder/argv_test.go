package transcoder

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/relay/media"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestArguments(t *testing.T) {
	picture := func(c media.Codec) media.Params {
		return media.Params{Codec: c, ClockRate: 90000, Width: 1920, Height: 1080, FPS: 30}
	}
	sound := func(c media.Codec, rate, channels int) media.Params {
		return media.Params{Codec: c, ClockRate: rate, SampleRate: rate, Channels: channels}
	}
	to := func(name string, in media.Params) media.Params {
		target, err := ParseTarget(name)
		if err != nil {
			t.Fatal(err)
		}
		if target.Kind == media.Audio {
			return audioParams(target, Source{Params: in})
		}
		return videoParams(target, Source{Params: in})
	}
	var all strings.Builder
	for _, c := range []struct {
		name    string
		in      media.Params
		out     string
		encoder encoder
		from    int64
		pad     bool
	}{
		{"H.264 to 720p", picture(media.H264), "720p", x264(DefaultPreset), 61, false},
		{"H.265 to 1080p25", picture(media.H265), "1080p25", x264(DefaultPreset), 0, false},
		{"H.264 of unknown size", media.Params{Codec: media.H264, ClockRate: 90000}, "360p", x264(DefaultPreset), 60, false},
		{"H.264 by NVENC", picture(media.H264), "720p", h264Encoders(DefaultPreset)[0], 60, false},
		{"H.264 by QSV", picture(media.H264), "720p", h264Encoders(DefaultPreset)[1], 60, false},
		{"H.264 by VAAPI", picture(media.H264), "720p", h264Encoders(DefaultPreset)[2], 60, false},
		{"VP8 to H.265", picture(media.VP8), "720p-h265", softwareEncoder(media.H265, DefaultPreset), 60, false},
		{"VP9 to VP8", picture(media.VP9), "720p-vp8", softwareEncoder(media.VP8, DefaultPreset), 60, false},
		{"AV1 to VP9", picture(media.AV1), "720p-vp9", softwareEncoder(media.VP9, DefaultPreset), 60, false},
		{"H.264 to AV1", picture(media.H264), "720p-av1", softwareEncoder(media.AV1, DefaultPreset), 60, false},
		{"AAC to Opus", sound(media.AAC, 44100, 6), "opus", softwareEncoder(media.Opus, DefaultPreset), 96312, false},
		{"Opus to AAC", sound(media.Opus, 48000, 2), "aac", softwareEncoder(media.AAC, DefaultPreset), 97024, true},
		{"µ-law to Opus", sound(media.PCMU, 8000, 1), "opus", softwareEncoder(media.Opus, DefaultPreset), 96312, false},
	} {
		p := plan{In: c.in, Out: to(c.out, c.in), Encoder: c.encoder, Segment: 2 * time.Second, Base: 1700000000, From: c.from, Pad: c.pad}
		all.WriteString("# " + c.name + "\n" + strings.Join(args(p), "\n") + "\n\n")
	}
	all.WriteString("# thumbnail\n" + strings.Join(thumbnailArgs(picture(media.H264), thumbWidth), "\n") + "\n")
	golden := filepath.Join("testdata", "arguments.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if all.String() != string(want) {
		t.Errorf("arguments differ from %s; look at the change and, if it is meant, run go test -run TestArguments -update", golden)
	}
}

// S12: whatever a stream, its codec parameters and a format are like, no argument is other than ours.
func FuzzArguments(f *testing.F) {
	f.Add("720p", "h264", 1920, 1080, 30.0, 2, 48000, int64(60), int64(1700000000))
	f.Add("opus", "aac", 0, 0, 0.0, 6, 44100, int64(960), int64(1))
	f.Add("480p-vp8", "av1", -1, 1<<30, 1e300, -5, -1, int64(-1), int64(-1))
	f.Add("movie=x", "concat:a|b", 0, 0, 0.0, 0, 0, int64(0), int64(0))
	fixed := map[string]bool{}
	for _, e := range append(h264Encoders(DefaultPreset), softwareEncoder(media.H265, DefaultPreset), softwareEncoder(media.VP8, ""),
		softwareEncoder(media.VP9, ""), softwareEncoder(media.AV1, ""), softwareEncoder(media.Opus, ""), softwareEncoder(media.AAC, "")) {
		for _, a := range slices.Concat(e.device, e.options) {
			fixed[a] = true
		}
	}
	f.Fuzz(func(t *testing.T, format, codec string, w, h int, fps float64, channels, rate int, from, base int64) {
		target, err := ParseTarget(format)
		if err != nil || target.Kind == 0 {
			return
		}
		in := media.Params{Codec: media.Codec(codec), ClockRate: max(1, rate), Width: w, Height: h, FPS: fps, Channels: channels, SampleRate: rate}
		p := plan{In: in, Segment: 2 * time.Second, From: max(0, from), Base: base, Encoder: softwareEncoder(target.Codec, DefaultPreset)}
		if target.Kind == media.Video {
			if p.Out = videoParams(target, Source{Params: in}); target.Codec == media.H264 {
				p.Encoder = x264(DefaultPreset)
			}
		} else {
			p.Out = audioParams(target, Source{Params: in})
		}
		list := args(p)
		for i, a := range list {
			if fixed[a] || strings.Trim(a, "0123456789") == "" || strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "-i ") {
				continue
			}
			switch list[i-1] {
			case "-vf", "-af", "-force_key_frames":
				if rest := strings.Trim(a, "abcdefghijklmnopqrstuvwxyz_0123456789=:.,+()|'/*-"); rest != "" {
					t.Fatalf("argument %q has %q in it", a, rest)
				}
			case "-i", "-f", "-map", "-c:v", "-c:a", "-loglevel", "-protocol_whitelist", "-thread_type", "-fps_mode", "-avoid_negative_ts", "-flags", "0", "mpegts", "ivf":
				if len(a) > 16 {
					t.Fatalf("argument %q after %q", a, list[i-1])
				}
			default:
				if a != "pipe:1" {
					t.Fatalf("argument %q after %q is none of ours", a, list[i-1])
				}
			}
		}
	})
}
