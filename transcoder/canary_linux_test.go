package transcoder

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"banyan/relay/media"
)

// canary is a file and an HTTP port that nobody has any business with.
type canary struct {
	file, url string
	hits      atomic.Int64
	watch     int // inotify
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{file: filepath.Join(t.TempDir(), "canary.ts")}
	if err := os.WriteFile(c.file, []byte("sing"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { c.hits.Add(1) }))
	t.Cleanup(server.Close)
	c.url = server.URL + "/canary.ts"
	var err error
	if c.watch, err = unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(c.watch) })
	if _, err := unix.InotifyAddWatch(c.watch, c.file, unix.IN_ALL_EVENTS); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *canary) wantUntouched(t *testing.T) {
	t.Helper()
	var events [4096]byte
	if n, err := unix.Read(c.watch, events[:]); err != unix.EAGAIN {
		t.Errorf("the file was touched: %d bytes of events (%v)", n, err)
	}
	if n := c.hits.Load(); n > 0 {
		t.Errorf("the HTTP port was asked %d times", n)
	}
}

func TestCanarySings(t *testing.T) {
	c := newCanary(t)
	if _, err := os.ReadFile(c.file); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(c.watch, make([]byte, 4096)); n <= 0 {
		t.Fatalf("a read went unnoticed: %v", err)
	}
}

// S12: names that FFmpeg would take for options, protocols or filters do not get as far as FFmpeg, even
// where nobody has checked them.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	fx := newFixture(t, Config{Ladders: onlySmall})
	for _, name := range []string{
		"-i/-y", "concat:" + c.file, "subfile,,start,0,end,4,,:" + c.file, c.file, c.url, "file:" + c.file,
		"%d", "x,movie=" + c.file, "x':drawtext=textfile='" + c.file, "x;$(cat " + c.file + ")", "data:text/plain,x", "tee:" + c.file + "|" + c.url,
	} {
		fx.publication.Close()
		fx.publishAs(media.Name(name), name)
		if _, err := fx.stream.Subscribe(media.Format(name), media.Video); err == nil {
			t.Errorf("%q was taken for a format", name)
		}
		fx.send(small(t, "1").from(fx.epoch))
		fx.offered("48p")
		v := fx.watch("48p", media.Video)
		v.until(fx.epoch.Add(200 * time.Millisecond))
		v.sub.Close()
	}
	c.wantUntouched(t)
}

// S12: a source that sends a playlist for a picture does not make FFmpeg open what it lists.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	c := newCanary(t)
	inputs := []string{
		fmt.Sprintf("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n%s\n#EXTINF:1,\nfile://%s\n", c.url, c.file),
		fmt.Sprintf("ffconcat version 1.0\nfile '%s'\nfile %s\n", c.file, c.url),
		fmt.Sprintf("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nu=%s\nm=video 5004 RTP/AVP 96\n", c.url),
		fmt.Sprintf("<MPD><Period><BaseURL>%s</BaseURL></Period></MPD>", c.url),
	}
	for _, codec := range []media.Codec{media.H264, media.VP8, media.AAC, media.PCMU} {
		in := media.Params{Codec: codec, ClockRate: media.VideoClockRate, Channels: 1}
		to := "48p"
		if codec.Kind() == media.Audio {
			in.ClockRate, to = audioRate, "opus"
		}
		target, err := ParseTarget(to)
		if err != nil {
			t.Fatal(err)
		}
		p := plan{In: in, Encoder: softwareEncoder(media.Opus, DefaultPreset), Segment: 2 * time.Second}
		if codec.Kind() == media.Video {
			p.Encoder, p.Out = x264(DefaultPreset), videoParams(target, Source{Params: in})
		} else {
			p.Out = audioParams(target, Source{Params: in})
		}
		for _, input := range inputs {
			// It may fail, or find noise to encode in samples without a header.
			_, _ = runOnce("ffmpeg", args(p), limits{memory: defaultMemory}, []byte(input), probeLimit, probeOutput)
		}
	}
	c.wantUntouched(t)
}
