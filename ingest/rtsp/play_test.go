package rtsp

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"banyan/relay/media"
)

// probe lets ffprobe look at a stream for a while and gives the packets of each codec that it read.
func probe(t *testing.T, url, transport string, packets int) map[string]int {
	t.Helper()
	p := start(t, "ffprobe", "-hide_banner", "-loglevel", "error", "-rtsp_transport", transport,
		"-read_intervals", "%+3", "-show_entries", "packet=codec_type,pts", "-show_entries", "stream=codec_name,codec_type", "-of", "json", url)
	if !p.ended() {
		t.Fatalf("ffprobe fails:\n%s", p.output)
	}
	var found struct {
		Packets []struct {
			Kind string `json:"codec_type"`
		}
		Streams []struct {
			Name string `json:"codec_name"`
			Kind string `json:"codec_type"`
		}
	}
	text := p.output.String()
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &found); err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, text)
	}
	count := map[string]int{}
	for _, s := range found.Streams {
		for _, packet := range found.Packets {
			if packet.Kind == s.Kind {
				count[s.Name]++
			}
		}
	}
	return count
}

func TestPlayToFFprobe(t *testing.T) {
	n := newNode(t, nil)
	push(t, n.url("cup/cam1"), "tcp", picture, tone, x264("-bf", "2"), []string{"-c:a", "aac"})
	n.track("cup/cam1", media.Video)
	n.track("cup/cam1", media.Audio)
	for _, transport := range []string{"tcp", "udp"} {
		got := probe(t, n.url("cup/cam1"), transport, 20)
		if got["h264"] < 20 || got["aac"] < 60 {
			t.Errorf("over %s ffprobe read %v in 3 s; want about 45 frames of h264 and 140 of aac", transport, got)
		}
	}
	eventually(t, "players to be gone", func() bool { return n.server.Stats().Players == 0 })
}

func TestPlayDecodesWithoutErrors(t *testing.T) {
	n := newNode(t, nil)
	push(t, n.url("cam"), "udp", picture, tone, x264(), []string{"-c:a", "libopus"})
	n.track("cam", media.Video)
	n.track("cam", media.Audio)
	out, err := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-xerror", "-rtsp_transport", "tcp",
		"-i", n.url("cam?format=source"), "-t", "2", "-f", "null", "-").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "" {
		t.Errorf("ffmpeg: %v\n%s", err, out)
	}
}
