package transcoder

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

func TestParseTarget(t *testing.T) {
	for name, want := range map[string]Target{
		"source":     {Format: "source"},
		"opus":       {Format: "opus", Kind: media.Audio, Codec: media.Opus},
		"aac":        {Format: "aac", Kind: media.Audio, Codec: media.AAC},
		"720p":       {Format: "720p", Kind: media.Video, Codec: media.H264, Height: 720},
		"1080p60":    {Format: "1080p60", Kind: media.Video, Codec: media.H264, Height: 1080, FPS: 60},
		"480p-vp8":   {Format: "480p-vp8", Kind: media.Video, Codec: media.VP8, Height: 480},
		"480p15-av1": {Format: "480p15-av1", Kind: media.Video, Codec: media.AV1, Height: 480, FPS: 15},
	} {
		if got, err := ParseTarget(name); err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
	for _, name := range []string{
		"", "p", "720", "720i", "0p", "15p", "4321p", "99999999999999999999p", "-720p", "0720p", "720p0", "720p61", "720p030",
		"720p-", "720p-opus", "720p-mpeg2", "720p--vp8", "720P", "720p 30", "aac-vp8", "opus2", "720p;ls", "-i", "movie=x", "$(x)", "720p\n",
	} {
		if got, err := ParseTarget(name); err == nil {
			t.Errorf("ParseTarget(%q) = %+v; want an error", name, got)
		} else if len(err.Error()) > 400 {
			t.Errorf("ParseTarget(%q) answers with %d bytes", name, len(err.Error()))
		}
	}
}

// FuzzParseTarget: viewers write formats into URLs. What is taken has one spelling, is within bounds, and what an offer
// would be called by.
func FuzzParseTarget(f *testing.F) {
	for _, name := range []string{"source", "opus", "aac", "720p", "1080p60", "480p15-av1", "16p5-vp9", "4320p60-h265", "720p061", "+720p", "99999999999999999999p",
		"720p-", "-720p", "720p\x00", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		target, err := ParseTarget(name)
		if err != nil {
			if target != (Target{}) || len(err.Error()) > 600 || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q is answered with %+v, %q", name, target, err)
			}
			return
		}
		if string(target.Format) != name {
			t.Fatalf("%q is named %q", name, target.Format)
		}
		if target.Kind != media.Video {
			return
		}
		if target.Height < minHeight || target.Height > maxHeight || target.FPS != 0 && (target.FPS < minFPS || target.FPS > maxFPS) ||
			target.Codec.Kind() != media.Video {
			t.Fatalf("%q is %+v", name, target)
		}
		spelt := fmt.Sprintf("%dp", target.Height)
		if target.FPS != 0 {
			spelt += fmt.Sprint(target.FPS)
		}
		if spelt != name && spelt+"-"+string(target.Codec) != name {
			t.Fatalf("%q is also spelt %q", name, spelt)
		}
		smaller := target.withHeight(minHeight)
		if again, err := ParseTarget(string(smaller.Format)); err != nil || again != smaller {
			t.Fatalf("%q with fewer lines is %+v, which is read as %+v, %v", name, smaller, again, err)
		}
	})
}

// Whoever mistypes a format must see what a good one looks like.
func TestParseTargetSaysWhatIsRight(t *testing.T) {
	for name, want := range map[string]string{
		"48p0": "frame rate, 5 to 60: write a format such as 720p", "48p": "", "720": "16 to 4320 lines such as 720p", "8p": "16 to 4320",
		"720p-mpeg2": "480p-vp8",
	} {
		_, err := ParseTarget(name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q) says %v, want %q", name, err, want)
		}
	}
}

// show writes a ladder as "format=WxH@fps/kbit" or "format=channels/kbit".
func show(rungs []Rung) string {
	var s []string
	for _, r := range rungs {
		p := r.Params
		if r.Target.Kind == media.Audio {
			s = append(s, fmt.Sprintf("%s=%dch/%d", r.Target.Format, p.Channels, p.Bitrate/1000))
			continue
		}
		s = append(s, fmt.Sprintf("%s=%dx%d@%v/%d", r.Target.Format, p.Width, p.Height, p.FPS, p.Bitrate/1000))
	}
	return strings.Join(s, " ")
}

