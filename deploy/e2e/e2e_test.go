package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	RemoveBinary()
	if err := PrintTable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// small is a ladder that two cores can encode beside browsers.
var small = []string{"--transcoder.preset", "ultrafast", "--ladder.default", "source,360p,180p,opus,aac"}

// camera starts FFmpeg pushing a small test picture with a tone by RTSP over TCP.
func camera(t testing.TB, n *Node, stream string, video ...string) *Process {
	t.Helper()
	token := n.Token(t, "--publish", stream)
	args := []string{"-nostdin", "-loglevel", "warning",
		"-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-map", "0:v", "-map", "1:a"}
	if len(video) == 0 {
		video = []string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p",
			"-g", "25", "-b:v", "500k", "-c:a", "aac", "-b:a", "64k"}
	}
	args = append(args, video...)
	return StartProcess(t, "ffmpeg", append(args, "-f", "rtsp", "-rtsp_transport", "tcp",
		"rtsp://"+n.RTSP+"/"+stream+"?token="+token)...)
}

// TestDemo is what a newcomer does: start it, open the pages.
func TestDemo(t *testing.T) {
	// One rung, as two cores have two cameras and a browser to run beside it.
	n := StartNode(t, "--demo", "--transcoder.preset", "ultrafast", "--ladder.default", "source,720p,opus,aac")
	for _, stream := range []string{"cup/cam1", "cup/cam2"} {
		n.WaitLive(t, stream)
	}
	if out := n.Output(); !strings.Contains(out, n.URL("/watch/cup/cam1")) {
		t.Errorf("the pages to open are not printed:\n%s", out)
	}
	b := OpenBrowser(t, 1280, 800)
	for i, stream := range []string{"cup/cam1", "cup/cam2"} {
		for _, transport := range []string{"webrtc", "hls"} {
			b.Open(n.URL("/watch/" + stream + "?transport=" + transport))
			s := b.WaitPlaying(transport, 40, 40*time.Second)
			sound := audible(t, b, transport)
			t.Logf("%s by %s: %d frames, %.0f ms behind live, sound %v", stream, transport, s.Frames, s.DelayMS, sound)
			if s.Width == 0 || !s.Playing {
				t.Errorf("%s by %s: no picture: %+v", stream, transport, s)
			}
			b.Screenshot(fmt.Sprintf("watch-cam%d-%s", i+1, transport))
		}
	}
	b.Open(n.URL("/"))
	Eventually(t, 20*time.Second, "the landing page lists both cameras with pictures", func() error {
		var pictures int
		b.Eval(&pictures, `[...document.images].filter(i => i.complete && i.naturalWidth > 0).length`)
		if pictures < 2 {
			return fmt.Errorf("it shows %d pictures: %s", pictures, b.State().Text)
		}
		return nil
	})
	b.Screenshot("landing")
}

// TestDemoGivesWay publishes under the names of the demo cameras, as who tries a camera of their own may. The demo must
// not take them back before they are free again.
func TestDemoGivesWay(t *testing.T) {
	n := StartNode(t, "--demo", "--transcoder.preset", "ultrafast", "--ladder.default", "source")
	names := []string{"cup/cam1", "cup/cam2"}
	came := func() int { return strings.Count(n.Output(), `msg="publisher came"`) }
	for _, name := range names {
		n.WaitLive(t, name)
	}
	before := came()
	var own []*Process
	for _, name := range names {
		own = append(own, camera(t, n, name))
	}
	Eventually(t, 20*time.Second, "the demo cameras wait", func() error {
		if waits := strings.Count(n.Output(), "which waits until it is free"); waits != len(names) {
			return fmt.Errorf("%d of them do", waits)
		}
		return nil
	})
	for i, p := range own {
		select {
		case <-p.done:
			t.Errorf("%s was taken back: %s", names[i], p.Output())
		default:
		}
	}
	if now := came(); now != before+len(names) {
		t.Errorf("%d publishers came after the demo's, want the %d new cameras", now-before, len(names))
	}
	for _, p := range own {
		p.Kill()
	}
	Eventually(t, 20*time.Second, "the demo cameras are back", func() error {
		if now := came(); now != before+2*len(names) {
			return fmt.Errorf("%d publishers came after them", now-before)
		}
		return nil
	})
}

