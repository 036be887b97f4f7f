package rtsp

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
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
	t.Parallel()
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

// TestSoundThatIsGone: players are told of the sound of a publisher who has left, but not while another one without sound
// is there, for which they would wait.
func TestSoundThatIsGone(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	first := push(t, n.url("cup/st"), "tcp", picture, tone, x264(), []string{"-c:a", "aac"})
	n.track("cup/st", media.Video)
	n.track("cup/st", media.Audio)
	first.kill()
	eventually(t, "the first publisher to be gone", func() bool { return n.server.Stats().Publishers == 0 })
	if got := n.dial(t).request("DESCRIBE", n.url("cup/st"), ""); !strings.Contains(got, "m=audio") || !strings.Contains(got, "m=video") {
		t.Errorf("while nobody publishes, there is: %s; want what there was", got)
	}
	push(t, n.url("cup/st"), "tcp", picture, x264())
	eventually(t, "the second publisher to be there", func() bool { return n.server.Stats().Publishers == 1 })
	if got := probe(t, n.url("cup/st"), "tcp", 20); got["h264"] < 20 || len(got) != 1 {
		t.Errorf("ffprobe read %v in 3 s; want about 45 frames of h264 alone", got)
	}
}

// Over UDP no request may come for long once media flows: the time that requests have is no bound on sessions.
func TestSessionsOverUDPOutliveTheRequestTimeout(t *testing.T) {
	t.Parallel()
	const timeout = 1500 * time.Millisecond
	n := newNode(t, func(c *Config) { c.RequestTimeout = timeout })
	push(t, n.url("cup/cam1"), "udp", picture, tone, x264(), []string{"-c:a", "aac"})
	n.track("cup/cam1", media.Video)
	n.track("cup/cam1", media.Audio)
	if got := probe(t, n.url("cup/cam1"), "udp", 20); got["h264"] < 35 { // of 45 in three seconds: twice the timeout
		t.Errorf("a player read %v in 3 s; want about 45 frames of h264", got)
	}
	if s := n.server.Stats(); s.Publishers != 1 || strings.Count(n.logs.String(), "publisher came") != 1 {
		t.Errorf("the publisher did not stay: %+v", s)
	}
}

// TestPlayersFallBackToTCP has a player ask for UDP first, which is off: the refusal leaves nothing behind that its
// second SETUP would stumble over.
func TestPlayersFallBackToTCP(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) { c.UDPAddr = off })
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	r := n.dial(t)
	refused := r.request("SETUP", n.url("cam/trackID=0"), "", "Transport: RTP/AVP;unicast;client_port=40030-40031")
	if status(refused) != "461" || header(refused, "Session") != "" {
		t.Errorf("UDP that is off: %s", refused)
	}
	if got := r.request("SETUP", n.url("cam/trackID=0"), "", watch); status(got) != "200" {
		t.Errorf("TCP after that: %s", got)
	}
	if got := probe(t, n.url("cam"), "udp+tcp", 10); got["h264"] < 10 {
		t.Errorf("ffprobe read %v", got)
	}
}

