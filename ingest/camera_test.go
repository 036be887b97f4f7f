package ingest

import (
	"bytes"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/format/rtph264"
	"github.com/bluenviron/mediacommon/v2/pkg/formats/mpegts"
	"github.com/pion/rtp"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

var (
	h264Params = media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}
	opusParams = media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}
	videoTrack = media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: media.Video}
)

const payloadType = 96

// camera is a publisher and the log that it is forwarded to.
type camera struct {
	t         interface{ Fatalf(string, ...any) }
	forwarder *Forwarder
	log       *log.Log
	announced int
	asked     int // for a keyframe

	sequence uint16
	ssrc     uint32
	now      time.Time
}

func newCamera(t interface{ Fatalf(string, ...any) }, params media.Params) *camera {
	c := &camera{t: t, sequence: 65530, ssrc: 7, now: noon}
	c.log = log.New(videoTrack, log.FirstOffset(noon), log.Config{})
	c.forwarder = c.join(params)
	return c
}

// join is a publisher that comes (again).
func (c *camera) join(params media.Params) *Forwarder {
	return NewForwarder(ForwarderConfig{
		Params: params, PayloadType: payloadType, Clock: NewTimeline().Clock(params.ClockRate), Writer: c.log.Writer(),
		Announce: func() { c.announced++ }, RequestKeyframe: func() { c.asked++ },
	})
}

// packet gives a payload the next sequence number.
func (c *camera) packet(timestamp uint32, marker bool, payload []byte) *rtp.Packet {
	p := &rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: payloadType, SSRC: c.ssrc, Marker: marker,
		SequenceNumber: c.sequence, Timestamp: timestamp}, Payload: payload}
	c.sequence++
	return p
}

func (c *camera) push(packets ...*rtp.Packet) {
	for _, p := range packets {
		if err := c.forwarder.Push(p, c.now); err != nil {
			c.t.Fatalf("push packet %d: %v", p.SequenceNumber, err)
		}
	}
}

// send packetises a frame that was taken ticks after noon, without pushing it.
func (c *camera) send(ticks int64, units ...[]byte) []*rtp.Packet {
	encoder := &rtph264.Encoder{PayloadMaxSize: 1000, PacketizationMode: 1}
	if err := encoder.Init(); err != nil {
		c.t.Fatalf("%v", err)
	}
	encoded, err := encoder.Encode(units)
	if err != nil {
		c.t.Fatalf("packetise: %v", err)
	}
	packets := make([]*rtp.Packet, len(encoded))
	for i, p := range encoded {
		packets[i] = c.packet(uint32(ticks), p.Marker, p.Payload)
	}
	return packets
}

// film pushes frames at the pace of their timestamps.
func (c *camera) film(frames []picture) {
	start := c.now
	for _, f := range frames {
		c.now = start.Add(media.DurationOf(f.ticks, media.VideoClockRate))
		c.push(c.send(f.ticks, f.units...)...)
	}
}

// frames reads back what is in the log.
func (c *camera) frames() []frame.Frame {
	r := frame.NewReader(c.log.Cursor(log.KeyframeBefore(0)))
	var all []frame.Frame
	for f := r.Next(); f != nil; f = r.Next() {
		all = append(all, *f)
	}
	return all
}

// packets lists what is in the log, with nil for holes.
func (c *camera) packets() []*media.Packet {
	var all []*media.Packet
	for offset := c.log.Tail(); offset < c.log.Head(); offset++ {
		all = append(all, c.log.Get(offset))
	}
	return all
}

// picture is an access unit as an encoder made it.
type picture struct {
	ticks int64 // presentation time since the beginning
	units [][]byte
}

// encodeFilm makes two seconds of real H.264, a keyframe per second.
func encodeFilm(t testing.TB, size string, options ...string) []picture {
	t.Helper()
	args := []string{"-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "testsrc2=size=" + size + ":rate=15:duration=2",
		"-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "ultrafast", "-g", "15"}
	args = append(append(args, options...), "-f", "mpegts", "-muxdelay", "0", "-")
	out, err := exec.Command("ffmpeg", args...).Output()
	if err != nil {
		t.Fatalf("ffmpeg %v: %v", args, err)
	}
	r := &mpegts.Reader{R: bytes.NewReader(out)}
	if err := r.Initialize(); err != nil {
		t.Fatal(err)
	}
	var film []picture
	r.OnDataH264(r.Tracks()[0], func(pts, _ int64, au [][]byte) error {
		units := [][]byte{}
		for _, unit := range au {
			if unit[0]&0x1f != 9 { // access unit delimiters are for MPEG-TS
				units = append(units, bytes.Clone(unit))
			}
		}
		film = append(film, picture{pts, units})
		return nil
	})
	for r.Read() == nil {
	}
	first := film[0].ticks
	for i := range film {
		film[i].ticks -= first
	}
	return film
}

// coded joins the slices of a frame, which must come through untouched.
func coded(units [][]byte) []byte {
	var out []byte
	for _, unit := range units {
		if t := unit[0] & 0x1f; t >= 1 && t <= 5 {
			out = append(out, unit...)
		}
	}
	return out
}

func withoutSets(film []picture) []picture {
	var out []picture
	for i, f := range film {
		if i > 0 {
			f.units = slices.DeleteFunc(slices.Clone(f.units), func(u []byte) bool { return u[0]&0x1f == 7 || u[0]&0x1f == 8 })
		}
		out = append(out, f)
	}
	return out
}

// wantFilm checks that the log has the film, whole and at its times.
func (c *camera) wantFilm(t *testing.T, film []picture) []frame.Frame {
	t.Helper()
	got := c.frames()
	if len(got) != len(film) {
		t.Fatalf("read %d frames of %d", len(got), len(film))
	}
	for i, f := range got {
		if !bytes.Equal(coded(f.Units), coded(film[i].units)) {
			t.Errorf("frame %d came through changed", i)
		}
		if step := f.Ticks - got[0].Ticks; step != film[i].ticks {
			t.Errorf("frame %d is %d ticks after the first, want %d", i, step, film[i].ticks)
		}
		if f.Lost {
			t.Errorf("frame %d is marked as damaged", i)
		}
		if f.Keyframe != (i%15 == 0) {
			t.Errorf("frame %d: keyframe %v", i, f.Keyframe)
		}
		if f.Keyframe && (len(f.Units) < 3 || f.Units[0][0]&0x1f != 7 || f.Units[1][0]&0x1f != 8) {
			t.Errorf("keyframe %d begins without its parameter sets", i)
		}
	}
	return got
}