// audible waits until sound was decoded. WebRTC counts its energy, HLS its bytes.
func audible(t testing.TB, b *Browser, transport string) float64 {
	t.Helper()
	if transport == "hls" {
		var bytes float64
		Eventually(t, 20*time.Second, "sound by HLS", func() error {
			if bytes = b.State().Audio; bytes == 0 {
				return fmt.Errorf("no byte of sound was decoded")
			}
			return nil
		})
		return bytes
	}
	var level float64
	Eventually(t, 20*time.Second, "sound by WebRTC", func() error {
		b.Eval(&level, `(async () => {
			const track = document.querySelector("video").srcObject.getAudioTracks()[0];
			const context = new AudioContext();
			const meter = context.createAnalyser();
			context.createMediaStreamSource(new MediaStream([track])).connect(meter);
			await new Promise((r) => setTimeout(r, 300));
			const samples = new Float32Array(meter.fftSize);
			meter.getFloatTimeDomainData(samples);
			await context.close();
			return Math.max(...samples.map(Math.abs));
		})()`)
		if level < 0.01 {
			return fmt.Errorf("the loudest sample is %g", level)
		}
		return nil
	})
	return level
}

// TestForeignPlayers watches with programs that are not ours.
func TestForeignPlayers(t *testing.T) {
	n := StartNode(t, small...)
	camera(t, n, "cup/cam1")
	n.WaitLive(t, "cup/cam1")
	hls, rtsp := n.URL("/hls/cup/cam1/index.m3u8"), "rtsp://"+n.RTSP+"/cup/cam1"

	t.Run("ffmpeg decodes HLS", func(t *testing.T) { decodes(t, hls, "640x360") })
	t.Run("ffmpeg decodes RTSP", func(t *testing.T) { decodes(t, rtsp, "640x360", "-rtsp_transport", "tcp") })
	t.Run("ffmpeg decodes RTSP over UDP", func(t *testing.T) { decodes(t, rtsp, "640x360", "-rtsp_transport", "udp") })
	// Of formats that have run for a while, as the players before it started them: as their first viewer GStreamer 1.22
	// may seek to the very end of a short playlist, find no segment there, and stop.
	t.Run("gstreamer plays HLS", func(t *testing.T) {
		p := StartProcess(t, "gst-launch-1.0", "-q", "playbin3", "uri="+hls,
			"video-sink=fakesink num-buffers=45", "audio-sink=fakesink num-buffers=45")
		p.Wait(t, 60*time.Second)
	})
}

// decodes lets FFmpeg decode five seconds, and counts the pictures and adds up the sound that came out. Far less is asked
// for: by HLS of a format that starts only now, the sound has a past and the pictures have none.
func decodes(t *testing.T, url, size string, options ...string) {
	t.Helper()
	args := append([]string{"-v", "error", "-read_intervals", "%+5", "-of", "json",
		"-show_entries", "stream=codec_type,sample_rate:frame=media_type,width,height,nb_samples"}, options...)
	var complaints bytes.Buffer
	cmd := exec.Command("ffprobe", append(args, url)...)
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v: %s", url, err, complaints.String())
	}
	var probe struct {
		Streams []struct {
			Kind string `json:"codec_type"`
			Rate int    `json:"sample_rate,string"` // Hz
		}
		Frames []struct {
			Kind          string `json:"media_type"`
			Width, Height int
			Samples       int `json:"nb_samples"`
		}
	}
	if err := json.Unmarshal(out, &probe); err != nil {
		t.Fatal(err)
	}
	pictures, samples, rate := map[string]int{}, 0, 0
	for _, s := range probe.Streams {
		rate = max(rate, s.Rate)
	}
	for _, f := range probe.Frames {
		if f.Kind == "video" {
			pictures[fmt.Sprintf("%dx%d", f.Width, f.Height)]++
		}
		samples += f.Samples
	}
	sound := float64(samples) / float64(max(rate, 1))
	if pictures[size] < 40 || sound < 1.5 {
		t.Errorf("from 5 s of %s it decoded pictures %v, want 40 of %s, and %.1f s of sound, want 1.5: %s",
			url, pictures, size, sound, complaints.String())
	}
}

