package hls

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// onAir keeps publishing in real time until the test ends, after some seconds of history.
func onAir(t *testing.T, s *studio) {
	t.Helper()
	const history = 7 * time.Second
	at := media.TimeOf(time.Now()).Add(-history)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	s.stamped = true
	step := func() bool {
		now := media.TimeOf(time.Now())
		err := s.write(at, now)
		at = now
		return err == nil
	}
	step()
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second / clipRate)
		defer tick.Stop()
		for step() {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// run runs a player with a limit of time and gives what it says.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestPlayersPlayLive(t *testing.T) {
	s := newStage(t, nil)
	onAir(t, newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), both))
	for _, c := range []struct {
		what   string
		player []string
	}{
		{"FFmpeg, all", []string{"ffmpeg", "-v", "error", "-xerror", "-i", s.url + "cup/cam1/index.m3u8", "-map", "0:v", "-map", "0:a", "-t", "2", "-f", "null", "-"}},
		{"GStreamer, all", []string{"gst-launch-1.0", "-q", "playbin3", "uri=" + s.url + "cup/cam1/index.m3u8",
			"video-sink=fakesink num-buffers=45", "audio-sink=fakesink num-buffers=45"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			if out := run(t, c.player[0], c.player[1:]...); strings.Contains(out, "rror") {
				t.Error(out)
			}
		})
	}
	t.Run("ffprobe", func(t *testing.T) {
		out := run(t, "ffprobe", "-v", "error", "-count_frames", "-read_intervals", "%+2", "-show_entries",
			"stream=codec_name,nb_read_frames", "-of", "csv=p=0", s.url+"cup/cam1/index.m3u8")
		for codec, least := range map[string]int{"h264": 50, "aac": 80} {
			m := regexp.MustCompile(codec + `,(\d+)`).FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("no %s was read: %s", codec, out)
			}
			if n, _ := strconv.Atoi(m[1]); n < least {
				t.Errorf("%d frames of %s were read, want at least %d", n, codec, least)
			}
		}
	})
	delay := s.histogram("banyan_hls_publish_delay_seconds")
	if delay == 0 {
		t.Error("no delay was observed")
	}
}

// histogram is how many observations a histogram has.
func (s *stage) histogram(name string) (n uint64) {
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			n += family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return n
}

// file puts the init section and segments of a rendition in a row, as players do.
func (s *stage) file(rendition string, segments ...int) string {
	s.t.Helper()
	index := s.want(200, rendition+"index.m3u8").body
	m := regexp.MustCompile(`#EXT-X-MAP:URI="([^"]+)"`).FindStringSubmatch(index)
	if m == nil {
		s.t.Fatalf("no init section: %s", index)
	}
	text := s.want(200, rendition+m[1]).body
	for _, n := range segments {
		text += s.want(200, rendition+at(n)+".mp4").body
	}
	return text
}

// decode counts the frames that FFmpeg decodes from a file without any error, and their first time.
func decode(t *testing.T, file string) (frames int, first string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-xerror", "-copyts", "-i", "pipe:0", "-f", "framecrc", "-")
	c.Stdin = strings.NewReader(file)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if frames++; frames == 1 {
			first = strings.TrimSpace(strings.Split(line, ",")[2])
		}
	}
	return frames, first
}

func TestSegmentsDecode(t *testing.T) {
	s, _ := live(t, 9, nil)
	if n, first := decode(t, s.file(video, 1, 2, 3)); n != 180 || first != fmt.Sprint(1800000002*clipRate) {
		t.Errorf("%d pictures from %s, want 180 from the absolute time of segment 1", n, first)
	}
	if n, _ := decode(t, s.file("cup/cam1/aac-audio/", 1, 2, 3)); n < 281 || n > 283 {
		t.Errorf("%d sounds, want the 282 of six seconds", n)
	}
}

