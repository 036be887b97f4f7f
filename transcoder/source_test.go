package transcoder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"image/jpeg"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"go.uber.org/goleak"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// TestMain fails where a goroutine or a child process outlives the tests. Most of them wait for media
// time to pass, so that more than one for each processor may run.
func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel").Value; parallel.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = parallel.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0)))
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if left := children(); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "processes %v outlived the tests\n", left)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// children lists our child processes.
func children() []string {
	var pids []string
	threads, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range threads {
		list, _ := os.ReadFile(path)
		pids = append(pids, strings.Fields(string(list))...)
	}
	return pids
}

// clip is a few seconds of a track as a publisher would send it, its times counted from zero.
type clip struct {
	params media.Params
	frames []frame.Frame
}

// video makes a clip with FFmpeg's test picture: rate such as "30" or "30000/1001", and further
// options for the encoder.
func video(t testing.TB, codec media.Codec, size, rate, seconds string, options ...string) clip {
	t.Helper()
	encoder := map[media.Codec][]string{
		media.H264: {"-c:v", "libx264", "-preset", "ultrafast"},
		media.H265: {"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=0"},
		media.VP8:  {"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"},
		media.VP9:  {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"},
		media.AV1:  {"-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8"},
	}[codec]
	args := slices.Concat([]string{"-f", "lavfi", "-i", "testsrc2=size=" + size + ":rate=" + rate, "-t", seconds},
		encoder, []string{"-pix_fmt", "yuv420p", "-b:v", "300k"}, options)
	return generate(t, media.Params{Codec: codec, ClockRate: media.VideoClockRate}, args)
}

// tone makes a clip of a sine.
func tone(t testing.TB, codec media.Codec, seconds string, options ...string) clip {
	t.Helper()
	encoder := map[media.Codec][]string{
		media.Opus: {"-c:a", "libopus", "-b:a", "64k", "-frame_duration", "20"},
		media.AAC:  {"-c:a", "aac", "-b:a", "96k"},
	}[codec]
	p := media.Params{Codec: codec, ClockRate: audioRate, SampleRate: audioRate, Channels: 2}
	if codec == media.AAC {
		config, err := mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: audioRate, ChannelConfig: 2}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		p.Sets = [][]byte{config}
	}
	args := slices.Concat([]string{"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", seconds, "-ac", "2"}, options, encoder)
	return generate(t, p, args)
}

// pcmu makes a clip of µ-law in packets of 20 ms.
func pcmu(t testing.TB, seconds string) clip {
	t.Helper()
	raw := ffmpeg(t, "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=8000", "-t", seconds, "-f", "mulaw", "pipe:1")
	c := clip{params: media.Params{Codec: media.PCMU, ClockRate: 8000, SampleRate: 8000, Channels: 1}}
	for i := 0; i+160 <= len(raw); i += 160 {
		c.frames = append(c.frames, frame.Frame{Ticks: int64(i), Units: [][]byte{raw[i : i+160]}})
	}
	return c
}

// clips keeps what was generated, as many tests want the same.
var clips sync.Map

func generate(t testing.TB, p media.Params, args []string) clip {
	t.Helper()
	key := strings.Join(args, " ")
	if c, ok := clips.Load(key); ok {
		kept := c.(clip)
		return clip{params: kept.params, frames: slices.Clone(kept.frames)}
	}
	c := generateAnew(t, p, args)
	clips.Store(key, c)
	return clip{params: c.params, frames: slices.Clone(c.frames)}
}

func generateAnew(t testing.TB, p media.Params, args []string) clip {
	t.Helper()
	if writesIVF(p.Codec) {
		args = append(args, "-f", "ivf", "pipe:1")
	} else {
		args = append(args, "-muxdelay", "0", "-muxpreload", "0", "-mpegts_copyts", "1", "-pes_payload_size", "0", "-f", "mpegts", "pipe:1")
	}
	c := clip{params: p}
	err := readOutput(bytes.NewReader(ffmpeg(t, args...)), p.Codec, func(f frame.Frame) error {
		c.frames = append(c.frames, f)
		return nil
	})
	if !errors.Is(err, io.EOF) || len(c.frames) == 0 {
		t.Fatalf("generated %d frames of %s: %v", len(c.frames), p.Codec, err)
	}
	return c
}

func ffmpeg(t testing.TB, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-nostdin", "-v", "error"}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg %q: %v: %s", args, err, stderr.String())
	}
	return out
}

// length is the time from the first frame to the end of the last.
func (c clip) length() time.Duration {
	low, high := c.frames[0].Ticks, c.frames[0].Ticks
	for _, f := range c.frames {
		low, high = min(low, f.Ticks), max(high, f.Ticks)
	}
	return media.DurationOf(high-low, c.params.ClockRate) + media.DurationOf(high-low, c.params.ClockRate)/time.Duration(max(1, len(c.frames)-1))
}

// from is c with all times moved so that zero is at.
func (c clip) from(at media.Time) clip {
	moved := clip{params: c.params, frames: slices.Clone(c.frames)}
	for i := range moved.frames {
		moved.frames[i].Ticks += media.TicksOf(at, c.params.ClockRate)
	}
	return moved
}

