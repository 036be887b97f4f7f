package whep_test

import (
	"bytes"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"

	"banyan/edge/whep"
	"banyan/relay/frame"
	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
)

// frames puts packets together to access units and fails on gaps in sequence numbers and timestamps that run back.
func frames(t testing.TB, packets []*rtp.Packet) (units [][]byte, timestamps []uint32) {
	t.Helper()
	depacketizer := &codecs.H264Packet{}
	var unit []byte
	for i, p := range packets {
		if i > 0 {
			before := packets[i-1]
			if p.SequenceNumber != before.SequenceNumber+1 {
				t.Fatalf("packet %d has sequence number %d after %d", i, p.SequenceNumber, before.SequenceNumber)
			}
			if int32(p.Timestamp-before.Timestamp) < 0 || before.Marker && p.Timestamp == before.Timestamp {
				t.Fatalf("packet %d has timestamp %d after %d", i, p.Timestamp, before.Timestamp)
			}
		}
		part, err := depacketizer.Unmarshal(p.Payload)
		if err != nil {
			t.Fatalf("packet %d: %v", i, err)
		}
		unit = append(unit, part...)
		if p.Marker {
			units, timestamps = append(units, unit), append(timestamps, p.Timestamp)
			unit = nil
		}
	}
	return units, timestamps
}

// wantDecodable lets FFmpeg decode the access units and counts pictures.
func wantDecodable(t testing.TB, units [][]byte) {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-v", "error", "-f", "h264", "-i", "-", "-f", "rawvideo", "-vf", "scale=2:2", "-pix_fmt", "gray", "-fps_mode", "passthrough", "-")
	cmd.Stdin = bytes.NewReader(bytes.Join(units, nil))
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil || complaints.Len() > 0 || len(out)/4 != len(units) {
		t.Fatalf("FFmpeg decodes %d pictures of %d: %v %s", len(out)/4, len(units), err, complaints.String())
	}
}

// types lists the NAL unit types of an access unit with start codes.
func types(unit []byte) string {
	var list []string
	for _, part := range bytes.Split(unit, []byte{0, 0, 0, 1})[1:] {
		list = append(list, strconv.Itoa(int(part[0]&0x1f)))
	}
	return strings.Join(list, " ")
}

func TestWatch(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(20) // a keyframe at 15, so that viewers join in the middle of a group
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("the viewer", func() bool { return w.metric("banyan_whep_sessions") == 1 })
	w.eventually("the burst", func() bool { return len(p.got("video")) > 0 })
	defer c.roll(4)()
	w.eventually("two seconds of video and audio", func() bool {
		_, n := frames(t, p.got("video"))
		return len(n) >= 2*fps && len(p.got("audio")) > 50
	})

	units, timestamps := frames(t, p.got("video"))
	if got := types(units[0]); !strings.HasPrefix(got, "7 8") || !strings.Contains(got, "5") {
		t.Errorf("the first access unit has NAL units %s, want SPS, PPS and an IDR slice", got)
	}
	wantDecodable(t, units)
	for i := 1; i < 5; i++ { // frames 15 to 19 were there before the viewer
		if step := timestamps[i] - timestamps[i-1]; step == 0 || step > frameLen/5 {
			t.Errorf("frame %d of the burst comes %d ticks after the one before; want them pressed together", i, step)
		}
	}
	for i := 6; i < len(timestamps); i++ {
		if step := timestamps[i] - timestamps[i-1]; step != frameLen {
			t.Errorf("frame %d comes %d ticks after the one before, want the true %d", i, step, frameLen)
		}
	}
	if p.header.Get("Link") == "" || !strings.Contains(p.header.Get("Link"), "urn:ietf:params:whep:ext:core:layer") {
		t.Errorf("Link is %q, want the layer extension", p.header.Get("Link"))
	}
	if n := w.metric("banyan_whep_delay_seconds"); n < fps {
		t.Errorf("%v packets are in the delay histogram, want those that were live", n)
	}
}