func TestPlayDecodesWithoutErrors(t *testing.T) {
	t.Parallel()
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

// decode lets GStreamer decode frames of H.264, and ends it when it has as many as are wanted. It is not left to end by
// itself: rtspsrc 1.22 cancels its own PAUSE when it closes, and calls that an error.
func decode(t *testing.T, url, transport string, frames int) {
	t.Helper()
	p := start(t, "gst-launch-1.0", "-v", "rtspsrc", "location="+url, "protocols="+transport, "latency=0", "!",
		"rtph264depay", "!", "avdec_h264", "!", "fakesink", "sync=false", "silent=false")
	defer p.kill()
	eventually(t, fmt.Sprintf("GStreamer to decode %d frames of %s", frames, url), func() bool {
		return strings.Count(p.output.String(), "last-message = chain") >= frames
	})
}

func TestPlayToGStreamer(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cup/cam"), "tcp", picture, x264())
	n.track("cup/cam", media.Video)
	for _, url := range []string{n.url("cup/cam"), n.url("cup/cam?format=source&token=any")} {
		decode(t, url, "tcp", 20)
	}
}

func TestRestoreQuery(t *testing.T) {
	for _, c := range []struct{ setup, described, want string }{
		{"rtsp://h/cup/trackID=0", "rtsp://h/cup/cam?token=x", "rtsp://h/cup/cam?token=x/trackID=0"},
		{"rtsp://h/trackID=1", "rtsp://h/cam?format=360p", "rtsp://h/cam?format=360p/trackID=1"},
		{"rtsp://h/cup/cam/trackID=0", "rtsp://h/cup/cam/?token=x", "rtsp://h/cup/cam/?token=x/trackID=0"},
		{"rtsp://h/cup/cam/trackID=0", "rtsp://h/cup/cam", "rtsp://h/cup/cam/trackID=0"},
		{"rtsp://h/cup/cam?token=y/trackID=0", "rtsp://h/cup/cam?token=x", "rtsp://h/cup/cam?token=y/trackID=0"},
		{"rtsp://h/other/trackID=0", "rtsp://h/cup/cam?token=x", "rtsp://h/other/trackID=0"}, // another stream: no business of that token
		{"rtsp://h/cup/cam2", "rtsp://h/cup/cam?token=x", "rtsp://h/cup/cam2"},
	} {
		setup, described := mustParse(t, c.setup), mustParse(t, c.described)
		if got := restoreQuery(setup, described).String(); got != c.want {
			t.Errorf("SETUP %s after DESCRIBE %s: %s, want %s", c.setup, c.described, got, c.want)
		}
	}
}

func mustParse(t *testing.T, text string) *base.URL {
	t.Helper()
	u, err := base.ParseURL(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// player is a client that has set up all tracks of a stream, and not sent PLAY.
func (n *node) player(t *testing.T, stream string) *gortsplib.Client {
	t.Helper()
	u, err := base.ParseURL(n.url(stream))
	if err != nil {
		t.Fatal(err)
	}
	tcp := gortsplib.TransportTCP
	c := &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &tcp}
	if err := c.Start2(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	session, _, err := c.Describe(u)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetupAll(session.BaseURL, session.Medias); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestPlayTellsWhereAndWhen checks RTP-Info, sender reports and timestamps against the log.
func TestPlayTellsWhereAndWhen(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cam"), "tcp", picture, tone, x264(), []string{"-c:a", "libopus"})
	logs := map[media.Kind]*log.Log{media.Video: n.track("cam", media.Video), media.Audio: n.track("cam", media.Audio)}
	c := n.player(t, "cam")
	type seen struct {
		kind   media.Kind
		packet *rtp.Packet
		report *rtcp.SenderReport
	}
	all := make(chan seen, 1000)
	kind := func(m *description.Media) media.Kind {
		if m.Type == description.MediaTypeVideo {
			return media.Video
		}
		return media.Audio
	}
	c.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) { all <- seen{kind: kind(m), packet: p} })
	c.OnPacketRTCPAny(func(m *description.Media, p rtcp.Packet) {
		if sr, ok := p.(*rtcp.SenderReport); ok {
			all <- seen{kind: kind(m), report: sr}
		}
	})
	res, err := c.Play(nil)
	if err != nil {
		t.Fatal(err)
	}
	var info headers.RTPInfo
	if err := info.Unmarshal(res.Header["RTP-Info"]); err != nil || len(info) != 2 {
		t.Fatalf("RTP-Info %q: %v", res.Header["RTP-Info"], err)
	}
	first, reports := map[media.Kind]*rtp.Packet{}, map[media.Kind]*rtcp.SenderReport{}
	for deadline := time.After(patience); len(first) < 2 || len(reports) < 2; {
		select {
		case s := <-all:
			if s.packet != nil && first[s.kind] == nil {
				first[s.kind] = s.packet
			}
			if s.report != nil {
				reports[s.kind] = s.report
			}
		case <-deadline:
			t.Fatalf("got %d first packets and %d reports", len(first), len(reports))
		}
	}
	for i, k := range media.Kinds {
		if *info[i].SequenceNumber != first[k].SequenceNumber || *info[i].Timestamp != first[k].Timestamp {
			t.Errorf("%v begins at %d/%d; RTP-Info says %d/%d", k, first[k].SequenceNumber, first[k].Timestamp,
				*info[i].SequenceNumber, *info[i].Timestamp)
		}
		at := media.Time(int64(reports[k].NTPTime>>32)-2208988800) * 1e9
		rate := logs[k].Params().ClockRate
		ticks := media.TicksOf(at, rate)
		if d := media.DurationOf(int64(int32(reports[k].RTPTime-uint32(ticks))), rate); d < 0 || d > time.Second {
			t.Errorf("%v: the report's clocks differ by %v from the log's; want the part of a second that was cut", k, d)
		}
	}
}

// TestPlayerIsToldOfItsEnd has a publisher come back with another codec than players were told: they get a BYE (R21).
func TestPlayerIsToldOfItsEnd(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	c := n.player(t, "cam")
	bye := make(chan struct{}, 1)
	c.OnPacketRTCPAny(func(_ *description.Media, p rtcp.Packet) {
		if _, ok := p.(*rtcp.Goodbye); ok {
			bye <- struct{}{}
		}
	})
	if _, err := c.Play(nil); err != nil {
		t.Fatal(err)
	}
	push(t, n.url("cam"), "tcp", picture, []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "15"})
	select {
	case <-bye:
	case <-time.After(patience):
		t.Error("no BYE came")
	}
	eventually(t, "the player to be gone", func() bool { return n.server.Stats().Players == 0 })
}

// fragile is a player's session that breaks at the third packet.
type fragile struct{ packets, closed int }

func (f *fragile) WritePacketRTP(*description.Media, *rtp.Packet) error {
	if f.packets++; f.packets == 3 {
		panic("the third packet")
	}
	return nil
}

func (f *fragile) WritePacketRTCP(*description.Media, rtcp.Packet) error { return nil }
func (f *fragile) Close()                                                { f.closed++ }

// TestPanicEndsOnePlayer has sending to one player break: it is closed, and others are played on to.
func TestPanicEndsOnePlayer(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	push(t, n.url("cam"), "tcp", picture, x264())
	l := n.track("cam", media.Video)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	o, err := n.server.find(ctx, target{name: "cam"})
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	to := &fragile{}
	s := &sender{
		player: &player{server: n.server, logger: n.server.config.Logger},
		to:     to, track: o.tracks[0], cursor: l.Cursor(log.LastKeyframe()),
	}
	s.run(ctx)
	if to.packets != 3 || to.closed != 1 {
		t.Errorf("%d packets were sent and the session was closed %d times; want 3 and 1", to.packets, to.closed)
	}
	if text := n.logs.String(); !strings.Contains(text, "a packet broke the RTSP player") || !strings.Contains(text, "the third packet") {
		t.Errorf("the log does not tell:\n%s", text)
	}
	if got := probe(t, n.url("cam"), "tcp", 10); got["h264"] < 10 {
		t.Errorf("another player read %v", got)
	}
}

// silence supplies every stream with a format of Opus packets.
type silence struct{}

func (silence) Offers(s *relay.Stream) []relay.Offer {
	return []relay.Offer{{Format: "opus", Kind: media.Audio, Params: silent}}
}

var silent = media.Params{Codec: media.Opus, ClockRate: 48000, SampleRate: 48000, Channels: 2}

func (silence) Supply(ctx context.Context, _ *relay.Stream, _ relay.Offer, w *log.Writer) error {
	out, err := frame.NewWriter(w, silent)
	if err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ticks := media.TicksOf(media.TimeOf(time.Now()), 48000); ; ticks += 960 {
		if err := out.Write(frame.Frame{Ticks: ticks, Units: [][]byte{{0xfc, 0xff, 0xfe}}}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestPlayAFormatThatIsSupplied(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	n.hub.AddSupplier(silence{})
	push(t, n.url("cam"), "tcp", picture, x264())
	n.track("cam", media.Video)
	if got := probe(t, n.url("cam?format=opus"), "tcp", 10); got["opus"] < 50 || len(got) != 1 {
		t.Errorf("?format=opus plays %v in 3 s; want opus alone", got)
	}
	missing := n.dial(t).request("DESCRIBE", n.url("cam?format=480p"), "")
	line, _, _ := strings.Cut(missing, "\r\n")
	if status(missing) != "404" || !strings.Contains(line, `has no "480p", but source, opus`) {
		t.Errorf("a format that is not there: %s; want a list of those that are", missing)
	}
}