// Numbers, names and files are the same on another node, and in another life of this one: a process that starts anew has
// nothing of what was there, but for the publisher, whose media time goes on.
func TestNumbersSurviveRestart(t *testing.T) {
	other, constant := live(t, 9.5, nil) // a node that goes on all the time
	other.want(200, "cup/cam1/index.m3u8")
	first, studio := live(t, 9.5, nil)
	first.want(200, "cup/cam1/index.m3u8")
	before := map[string]string{}
	for _, rendition := range []string{video, sound} {
		before[rendition] = first.listing(rendition, at(4)+".6.mp4")
		tags := partTags(before[rendition], at(0))
		if want := partTags(other.listing(rendition, at(4)+".6.mp4"), at(0)); len(tags) < 37 || !slices.Equal(tags, want) {
			t.Errorf("%s: before the restart it lists %q, want %q", rendition, tags, want)
		}
	}
	studio.publication.Close()
	first.stop() // the server, its packagers, the hub and its logs

	revived := newStage(t, nil)
	if revived.hub == first.hub || revived.server == first.server {
		t.Fatal("this is no restart")
	}
	again := newStudio(t, revived.hub, "cup/cam1", record(t, "320x180"), both)
	again.play(second(10), second(14.5))
	constant.play(second(9.5), second(14.5))
	revived.want(200, "cup/cam1/index.m3u8")
	for _, rendition := range []string{video, sound} {
		after, want := revived.listing(rendition, at(7)+".1.mp4"), other.listing(rendition, at(7)+".1.mp4")
		tags := partTags(after, at(5))
		if got, want := strings.Join(tags, "\n"), strings.Join(partTags(want, at(5)), "\n"); got != want || len(tags) != 10+10+2 {
			t.Errorf("%s: after the restart it lists\n%s\nwant\n%s", rendition, got, want)
		}
		for _, file := range []string{at(5) + ".mp4", at(6) + ".mp4", at(6) + ".3.mp4", at(7) + ".1.mp4"} {
			if revived.want(200, rendition+file).body != other.want(200, rendition+file).body {
				t.Errorf("%s%s is another file after the restart", rendition, file)
			}
		}
		m, o := parse(t, after), parse(t, want)
		b := parse(t, before[rendition])
		if *m.DiscontinuitySequence < *b.DiscontinuitySequence {
			t.Errorf("H10: %s: EXT-X-DISCONTINUITY-SEQUENCE fell from %d to %d", rendition, *b.DiscontinuitySequence, *m.DiscontinuitySequence)
		}
		skew := m.MediaSequence - o.MediaSequence
		for i, segment := range m.Segments {
			if segment.Gap && i < lead {
				continue // from before it was started
			}
			if twin := o.Segments[i+skew]; segment.URI != twin.URI || !segment.DateTime.Equal(*twin.DateTime) || segment.Duration != twin.Duration {
				t.Errorf("%s: segment %d is %+v, want %+v", rendition, m.MediaSequence+i, segment, twin)
			}
		}
	}
}

func TestPublisherLeavesAndReturns(t *testing.T) {
	s, first := live(t, 5.5, nil)
	s.want(200, video+"index.m3u8")
	first.publication.Close()
	s.want(200, "cup/cam1/index.m3u8") // still there for those who wait
	s.want(200, video+"index.m3u8")
	waiter := s.block(t.Context(), video+"index.m3u8?_HLS_msn="+at(3))
	again := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), both)
	again.play(second(11), second(14.5)) // the first whole group of pictures begins at 12
	if r := <-waiter; r.status != 200 {
		t.Errorf("a player that waited over the pause: status %d: %s", r.status, r.body)
	}
	r := s.listing(video, at(7)+".1.mp4")
	m := parse(t, r)
	for i, want := range map[int]bool{1: false, 2: true, 3: true, 4: true, 5: true, 6: false} {
		if n := i - (m.MediaSequence - 900000000); m.Segments[n].Gap != want {
			t.Errorf("segment %d: gap %v, want %v: %s", i, m.Segments[n].Gap, want, r)
		}
	}
	// FFmpeg and GStreamer ask for gaps; the one asks for ranges always, the other asks again where it gets an error.
	for _, header := range [][]string{nil, {"Range", "bytes=0-"}} {
		if r := s.want(200, video+at(3)+".mp4", header...); len(r.body) != 0 || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("a gap has %d bytes, kept for %s", len(r.body), r.header.Get("Cache-Control"))
		}
	}
	for i, segment := range m.Segments {
		for j, part := range segment.Parts {
			if part.Gap && !segment.Gap {
				t.Errorf("part %d of segment %d is a gap beside media", j, i)
			}
		}
	}
	for name, text := range map[string]string{"video": r, "audio": s.listing("cup/cam1/aac-audio/", at(7)+".1.mp4")} {
		onTheGrid(t, name, text)
	}
}

