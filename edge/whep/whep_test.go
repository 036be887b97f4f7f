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

	"banyan/relay/media"
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
	// The instant of the report in each track's timestamps, less the newest packet's, is how old that packet is by
	// its own track. Both were shot together.
	age := func(sr rtcp.SenderReport, kind string, rate int) time.Duration {
		packets := p.got(kind)
		return time.Duration(int32(sr.RTPTime-packets[0].Timestamp)) * time.Second / time.Duration(rate)
	}
	v, a := age(video, "video", 90000), age(audio, "audio", 48000)
	if d := (v - a).Abs(); d > 2*time.Second { // the first packets differ by at most what the ring held
		t.Errorf("video is %v old, audio %v", v, a)
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
	if n := w.network.Sessions(); n != 0 {
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
		t.Fatal("no wish for a keyframe reached the log")
	}
}