func TestLadder(t *testing.T) {
	picture := func(codec media.Codec, w, h int, fps float64) Source {
		return Source{Params: media.Params{Codec: codec, ClockRate: 90000, Width: w, Height: h, FPS: fps}}
	}
	sound := func(codec media.Codec, rate, channels int) Source {
		return Source{Params: media.Params{Codec: codec, ClockRate: rate, SampleRate: rate, Channels: channels}}
	}
	aligned := func(s Source) Source { s.Params.Aligned = true; return s }
	measured := func(s Source, bits, fps float64) Source { s.Bitrate, s.FrameRate = bits, fps; return s }
	h264 := media.H264
	for _, c := range []struct {
		name   string
		ladder string // empty for the default
		source Source
		want   string
	}{
		{"full HD", "", picture(h264, 1920, 1080, 30), "720p=1280x720@30/2500 360p=640x360@30/700 1080p=1920x1080@30/4500"},
		{"a top rung is at most 1080 lines", "", picture(h264, 3840, 2160, 30), "720p=1280x720@30/2500 360p=640x360@30/700 1080p=1920x1080@30/4500"},
		{"HD has a rung of its own size", "", picture(h264, 1280, 720, 25), "720p=1280x720@25/2180 360p=640x360@25/610"},
		{"a hair above a rung is no rung more", "", picture(h264, 1288, 724, 30), "720p=1280x720@30/2500 360p=640x360@30/700"},
		{"between rungs", "", picture(h264, 854, 480, 30), "360p=640x360@30/700 480p=854x480@30/1201"},
		{"odd sides", "", picture(h264, 641, 361, 30), "360p=640x360@30/700"},
		{"smaller than all", "", picture(h264, 320, 240, 30), "240p=320x240@30/335"},
		{"smaller than all, made in another way", "720p,480p15-vp8", picture(h264, 320, 240, 30), "240p15-vp8=320x240@15/199"},
		{"smaller than any format", "", picture(h264, 20, 12, 30), "360p=20x12@30/30"},
		{"smaller than all and odd", "", picture(h264, 33, 31, 30), "30p=32x30@30/40"},
		{"portrait", "720p", picture(h264, 1080, 1920, 30), "720p=406x720@30/889"},
		{"very wide", "360p", picture(h264, 4000, 400, 30), "360p=3600x360@30/3243"},
		{"size not known yet", "", picture(h264, 0, 0, 0), "720p=1280x720@30/2500 360p=640x360@30/700"},
		{"NTSC", "360p", picture(h264, 1280, 720, 29.97), "360p=640x360@30/700"},
		{"film", "360p", picture(h264, 1280, 720, 23.976), "360p=640x360@24/592"},
		{"fast", "360p", picture(h264, 1280, 720, 240), "360p=640x360@60/1177"},
		{"slow", "360p", picture(h264, 1280, 720, 0.1), "360p=640x360@1/54"},
		{"slow, as measured", "360p", measured(picture(h264, 1280, 720, 30), 9e6, 2.2), "360p=640x360@2/91"},
		{"hardly anything", "360p", measured(picture(h264, 1280, 720, 30), 3.5e3, 30), "360p=640x360@30/3"},
		{"nothing to speak of", "360p", measured(picture(h264, 1280, 720, 30), 10, 0.5), "360p=640x360@1/1"},
		{"capped rate", "720p24", picture(h264, 1280, 720, 60), "720p24=1280x720@24/2114"},
		{"a cap above the source", "720p60", picture(h264, 1280, 720, 25), "720p60=1280x720@25/2180"},
		{"two names for one picture", "720p,720p30,720p60", picture(h264, 1280, 720, 30), "720p=1280x720@30/2500"},
		{"declared rate is a lie", "360p", measured(picture(h264, 640, 360, 50), 9e6, 14.9), "360p=640x360@15/416"},
		{"declared rate is borne out", "360p", measured(picture(h264, 640, 360, 25), 9e6, 27), "360p=640x360@25/610"},
		{"poor source", "", measured(picture(h264, 1920, 1080, 30), 1.5e6, 30), "720p=1280x720@30/1500 360p=640x360@30/700 1080p=1920x1080@30/1500"},
		{"aligned source passes", "", aligned(picture(h264, 1280, 720, 30)), "360p=640x360@30/700"},
		{"aligned source above the ladder", "", aligned(picture(h264, 1920, 1080, 30)), "720p=1280x720@30/2500 360p=640x360@30/700"},
		{"aligned, but another codec is asked for", "720p-vp8", aligned(picture(h264, 1280, 720, 30)), "720p-vp8=1280x720@30/2500"},
		{"VP8 source, even if aligned", "", aligned(picture(media.VP8, 1280, 720, 30)), "720p=1280x720@30/2500 360p=640x360@30/700"},
		{"source only", "source", picture(h264, 1920, 1080, 30), "1080p=1920x1080@30/4500"},
		{"source not listed", "360p", picture(h264, 1920, 1080, 30), "360p=640x360@30/700"},
		{"audio only ladder", "opus", picture(h264, 1920, 1080, 30), ""},
		{"H.265 is cheaper", "720p-h265", picture(h264, 1280, 720, 30), "720p-h265=1280x720@30/1625"},

		{"Opus passes", "", sound(media.Opus, 48000, 2), "aac=2ch/128"},
		{"AAC passes", "", sound(media.AAC, 44100, 2), "opus=2ch/96"},
		{"AAC of an odd rate does not", "", sound(media.AAC, 22050, 1), "opus=1ch/48 aac=1ch/64"},
		{"5.1 is mixed down", "", sound(media.AAC, 48000, 6), "opus=2ch/96 aac=2ch/128"},
		{"telephone", "", sound(media.PCMU, 8000, 1), "opus=1ch/48 aac=1ch/64"},
		{"poor sound", "", measured(sound(media.Opus, 48000, 2), 20e3, 50), "aac=1ch/20"},
		{"very poor sound", "", measured(sound(media.Opus, 48000, 2), 9e3, 50), "aac=1ch/16"},
		{"enough for two channels", "", measured(sound(media.Opus, 48000, 2), 30e3, 50), "aac=2ch/30"},
		{"poor sound for WebRTC", "", measured(sound(media.AAC, 22050, 2), 14e3, 50), "opus=2ch/14 aac=1ch/16"},
		{"very poor sound for WebRTC", "opus", measured(sound(media.AAC, 22050, 2), 9e3, 50), "opus=1ch/9"},
		{"a codec for ciphers", "opus", measured(sound(media.AAC, 22050, 1), 2e3, 50), "opus=1ch/6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := DefaultLadder
			if c.ladder != "" {
				names = strings.Split(c.ladder, ",")
			}
			targets, err := parseTargets(names)
			if err != nil {
				t.Fatal(err)
			}
			if got := show(Ladder(targets, c.source)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLadderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var names []string
		for range rapid.IntRange(0, 8).Draw(t, "rungs") {
			name := fmt.Sprintf("%dp", rapid.IntRange(minHeight, maxHeight).Draw(t, "height"))
			if fps := rapid.IntRange(minFPS-1, maxFPS).Draw(t, "fps"); fps >= minFPS {
				name += fmt.Sprint(fps)
			}
			names = append(names, name+rapid.SampledFrom([]string{"", "-vp8", "-vp9", "-av1", "-h265"}).Draw(t, "codec"))
		}
		if rapid.Bool().Draw(t, "source listed") {
			names = append(names, "source")
		}
		targets, err := parseTargets(names)
		if err != nil {
			t.Fatal(err)
		}
		s := Source{Params: media.Params{
			Codec: media.H264, ClockRate: 90000, Aligned: rapid.Bool().Draw(t, "aligned"),
			Width: rapid.IntRange(2, 16384).Draw(t, "width"), Height: rapid.IntRange(2, 16384).Draw(t, "height"),
			FPS: rapid.Float64Range(0, 300).Draw(t, "declared"),
		}, Bitrate: rapid.Float64Range(0, 1e8).Draw(t, "bits"), FrameRate: rapid.Float64Range(0, 300).Draw(t, "measured")}
		rungs := Ladder(targets, s)
		for i, r := range rungs {
			p := r.Params
			if p.Width > s.Params.Width || p.Height > s.Params.Height || p.Width%2 != 0 || p.Height%2 != 0 || p.Width < 2 || p.Height < 2 {
				t.Fatalf("%s of %dx%d is %dx%d", r.Target.Format, s.Params.Width, s.Params.Height, p.Width, p.Height)
			}
			if named, err := ParseTarget(string(r.Target.Format)); err != nil || named != r.Target {
				t.Fatalf("%+v is named as %+v, %v", r.Target, named, err)
			}
			if most := s.Params.Height &^ 1; most >= minHeight && r.Target.Height > s.Params.Height {
				t.Fatalf("%s of a source of %d lines", r.Target.Format, s.Params.Height)
			}
			if rate := sourceRate(s); p.FPS > rate*overRate && p.FPS > 1 || r.Target.FPS > 0 && int(p.FPS) > r.Target.FPS {
				t.Fatalf("%s of %v fps is %v fps", r.Target.Format, rate, p.FPS)
			}
			if media.VideoClockRate%int(p.FPS) != 0 {
				t.Fatalf("%v fps does not divide the clock", p.FPS)
			}
			if s.Bitrate > leastRate && float64(p.Bitrate) > s.Bitrate || p.Bitrate < leastRate {
				t.Fatalf("%s of %v bit/s is %d bit/s", r.Target.Format, s.Bitrate, p.Bitrate)
			}
			// The aspect is kept to within what rounding to even sides does.
			if want := float64(s.Params.Width) * float64(p.Height) / float64(s.Params.Height); p.Width > 2 && float64(p.Width) > want+1.01 || float64(p.Width) < want-2.01 && p.Width > 2 {
				t.Fatalf("%s of %dx%d is %dx%d, want a width of %.1f", r.Target.Format, s.Params.Width, s.Params.Height, p.Width, p.Height, want)
			}
			for _, o := range rungs[:i] {
				if samePicture(&o.Params, &p) || o.Target.Format == r.Target.Format {
					t.Fatalf("%s and %s are the same", o.Target.Format, r.Target.Format)
				}
			}
			if _, err := ParseTarget(string(r.Target.Format)); err != nil {
				t.Fatalf("offered, but no format: %v", err)
			}
		}
	})
}
