package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Browser is a headless Chromium with one page, driven by browser/driver.mjs over lines of JSON.
type Browser struct {
	t       testing.TB
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan answer
	errors  *tail
}

type answer struct {
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// State is what a watch page tells of itself (its dataset and window.banyan).
type State struct {
	Transport string  `json:"transport"` // webrtc, hls or none
	State     string  `json:"state"`     // connecting, playing, waiting or error
	Format    string  `json:"format"`
	DelayMS   float64 `json:"delay"`
	Frames    int     `json:"frames"`  // decoded since the page was opened
	Width     int     `json:"width"`   // of the decoded picture
	Playing   bool    `json:"playing"` // the media element's clock runs
	Time      float64 `json:"time"`    // of that clock, in seconds
	Audio     float64 `json:"audio"`   // bytes or seconds of sound decoded; grows while there is sound
	Text      string  `json:"text"`    // what the page says in words
}

// here is the folder of this package.
func here() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// OpenBrowser starts Chromium with an empty profile.
func OpenBrowser(t testing.TB, width, height int) *Browser {
	t.Helper()
	b := &Browser{t: t, answers: make(chan answer), errors: &tail{}}
	b.cmd = exec.Command("node", filepath.Join(here(), "browser", "driver.mjs"), fmt.Sprint(width), fmt.Sprint(height))
	b.cmd.Dir = filepath.Join(here(), "..", "..", "edge", "web") // where playwright-core is installed
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v: make test installs it", err)
	}
	b.cmd.Env = append(os.Environ(), "CHROMIUM="+chromium)
	b.cmd.Stderr = b.errors
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go b.listen(out)
	t.Cleanup(b.close)
	return b
}

func (b *Browser) listen(out io.Reader) {
	defer close(b.answers)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			a.Error = fmt.Sprintf("the driver said %q", lines.Text())
		}
		b.answers <- a
	}
}

func (b *Browser) close() {
	_ = b.in.Close() // the driver closes the browser and ends
	ended := make(chan struct{})
	go func() {
		for range b.answers {
		}
		_ = b.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(15 * time.Second):
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
		<-ended
	}
	if b.t.Failed() {
		b.t.Logf("the browser's console:\n%s", b.errors.String())
	}
}

// do sends a command to the driver and waits for its answer.
func (b *Browser) do(value any, command string, arguments ...any) {
	b.t.Helper()
	line, err := json.Marshal(map[string]any{"command": command, "arguments": append([]any{}, arguments...)})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		b.t.Fatalf("%s: the driver has gone: %v\n%s", command, err, b.errors.String())
	}
	select {
	case a, ok := <-b.answers:
		if !ok || a.Error != "" {
			b.t.Fatalf("%s %v: %s\n%s", command, arguments, a.Error, b.errors.String())
		}
		if value != nil {
			if err := json.Unmarshal(a.Value, value); err != nil {
				b.t.Fatalf("%s: %v in %s", command, err, a.Value)
			}
		}
	case <-time.After(60 * time.Second):
		b.t.Fatalf("%s %v: no answer", command, arguments)
	}
}

// Open goes to a page.
func (b *Browser) Open(url string) { b.t.Helper(); b.do(nil, "open", url) }

// State reads a watch page.
func (b *Browser) State() State {
	b.t.Helper()
	var s State
	b.do(&s, "state")
	return s
}

// Eval evaluates an expression in the page.
func (b *Browser) Eval(value any, expression string) { b.t.Helper(); b.do(value, "eval", expression) }

// Click clicks what a CSS selector or a Playwright text selector finds.
func (b *Browser) Click(selector string) { b.t.Helper(); b.do(nil, "click", selector) }

// Fill types into a field.
func (b *Browser) Fill(selector, text string) { b.t.Helper(); b.do(nil, "fill", selector, text) }

// Press presses a key.
func (b *Browser) Press(key string) { b.t.Helper(); b.do(nil, "press", key) }

// Look sets what the page is seen by: "light" or "dark", and the size of the window.
func (b *Browser) Look(scheme string, width, height int) {
	b.t.Helper()
	b.do(nil, "look", scheme, width, height)
}

// WatchGaps begins to note the largest gap between two pictures that the page shows.
func (b *Browser) WatchGaps() {
	b.t.Helper()
	b.Eval(nil, `(() => {
		const video = document.querySelector("video");
		window.largestGap = 0;
		window.lastPicture = performance.now();
		if (window.watchingGaps) return;
		window.watchingGaps = true;
		const shown = (now) => {
			window.largestGap = Math.max(window.largestGap, now - window.lastPicture);
			window.lastPicture = now;
			video.requestVideoFrameCallback(shown);
		};
		video.requestVideoFrameCallback(shown);
	})()`)
}