// onTheGrid checks that a playlist's times add up: no segment is shorter or longer than its place, and
// nothing counts anew from anywhere.
func onTheGrid(t *testing.T, name, text string) {
	t.Helper()
	m := parse(t, text)
	for i, segment := range m.Segments {
		n := m.MediaSequence + i - 900000000
		if d := segment.Duration - 2*time.Second; d.Abs() > 30*time.Millisecond || segment.Discontinuity {
			t.Errorf("%s: segment %d lasts %v, discontinuity %v: %s", name, n, segment.Duration, segment.Discontinuity, text)
		}
	}
}

// Where one rendition breaks off and another goes on, both stay where the lengths of their segments add up
// to: otherwise players would show the two apart by what one of them lacks.
func TestPictureStopsAndSoundGoesOn(t *testing.T) {
	s, on := live(t, 5.5, nil)
	s.want(200, video+"index.m3u8")
	s.want(200, "cup/cam1/aac-audio/index.m3u8")
	picture := on.video
	on.video = nil
	on.play(second(5.5), second(11.2))
	s.listing("cup/cam1/aac-audio/", at(5)+".1.mp4")
	on.video = picture
	on.play(second(11.2), second(14.5))
	v, a := s.listing(video, at(7)+".1.mp4"), s.listing("cup/cam1/aac-audio/", at(7)+".1.mp4")
	onTheGrid(t, "video", v)
	onTheGrid(t, "audio", a)
	m := parse(t, v)
	for i, segment := range m.Segments {
		if n := m.MediaSequence + i - 900000000; segment.Gap != (n >= 2 && n <= 5) {
			t.Errorf("video: segment %d: gap %v: %s", n, segment.Gap, v)
		}
	}
	if strings.Contains(a, "GAP") {
		t.Errorf("the sound never stopped: %s", a)
	}
}

// New parameters need another init section and are a discontinuity, in all renditions alike. Media time
// goes on.
func TestNewParameters(t *testing.T) {
	for _, codec := range []media.Codec{media.H264, media.H265} {
		s, first := live(t, 5.5, nil)
		s.want(200, video+"index.m3u8")
		s.want(200, "cup/cam1/aac-audio/index.m3u8")
		first.publication.Close()
		again := newStudio(t, s.hub, "cup/cam1", recordAs(t, codec, "160x90"), both)
		again.play(second(5.6), second(6.1)) // the first keyframe is at 6
		eventually(t, "the change is noticed, as it is in the 200 ms before audio shows the segment", func() bool {
			marks, _ := s.server.timelines.of("cup/cam1").within(0, 1<<40)
			return len(marks) == 1
		})
		again.play(second(6.1), second(8.5))
		v := s.listing(video, at(4)+".1.mp4")
		a := s.listing("cup/cam1/aac-audio/", at(4)+".1.mp4")
		for name, text := range map[string]string{"video": v, "audio": a} {
			m := parse(t, text)
			for i, segment := range m.Segments {
				want := m.MediaSequence+i == 900000003
				if segment.Discontinuity != want {
					t.Errorf("H18: %s, %s: segment %d: discontinuity %v, want %v: %s", codec, name, m.MediaSequence+i,
						segment.Discontinuity, want, text)
				}
				if d := m.Segments[0].DateTime.Add(2 * time.Duration(i) * time.Second); segment.DateTime.Sub(d).Abs() > 30*time.Millisecond {
					t.Errorf("%s: segment %d begins at %v, want about %v", name, m.MediaSequence+i, segment.DateTime, d)
				}
			}
		}
		maps := tagged(v, "#EXT-X-MAP")
		if len(maps) != 2 {
			t.Fatalf("init sections %v, want two", maps)
		}
		name := strings.Trim(strings.TrimPrefix(maps[1], "#EXT-X-MAP:URI="), `"`)
		if n, _ := decode(t, s.want(200, video+name).body+s.want(200, video+at(3)+".mp4").body); n != 60 {
			t.Errorf("%d pictures of the new kind can be decoded, want 60", n)
		}
		if text := s.want(200, "cup/cam1/index.m3u8").body; codec == media.H265 && !strings.Contains(text, `CODECS="hvc1.1.6.L`) {
			t.Errorf("the new codec is not named: %s", text)
		}
	}
}