// TestForeignPublishers publishes with programs that are not ours, and decodes what comes out: what was sent, by RTSP, and
// what was made of it, by HLS.
func TestForeignPublishers(t *testing.T) {
	n := StartNode(t, small...)
	token := n.Token(t, "--publish", "cup/*")
	ffmpeg := func(codec ...string) func(*testing.T, string) {
		return func(t *testing.T, stream string) { camera(t, n, stream, codec...) }
	}
	gstreamer := func(video, audio string) func(*testing.T, string) {
		return func(t *testing.T, stream string) {
			pipeline := "-q rtspclientsink name=out protocols=tcp latency=0 location=rtsp://" + n.RTSP + "/" + stream + "?token=" + token +
				" videotestsrc is-live=true ! video/x-raw,format=I420,width=320,height=180,framerate=25/1 ! " + video + " ! out." +
				" audiotestsrc is-live=true ! audioconvert ! audioresample ! audio/x-raw," + audio + " ! out."
			StartProcess(t, "gst-launch-1.0", strings.Fields(pipeline)...)
		}
	}
	for _, c := range []struct {
		stream string
		want   []string // codecs, video first
		start  func(t *testing.T, stream string)
	}{
		{"cup/ffmpeg-h265", []string{"h265", "opus"}, ffmpeg("-c:v", "libx265", "-preset", "ultrafast",
			"-x265-params", "log-level=none:keyint=25:bframes=0", "-s", "320x180", "-pix_fmt", "yuv420p", "-c:a", "libopus", "-ac", "2")},
		{"cup/ffmpeg-bframes", []string{"h264", "opus"}, ffmpeg("-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2",
			"-s", "320x180", "-pix_fmt", "yuv420p", "-c:a", "libopus", "-ac", "2")},
		{"cup/gst-h264", []string{"h264", "opus"}, gstreamer(
			"x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse", "channels=2,rate=48000 ! opusenc")},
		{"cup/gst-vp8", []string{"vp8", "pcma"}, gstreamer(
			"vp8enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! video/x-vp8,profile=(string)0", "channels=1,rate=8000 ! alawenc")},
	} {
		t.Run(c.stream, func(t *testing.T) {
			c.start(t, c.stream)
			n.WaitLive(t, c.stream)
			var codecs []string
			s, err := n.Stream(c.stream)
			for _, f := range s.Formats {
				if f.Name == "source" {
					codecs = append(codecs, f.Codec)
				}
			}
			if err != nil || !slices.Equal(codecs, c.want) {
				t.Errorf("published as %v (%+v), %v; want %v", codecs, s, err, c.want)
			}
			t.Run("RTSP", func(t *testing.T) {
				t.Parallel()
				decodes(t, "rtsp://"+n.RTSP+"/"+c.stream, "320x180", "-rtsp_transport", "tcp")
			})
			t.Run("HLS", func(t *testing.T) {
				t.Parallel()
				decodes(t, n.URL("/hls/"+c.stream+"/index.m3u8"), "320x180")
			})
		})
	}
}

