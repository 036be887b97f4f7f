package rtc

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
)

// source is a log that a test fills and sends from.
type source struct {
	t      testing.TB
	log    *log.Log
	writer *log.Writer
	cursor *log.Cursor
}

func newSource(t testing.TB, params *media.Params) *source {
	t.Helper()
	l := log.New(media.TrackID{Stream: "cup/cam1", Format: media.Source, Kind: params.Codec.Kind()}, 1000, log.Config{})
	s := &source{t: t, log: l, writer: l.Writer(), cursor: l.Cursor(log.Live())}
	t.Cleanup(func() { runtime.KeepAlive(l) }) // as a subscription does: those who send from it remember it weakly
	if err := s.writer.Begin(*params); err != nil {
		t.Fatal(err)
	}
	return s
}

// add writes packet n, of size bytes, and returns it as a reader gets it.
func (s *source) add(n int64, size int) *media.Packet {
	s.t.Helper()
	payload := bytes.Repeat([]byte{byte(n)}, size)
	payload[0] = 0x41
	p := media.Packet{Offset: s.writer.Next(), Ticks: at(n).Ticks, Flags: media.FrameEnd | media.Keyframe, Payload: payload}
	if err := s.writer.Write(p); err != nil {
		s.t.Fatal(err)
	}
	got, _ := s.cursor.Next()
	return got
}

// wire is a viewer whose packets pass a tap.
type wire struct {
	*tap
	viewer  *Viewer
	client  *webrtc.PeerConnection
	arrived chan *rtp.Packet
}

