package hls

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clip is two seconds of picture and sound as FFmpeg encodes them: one group of pictures at 30 frames
// per second, which can be played in a loop.
type clip struct {
	codec    media.Codec // of the pictures
	pictures [][][]byte  // access units as NAL units
	sounds   [][]byte    // raw AAC frames
	config   []byte      // AudioSpecificConfig
}

const (
	clipRate  = 30
	clipTicks = media.VideoClockRate / clipRate
	soundRate = 48000
	gop       = 60
)

var clips sync.Map // of size to func() (*clip, error)

// record encodes a clip of the given size in H.264, once for each.
func record(t testing.TB, size string) *clip { return recordAs(t, media.H264, size) }

func recordAs(t testing.TB, codec media.Codec, size string) *clip {
	t.Helper()
	once, _ := clips.LoadOrStore(string(codec)+size, sync.OnceValues(func() (*clip, error) { return encode(codec, size) }))
	c, err := once.(func() (*clip, error))()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// encoders are FFmpeg's options to write an elementary stream with access unit delimiters.
var encoders = map[media.Codec][]string{
	media.H264: {"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-x264-params", "aud=1", "-f", "h264"},
	media.H265: {"-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
		"aud=1:bframes=0:keyint=60:min-keyint=60:scenecut=0:log-level=none:pools=1", "-f", "hevc"},
}

// delimiters begin an access unit.
var delimiters = map[media.Codec][]byte{media.H264: {0, 0, 0, 1, 9}, media.H265: {0, 0, 0, 1, 35 << 1, 1}}

func encode(codec media.Codec, size string) (*clip, error) {
	dir, err := os.MkdirTemp("", "hls-clip")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	picture, sound := filepath.Join(dir, "v.h264"), filepath.Join(dir, "a.aac")
	args := []string{"-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=%d:duration=2", size, clipRate),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:sample_rate=%d:duration=2", soundRate),
		"-map", "0:v", "-pix_fmt", "yuv420p", "-threads", "1", "-g", fmt.Sprint(gop), "-keyint_min", fmt.Sprint(gop),
		"-sc_threshold", "0", "-bf", "0", "-b:v", "400k"}
	args = append(append(args, encoders[codec]...), picture, "-map", "1:a", "-c:a", "aac", "-b:a", "96k", "-f", "adts", sound)
	out, err := exec.Command("ffmpeg", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("ffmpeg: %w: %s", err, out)
	}
	c := &clip{codec: codec}
	if err := c.readPictures(picture); err != nil {
		return nil, err
	}
	return c, c.readSounds(sound)
}

func (c *clip) readPictures(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	delimiter := delimiters[c.codec]
	for _, unit := range bytes.Split(text, delimiter)[1:] {
		var units h264.AnnexB
		if err := units.Unmarshal(append(bytes.Clone(delimiter), unit...)); err != nil {
			return err
		}
		c.pictures = append(c.pictures, units[1:])
	}
	if len(c.pictures) != gop {
		return fmt.Errorf("the clip has %d pictures, want %d", len(c.pictures), gop)
	}
	return nil
}

func (c *clip) readSounds(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var packets mpeg4audio.ADTSPackets
	if err := packets.Unmarshal(text); err != nil {
		return err
	}
	for _, p := range packets {
		c.sounds = append(c.sounds, p.AU)
	}
	config := mpeg4audio.AudioSpecificConfig{Type: packets[0].Type, SampleRate: packets[0].SampleRate, ChannelConfig: packets[0].ChannelConfig}
	c.config, err = config.Marshal()
	return err
}

// studio publishes clips into a hub, frame by frame at the times it is told.
type studio struct {
	t           testing.TB
	clip        *clip
	publication *relay.Publication
	video       *frame.Writer
	audio       *frame.Writer
	stamped     bool // frames carry the time of their arrival
}

// what a studio publishes
type kinds struct{ video, audio bool }

var (
	both      = kinds{true, true}
	videoOnly = kinds{video: true}
	audioOnly = kinds{audio: true}
)

func newStudio(t testing.TB, hub *relay.Hub, name media.Name, c *clip, k kinds) *studio {
	t.Helper()
	publication, err := hub.Publish(name, "test")
	if err != nil {
		t.Fatal(err)
	}
	s := &studio{t: t, clip: c, publication: publication}
	if k.video {
		s.video = s.writer(media.Video, media.Params{Codec: c.codec, ClockRate: media.VideoClockRate, Aligned: true})
	}
	if k.audio {
		s.audio = s.writer(media.Audio, media.Params{Codec: media.AAC, ClockRate: soundRate, SampleRate: soundRate,
			Channels: 1, Sets: [][]byte{c.config}})
	}
	return s
}

