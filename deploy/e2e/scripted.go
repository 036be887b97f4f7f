package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
)

// A Scene is two seconds of picture, which are one group of pictures, and the time of each.
type Scene struct {
	units [][][]byte      // access units as NAL units
	at    []time.Duration // since the beginning
}

// sceneLength is that of a segment of HLS, so that keyframes stand where segments begin.
const sceneLength = 2 * time.Second

// Film encodes a scene at fps, without the pictures that are lost, and with the others moved by off.
func Film(t testing.TB, fps int, lost func(n int) bool, off func(n int) time.Duration) *Scene {
	t.Helper()
	s := &Scene{}
	pass := []string{"0"}
	for n := range fps * int(sceneLength/time.Second) {
		if n > 0 && lost(n) {
			continue
		}
		pass = append(pass, fmt.Sprintf("eq(n,%d)", n))
		s.at = append(s.at, time.Duration(n)*time.Second/time.Duration(fps)+off(n))
	}
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=320x180:rate=%d:duration=2", fps),
		"-vf", "select='"+strings.Join(pass, "+")+"'", "-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "ultrafast",
		"-tune", "zerolatency", "-pix_fmt", "yuv420p", "-g", "1000", "-x264-params", "aud=1", "-b:v", "300k", "-f", "h264", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	delimiter := []byte{0, 0, 0, 1, 9}
	for _, unit := range bytes.Split(out, delimiter)[1:] {
		var units h264.AnnexB
		if err := units.Unmarshal(append(bytes.Clone(delimiter), unit...)); err != nil {
			t.Fatal(err)
		}
		s.units = append(s.units, units[1:])
	}
	if len(s.units) != len(s.at) {
		t.Fatalf("FFmpeg encoded %d pictures, want %d", len(s.units), len(s.at))
	}
	return s
}

// Scripted is a camera that plays scenes, each of whose pictures it sends when it is due, and by RTSP.
type Scripted struct {
	client  *gortsplib.Client
	media   *description.Media
	encoder *rtph264.Encoder

	mu    sync.Mutex
	scene *Scene
}

// StartScripted publishes a stream that has a scene again and again, from the next even second on, until the test ends.
func StartScripted(t testing.TB, n *Node, stream string, scene *Scene) *Scripted {
	t.Helper()
	u, err := base.ParseURL("rtsp://" + n.RTSP + "/" + stream + "?token=" + n.Token(t, "--publish", stream))
	if err != nil {
		t.Fatal(err)
	}
	f := &format.H264{PayloadTyp: 96, PacketizationMode: 1}
	c := &Scripted{media: &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{f}}, scene: scene}
	if c.encoder, err = f.CreateEncoder(); err != nil {
		t.Fatal(err)
	}
	tcp := gortsplib.TransportTCP
	c.client = &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	if err := c.client.StartRecording(u.String(), &description.Session{Medias: []*description.Media{c.media}}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the scripted camera: %v", err)
		}
		c.client.Close()
	})
	return c
}

// Play has the camera go on with another scene when the one in work is over.
func (c *Scripted) Play(s *Scene) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scene = s
}

func (c *Scripted) run(ctx context.Context) error {
	for begin := time.Now().Truncate(sceneLength).Add(sceneLength); ; begin = begin.Add(sceneLength) {
		var scene *Scene
		for i := 0; scene == nil || i < len(scene.at); i++ {
			if scene == nil {
				if !wait(ctx, begin.Add(-sceneLength/100)) {
					return nil
				}
				c.mu.Lock()
				scene = c.scene
				c.mu.Unlock()
			}
			at := begin.Add(scene.at[i])
			if !wait(ctx, at) {
				return nil
			}
			if err := c.send(scene.units[i], at); err != nil {
				return err
			}
		}
	}
}

func wait(ctx context.Context, until time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Until(until)):
		return true
	}
}

// send sends a picture of a certain time.
func (c *Scripted) send(units [][]byte, at time.Time) error {
	const rate = 90000
	packets, err := c.encoder.Encode(units)
	if err != nil {
		return err
	}
	for _, p := range packets {
		p.Timestamp = uint32(at.Unix()*rate + int64(at.Nanosecond())*rate/int64(time.Second))
		if err := c.client.WritePacketRTPWithNTP(c.media, p, at); err != nil {
			return err
		}
	}
	return nil
}
