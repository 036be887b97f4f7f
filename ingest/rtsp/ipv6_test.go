package rtsp

import (
	"strings"
	"testing"

	"banyan/relay/media"
)

// TestIPv6 publishes and plays by the address that localhost is first of all on many machines.
func TestIPv6(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.Addr, c.UDPAddr = "[::1]:0", "[::1]:0" })
	for _, transport := range []string{"tcp", "udp"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			name := "cup/ffmpeg-" + transport
			push(t, n.url(name), transport, picture, x264())
			sent := "cup/gst-" + transport
			start(t, "gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "!", "video/x-raw,width=320,height=180,framerate=15/1", "!",
				"x264enc", "tune=zerolatency", "speed-preset=ultrafast", "key-int-max=15", "threads=1", "!", "h264parse", "!",
				"rtspclientsink", "latency=0", "protocols="+transport, "location="+n.url(sent))
			for _, name := range []string{name, sent} {
				n.track(media.Name(name), media.Video)
				decode(t, n.url(name), transport, 10)
				if got := probe(t, n.url(name), transport, 10); got["h264"] < 10 {
					t.Errorf("ffprobe of %s read %v", name, got)
				}
			}
		})
	}
}

func TestDescriptionHasTheFamilyOfTheConnection(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{"[::1]:0": "c=IN IP6 ::\r\n", "127.0.0.1:0": "c=IN IP4 0.0.0.0\r\n"} {
		n := newNode(t, func(c *Config) { c.Addr, c.UDPAddr = address, address })
		push(t, n.url("cam"), "tcp", picture, x264())
		n.track("cam", media.Video)
		r := n.dial(t)
		if got := r.request("DESCRIBE", n.url("cam"), ""); !strings.Contains(got, "\r\n"+want) || !strings.Contains(got, "\r\no=- ") {
			t.Errorf("described at %s:\n%s\nwant %q in it", address, got, want)
		}
	}
}