// repeat is c n times, one after the other.
func (c clip) repeat(n int) clip {
	long := clip{params: c.params}
	length := media.TicksOf(media.Time(c.length()), c.params.ClockRate)
	for i := range int64(n) {
		for _, f := range c.frames {
			f.Ticks += i * length
			long.frames = append(long.frames, f)
		}
	}
	return long
}

// fixture is a hub with a transcoder and one live stream.
type fixture struct {
	t           testing.TB
	hub         *relay.Hub
	transcoder  *Transcoder
	publication *relay.Publication
	stream      *relay.Stream
	epoch       media.Time // where clips begin: a whole multiple of the segment duration
	watched     chan struct{}
	once        sync.Once       // closes watched
	waits       bool            // clips wait for the formats that are watched; set before they are played
	playing     []chan struct{} // closed when a clip has ended
	writers     map[media.Kind]*frame.Writer

	mu      sync.Mutex // guards viewers
	viewers []*viewer
}

func newFixture(t testing.TB, c Config) *fixture {
	t.Helper()
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if c.Linger == 0 {
		c.Linger = 50 * time.Millisecond
	}
	if c.Encoder == "" {
		c.Encoder = "libx264" // what else there may be takes time to find out
	}
	if c.Patience == 0 {
		c.Patience = 3 * time.Second // these machines are busy
		c.Grace = 15 * time.Second
	}
	transcoder, err := build(c, known)
	if err != nil {
		t.Fatal(err)
	}
	hub := relay.New(relay.Config{Logger: slog.New(slog.DiscardHandler)})
	hub.AddSupplier(transcoder)
	fx := &fixture{t: t, hub: hub, transcoder: transcoder, writers: map[media.Kind]*frame.Writer{},
		epoch: media.TimeOf(time.Now()).Floor(2 * time.Second), watched: make(chan struct{})}
	t.Cleanup(func() {
		hub.Close()
		if left := transcoder.Workers(); len(left) > 0 {
			t.Errorf("after the hub was closed %d workers are left", len(left))
		}
	})
	fx.publish()
	return fx
}

