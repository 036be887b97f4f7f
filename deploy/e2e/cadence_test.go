package e2e

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// steady and whole are of a camera whose pictures come evenly, and all of them.
func steady(int) time.Duration { return 0 }
func whole(int) bool           { return false }

// playhead is how far an HLS viewer is.
type playhead struct {
	Time   float64 // of media, in seconds
	Frames int     // decoded by the element, those included that it had no time to show
}

func (b *Browser) playhead() (p playhead) {
	b.t.Helper()
	b.Eval(&p, `(() => { const v = document.querySelector("video"); return { Time: v.currentTime, Frames: v.getVideoPlaybackQuality().totalVideoFrames }; })()`)
	return p
}

// TestUnevenPicturesByHLS has a camera whose pictures come early and late, and networks that lose some. Browsers show all that
// came.
func TestUnevenPicturesByHLS(t *testing.T) {
	const fps, perScene = 20, 40 // four pictures make a part
	among := func(list ...int) func(int) bool {
		return func(n int) bool {
			for _, lost := range list {
				if n == lost {
					return true
				}
			}
			return false
		}
	}
	n, b := StartNode(t, "--ladder.default", "source"), OpenBrowser(t, 800, 600)
	even := Film(t, fps, whole, steady)
	for i, c := range []struct {
		name string
		lost func(int) bool
		off  func(int) time.Duration
	}{
		{"they come 24 ms early and late", whole, func(n int) time.Duration { return time.Duration([]float64{0, 24, -24, 20, -24, 10, 24}[n%7] * 1e6) }},
		{"those at the beginning of parts are lost", among(8, 9, 20, 21, 22, 32, 33), steady},
		{"those at the end of parts are lost", among(6, 7, 17, 18, 19, 31), steady},
		{"those in the middle of parts are lost", among(9, 10, 22, 29, 30), steady},
	} {
		t.Run(c.name, func(t *testing.T) {
			// It has to begin evenly to be taken for a rendition, and is one from then on.
			stream := fmt.Sprintf("cup/cam%d", i)
			camera, scene := StartScripted(t, n, stream, even), Film(t, fps, c.lost, c.off)
			n.WaitLive(t, stream)
			Eventually(t, 20*time.Second, "the camera is found to stand on the grid", func() error {
				_, err := n.Get("/hls/" + stream + "/source-video/index.m3u8")
				return err
			})
			b.Open(n.URL("/watch/" + stream + "?transport=hls&format=source"))
			b.WaitPlaying("hls", 40, 40*time.Second)
			b.WatchBreaks()
			camera.Play(scene)
			time.Sleep(5 * time.Second) // until the scene plays, and nothing else is in the buffer
			from := b.playhead()
			b.WatchHalts()
			b.WatchGaps()
			time.Sleep(10 * time.Second)
			gap, halts, until := b.LargestGap(), b.Halts(), b.playhead()
			want, got := (until.Time-from.Time)/sceneLength.Seconds()*float64(len(scene.at)), float64(until.Frames-from.Frames)
			t.Logf("%.0f pictures in %.1f s, of %.1f that came; at most %.0f ms between two; %s", got, until.Time-from.Time, want, gap, halts)
			if until.Time-from.Time < 8 {
				t.Errorf("the viewer played %.1f s of 10", until.Time-from.Time)
			}
			// What is decoded is a little ahead of what is shown, and less than a scene is looked at in part.
			if math.Abs(got-want) > fps/4+float64(perScene-len(scene.at)) {
				t.Errorf("%.0f pictures were shown, and %.1f came", got, want)
			}
			if what, s := b.Breaks(), b.State(); what != "" || s.Format != "source" {
				t.Errorf("the viewer did not just go on, and has %q: %s", s.Format, what)
			}
		})
	}
}

// TestPartTargetFollowsTheCamera has a camera that comes to make few pictures, so that parts and PART-TARGET get longer, and
// many again. RFC 8216bis section 6.2.1 does not list PART-TARGET among what may change; players take it.
func TestPartTargetFollowsTheCamera(t *testing.T) {
	const stream = "cup/cam1"
	n := StartNode(t, "--ladder.default", "source", "--hls.window", "16s")
	usual, slow := Film(t, 25, whole, steady), Film(t, 3, whole, steady)
	camera := StartScripted(t, n, stream, usual)
	n.WaitLive(t, stream)
	playlist := "/hls/" + stream + "/source-video/index.m3u8"
	tag := regexp.MustCompile(`PART-TARGET=([0-9.]+)`)
	target := func() (float64, error) {
		text, err := n.Get(playlist)
		if err != nil {
			return 0, err
		}
		m := tag.FindSubmatch(text)
		if m == nil {
			return 0, fmt.Errorf("there is none: %s", text)
		}
		return strconv.ParseFloat(string(m[1]), 64)
	}
	becomes := func(want float64, within time.Duration) {
		t.Helper()
		Eventually(t, within, fmt.Sprintf("PART-TARGET is about %v s", want), func() error {
			got, err := target()
			if err == nil && math.Abs(got-want) > 0.01 {
				err = fmt.Errorf("it is %v", got)
			}
			return err
		})
	}
	becomes(0.2, 20*time.Second)
	b := OpenBrowser(t, 800, 600)
	b.Open(n.URL("/watch/" + stream + "?transport=hls&format=source"))
	b.WaitPlaying("hls", 50, 40*time.Second)
	ffmpeg := StartProcess(t, "ffmpeg", "-nostdin", "-v", "error", "-stats", "-i", n.URL("/hls/"+stream+"/index.m3u8"), "-f", "null", "-")
	time.Sleep(6 * time.Second) // the player settles
	b.WatchBreaks()
	before := b.State().DelayMS
	for _, c := range []struct {
		scene  *Scene
		target float64
	}{{slow, 0.333}, {usual, 0.2}} {
		from := b.playhead()
		b.WatchGaps()
		begun := time.Now()
		camera.Play(c.scene)
		becomes(c.target, 40*time.Second)
		time.Sleep(8 * time.Second)
		until, took := b.playhead(), time.Since(begun).Seconds()
		t.Logf("PART-TARGET %.3f s: %.1f s played in %.1f s, at most %.0f ms between pictures, %.0f ms behind live", c.target,
			until.Time-from.Time, took, b.LargestGap(), b.State().DelayMS)
		if played := until.Time - from.Time; played < took-4 {
			t.Errorf("the viewer played %.1f s in %.1f s", played, took)
		}
		if s := b.State(); s.State != "playing" || s.Transport != "hls" {
			t.Errorf("the viewer is %+v", s)
		}
	}
	Eventually(t, 30*time.Second, "the viewer is no further behind live than before", func() error {
		if now := b.State().DelayMS; now > before+300 {
			return fmt.Errorf("it is %.0f ms behind, and was %.0f", now, before)
		}
		return nil
	})
	if what := b.Breaks(); strings.Contains(what, "errors") || strings.Contains(what, "refused") {
		t.Errorf("the viewer did not just go on: %s", what)
	}
	read := func() (frames int) {
		if all := regexp.MustCompile(`frame= *(\d+)`).FindAllStringSubmatch(ffmpeg.Output(), -1); len(all) > 0 {
			frames, _ = strconv.Atoi(all[len(all)-1][1])
		}
		return frames
	}
	last := read()
	Eventually(t, 20*time.Second, "FFmpeg reads on", func() error {
		if now := read(); now < last+50 {
			return fmt.Errorf("it had %d pictures, and has %d: %s", last, now, ffmpeg.Output())
		}
		return nil
	})
}
