package transcoder

import (
	"fmt"
	"testing"
	"time"

	"banyan/relay/media"
)

func TestBFrames(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.play(8, video(t, media.H264, "160x90", "15", "6", "-bf", "3", "-g", "45").from(fx.epoch))
	fx.offered("48p")
	got := fx.watch("48p", media.Video).until(fx.epoch.Add(5 * time.Second))
	wantGrid(t, got, 2*time.Second)
	if got[0].Params.Reordered {
		t.Error("the format has B-frames as the source does; want none")
	}
}

func TestOtherCodecsToH264(t *testing.T) {
	for _, codec := range []media.Codec{media.VP8, media.VP9, media.AV1, media.H265} {
		t.Run(string(codec), func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: onlySmall})
			fx.play(8, video(t, codec, "160x90", "15", "5", "-g", "30").from(fx.epoch))
			fx.offered("48p")
			wantGrid(t, fx.watch("48p", media.Video).until(fx.epoch.Add(4*time.Second)), 2*time.Second)
		})
	}
}

func TestH264ToOtherCodecs(t *testing.T) {
	t.Parallel()
	formats := []string{"48p-vp8", "48p-vp9", "48p-av1", "48p-h265"}
	fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: formats}}})
	fx.play(2, small(t, "4").repeat(2).from(fx.epoch))
	fx.offered("48p-vp8")
	var viewers []*viewer
	for _, format := range formats {
		viewers = append(viewers, fx.watch(media.Format(format), media.Video))
	}
	for i, format := range formats {
		got := viewers[i].until(fx.epoch.Add(5 * time.Second))
		wantGrid(t, got, 2*time.Second)
		if codec := string(got[0].Params.Codec); format != "48p-"+codec || got[0].Params.Height != 48 {
			t.Errorf("%s came out as %+v", format, got[0].Params)
		}
	}
}

// The source's picture changes its size twice: the format stays within it and goes on.
func TestResolutionChange(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: []Rule{{Match: "**", Formats: []string{"90p"}}}})
	size := func(s string, at time.Duration) clip {
		return video(t, media.H264, s, "15", "3", "-bf", "0", "-g", "15").from(fx.epoch.Add(at))
	}
	large, smaller, again := size("320x180", 0), size("64x48", 3*time.Second), size("320x180", 6*time.Second)
	all := clip{params: large.params}
	for _, c := range []clip{large, smaller, again} {
		all.frames = append(all.frames, c.frames...)
	}
	fx.waits = true
	fx.play(2, all)
	fx.offered("90p")
	got := fx.watch("90p", media.Video).until(fx.epoch.Add(8 * time.Second))
	wantWhole(t, got, 2*time.Second)
	heights := []int{got[0].Params.Height}
	for _, f := range got {
		if h := f.Params.Height; h != heights[len(heights)-1] {
			heights = append(heights, h)
			if !f.Keyframe || !f.Discontinuity {
				t.Errorf("a new size begins with keyframe %v, discontinuity %v; want both", f.Keyframe, f.Discontinuity)
			}
		}
	}
	if len(heights) != 3 || heights[0] != 90 || heights[1] != 48 || heights[2] != 90 {
		t.Errorf("heights %v, want 90, 48, 90", heights)
	}
}

// The publisher leaves and comes back 40 seconds later in media time: the log goes on, marked.
func TestPublisherReturns(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	c := small(t, "4")
	stop := fx.play(8, c.from(fx.epoch))
	fx.offered("48p")
	v := fx.watch("48p", media.Video)
	before := v.until(fx.epoch.Add(3 * time.Second))
	wantGrid(t, before, 2*time.Second)
	stop()
	fx.publication.Close()
	fx.publish()
	back := fx.epoch.Add(40 * time.Second)
	fx.play(8, c.from(back))
	after := v.until(back.Add(3 * time.Second))
	i := 0
	for after[i].Time() < back {
		i++
	}
	wantGrid(t, after[i:], 2*time.Second)
	if f := after[i]; !f.Discontinuity || f.Time() != back {
		t.Errorf("the first frame after the return is at %v with discontinuity %v, want 0s and true", f.Time().Sub(back), f.Discontinuity)
	}
	if w := fx.worker("48p", func(Worker) bool { return true }); w.Trouble != "" {
		t.Errorf("a publisher's return was taken for trouble: %s", w.Trouble)
	}
}