func (s *studio) writer(kind media.Kind, p media.Params) *frame.Writer {
	s.t.Helper()
	var track *log.Writer
	track, err := s.publication.Source(kind)
	if err != nil {
		s.t.Fatal(err)
	}
	w, err := frame.NewWriter(track, p)
	if err != nil {
		s.t.Fatal(err)
	}
	w.OnParams = func(media.Params) { s.publication.Announce() }
	return w
}

// play publishes all frames whose time lies in [from, to). Picture n of any stretch is the one that
// stands at its place in the group of pictures, so that keyframes fall on even seconds.
func (s *studio) play(from, to media.Time) {
	s.t.Helper()
	if err := s.write(from, to); err != nil {
		s.t.Fatal(err)
	}
}

func (s *studio) write(from, to media.Time) error {
	var arrived media.Time
	if s.stamped {
		arrived = media.TimeOf(time.Now())
	}
	nv, na := ceilTicks(from, media.VideoClockRate, clipTicks), ceilTicks(from, soundRate, media.AACFrame)
	for {
		tv, ta := media.TimeAt(nv*clipTicks, media.VideoClockRate), media.TimeAt(na*media.AACFrame, soundRate)
		if tv >= to && ta >= to {
			return nil
		}
		if tv <= ta {
			if s.video != nil {
				f := frame.Frame{Ticks: nv * clipTicks, Units: s.clip.pictures[nv%gop], Arrived: arrived}
				if err := s.video.Write(f); err != nil {
					return err
				}
			}
			nv++
			continue
		}
		if s.audio != nil {
			f := frame.Frame{Ticks: na * media.AACFrame, Units: [][]byte{s.clip.sounds[na%int64(len(s.clip.sounds))]}, Arrived: arrived}
			if err := s.audio.Write(f); err != nil {
				return err
			}
		}
		na++
	}
}

// ceilTicks is the number of the first frame at or after t.
func ceilTicks(t media.Time, rate int, step int64) int64 {
	return (media.TicksOf(t, rate) + step - 1) / step
}

// stage is a server with its hub, reachable over loopback.
type stage struct {
	t      testing.TB
	hub    *relay.Hub
	server *Server
	url    string
	client *http.Client
	stop   func()

	registry *prometheus.Registry
}

func newStage(t testing.TB, change func(*Config)) *stage {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	// Media is written here a thousand times faster than it plays: a window as long as a node's would pass readers by
	// within milliseconds.
	window := log.Config{Window: time.Minute}
	s := &stage{t: t, registry: prometheus.NewRegistry(), hub: relay.New(relay.Config{Logger: quiet, Linger: time.Hour, Log: window})}
	config := Config{Hub: s.hub, Logger: quiet, Registerer: s.registry}
	if change != nil {
		change(&config)
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.server = server
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) })
	web := httptest.NewServer(server)
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 2000}
	s.url, s.client = web.URL+Root, &http.Client{Transport: transport, Timeout: time.Minute}
	s.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		transport.CloseIdleConnections()
		web.Close()
		s.hub.Close()
	})
	t.Cleanup(s.stop)
	return s
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (s *stage) get(path string, header ...string) reply {
	s.t.Helper()
	r, err := s.try(context.Background(), http.MethodGet, path, header...)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// try makes a request; header is a list of names and values.
func (s *stage) try(ctx context.Context, method, path string, header ...string) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, nil)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, string(body)}, err
}

// want gets a path and checks its status.
func (s *stage) want(status int, path string, header ...string) reply {
	s.t.Helper()
	r := s.get(path, header...)
	if r.status != status {
		s.t.Fatalf("GET %s: status %d, want %d: %s", path, r.status, status, r.body)
	}
	return r
}

// eventually polls until ok is true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// tagged are the lines of a playlist that begin with tag.
func tagged(text, tag string) (lines []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, tag) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// epoch is a media time on the grid from which tests count; any even second would do.
const epoch = media.Time(1_800_000_000 * int64(time.Second))

// second is the media time n seconds into a test.
func second(n float64) media.Time { return epoch.Add(time.Duration(n * float64(time.Second))) }

// direct asks the server without a connection.
func (s *stage) direct(path string) string {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, Root+path, nil))
	if w.Code != http.StatusOK {
		s.t.Fatalf("GET %s: status %d: %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// listing waits until the playlist of a rendition lists a file, and gives it.
func (s *stage) listing(rendition, file string) (text string) {
	s.t.Helper()
	eventually(s.t, rendition+" lists "+file, func() bool {
		text = s.want(http.StatusOK, rendition+indexFile).body
		_, listed, _ := strings.Cut(text, "#EXT-X-TARGETDURATION")
		listed, _, _ = strings.Cut(listed, "#EXT-X-PRELOAD-HINT")
		return strings.Contains(listed, file)
	})
	return text
}

// journal keeps what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