// TestBrowserPublishes sends Chromium's camera by WHIP and watches it in another page.
func TestBrowserPublishes(t *testing.T) {
	n := StartNode(t, small...)
	token := n.Token(t, "--publish", "cup/*")
	camera := OpenBrowser(t, 1000, 900)
	camera.Open(n.URL("/publish/cup/ana"))
	camera.Click("button:has-text('Use the camera')")
	camera.Click("button[type=submit]:has-text('Go live')")
	saysInWords(t, camera, "Paste the one that you were given")
	camera.Open("about:blank") // a change of the fragment alone would not load the page
	camera.Open(n.URL("/publish/cup/ana#token=" + token))
	camera.Click("button:has-text('Use the camera')")
	camera.Click("button[type=submit]:has-text('Go live')")
	n.WaitLive(t, "cup/ana")
	camera.Screenshot("publish")

	viewer := OpenBrowser(t, 390, 800)
	for _, transport := range []string{"webrtc", "hls"} {
		viewer.Open(n.URL("/watch/cup/ana?transport=" + transport))
		s := viewer.WaitPlaying(transport, 20, 40*time.Second)
		t.Logf("by %s: %+v", transport, s)
		audible(t, viewer, transport)
		Eventually(t, 20*time.Second, "the page tells the delay since ingest", func() error {
			if s := viewer.State(); s.DelayMS <= 0 || s.DelayMS > 15_000 {
				return fmt.Errorf("it is %v ms", s.DelayMS)
			}
			return nil
		})
		viewer.Screenshot("watch-phone-" + transport)
	}
}

// saysInWords waits until a page speaks of a missing token, to people and not to programs.
func saysInWords(t testing.TB, b *Browser, words string) {
	t.Helper()
	Eventually(t, 20*time.Second, "the page asks for a token", func() error {
		s := b.State()
		if !strings.Contains(s.Text, words) || strings.Contains(s.Text, "Authorization") {
			return fmt.Errorf("it says %q", s.Text)
		}
		return nil
	})
}