// TestLipSync checks that sender reports of both tracks stand for the same media time.
func TestLipSync(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(1)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	defer c.roll(1)()
	var video, audio rtcp.SenderReport
	w.eventually("sender reports of both tracks", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		v, a := p.reports[p.ssrc["video"]], p.reports[p.ssrc["audio"]]
		if len(v) == 0 || len(a) == 0 {
			return false
		}
		video, audio = v[len(v)-1], a[len(a)-1]
		return video.NTPTime == audio.NTPTime
	})
	// What media time a packet has by its track's report, against the one it was shot at.
	instant := func(sr rtcp.SenderReport, timestamp uint32, rate int64) time.Duration {
		const epochs = 2208988800 // seconds from 1900 to 1970
		report := time.Duration(sr.NTPTime>>32-epochs)*time.Second + time.Duration(sr.NTPTime&0xffffffff*uint64(time.Second)>>32)
		return report - time.Duration(int64(int32(sr.RTPTime-timestamp))*int64(time.Second)/rate)
	}
	// Frames are shot at whole multiples of their length from the first on; audio frames begin at whole multiples of
	// 20 ms. The newest packets were sent live, outside of any burst.
	off := func(d, grid time.Duration) time.Duration {
		d = (d%grid + grid) % grid
		return min(d, grid-d)
	}
	const tolerance = time.Millisecond
	packets := p.got("video")
	begin := time.Duration(media.TimeAt(c.begin, media.VideoClockRate))
	if d := off(instant(video, packets[len(packets)-1].Timestamp, 90000)-begin, time.Second/fps); d > tolerance {
		t.Errorf("by its report the newest frame is %v off the time it was shot at", d)
	}
	packets = p.got("audio")
	if d := off(instant(audio, packets[len(packets)-1].Timestamp, 48000), 20*time.Millisecond); d > tolerance {
		t.Errorf("by its report the newest audio packet is %v off the time it was recorded at", d)
	}
}

func TestPublisherReturns(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	c.publication.Close()
	w.eventually("the old frames", func() bool { _, n := frames(t, p.got("video")); return len(n) == 5 })

	c = w.newCamera("cup/cam1", "high") // other parameters
	c.ticks += 3 * media.VideoClockRate // some time has passed
	defer c.roll(2)()
	w.eventually("frames of the new publisher", func() bool { _, n := frames(t, p.got("video")); return len(n) >= 25 })
	units, timestamps := frames(t, p.got("video"))
	wantDecodable(t, units[:5])
	wantDecodable(t, units[5:])
	if step := timestamps[5] - timestamps[4]; step < media.VideoClockRate {
		t.Errorf("the new publisher begins %d ticks after the old one; want the time that passed", step)
	}
	if got := w.metric("banyan_whep_sessions"); got != 1 {
		t.Errorf("%v viewers are connected, want the one that stayed", got)
	}
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	p := newPlayer(w)
	p.token = "ana"
	p.watch("/whep/cup/cam1")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })

	if r, _ := w.do("DELETE", p.location, "", "", "Authorization", "Bearer eve"); r.StatusCode != http.StatusForbidden {
		t.Errorf("DELETE with another's token: %s, want 403", r.Status)
	}
	if r, _ := w.do("DELETE", p.location, "", "", "Authorization", "Bearer bad"); r.StatusCode != http.StatusUnauthorized {
		t.Errorf("DELETE with a bad token: %s, want 401", r.Status)
	}
	if w.metric("banyan_whep_sessions") != 1 {
		t.Error("the victim's session has ended")
	}
	if r, _ := w.do("DELETE", p.location, "", "", "Authorization", "Bearer ana", "If-Match", `"other"`); r.StatusCode != http.StatusOK {
		t.Errorf("DELETE: %s, want 200 whatever If-Match says", r.Status)
	}
	if n := w.connections(); n != 0 {
		t.Errorf("%d connections are left when DELETE is answered", n)
	}
	if r, _ := w.do("DELETE", p.location, "", "", "Authorization", "Bearer ana"); r.StatusCode != http.StatusNotFound {
		t.Errorf("second DELETE: %s, want 404", r.Status)
	}
	w.eventually("the table to be empty", func() bool { return w.signal.Sessions() == 0 })
	stream, _ := w.hub.Stream("cup/cam1")
	for _, track := range stream.Tracks() {
		if track.Readers != 0 {
			t.Errorf("%v has %d readers left", track.ID, track.Readers)
		}
	}
}

// TestTokenRunsOut: a session ends with its token, unless by then nobody needs one.
func TestTokenRunsOut(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	short, open := newPlayer(w), newPlayer(w)
	for p, token := range map[*player]string{short: "short", open: "open"} {
		p.token = token
		p.watch("/whep/cup/cam1")
	}
	w.late.Store(true)
	w.eventually("the session whose token has run out to end", func() bool { return w.signal.Sessions() == 1 })
	if response, _ := w.do("PATCH", open.location, "application/trickle-ice-sdpfrag", "", "Authorization", "Bearer open"); response.StatusCode == http.StatusNotFound {
		t.Error("the wrong session has ended")
	}
}

