package whep_test

import (
	"testing"
	"time"

	"github.com/pion/rtcp"

	"banyan/relay/media"
)

// TestFullPackets: a publisher that fills its packets up to what an Ethernet takes, and beyond what the WebRTC stack
// takes for a packet, is watched as any other, and what a viewer lost of it is sent again.
func TestFullPackets(t *testing.T) {
	w := newWorld(t)
	publication, err := w.hub.Publish("cup/cam1", "test")
	if err != nil {
		t.Fatal(err)
	}
	defer publication.Close()
	writer, err := publication.Source(media.Video)
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Begin(media.Params{Codec: media.VP8, ClockRate: media.VideoClockRate, Width: 16, Height: 16}); err != nil {
		t.Fatal(err)
	}
	publication.Announce()
	begin := media.TicksOf(media.TimeOf(time.Now()), media.VideoClockRate)
	n := int64(0)
	send := func() {
		p := media.Packet{Offset: writer.Next(), Ticks: begin + n*frameLen, Flags: media.FrameEnd, Payload: make([]byte, 1470+n%43*10)}
		if p.Payload[0] = 0x10; n == 0 {
			p.Flags |= media.Keyframe
		}
		if err := writer.Write(p); err != nil {
			t.Fatal(err)
		}
		n++
	}
	send()
	p := newPlayer(w, onlyVP8)
	p.watch("/whep/cup/cam1")
	for want := 1; want < 50; want++ {
		w.eventually("a packet", func() bool { return len(p.got("video")) >= want })
		send()
	}
	got := p.got("video")
	for i, packet := range got {
		if len(packet.Payload) != 1470+i*10 {
			t.Errorf("packet %d has %d bytes, want %d", i, len(packet.Payload), 1470+i*10)
		}
		if i == 42 {
			break
		}
	}
	const repairs = "banyan_whep_repairs_total"
	nack := &rtcp.TransportLayerNack{MediaSSRC: got[0].SSRC, Nacks: []rtcp.NackPair{
		{PacketID: got[3].SequenceNumber}, {PacketID: got[0].SequenceNumber - 1},
	}}
	if err := p.pc.WriteRTCP([]rtcp.Packet{nack}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the packet to be sent again", func() bool { return w.metric(repairs, "sent") >= 1 })
	w.eventually("the other one to be missing", func() bool { return w.metric(repairs, "missing") >= 1 })
	if refused := w.metric(repairs, "refused"); refused != 0 {
		t.Errorf("%v repairs were refused", refused)
	}
}
