// Package bench measures the whole server as viewers and operators meet it: the built binary, real
// publishers, Chromium. It prints a table of what was measured beside what we aim at. Nothing here
// passes or fails by speed.
package bench

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"go.uber.org/goleak"

	"banyan/deploy/e2e"
)

// repeat is how often a node is killed where the gaps that viewers see are spread: 20 times tell a worst case.
var repeat = flag.Int("repeat", 3, "how often a node is killed in the benchmarks of that")

// old is the version that a fleet is upgraded from, and dwell how long it runs with each mix of the two.
var (
	old   = flag.String("old", "", "a banyan of another version, from which the fleet of BenchmarkRollingRestart is upgraded to this one")
	dwell = flag.Duration("dwell", 3*time.Second, "how long that fleet runs on after each node")
)

// rows are the table, in the order of measuring.
var rows [][3]string

func report(what, aim, format string, values ...any) {
	rows = append(rows, [3]string{what, fmt.Sprintf(format, values...), aim})
}

func TestMain(m *testing.M) {
	code := m.Run()
	e2e.RemoveBinary()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if len(rows) > 0 {
		fmt.Printf("\nOn %d cores, FFmpeg and Chromium beside the server:\n", runtime.NumCPU())
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintln(w, "what\tmeasured\taim")
		for _, row := range rows {
			fmt.Fprintln(w, strings.Join(row[:], "\t"))
		}
		_ = w.Flush()
	}
	os.Exit(code)
}

// camera pushes a test picture with a tone by RTSP.
func camera(b *testing.B, n *e2e.Node, stream, size, rate string) {
	b.Helper()
	token := n.Token(b, "--publish", stream)
	e2e.StartProcess(b, "ffmpeg", "-nostdin", "-loglevel", "error",
		"-re", "-f", "lavfi", "-i", "testsrc2=size="+size+":rate=30", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", "baseline",
		"-pix_fmt", "yuv420p", "-g", "60", "-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate, "-x264-params", "nal-hrd=cbr",
		"-c:a", "libopus", "-ac", "2", "-b:a", "64k", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+n.RTSP+"/"+stream+"?token="+token)
	n.WaitLive(b, stream)
}

// BenchmarkFirstPicture is the time from opening the page to its first decoded frame, page load included.
func BenchmarkFirstPicture(b *testing.B) {
	n := e2e.StartNode(b, "--transcoder.preset", "ultrafast", "--ladder.default", "source,360p,aac")
	camera(b, n, "cup/cam1", "640x360", "800k")
	const tries = 9
	for _, c := range []struct{ transport, what, aim string }{
		{"webrtc", "first picture, WebRTC", "≤ 500 ms"},
		{"hls", "first picture, LL-HLS, format running", "≤ 1500 ms"},
	} {
		b.Run(c.transport, func(b *testing.B) {
			browser := e2e.OpenBrowser(b, 800, 600)
			var times, media []float64
			for range tries {
				browser.Open(n.URL("/watch/cup/cam1?transport=" + c.transport))
				var ms [2]float64
				browser.Eval(&ms, `(async () => {
					let video;
					while (!(video = document.querySelector("video"))) await new Promise(requestAnimationFrame);
					if (video.getVideoPlaybackQuality().totalVideoFrames === 0)
						await new Promise((r) => video.requestVideoFrameCallback(r));
					const now = performance.now();
					const asked = performance.getEntriesByType("resource").find(({ name }) => /\/(whep|hls)\/cup/.test(name));
					return [now, now - (asked?.startTime ?? 0)];
				})()`)
				times, media = append(times, ms[0]), append(media, ms[1])
			}
			slices.Sort(times)
			slices.Sort(media)
			b.ReportMetric(times[tries/2], "ms/first-picture")
			report(c.what, c.aim, "median %.0f ms, worst %.0f ms of %d; page load apart %.0f and %.0f ms", times[tries/2], times[tries-1], tries,
				media[tries/2], media[tries-1])
		})
	}
}