func TestKeyframeRequestReachesTheLog(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	p.mu.Lock()
	ssrc := p.ssrc["video"]
	p.mu.Unlock()
	for range 20 { // a storm
		if err := p.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: ssrc}}); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-c.source.KeyframeRequests():
	case <-time.After(soon):
		t.Fatal("no request for a keyframe reached the log")
	}
}

// TestFeedbackStorm: a viewer who asks for everything again a thousand times, and for keyframes, costs the publisher and
// the other viewers nothing.
func TestFeedbackStorm(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	defer c.roll(2)()
	mad, other := newPlayer(w), newPlayer(w)
	for _, p := range []*player{mad, other} {
		p.watch("/whep/cup/cam1")
		w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	}
	mad.mu.Lock()
	ssrc := mad.ssrc["video"]
	mad.mu.Unlock()
	storm := &rtcp.TransportLayerNack{MediaSSRC: ssrc}
	for i := range uint16(17) {
		storm.Nacks = append(storm.Nacks, rtcp.NackPair{PacketID: i * 17, LostPackets: 0xffff})
	}
	began := time.Now()
	for range 1000 {
		if err := mad.pc.WriteRTCP([]rtcp.Packet{storm, &rtcp.PictureLossIndication{MediaSSRC: ssrc},
			&rtcp.FullIntraRequest{MediaSSRC: ssrc, FIR: []rtcp.FIREntry{{SSRC: ssrc}}},
			&rtcp.ReceiverEstimatedMaximumBitrate{Bitrate: 1 << 62, SSRCs: []uint32{ssrc}},
			&rtcp.Goodbye{Sources: []uint32{ssrc, 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	before := len(other.got("video"))
	w.eventually("video for the other", func() bool { return len(other.got("video")) > before+fps })
	asked, most := w.metric("banyan_whep_keyframe_requests_total", "forwarded"), float64(2+time.Since(began)/whep.KeyframeInterval)
	if asked < 1 || asked > most {
		t.Errorf("the publisher was asked %v times, want 1 to %v", asked, most)
	}
	if got := w.metric("banyan_whep_sessions"); got != 2 {
		t.Errorf("%v sessions are left, want both", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(1)
	b := w.newCamera("cup/b", "baseline")
	b.shoot(1)
	params := b.video.Params()
	params.Reordered = true
	if err := b.source.Begin(params); err != nil {
		t.Fatal(err)
	}
	gone := w.newCamera("cup/gone", "baseline")
	gone.shoot(1)
	gone.publication.Close()
	for _, c := range []struct {
		why, path string
		options   []offerOption
		header    []string
		want      int
	}{
		{"no such stream", "/whep/cup/none", nil, nil, 409},
		{"its publisher has left", "/whep/cup/gone", nil, nil, 409},
		{"unknown format", "/whep/cup/cam1?format=4k", nil, nil, 422},
		{"bad format", "/whep/cup/cam1?format=-i", nil, nil, 400},
		{"B-frames", "/whep/cup/b", nil, nil, 422},
		{"bad token", "/whep/cup/cam1", nil, []string{"Authorization", "Bearer bad"}, 401},
	} {
		p := newPlayer(w, c.options...)
		r, body := w.do("POST", c.path, "application/sdp", p.offer(), c.header...)
		if r.StatusCode != c.want || !strings.Contains(body, "detail") {
			t.Errorf("%s: %s %s, want %d", c.why, r.Status, body, c.want)
		}
		if c.want == 409 && r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: Retry-After is missing", c.why)
		}
	}
	publisher := strings.ReplaceAll(newPlayer(w).offer(), "a=recvonly", "a=sendonly")
	if r, _ := w.do("POST", "/whep/cup/cam1", "application/sdp", publisher); r.StatusCode != 422 {
		t.Errorf("an offer to send: %s, want 422", r.Status)
	}
	if n := w.connections(); n != 0 {
		t.Errorf("%d connections are left of refused offers", n)
	}
}

// TestRestart moves a session to new ICE credentials by PATCH.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	defer c.roll(2)()
	p := newPlayer(w)
	p.watch("/whep/cup/cam1")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })

	r, body := w.do("PATCH", p.location, "application/trickle-ice-sdpfrag", peertest.Restart(t, p.pc), "If-Match", "*")
	if r.StatusCode != http.StatusOK || r.Header.Get("ETag") == p.tag {
		t.Fatalf("restart: %s %s", r.Status, body)
	}
	peertest.AcceptRestart(t, p.pc, body)
	count := func() int { // whatever order they come in, and if some were lost on the way
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.packets["video"])
	}
	n := count()
	w.eventually("video after the restart", func() bool { return count() > n+30 })
}

// TestLateAudio: a stream that begins without audio has it when it comes.
func TestLateAudio(t *testing.T) {
	w := newWorld(t)
	publication, err := w.hub.Publish("cup/mute", "test")
	if err != nil {
		t.Fatal(err)
	}
	source, err := publication.Source(media.Video)
	if err != nil {
		t.Fatal(err)
	}
	video := newWriter(t, source, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}, publication)
	if err := video.Write(frame.Frame{Ticks: 90000, Units: pictures(t, "baseline", "320x180")[0]}); err != nil {
		t.Fatal(err)
	}
	p := newPlayer(w)
	p.watch("/whep/cup/mute")
	w.eventually("video", func() bool { return len(p.got("video")) > 0 })

	source, err = publication.Source(media.Audio)
	if err != nil {
		t.Fatal(err)
	}
	audio := newWriter(t, source, media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}, publication)
	ticks := int64(48000)
	w.eventually("audio", func() bool {
		if err := audio.Write(frame.Frame{Ticks: ticks, Units: [][]byte{silence}}); err != nil {
			t.Fatal(err)
		}
		ticks += 960
		return len(p.got("audio")) > 0
	})
}

