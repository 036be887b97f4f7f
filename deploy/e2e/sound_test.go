package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestSoundAloneByWebRTC watches a stream that has no picture, and then has one. What a page decodes of sound is no proof that
// it is heard: the clock of the element has to run.
func TestSoundAloneByWebRTC(t *testing.T) {
	n := StartNode(t, small...)
	const stream = "cup/radio"
	token := n.Token(t, "--publish", stream)
	radio := StartProcess(t, "ffmpeg", "-nostdin", "-loglevel", "warning", "-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
		"-c:a", "libopus", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+n.RTSP+"/"+stream+"?token="+token)
	n.WaitLive(t, stream)
	b := OpenBrowser(t, 800, 600)
	b.Open(n.URL("/watch/" + stream + "?transport=webrtc"))
	Eventually(t, 20*time.Second, "the sound plays", func() error {
		if s := b.State(); s.State != "playing" || !s.Playing || s.Time < 1 {
			return fmt.Errorf("the page is at %+v", s)
		}
		return nil
	})
	radio.Stop()
	camera(t, n, stream)
	Eventually(t, 30*time.Second, "the picture that came is shown", func() error {
		if s := b.State(); s.State != "playing" || !s.Playing || s.Width != 640 || s.Frames < 25 {
			return fmt.Errorf("the page is at %+v", s)
		}
		return nil
	})
}