// known says which encoders there are, as TestProbe has it that libx264 and the software encoders work:
// finding out takes longer than most tests.
func known(c Config, wanted []media.Codec) (map[media.Codec]encoder, error) {
	encoders := map[media.Codec]encoder{}
	for _, codec := range wanted {
		all := candidates(codec, c)
		encoders[codec] = all[len(all)-1]
	}
	return encoders, nil
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// publish claims the stream's name.
func (fx *fixture) publish() { fx.t.Helper(); fx.publishAs("cup/cam1", "test") }

func (fx *fixture) publishAs(name media.Name, origin string) {
	fx.t.Helper()
	p, err := fx.hub.Publish(name, origin)
	if err != nil {
		fx.t.Fatal(err)
	}
	fx.publication, fx.stream = p, p.Stream()
	clear(fx.writers)
}

// send writes a clip at once: what the source's log would hold by now.
func (fx *fixture) send(c clip) {
	fx.t.Helper()
	for i := range c.frames {
		fx.sendFrame(c, i)
	}
}

func (fx *fixture) sendFrame(c clip, i int) {
	fx.t.Helper()
	kind := c.params.Codec.Kind()
	w := fx.writers[kind]
	if w == nil || w.Params().Codec != c.params.Codec {
		out, err := fx.publication.Source(kind)
		if err != nil {
			fx.t.Fatal(err)
		}
		if w, err = frame.NewWriter(out, c.params); err != nil {
			fx.t.Fatal(err)
		}
		w.OnParams = func(media.Params) { fx.publication.Announce() }
		fx.writers[kind] = w
	}
	f := c.frames[i]
	if f.Arrived == 0 {
		f.Arrived = media.TimeOf(time.Now())
	}
	if err := w.Write(f); err != nil {
		fx.t.Fatal(err)
	}
}

// play sends clips at the given multiple of their own pace, until they end or the returned function is called. Those of one
// call come from one hand, in the order of their time, however busy this machine is. All but the first frames wait until
// somebody watches, so that tests see clips from their start.
func (fx *fixture) play(pace float64, clips ...clip) (stop func()) {
	const head = 300 * time.Millisecond
	steps := inOrder(clips)
	next := 0
	for ; next < len(steps) && steps[next].at < head; next++ {
		fx.sendFrame(steps[next].clip, steps[next].frame)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	fx.playing = append(fx.playing, done)
	go func() {
		defer close(done)
		select {
		case <-fx.watched:
		case <-ctx.Done():
		}
		began := time.Now().Add(-time.Duration(float64(head) / pace))
		for _, s := range steps[next:] {
			if sleep(ctx, time.Until(began.Add(time.Duration(float64(s.at)/pace)))) != nil {
				return
			}
			if fx.waits && fx.keepUp(ctx, s.clip, s.frame) != nil {
				return
			}
			fx.sendFrame(s.clip, s.frame)
		}
	}()
	stop = func() { cancel(); <-done }
	fx.t.Cleanup(stop)
	return stop
}

// step is one frame of a clip, and when it is to be sent: since the beginning of the first clip.
type step struct {
	clip  clip
	frame int // of the clip
	at    time.Duration
}

// inOrder are the frames of clips by their time; those of one clip stay as they are, as pictures may be shown in another order.
func inOrder(clips []clip) (steps []step) {
	timeOf := func(c clip, i int) media.Time { return media.TimeAt(c.frames[i].Ticks, c.params.ClockRate) }
	start := timeOf(clips[0], 0)
	for _, c := range clips {
		start = min(start, timeOf(c, 0))
	}
	for _, c := range clips {
		var newest time.Duration
		for i := range c.frames {
			newest = max(newest, timeOf(c, i).Sub(start))
			steps = append(steps, step{clip: c, frame: i, at: newest})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return steps
}

// keepUp waits until the formats that are watched are not far behind frame i of a clip, so that none skips a part of it
// (maxLag) because this machine is slow.
func (fx *fixture) keepUp(ctx context.Context, c clip, i int) error {
	const far = maxLag / 2
	at := func(i int) media.Time { return media.TimeAt(c.frames[i].Ticks, c.params.ClockRate) }
	behind := func(v *viewer) bool { return at(i).Sub(max(v.sub.Log().NewestTime(), at(0))) > far }
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		fx.mu.Lock()
		wait := slices.ContainsFunc(fx.viewers, behind)
		fx.mu.Unlock()
		if !wait {
			break
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// finish waits until all clips have been sent.
func (fx *fixture) finish() {
	for _, done := range fx.playing {
		<-done
	}
}

// release lets clips go on without anybody watching.
func (fx *fixture) release() { fx.once.Do(func() { close(fx.watched) }) }

// watch subscribes to a format.
func (fx *fixture) watch(format media.Format, kind media.Kind) *viewer {
	fx.t.Helper()
	return fx.watchAfter(format, kind, 0)
}

// watchAfter is watch for one who has the format already up to a media time.
func (fx *fixture) watchAfter(format media.Format, kind media.Kind, after media.Time) *viewer {
	fx.t.Helper()
	sub, err := fx.stream.SubscribeAfter(format, kind, after)
	if err != nil {
		fx.t.Fatal(err)
	}
	v := &viewer{t: fx.t, sub: sub, frames: frame.NewReader(sub.Log().Cursor(logStart(sub.Log())))}
	fx.t.Cleanup(sub.Close)
	fx.mu.Lock()
	fx.viewers = append(fx.viewers, v)
	fx.mu.Unlock()
	fx.release()
	return v
}

// patience is how long tests wait for processes: this machine may have much else to do.
const patience = 40 * time.Second

// worker waits until the format has a worker that fits.
func (fx *fixture) worker(format media.Format, fits func(Worker) bool) Worker {
	fx.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, w := range fx.transcoder.Workers() {
			if w.Track.Format == format && fits(w) {
				return w
			}
		}
	}
	fx.t.Fatalf("no worker of %s came to be as expected; there are %+v", format, fx.transcoder.Workers())
	return Worker{}
}

// offered waits until the format is on offer.
func (fx *fixture) offered(format media.Format) {
	fx.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, o := range fx.transcoder.Offers(fx.stream) {
			if o.Format == format {
				return
			}
		}
	}
	fx.t.Fatalf("%s is not offered, only %+v", format, fx.transcoder.Offers(fx.stream))
}

// onset decodes a clip of audio and finds when sound begins in it.
func onset(t testing.TB, c clip) time.Duration {
	t.Helper()
	var ts bytes.Buffer
	in, err := newInput(&ts, c.params, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.frames {
		f := c.frames[i]
		f.Params = &c.params
		if err := in.write(&f); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-copyts", "-f", "mpegts", "-i", "pipe:0",
		"-af", "aresample=48000:first_pts=0,aformat=sample_fmts=s16:channel_layouts=mono", "-f", "s16le", "pipe:1")
	cmd.Stdin = &ts
	pcm, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(pcm); i += 2 {
		if v := int16(uint16(pcm[i]) | uint16(pcm[i+1])<<8); v > 500 || v < -500 {
			return media.DurationOf(int64(i/2), audioRate)
		}
	}
	t.Fatal("there is no sound")
	return 0
}

func wantJPEG(t *testing.T, b []byte, width, height int) {
	t.Helper()
	picture, err := jpeg.DecodeConfig(bytes.NewReader(b))
	if err != nil || picture.Width != width || picture.Height != height {
		t.Errorf("%d bytes of a %dx%d picture (%v), want a JPEG of %dx%d", len(b), picture.Width, picture.Height, err, width, height)
	}
}

// source is the log of what is published.
func (fx *fixture) source(kind media.Kind) *log.Log {
	for _, track := range fx.stream.Published() {
		if track.ID.Kind == kind {
			return track.Log
		}
	}
	fx.t.Fatalf("no %v is published", kind)
	return nil
}