// TestFirstSecond: a viewer who comes together with the publisher gets the sound that comes after the picture. It is in a
// codec that would not be negotiated without having been waited for.
func TestFirstSecond(t *testing.T) {
	w := newWorld(t)
	publication, err := w.hub.Publish("cup/young", "test")
	if err != nil {
		t.Fatal(err)
	}
	write := func(kind media.Kind, p media.Params, f frame.Frame) {
		t.Helper()
		source, err := publication.Source(kind)
		if err != nil {
			t.Fatal(err)
		}
		if err := newWriter(t, source, p, publication).Write(f); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := publication.Source(media.Audio); err != nil { // claimed, and silent
		t.Fatal(err)
	}
	write(media.Video, media.Params{Codec: media.H264, ClockRate: media.VideoClockRate},
		frame.Frame{Ticks: 90000, Units: pictures(t, "baseline", "320x180")[0]})

	p := newPlayer(w)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		p.watch("/whep/cup/young")
	}()
	time.Sleep(100 * time.Millisecond) // how late the sound is
	write(media.Audio, media.Params{Codec: media.PCMU, ClockRate: 8000, Channels: 1, SampleRate: 8000},
		frame.Frame{Ticks: 8000, Units: [][]byte{make([]byte, 160)}})
	<-answered
	if !strings.Contains(p.answer, "PCMU/8000") {
		t.Fatalf("the sound is not in the answer:\n%s", p.answer)
	}
}

// TestSilentTrack: a track that was negotiated and never sends is waited for while the publisher is young, and no
// longer.
func TestSilentTrack(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/silent", "baseline")
	if err := c.video.Write(frame.Frame{Ticks: c.ticks, Units: c.pictures[0]}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p := newPlayer(w)
		p.watch("/whep/cup/silent")
		w.eventually("video", func() bool { return len(p.got("video")) > 0 })
	}
}

// TestCrowd: several viewers of one stream, of whom some leave without a word.
func TestCrowd(t *testing.T) {
	w := newWorld(t)
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(3)
	var crowd []*player
	for range 5 {
		p := newPlayer(w)
		p.watch("/whep/cup/cam1")
		crowd = append(crowd, p)
	}
	w.eventually("all of them", func() bool { return w.metric("banyan_whep_sessions") == 5 })
	_ = crowd[0].pc.GracefulClose()
	_ = crowd[1].pc.GracefulClose()
	w.eventually("those that stay", func() bool { return w.metric("banyan_whep_sessions") == 3 && w.signal.Sessions() == 3 })
	defer c.roll(4)()
	for _, p := range crowd[2:] {
		w.eventually("a second of video", func() bool { _, n := frames(t, p.got("video")); return len(n) > fps })
	}
	stream, err := w.hub.Stream("cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.Viewers()["whep"]; got != 3 {
		t.Errorf("the stream has %d viewers, want 3", got)
	}
	w.server.Close()
	if n := w.connections(); n != 0 {
		t.Errorf("%d connections are left after Close", n)
	}
}