// TestNothingDisconnectsAViewer kills what feeds viewers, and looks at the viewers.
func TestNothingDisconnectsAViewer(t *testing.T) {
	n := StartNode(t, small...)
	source := camera(t, n, "cup/cam1")
	n.WaitLive(t, "cup/cam1")
	webrtc, hls := OpenBrowser(t, 800, 600), OpenBrowser(t, 800, 600)
	webrtc.Open(n.URL("/watch/cup/cam1?transport=webrtc&format=180p"))
	hls.Open(n.URL("/watch/cup/cam1?transport=hls"))
	webrtc.WaitPlaying("webrtc", 25, 40*time.Second)
	hls.WaitPlaying("hls", 25, 40*time.Second)
	posts := func() float64 { return n.Metric(t, "banyan_signal_requests_total", `endpoint="whep"`, `method="POST"`) }
	sessions := posts()
	if sessions == 0 {
		t.Fatal("the viewer's own request was not counted")
	}

	hls.WatchBreaks()
	type gap struct{ webrtc, hls float64 } // ms
	killed := gap{3000, 3000}              // F4
	// Counted from when FFmpeg is started to publish, which takes its time; a page by HLS shows what comes then from the next
	// segment on, and its encoders start anew.
	returned := gap{5000, 8000}
	// recovers waits until both viewers have played on for a while, and looks at how long they had no picture since begun.
	recovers := func(t *testing.T, goesOn bool, most gap, begin func()) {
		t.Helper()
		webrtc.WatchGaps()
		hls.WatchGaps()
		hls.WatchHalts()
		begin()
		webrtc.WaitPlaying("webrtc", 50, 30*time.Second)
		hls.WaitPlaying("hls", 200, 40*time.Second) // its buffer hides for a while what is wrong
		byWebRTC, byHLS := webrtc.LargestGap(), hls.LargestGap()
		t.Logf("largest gap between pictures: %.0f ms by WebRTC, %.0f ms by HLS (%s)", byWebRTC, byHLS, hls.Halts())
		if byWebRTC > most.webrtc || byHLS > most.hls {
			t.Errorf("a viewer had no picture for longer than %.0f ms by WebRTC, or %.0f ms by HLS", most.webrtc, most.hls)
		}
		what := hls.Breaks()
		once := what == "" || strings.Contains(what, "made anew: 1,") || strings.HasSuffix(what, "made anew: 1")
		if goesOn && what != "" || !once || strings.Contains(what, "errors") || strings.Contains(what, "refused") {
			t.Errorf("the HLS viewer did not just go on: %s", what)
		}
	}

	t.Run("FFmpeg workers are killed", func(t *testing.T) {
		workers := n.Children(t, "libx264")
		if len(workers) == 0 {
			t.Fatal("there are none")
		}
		watches := map[string]*PartWatch{}
		for _, format := range []string{"360p", "180p"} {
			watches[format] = n.WatchParts(t, "/hls/cup/cam1/"+format+"-video/index.m3u8")
		}
		recovers(t, true, killed, func() {
			for _, pid := range workers {
				if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
		})
		for format, watch := range watches {
			pause := watch.Longest()
			t.Logf("%s by HLS: at most %v without a part", format, pause.Round(time.Millisecond))
			if pause > 3*time.Second {
				t.Errorf("F4: the server made no part of %s for %v, want at most 3 s", format, pause)
			}
		}
	})
	t.Run("the publisher is killed and returns", func(t *testing.T) {
		source.Kill()
		Eventually(t, 20*time.Second, "the page says that the broadcaster is away", func() error {
			if s := webrtc.State(); s.State != "waiting" {
				return fmt.Errorf("it is %+v", s)
			}
			return nil
		})
		webrtc.Screenshot("waiting")
		recovers(t, true, returned, func() { camera(t, n, "cup/cam1") })
	})
	t.Run("the publisher returns with another size", func(t *testing.T) {
		// A second publisher takes the name over from the first. Its size is a format that players of HLS cannot be told
		// of; the page may start anew for it.
		recovers(t, false, returned, func() {
			camera(t, n, "cup/cam1", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-s", "480x360",
				"-pix_fmt", "yuv420p", "-b:v", "400k", "-c:a", "aac")
		})
	})
	if again := posts(); again != sessions {
		t.Errorf("the WebRTC viewer had to connect %v times more", again-sessions)
	}
}

// TestHLSFollowsThePublisher has publishers return with something else, which HLS players cannot be told of: they
// read once what there is.
func TestHLSFollowsThePublisher(t *testing.T) {
	n := StartNode(t, small...)
	picture := func(size string, sound ...string) []string {
		return append([]string{"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline", "-g", "25",
			"-s", size, "-pix_fmt", "yuv420p", "-b:v", "400k"}, sound...)
	}
	aac, opus, none := []string{"-c:a", "aac", "-ar", "44100"}, []string{"-c:a", "libopus", "-ar", "48000"}, []string{"-an"}
	for i, c := range []struct {
		name          string
		before, after []string
		sound         bool // in the end
		width         int  // in the end
		goesOn        bool // the viewer needs no new start
	}{
		{"Opus after AAC", picture("320x180", aac...), picture("320x180", opus...), true, 320, true},
		{"AAC after Opus", picture("320x180", opus...), picture("320x180", aac...), true, 320, true},
		{"sound after none", picture("320x180", none...), picture("320x180", aac...), true, 320, false},
		{"no sound after some", picture("320x180", aac...), picture("320x180", none...), false, 320, false},
		{"a larger picture", picture("320x180", aac...), picture("640x360", aac...), true, 640, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stream := fmt.Sprintf("cup/change%d", i)
			before := camera(t, n, stream, c.before...)
			n.WaitLive(t, stream)
			b := OpenBrowser(t, 800, 600)
			b.Open(n.URL("/watch/" + stream + "?transport=hls"))
			b.WaitPlaying("hls", 25, 40*time.Second)
			b.WatchBreaks()
			before.Kill()
			after := camera(t, n, stream, c.after...)
			b.WaitPlaying("hls", 50, 40*time.Second)
			Eventually(t, 30*time.Second, "the viewer has what the publisher sends", func() error {
				from := b.State()
				time.Sleep(time.Second)
				s := b.State()
				switch {
				case s.State != "playing" || s.Frames <= from.Frames:
					return fmt.Errorf("no picture: %+v", s)
				case s.Width != c.width:
					return fmt.Errorf("the picture is %d wide, want %d", s.Width, c.width)
				case c.sound && s.Audio <= from.Audio:
					return fmt.Errorf("no sound: %v bytes, before %v", s.Audio, from.Audio)
				}
				return nil
			})
			if what := b.Breaks(); c.goesOn && what != "" || strings.Contains(what, "errors") || strings.Contains(what, "refused") {
				t.Errorf("the viewer did not just go on: %s", what)
			}
			after.Stop()
		})
	}
}

