package whep_test

import (
	"bytes"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

const (
	fps      = 15
	keyEvery = fps // frames
	frameLen = media.VideoClockRate / fps
)

// picture is one encoded frame.
type picture [][]byte

// encoded are two seconds of a test picture, made by FFmpeg once per kind.
var encoded = struct {
	sync.Mutex
	made map[string][]picture
}{made: map[string][]picture{}}

// pictures encodes two seconds as H.264 with the given x264 profile and size.
func pictures(t testing.TB, profile, size string) []picture {
	t.Helper()
	encoded.Lock()
	defer encoded.Unlock()
	if p := encoded.made[profile+size]; p != nil {
		return p
	}
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=15:duration=2:size="+size,
		"-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-profile:v", profile, "-pix_fmt", "yuv420p",
		"-g", "15", "-keyint_min", "15", "-sc_threshold", "0", "-f", "mpegts", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	r := &mpegts.Reader{R: bytes.NewReader(out)}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	var list []picture
	r.OnDataH264(r.Tracks()[0], func(_, _ int64, au [][]byte) error {
		p := make(picture, len(au))
		for i, unit := range au {
			p[i] = bytes.Clone(unit)
		}
		list = append(list, p)
		return nil
	})
	for r.Read() == nil {
	}
	if len(list) != 2*fps {
		t.Fatalf("ffmpeg made %d pictures, want %d", len(list), 2*fps)
	}
	encoded.made[profile+size] = list
	return list
}

// camera publishes video and, unless it has no writer for that, audio.
type camera struct {
	t           testing.TB
	publication *relay.Publication
	video       *frame.Writer
	audio       *frame.Writer
	source      *log.Writer
	pictures    []picture
	begin       int64 // ticks of the first frame
	ticks       int64 // of the next frame
	n           int
}

// newCamera publishes under name. Its time begins at the wall clock's, rounded so that keyframes fall on whole seconds.
func (w *world) newCamera(name media.Name, profile string) *camera {
	w.Helper()
	p, err := w.hub.Publish(name, "test")
	if err != nil {
		w.Fatal(err)
	}
	c := &camera{t: w, publication: p, pictures: pictures(w, profile, "320x180")}
	if c.source, err = p.Source(media.Video); err != nil {
		w.Fatal(err)
	}
	c.video = newWriter(w, c.source, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}, p)
	audio, err := p.Source(media.Audio)
	if err != nil {
		w.Fatal(err)
	}
	c.audio = newWriter(w, audio, media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}, p)
	c.begin = time.Now().Unix() * media.VideoClockRate
	c.ticks = c.begin
	return c
}

func newWriter(t testing.TB, w *log.Writer, p media.Params, publication *relay.Publication) *frame.Writer {
	t.Helper()
	writer, err := frame.NewWriter(w, p)
	if err != nil {
		t.Fatal(err)
	}
	writer.OnParams = func(media.Params) { publication.Announce() }
	return writer
}

// silence is 20 ms of it in Opus.
var silence = []byte{0xf8, 0xff, 0xfe}

// shoot writes n frames at once, and the audio that belongs to them.
func (c *camera) shoot(n int) {
	c.t.Helper()
	for range n {
		arrived := media.TimeOf(time.Now())
		err := c.video.Write(frame.Frame{Ticks: c.ticks, Arrived: arrived, Units: c.pictures[c.n%len(c.pictures)]})
		if err != nil {
			c.t.Fatalf("write frame %d: %v", c.n, err)
		}
		from, to := media.Rescale(c.ticks, 90000, 48000), media.Rescale(c.ticks+frameLen, 90000, 48000)
		const opus = 960
		for at := (from + opus - 1) / opus * opus; c.audio != nil && at < to; at += opus {
			if err := c.audio.Write(frame.Frame{Ticks: at, Arrived: arrived, Units: [][]byte{silence}}); err != nil {
				c.t.Fatalf("write audio: %v", err)
			}
		}
		c.ticks += frameLen
		c.n++
	}
}

// roll shoots in real time, faster by speed, until the returned function is called.
func (c *camera) roll(speed int) (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(time.Second / time.Duration(fps*speed))
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				c.shoot(1)
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-stopped })
}