// newWire connects a viewer of one kind.
func newWire(t *testing.T, params *media.Params) *wire {
	t.Helper()
	n := newTestNetwork(t, Config{})
	w := &wire{client: newClient(t), arrived: make(chan *rtp.Packet, 4096)}
	var readers sync.WaitGroup
	t.Cleanup(readers.Wait)
	w.client.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		readers.Go(func() {
			for {
				p, _, err := track.ReadRTP()
				if err != nil {
					return
				}
				w.arrived <- p
			}
		})
	})
	t.Cleanup(func() { _ = w.client.GracefulClose() })
	_, err := w.client.AddTransceiverFromKind(kindOf(params.Codec.Kind()), webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
	if err != nil {
		t.Fatal(err)
	}
	w.tap = newTap(t, n.Addr().String())
	offer := parse(t, peertest.Offer(t, w.client, nil), sdp.Play)
	blind := *offer
	blind.Text = withoutCandidates(offer.Text)
	var codecs []sdp.Codec
	for _, c := range offer.Media[0].Codecs {
		if c.Takes(params) {
			codecs = append(codecs, c)
		}
	}
	w.viewer, err = n.NewViewer(t.Context(), ViewerConfig{PeerConfig: PeerConfig{Offer: &blind}, Codecs: codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	peertest.Accept(t, w.client, w.redirect(w.viewer.Answer()))
	if err := w.viewer.Await(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) receive() []byte {
	w.t.Helper()
	select {
	case p := <-w.arrived:
		return p.Payload
	case <-time.After(patience10):
		w.t.Fatal("no packet arrived")
		return nil
	}
}

// isRTP tells whether a datagram is RTP, whose header is in the clear, and its sequence number.
func isRTP(b []byte) (seq uint16, ok bool) {
	if len(b) < 12 || b[0] != 0x80 || b[1]&0x7f >= 64 && b[1]&0x7f < 96 {
		return 0, false
	}
	return binary.BigEndian.Uint16(b[2:]), true
}

// TestRepair: what is lost on the way is sent again from the log, with the same bytes on the wire, whatever its size:
// publishers fill packets up to what their network takes.
func TestRepair(t *testing.T) {
	for _, params := range []*media.Params{h264, {Codec: media.Opus, ClockRate: 48000, Channels: 2, SampleRate: 48000}} {
		t.Run(string(params.Codec), func(t *testing.T) {
			w, s := newWire(t, params), newSource(t, params)
			track := w.viewer.Track(params.Codec.Kind())
			track.From(s.log)
			payload, err := track.PayloadType(params)
			if err != nil {
				t.Fatal(err)
			}
			var dropped, again []byte // guarded by the tap
			lose := int64(-1)         // counts packets
			w.lose(func(b []byte) bool {
				seq, ok := isRTP(b)
				switch {
				case !ok:
					return false
				case dropped != nil && seq == binary.BigEndian.Uint16(dropped[2:]):
					again = bytes.Clone(b)
					return false
				}
				lose++
				if lose == 20 {
					dropped = bytes.Clone(b)
				}
				return lose == 20
			})
			sizes := []int{60, 1152, 1461, 1470, 1600, 1900}
			const packets = 40
			repaired := false
			for n := range int64(packets) {
				if err := track.Send(s.add(n, sizes[n%6]), 0, payload); err != nil {
					t.Fatalf("send %d bytes: %v", sizes[n%6], err)
				}
				for n != 20 { // the repair comes in between, when the client has asked for it
					got := w.receive()
					if want := sizes[got[1]%6]; len(got) != want {
						t.Fatalf("packet %d has %d bytes, want %d", got[1], len(got), want)
					}
					if repaired = repaired || got[1] == 20; got[1] == byte(n) {
						break
					}
				}
			}
			if !repaired {
				if got := w.receive(); got[1] != 20 || len(got) != sizes[20%6] {
					t.Errorf("the repair is packet %d with %d bytes, want packet 20", got[1], len(got))
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !bytes.Equal(again, dropped) {
				t.Error("the repair differs from the packet that was lost")
			}
			deadline := time.Now().Add(patience10) // a packet is counted once it is written: it may arrive before
			for track.Repairs().Sent == 0 && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
			}
			if r := track.Repairs(); r.Sent == 0 || r.Missing != 0 {
				t.Errorf("the accounts are %+v, want a packet sent again and none missing", r)
			}
		})
	}
}

// TestLateRepair: a packet that fills its hole in the log after the viewer has passed that by reaches the viewer under
// the number that was left out for it, when the viewer asks again.
func TestLateRepair(t *testing.T) {
	w, s := newWire(t, h264), newSource(t, h264)
	track := w.viewer.Track(media.Video)
	track.From(s.log)
	payload, err := track.PayloadType(h264)
	if err != nil {
		t.Fatal(err)
	}
	const perFrame, packets = 4, 24
	begin := s.writer.Next()
	write := func(n int64) { // packet n of all
		t.Helper()
		p := media.Packet{Offset: begin + n, Ticks: at(n / perFrame).Ticks, Payload: []byte{0x41, byte(n)}}
		if n%perFrame == perFrame-1 {
			p.Flags = media.FrameEnd
		}
		if err := s.writer.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	late := []int64{9, 11, 12, 18} // within a frame, the end of one and the beginning of the next, and once more
	for n := range int64(packets) {
		if slices.Contains(late, n) {
			continue
		}
		write(n)
		p, lost := s.cursor.Next()
		if err := track.Send(p, lost, payload); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience10); track.Repairs().Missing == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody asked for what is missing")
		}
	}
	for _, n := range late {
		write(n)
	}
	got := map[int64]rtp.Header{}
	for len(got) < packets {
		select {
		case p := <-w.arrived:
			got[int64(p.Payload[1])] = p.Header
		case <-time.After(patience10):
			t.Fatalf("%d of %d packets arrived; repairs %+v", len(got), packets, track.Repairs())
		}
	}
	for n, header := range got {
		want := rtp.Header{
			SequenceNumber: got[0].SequenceNumber + uint16(n),
			Timestamp:      got[0].Timestamp + uint32(at(n/perFrame).Ticks-at(0).Ticks),
			Marker:         n%perFrame == perFrame-1,
		}
		if header.SequenceNumber != want.SequenceNumber || header.Timestamp != want.Timestamp || header.Marker != want.Marker {
			t.Errorf("packet %d has number %d, timestamp %d and marker %v; want %d, %d and %v", n, header.SequenceNumber,
				header.Timestamp, header.Marker, want.SequenceNumber, want.Timestamp, want.Marker)
		}
	}
}

// TestRepairIsBounded: a peer that asks for everything, again and again, gets no more than its share.
func TestRepairIsBounded(t *testing.T) {
	w, s := newWire(t, h264), newSource(t, h264)
	track := w.viewer.Track(media.Video)
	track.From(s.log)
	payload, _ := track.PayloadType(h264)
	w.cut() // the peer itself shall ask for nothing
	const packets, size = 200, 1000
	for n := range int64(packets) {
		if err := track.Send(s.add(n, size), 0, payload); err != nil {
			t.Fatal(err)
		}
	}
	nack := &rtcp.TransportLayerNack{MediaSSRC: uint32(track.ssrc)}
	first := uint16(track.history.next - packets)
	for n := range uint16(packets) {
		nack.Nacks = append(nack.Nacks, rtcp.NackPair{PacketID: first + n})
	}
	now := time.Now()
	for range 10 {
		track.repair(nack, now)
	}
	r := track.Repairs()
	if most := uint64(packets/repairShare + repairAtOnce/size); r.Sent > most || r.Sent < most-1 {
		t.Errorf("%d packets were sent again, want %d", r.Sent, most)
	}
	if r.Sent+r.Refused != 10*packets || r.Missing != 0 {
		t.Errorf("the accounts are %+v, want the rest refused", r)
	}
	track.repair(nack, now.Add(time.Second))
	if got := track.Repairs().Sent - r.Sent; got != repairFloor/size {
		t.Errorf("%d packets were sent again after a second, want %d", got, repairFloor/size)
	}
}

func TestHistory(t *testing.T) {
	l := log.New(media.TrackID{}, 0, log.Config{})
	var h history
	if _, ok := h.find(7); ok {
		t.Error("something was found before anything was sent")
	}
	for seq := int64(65000); seq < 65000+2*historySize; seq++ {
		if seq == 65530 {
			continue // a gap that was news to the receiver
		}
		h.note(sentPacket{log: weak.Make(l), seq: seq, offset: seq * 2}, 100)
	}
	newest := int64(65000 + 2*historySize - 1)
	for _, c := range []struct {
		name string
		seq  int64
		want bool
	}{
		{"the newest", newest, true},
		{"the oldest", newest - historySize + 1, true},
		{"one older", newest - historySize, false},
		{"not sent yet", newest + 1, false},
		{"from before the wrap, and too old", 65010, false},
	} {
		got, ok := h.find(uint16(c.seq))
		if ok != c.want || ok && got.offset != c.seq*2 {
			t.Errorf("%s: found %v, offset %d", c.name, ok, got.offset)
		}
	}
	var short history
	short.note(sentPacket{seq: 10}, 1)
	short.note(sentPacket{seq: 12}, 1)
	if _, ok := short.find(11); ok {
		t.Error("a number that was left out was found")
	}
	runtime.KeepAlive(l)
}