// TestStrangersAreRefused tries what needs a token without one.
func TestStrangersAreRefused(t *testing.T) {
	n := StartNode(t)
	for _, c := range [][]string{
		{"-X", "POST", n.URL("/whip/cup/cam1"), "-H", "Content-Type: application/sdp", "-d", "v=0"},
		{"-X", "POST", n.URL("/api/v1/tokens"), "-d", "{}"},
		{n.URL("/api/v1/workers")},
	} {
		out, err := exec.Command("curl", append([]string{"-s", "-i"}, c...)...).Output()
		if err != nil || !strings.Contains(string(out), "401 Unauthorized") || !strings.Contains(string(out), "application/problem+json") {
			t.Errorf("%v: %v %s", c, err, out)
		}
	}
	push := exec.Command("ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=15", "-t", "5",
		"-c:v", "libx264", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+n.RTSP+"/cup/cam1")
	if out, err := push.CombinedOutput(); err == nil || !strings.Contains(string(out), "401") {
		t.Errorf("FFmpeg without a token: %v %s", err, out)
	}
}

// TestDoctorKnowsARunningNode asks the doctor about a machine on which Banyan runs, as people do when something is wrong.
func TestDoctorKnowsARunningNode(t *testing.T) {
	n := StartNode(t)
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, append([]string{"doctor", "--http.addr", n.HTTP, "--rtsp.addr", n.RTSP, "--rtc.addr", n.RTC,
		"--admin.addr", n.Admin, "--rtsp.udp_addr", "127.0.0.1:0"}, n.config...)...).CombinedOutput()
	if err != nil {
		t.Errorf("it finds fault: %v", err)
	}
	if got := strings.Count(string(out), "in use by a running Banyan"); got != 5 { // of rtc.addr two, UDP and TCP
		t.Errorf("it knows %d of 5 ports:\n%s", got, out)
	}
}

// TestWatchingByToken closes the streams to strangers, and opens them by the token in the page's address.
func TestWatchingByToken(t *testing.T) {
	n := StartNode(t, append(small, "--auth.play", "token")...)
	token := n.Token(t, "--play", "cup/*")
	camera(t, n, "cup/cam1")
	Eventually(t, 20*time.Second, "the stream is live for who may know", func() error {
		out, err := exec.Command("curl", "-sf", "-H", "Authorization: Bearer "+token, n.URL("/api/v1/streams/cup/cam1")).Output()
		if err == nil && !strings.Contains(string(out), `"live":true`) {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	for _, path := range []string{"/hls/cup/cam1/index.m3u8", "/hls/cup/cam1/180p-video/index.m3u8", "/thumbnails/cup/cam1", "/api/v1/streams"} {
		if _, err := n.Get(path); err == nil || !strings.Contains(err.Error(), "401") {
			t.Errorf("a stranger asks for %s: %v, want 401", path, err)
		}
	}
	b := OpenBrowser(t, 900, 700)
	for _, transport := range []string{"webrtc", "hls"} {
		b.Open("about:blank") // a change of the fragment alone would not load the page
		b.Open(n.URL("/watch/cup/cam1?transport=" + transport + "#token=" + token))
		b.WaitPlaying(transport, 25, 40*time.Second)
	}
	b.Open(n.URL("/"))
	saysInWords(t, b, "Ask who invited you for a token")
	b.Open(n.URL("/watch/cup/cam1"))
	saysInWords(t, b, "This stream is not open to everybody")
	b.Screenshot("token")
}
