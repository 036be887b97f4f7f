package rtsp

import (
	"testing"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"

	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// lossyCamera is a publisher whose packets a test makes one by one.
type lossyCamera struct {
	t      *testing.T
	client *gortsplib.Client
	media  *description.Media

	sequence  uint16
	timestamp uint32
}

func (n *node) record(t *testing.T, transport gortsplib.Transport, f format.Format) *lossyCamera {
	t.Helper()
	u, err := base.ParseURL(n.url("cam"))
	if err != nil {
		t.Fatal(err)
	}
	c := &lossyCamera{t: t, media: &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{f}}}
	c.client = &gortsplib.Client{Scheme: u.Scheme, Host: u.Host, Transport: &transport}
	if err := c.client.StartRecording(u.String(), &description.Session{Medias: []*description.Media{c.media}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	return c
}

// send sends the payloads of a frame.
func (c *lossyCamera) send(payloads ...[]byte) {
	c.t.Helper()
	c.timestamp += 3000
	for i, payload := range payloads {
		c.sequence++
		err := c.client.WritePacketRTP(c.media, &rtp.Packet{
			Header: rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: c.sequence, Timestamp: c.timestamp,
				Marker: i == len(payloads)-1},
			Payload: payload,
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Millisecond) // the pace of the camera
}

// sets are those of 320x180 pictures by x264.
var (
	sps = []byte{0x67, 0x42, 0xc0, 0x0d, 0xda, 0x05, 0x07, 0xe8, 0x40, 0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x07, 0xa3, 0xc5, 0x0a, 0xa8}
	pps = []byte{0x68, 0xce, 0x0f, 0xc8}
)

// Slices: the first of a picture, and another one.
var (
	keySlices   = [][]byte{{0x65, 0x88, 1}, {0x65, 0x48, 2}}
	interSlices = [][]byte{{0x41, 0x9a, 1}, {0x41, 0x5a, 2}}
)

// What a camera's network loses is told to every reader, and no damaged frame goes out as a whole one.
func TestLossIsTold(t *testing.T) {
	t.Parallel()
	for _, transport := range []gortsplib.Transport{gortsplib.TransportTCP, gortsplib.TransportUDP} {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, nil)
			c := n.record(t, transport, &format.H264{PayloadTyp: 96, SPS: sps, PPS: pps, PacketizationMode: 1})
			key := func() { c.send(keySlices...) }
			inter := func() { c.send(interSlices...) }
			key()
			for range 5 {
				inter()
			}
			lossFrame := 6
			c.sequence += 2 // a frame that never arrives; the next is whole
			inter()
			c.sequence++ // the first slice of a frame
			c.send(interSlices[1])
			inter()
			c.timestamp += 3000 // the second slice, with the end of the frame
			c.sequence++
			if err := c.client.WritePacketRTP(c.media, &rtp.Packet{
				Header:  rtp.Header{Version: 2, PayloadType: 96, SequenceNumber: c.sequence, Timestamp: c.timestamp},
				Payload: interSlices[0],
			}); err != nil {
				t.Fatal(err)
			}
			c.sequence++
			for range 150 { // gortsplib waits for 64 packets before it gives one up, and the lead-in for 200 ms
				inter()
			}
			l := n.track("cam", media.Video)
			got := frames(t, readFrom(l, log.KeyframeBefore(0)), 40)
			lost := map[int]bool{lossFrame: true, lossFrame + 1: true, lossFrame + 2: true}
			for i, f := range got {
				if f.Lost != lost[i] {
					t.Errorf("frame %d says lost %v, want %v", i, f.Lost, lost[i])
				}
				if want := 2; len(pictureUnits(f)) != want {
					t.Errorf("frame %d has %d slices, want %d", i, len(pictureUnits(f)), want)
				}
			}
			for i := 1; i < len(got); i++ { // the damaged frames are left out: their time passes
				want := int64(3000)
				switch i {
				case lossFrame + 1, lossFrame + 2:
					want = 6000
				}
				if step := got[i].Ticks - got[i-1].Ticks; step != want {
					t.Errorf("frame %d comes %d ticks after the one before, want %d", i, step, want)
				}
			}
		})
	}
}

func pictureUnits(f *frame.Frame) (units [][]byte) {
	for _, u := range f.Units {
		if kind := u[0] & 0x1f; kind == 1 || kind == 5 {
			units = append(units, u)
		}
	}
	return units
}

func TestFollows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		then []uint16
		want bool // the last follows
	}{
		{"the first", []uint16{7}, true},
		{"the next", []uint16{7, 8}, true},
		{"over the wrap", []uint16{65535, 0}, true},
		{"one missing", []uint16{7, 9}, false},
		{"one missing at the wrap", []uint16{65535, 1}, false},
		{"one twice", []uint16{7, 7}, true},
		{"after one twice", []uint16{7, 8, 7, 9}, true},
		{"numbered anew", []uint16{40000, 7}, false},
		{"after being numbered anew", []uint16{40000, 7, 8}, true},
	} {
		var tr track
		got := false
		for _, sequence := range c.then {
			got = tr.follows(sequence)
		}
		if got != c.want {
			t.Errorf("%s: follows is %v, want %v", c.name, got, c.want)
		}
	}
}