// LargestGap is the largest gap since WatchGaps, in milliseconds, the one that lasts included.
func (b *Browser) LargestGap() float64 {
	b.t.Helper()
	var ms float64
	b.Eval(&ms, `Math.max(window.largestGap, performance.now() - window.lastPicture)`)
	return ms
}

// WatchHalts begins to note when the playhead stands, which a viewer by HLS sees and hears even where it is short. A
// playhead that stands for less than a part of HLS, 200 ms, is one that this machine had no time for.
func (b *Browser) WatchHalts() {
	b.t.Helper()
	b.Eval(nil, `(() => {
		const video = document.querySelector("video");
		window.halts = [];
		if (window.watchingHalts) return;
		window.watchingHalts = true;
		let at = video.currentTime, since = performance.now(), noted = null;
		setInterval(() => {
			const now = performance.now();
			if (video.currentTime !== at || video.paused) {
				at = video.currentTime;
				since = now;
				noted = null;
			} else if (now - since >= 200) {
				if (noted !== window.halts) window.halts.push(0);
				noted = window.halts;
				noted[noted.length - 1] = now - since;
			}
		}, 25);
	})()`)
}

// Halts tells how often and for how long the playhead has stood since WatchHalts.
func (b *Browser) Halts() string {
	b.t.Helper()
	var lengths []float64 // ms
	b.Eval(&lengths, `window.halts`)
	var sum float64
	for _, ms := range lengths {
		sum += ms
	}
	return fmt.Sprintf("%d halts of %.0f ms in all", len(lengths), sum)
}

// WatchBreaks begins to count what would be a new start to an HLS viewer, or an error to its player.
func (b *Browser) WatchBreaks() {
	b.t.Helper()
	b.Eval(nil, `(() => {
		const breaks = window.breaks = { "media sources made anew": 0, "restarts of the element": 0, "errors of the element": 0, "media refused": 0 };
		const video = document.querySelector("video");
		const refusals = window.refusals = [];
		video.addEventListener("emptied", () => breaks["restarts of the element"]++);
		video.addEventListener("error", () => breaks["errors of the element"]++);
		const address = URL.createObjectURL;
		URL.createObjectURL = (object) => { // each hls.js, and each recovery from a media error, brings a media source
			if (object instanceof MediaSource) breaks["media sources made anew"]++;
			return address.call(URL, object);
		};
		const known = new WeakSet(), append = SourceBuffer.prototype.appendBuffer;
		SourceBuffer.prototype.appendBuffer = function (data) {
			if (!known.has(this)) this.addEventListener("error", () => {
				breaks["media refused"]++;
				refusals.push(video.error?.message ?? "decoder");
			});
			known.add(this);
			try {
				return append.call(this, data);
			} catch (error) {
				breaks["media refused"]++;
				refusals.push(String(error));
				throw error;
			}
		};
	})()`)
}

// Breaks says what has happened of that since WatchBreaks; nothing if the viewer just went on.
func (b *Browser) Breaks() string {
	b.t.Helper()
	var counts map[string]int
	b.Eval(&counts, `window.breaks`)
	if counts == nil {
		return "the page was loaded anew"
	}
	var found []string
	for what, n := range counts {
		if n > 0 {
			found = append(found, fmt.Sprintf("%s: %d", what, n))
		}
	}
	var refusals []string
	if b.Eval(&refusals, `window.refusals`); len(refusals) > 0 {
		b.t.Logf("the browser refused media: %s", strings.Join(refusals, "; "))
	}
	return strings.Join(found, ", ")
}

// Screenshot takes a picture of the page. It is kept in the folder that E2E_SCREENSHOTS names, if set.
func (b *Browser) Screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("E2E_SCREENSHOTS")
	if dir == "" {
		dir = b.t.TempDir()
	}
	file := filepath.Join(dir, name+".png")
	b.do(nil, "screenshot", file)
	info, err := os.Stat(file)
	if err != nil || info.Size() < 1000 {
		b.t.Errorf("the screenshot %s is empty: %v", name, err)
	}
}

// WaitPlaying waits until the page plays by the given transport and has decoded at least frames more
// frames than when it was called.
func (b *Browser) WaitPlaying(transport string, frames int, within time.Duration) State {
	b.t.Helper()
	first := b.State()
	var s State
	Eventually(b.t, within, fmt.Sprintf("the page plays %d frames by %s", frames, transport), func() error {
		s = b.State()
		if s.Transport != transport || s.Frames < first.Frames+frames || s.State != "playing" {
			return fmt.Errorf("it was at %d frames and is now: %+v", first.Frames, s)
		}
		return nil
	})
	return s
}