// The publisher changes its codec: the format's readers see nothing of it but a mark.
func TestCodecChange(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.play(8, small(t, "4").from(fx.epoch))
	fx.offered("48p")
	v := fx.watch("48p", media.Video)
	got := v.until(fx.epoch.Add(3 * time.Second))
	fx.finish()
	fx.play(8, video(t, media.VP8, "160x90", "15", "4", "-g", "30").from(fx.epoch.Add(4*time.Second)))
	got = append(got, v.until(fx.epoch.Add(7*time.Second))...)
	wantWhole(t, got, 2*time.Second)
	for _, f := range got {
		if f.Params.Codec != media.H264 {
			t.Fatalf("a frame of %s came out", f.Params.Codec)
		}
	}
	if w := fx.worker("48p", func(Worker) bool { return true }); w.Trouble != "" || w.Restarts != 1 {
		t.Errorf("the worker says %+v, want one restart and no trouble", w)
	}
}

// Timestamps leap back an hour, in a new epoch or without any notice.
func TestTimeLeapsBack(t *testing.T) {
	for _, marked := range []bool{true, false} {
		t.Run(fmt.Sprintf("marked %v", marked), func(t *testing.T) {
			t.Parallel()
			fx := newFixture(t, Config{Ladders: onlySmall})
			c := small(t, "4")
			fx.send(c.from(fx.epoch))
			fx.offered("48p")
			v := fx.watch("48p", media.Video)
			v.until(fx.epoch.Add(time.Second))
			past := fx.epoch.Add(-time.Hour)
			if marked {
				fx.writers[media.Video].Discontinuity()
			}
			fx.send(c.from(past))
			f := v.until(0)[0]
			for f.Time() >= fx.epoch {
				f = v.until(0)[0]
			}
			if !f.Discontinuity || f.Time() < past {
				t.Errorf("the first frame after the leap is at %v with discontinuity %v", f.Time().Sub(past), f.Discontinuity)
			}
		})
	}
}

// A publisher that goes silent is not taken for a process that hangs.
func TestSilenceIsNoHang(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall, Patience: 200 * time.Millisecond, Grace: 400 * time.Millisecond})
	fx.send(small(t, "1").from(fx.epoch))
	fx.offered("48p")
	fx.watch("48p", media.Video)
	w := fx.worker("48p", func(w Worker) bool { return w.In > 0 && time.Since(w.Since) > 1200*time.Millisecond })
	if w.Trouble != "" || w.Restarts != 0 {
		t.Errorf("after a second of silence the worker says %+v, want no trouble", w)
	}
}

func TestThumbnail(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	if _, err := fx.transcoder.Thumbnail(t.Context(), fx.stream); err == nil {
		t.Error("a stream without picture has a thumbnail")
	}
	fx.send(video(t, media.H264, "640x360", "15", "1").from(fx.epoch))
	first, err := fx.transcoder.Thumbnail(t.Context(), fx.stream)
	if err != nil {
		t.Fatal(err)
	}
	wantJPEG(t, first, 480, 270)
	again, err := fx.transcoder.Thumbnail(t.Context(), fx.stream)
	if err != nil || &first[0] != &again[0] {
		t.Errorf("asked again at once, another thumbnail was made (%v)", err)
	}
}

// While the publisher is away its process is ended, and what it still held comes out; when the
// publisher is back another starts.
func TestIdleProcessIsEnded(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	c := small(t, "2")
	fx.send(c.from(fx.epoch))
	fx.offered("48p")
	v := fx.watch("48p", media.Video)
	fx.worker("48p", func(w Worker) bool { return w.Out > 0 })
	fx.publication.Close()
	if w := fx.worker("48p", func(w Worker) bool { return w.State == Waiting && w.Out > 0 }); w.PID != 0 || w.Trouble != "" {
		t.Errorf("without a publisher the worker says %+v, want no process and no trouble", w)
	}
	if got := v.until(fx.epoch.Add(1900 * time.Millisecond)); len(got) != 29 && len(got) != 30 {
		t.Errorf("%d frames came of the 30 that were sent", len(got))
	}
	fx.publish()
	fx.send(c.from(fx.epoch.Add(20 * time.Second)))
	back := v.until(fx.epoch.Add(20 * time.Second))
	if f := back[len(back)-1]; !f.Keyframe || !f.Discontinuity {
		t.Errorf("after the return the first frame has keyframe %v, discontinuity %v; want both", f.Keyframe, f.Discontinuity)
	}
}