// BenchmarkBehindLive is how far behind live Chromium plays LL-HLS, by program date time.
func BenchmarkBehindLive(b *testing.B) {
	n := e2e.StartNode(b, "--transcoder.preset", "ultrafast", "--ladder.default", "source,360p,aac")
	camera(b, n, "cup/cam1", "640x360", "800k")
	browser := e2e.OpenBrowser(b, 800, 600)
	browser.Open(n.URL("/watch/cup/cam1?transport=hls"))
	browser.WaitPlaying("hls", 150, 60*time.Second) // past its start
	var delays []float64
	stalled, last := 0, 0
	for range 60 {
		time.Sleep(250 * time.Millisecond)
		s := browser.State()
		delays = append(delays, s.DelayMS)
		if s.Frames == last {
			stalled++
		}
		last = s.Frames
	}
	slices.Sort(delays)
	b.ReportMetric(delays[len(delays)/2], "ms/behind-live")
	report("behind live, LL-HLS with 200 ms parts", "≤ 1200 ms", "median %.0f ms, worst %.0f ms in 15 s; stalled at %d of 60 looks",
		delays[len(delays)/2], delays[len(delays)-1], stalled)
}

// BenchmarkServerDelay is the time from a packet's arrival by WHIP to its leaving by WHEP, from the
// server's own histogram.
func BenchmarkServerDelay(b *testing.B) {
	n := e2e.StartNode(b, "--demo")
	n.WaitLive(b, "cup/cam2") // the one that comes by WHIP
	browser := e2e.OpenBrowser(b, 800, 600)
	browser.Open(n.URL("/watch/cup/cam2?transport=webrtc"))
	browser.WaitPlaying("webrtc", 600, 120*time.Second)
	p50, p99 := n.Quantile(b, "banyan_whep_delay_seconds", 0.5), n.Quantile(b, "banyan_whep_delay_seconds", 0.99)
	b.ReportMetric(p99*1000, "ms/p99")
	report("delay inside the server, WHIP to WHEP, 1 viewer", "p99 ≤ 5 ms", "p50 ≤ %.2g ms, p99 ≤ %.2g ms", p50*1000, p99*1000)
}

// BenchmarkKilledWorker is what viewers see when the FFmpeg process of their format is killed (CHECKLISTS F4).
func BenchmarkKilledWorker(b *testing.B) {
	n := e2e.StartNode(b, "--transcoder.preset", "ultrafast", "--ladder.default", "source,360p,aac")
	camera(b, n, "cup/cam1", "640x360", "800k")
	// Few and far between: five crashes within a minute would open the format's circuit, as they should.
	const tries, pause = 3, 20 * time.Second
	for _, transport := range []string{"webrtc", "hls"} {
		b.Run(transport, func(b *testing.B) {
			browser := e2e.OpenBrowser(b, 800, 600)
			browser.Open(n.URL("/watch/cup/cam1?format=360p&transport=" + transport))
			browser.WaitPlaying(transport, 90, 60*time.Second)
			var gaps []float64
			for range tries {
				browser.WatchGaps()
				for _, pid := range n.Children(b, "libx264") {
					_ = syscall.Kill(pid, syscall.SIGKILL)
				}
				time.Sleep(pause)
				browser.WaitPlaying(transport, 30, 60*time.Second)
				gaps = append(gaps, browser.LargestGap())
			}
			slices.Sort(gaps)
			b.ReportMetric(gaps[tries-1], "ms/largest-gap")
			report("FFmpeg killed -9, largest gap between pictures, "+transport, "≤ 3000 ms",
				"median %.0f ms, worst %.0f ms of %d", gaps[tries/2], gaps[tries-1], tries)
		})
	}
}

// BenchmarkViewers is what a WebRTC viewer costs in memory and processor, by plain pion.
func BenchmarkViewers(b *testing.B) {
	n := e2e.StartNode(b)
	camera(b, n, "cup/cam1", "1280x720", "2500k")
	time.Sleep(13 * time.Second) // until the window is full
	const viewers, window = 50, 15 * time.Second
	rss, busy := resident(b, n), usage(b, n, 5*time.Second)
	defer e2e.Watch(b, n.URL("/whep/cup/cam1"), viewers).Leave()
	time.Sleep(5 * time.Second)
	cost := usage(b, n, window) - busy
	memory := (resident(b, n) - rss) / viewers
	gigabits := 2.56 * viewers / 1000 // per second
	b.ReportMetric(memory/1e6, "MB/viewer")
	report(fmt.Sprintf("%d WebRTC viewers of 720p30 at 2.5 Mbit/s, plain pion", viewers), "",
		"%.2f CPU-s per Gbit, resident %.2f MB a viewer", cost/gigabits, memory/1e6)
}