// H39: where the next part needs another init section, players may load it ahead.
func TestInitSectionIsHinted(t *testing.T) {
	s, first := live(t, 5.5, nil)
	s.want(200, video+"index.m3u8")
	first.publication.Close()
	again := newStudio(t, s.hub, "cup/cam1", record(t, "160x90"), kinds{})
	again.video = again.writer(media.Video, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Aligned: true})
	// A keyframe in the middle of a segment: the encoder has started anew.
	if err := again.video.Write(frame.Frame{Ticks: media.TicksOf(second(5.6), media.VideoClockRate), Units: again.clip.pictures[0]}); err != nil {
		t.Fatal(err)
	}
	again.play(second(5.64), second(5.9))
	eventually(t, "the hint", func() bool {
		hints := tagged(s.want(200, video+"index.m3u8").body, "#EXT-X-PRELOAD-HINT:TYPE=MAP")
		if len(hints) != 1 {
			return false
		}
		name := strings.Trim(strings.TrimPrefix(hints[0], "#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="), `"`)
		return s.get(video+name).status == 200
	})
}

func TestSoundOrPictureAlone(t *testing.T) {
	for _, c := range []struct {
		kinds      kinds
		has, hasNo string
	}{{videoOnly, "source-video", "AUDIO"}, {audioOnly, "aac-audio", "RESOLUTION"}} {
		s := newStage(t, nil)
		newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), c.kinds).play(second(0), second(9))
		r := s.want(200, "cup/cam1/index.m3u8").body
		if !strings.Contains(r, c.has+"/index.m3u8") || strings.Contains(r, c.hasNo) {
			t.Errorf("%+v: %s", c.kinds, r)
		}
		if n, _ := decode(t, s.file("cup/cam1/"+c.has+"/", 1, 2)); n < 110 {
			t.Errorf("%+v: %d frames", c.kinds, n)
		}
	}
}

// A player that comes with the first pictures, before the sound, gets to know of both.
func TestSoundComesAfterPicture(t *testing.T) {
	for _, c := range []struct {
		what  string
		sound bool
	}{{"sound comes", true}, {"sound never comes", false}} {
		t.Run(c.what, func(t *testing.T) {
			s := newStage(t, func(config *Config) {
				if config.Settle = 500 * time.Millisecond; c.sound {
					config.Settle = time.Minute
				}
			})
			studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), both)
			sound := studio.audio
			studio.audio = nil
			studio.play(second(0), second(0.5))
			player := s.block(t.Context(), "cup/cam1/index.m3u8")
			s.waiters(1)
			if studio.audio = sound; c.sound {
				studio.play(second(0.5), second(1))
			}
			r := <-player
			if r.status != 200 || !strings.Contains(r.body, "source-video") || strings.Contains(r.body, "TYPE=AUDIO") != c.sound {
				t.Errorf("status %d: %s", r.status, r.body)
			}
		})
	}
}

// A source that makes no promise is listed if its keyframes show that it can be.
func TestSourceMustStandOnTheGrid(t *testing.T) {
	for _, off := range []int64{0, 1_500, 45_000} {
		s := newStage(t, nil)
		studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), kinds{})
		w, err := studio.publication.Source(media.Video)
		if err != nil {
			t.Fatal(err)
		}
		writer, err := frame.NewWriter(w, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate})
		if err != nil {
			t.Fatal(err)
		}
		for n := ceilTicks(second(0), media.VideoClockRate, clipTicks); n*clipTicks < media.TicksOf(second(9), media.VideoClockRate); n++ {
			if err := writer.Write(frame.Frame{Ticks: n*clipTicks + off, Units: studio.clip.pictures[n%gop]}); err != nil {
				t.Fatal(err)
			}
		}
		want := 200
		if off > clipTicks {
			want = 404
		}
		s.want(want, video+"index.m3u8")
		if want == 200 {
			if n, _ := decode(t, s.file(video, 1, 2)); n != 120 {
				t.Errorf("off by %d ticks: %d pictures", off, n)
			}
		} else {
			s.want(503, "cup/cam1/index.m3u8")
		}
	}
}

// Media time that goes back by a little waits; by a lot it starts over.
func TestTimeGoesBack(t *testing.T) {
	s, studio := live(t, 8.5, nil)
	s.want(200, video+"index.m3u8")
	studio.play(second(8.5), second(40)) // until segments have left the playlist
	studio.video.Discontinuity()
	studio.play(second(-4000), second(-3990))
	eventually(t, "numbering starts over", func() bool {
		body := s.want(200, video+"index.m3u8").body
		return strings.Contains(body, "#EXT-X-MEDIA-SEQUENCE:8999980") && strings.Count(body, "#EXTINF") >= 4
	})
}