// BenchmarkSource is what a 1080p30 source of 4.5 Mbit/s costs our own process, FFmpeg's apart: by itself, with all
// formats made for nobody, and watched by HLS in all of them.
func BenchmarkSource(b *testing.B) {
	const window, settling = 20 * time.Second, 15 * time.Second // until the windows of the logs are full
	const aim = "≤ 5 % of a core"
	b.Run("alone", func(b *testing.B) {
		n := e2e.StartNode(b)
		idle := usage(b, n, 5*time.Second)
		rss := resident(b, n)
		camera(b, n, "cup/cam1", "1920x1080", "4500k")
		time.Sleep(settling)
		busy := usage(b, n, window)
		b.ReportMetric(busy*100, "%core")
		report("own CPU, 1080p30 source at 4.5 Mbit/s by RTSP", aim, "%.1f %% of a core (idle %.1f %%)", busy*100, idle*100)
		report("memory, the same source", "its window", "resident %.0f MB more, windows %.0f MB",
			(resident(b, n)-rss)/1e6, n.Metric(b, "banyan_track_window_bytes")/1e6)
	})
	b.Run("formats", func(b *testing.B) {
		n := e2e.StartNode(b, "--ladder.streams", `[{match: "cup/*", formats: [source, 1080p, 720p, 360p, aac], always: true}]`)
		camera(b, n, "cup/cam1", "1920x1080", "4500k")
		time.Sleep(settling)
		const made = "banyan_transcoder_frames_total"
		before := n.Metric(b, made, `direction="out"`, `kind="video"`)
		busy := usage(b, n, window)
		pictures := (n.Metric(b, made, `direction="out"`, `kind="video"`) - before) / window.Seconds()
		b.ReportMetric(busy*100, "%core")
		report("own CPU, the same with 1080p, 720p, 360p and aac made all the time", aim, "%.1f %% of a core, for %.0f pictures a second of 90", busy*100, pictures)
	})
	b.Run("watched", func(b *testing.B) {
		n := e2e.StartNode(b)
		camera(b, n, "cup/cam1", "1920x1080", "4500k")
		viewer := e2e.StartProcess(b, "ffmpeg", "-nostdin", "-loglevel", "quiet", "-i", n.URL("/hls/cup/cam1/index.m3u8"), "-map", "0", "-c", "copy", "-f", "null", "-")
		defer viewer.Kill()
		time.Sleep(settling)
		busy := usage(b, n, window)
		b.ReportMetric(busy*100, "%core")
		report("own CPU, the same watched by HLS in all formats", aim, "%.1f %% of a core", busy*100)
	})
}

// usage is the share of a core that the node's own process takes, children apart.
func usage(b *testing.B, n *e2e.Node, over time.Duration) float64 {
	b.Helper()
	before, start := ticks(b, n), time.Now()
	time.Sleep(over)
	return float64(ticks(b, n)-before) / ticksPerSecond / time.Since(start).Seconds()
}

// ticksPerSecond is USER_HZ on every Linux that Go runs on.
const ticksPerSecond = 100

// ticks is the processor time that the node's own process has taken.
func ticks(b *testing.B, n *e2e.Node) int64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.PID()), "stat"))
	if err != nil {
		b.Fatal(err)
	}
	const utime, stime = 11, 12 // counted behind the name, see proc(5)
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+2:])
	sum := int64(0)
	for _, i := range []int{utime, stime} {
		v, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += v
	}
	return sum
}

func resident(b *testing.B, n *e2e.Node) float64 {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(n.PID()), "statm"))
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseFloat(string(bytes.Fields(text)[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}
