package engine

import (
	"math/rand/v2"
	"net"
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
	"banyan/relay/rtc"
)

// lossy loses packets of media on their way in.
type lossy struct {
	net.PacketConn

	mu   sync.Mutex // guards all below
	loss float64    // how much of all
	rand *rand.Rand
}

// begin begins to lose. What is lost before a client has got anything it cannot miss.
func (l *lossy) begin(loss float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loss = loss
}

func (l *lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(b)
		if err != nil || n < 2 || !isRTP(b) || isControl(b[:n]) || !l.lose() {
			return n, from, err
		}
	}
}

func (l *lossy) lose() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rand.Float64() < l.loss
}

// behind makes a client receive through a network that may lose packets.
func behind(t testing.TB) (*lossy, clientOption) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	l := &lossy{PacketConn: c, rand: rand.New(rand.NewPCG(1, 2))}
	return l, func(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) {
		s.SetICEUDPMux(webrtc.NewICEUDPMux(s.LoggerFactory.NewLogger("ice"), l))
	}
}

// withoutRTX makes a client know H.264 and Opus and no retransmission.
func withoutRTX(_ *webrtc.SettingEngine, e *webrtc.MediaEngine) {
	*e = webrtc.MediaEngine{}
	for _, c := range []struct {
		kind webrtc.RTPCodecType
		mime string
		rate uint32
		fmtp string
		ch   uint16
		pt   webrtc.PayloadType
	}{
		{webrtc.RTPCodecTypeVideo, webrtc.MimeTypeH264, 90000, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", 0, 102},
		{webrtc.RTPCodecTypeAudio, webrtc.MimeTypeOpus, 48000, "", 2, 111},
	} {
		_ = e.RegisterCodec(webrtc.RTPCodecParameters{ // it is the only one of its type
			RTPCodecCapability: webrtc.RTPCodecCapability{
				MimeType: c.mime, ClockRate: c.rate, SDPFmtpLine: c.fmtp, Channels: c.ch,
				RTCPFeedback: []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
			},
			PayloadType: c.pt,
		}, c.kind)
	}
}

// TestRepair loses a tenth of all packets; what is asked for comes again, as RTX or as it was. Numbers run out and begin
// again meanwhile, so that what was lost before that is asked for behind it (RFC 3711 section 3.3.1).
func TestRepair(t *testing.T) {
	for name, options := range map[string][]clientOption{"RTX": nil, "the same packet": {withoutRTX}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{Estimate: true})
			network, option := behind(t)
			viewer := newClient(w, append(options, option)...)
			v := viewer.negotiate()
			track := v.Track(media.Video)
			track.timeline, track.rtxSeq = rtc.NewTimeline(media.VideoClockRate, 65500, 0), 65525
			viewer.serve(v)
			if resends := track.resends(); resends != (options == nil) {
				t.Fatalf("retransmissions of their own: %v", resends)
			}
			const frames = 100
			offsets := func() []int64 {
				var list []int64
				for _, p := range viewer.got(media.Video) {
					list = append(list, offsetOf(p.Payload))
				}
				slices.Sort(list)
				return slices.Compact(list)
			}
			w.video.frame(true, 10, 1100)
			w.eventually("the first frame", func() bool { return len(offsets()) == 10 })
			network.begin(0.1)
			for range frames {
				w.video.frame(false, 2, 1100)
				time.Sleep(10 * time.Millisecond) // a stream
			}
			const whole = 10 + 2*frames
			next := time.Now()
			w.eventually("all packets", func() bool {
				if time.Now().After(next) { // the last ones are not missed before others come
					w.video.frame(false, 1, 1100)
					next = time.Now().Add(100 * time.Millisecond) // a client asks only for so many back
				}
				list := offsets()
				return len(list) >= whole && list[whole-1] == 1000+whole-1
			})
			numbers := map[uint16]int64{}
			for _, p := range viewer.got(media.Video) {
				offset := offsetOf(p.Payload)
				if before, ok := numbers[p.SequenceNumber]; ok && before != offset {
					t.Fatalf("number %d stood for offset %d and for %d", p.SequenceNumber, before, offset)
				}
				numbers[p.SequenceNumber] = offset
				original := w.video.Get(offset)
				if string(original.Payload) != string(p.Payload) || p.Marker != original.Has(media.FrameEnd) {
					t.Fatalf("offset %d arrives as another packet", offset)
				}
			}
			if _, ok := numbers[0]; !ok || viewer.got(media.Video)[0].SequenceNumber < 65500 {
				t.Error("the numbers did not begin again: the test proves nothing")
			}
			repairs := track.Repairs()
			if repairs.Sent < frames/10 {
				t.Errorf("%+v, want about a tenth of %d repaired", repairs, 2*frames)
			}
			t.Logf("%+v", repairs)
		})
	}
}

// TestRequests has a client ask for what nobody has, for too much, and for keyframes.
func TestRequests(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	track := v.Track(media.Video)
	w.video.frame(true, 40, 1188)
	w.eventually("the keyframe", func() bool { return len(viewer.got(media.Video)) == 40 })
	first := viewer.got(media.Video)[0].SequenceNumber
	ask := func(p rtcp.Packet) {
		if err := viewer.pc.WriteRTCP([]rtcp.Packet{p}); err != nil {
			t.Fatal(err)
		}
	}
	ask(&rtcp.PictureLossIndication{MediaSSRC: track.ssrc})
	select {
	case <-v.KeyframeRequests():
	case <-time.After(soon):
		t.Fatal("a request for a keyframe is not passed on")
	}
	ask(&rtcp.PictureLossIndication{MediaSSRC: track.ssrc + 1}) // not for this session to ask
	ask(&rtcp.TransportLayerNack{MediaSSRC: track.ssrc + 1, Nacks: []rtcp.NackPair{{PacketID: first}}})
	ask(&rtcp.TransportLayerNack{MediaSSRC: track.ssrc, Nacks: []rtcp.NackPair{{PacketID: first - 1}, {PacketID: first + 40}}})
	w.eventually("two that nobody has", func() bool { return track.Repairs().Missing == 2 })
	storm := &rtcp.TransportLayerNack{MediaSSRC: track.ssrc}
	for range 60 {
		storm.Nacks = append(storm.Nacks, rtcp.NackPair{PacketID: first, LostPackets: 0xffff})
	}
	for range 20 {
		ask(storm)
	}
	w.eventually("the share to be used up", func() bool { return track.Repairs().Refused > 0 })
	w.eventually("the storm to pass", func() bool { return w.engine.Stats().Reports >= 23 })
	if sent := track.Repairs().Sent; sent > 40+26+7 { // a share, what is saved at the start, and a second's floor
		t.Errorf("%d packets sent again for 40 that were sent", sent)
	}
	if w.engine.Stats().Drops[DropRequest] == 0 {
		t.Error("20,000 requests at once, and none was dropped")
	}
	select {
	case <-v.KeyframeRequests():
		t.Error("a request for a keyframe of somebody else's counts")
	default:
	}
}

// TestAbandon repairs nothing of what a viewer has no use for any more.
func TestAbandon(t *testing.T) {
	w := newWorld(t, Config{})
	network, option := behind(t)
	viewer := newClient(w, option)
	v := viewer.watch()
	track := v.Track(media.Video)
	w.video.frame(true, 4, 1100)
	w.eventually("the keyframe", func() bool { return len(viewer.got(media.Video)) == 4 })
	network.begin(1)
	w.video.frame(false, 4, 1100)
	w.eventually("what is lost to be sent", func() bool {
		var sent uint32
		v.shard.do(func() { sent = track.packets })
		return sent == 8
	})
	v.shard.do(track.Abandon)
	network.begin(0)
	w.eventually("requests in vain", func() bool {
		w.video.frame(false, 1, 1100)
		return track.Repairs().Refused >= 4
	})
	if sent := track.Repairs().Sent; sent != 0 {
		t.Errorf("%d packets were sent again that nobody needs", sent)
	}
}

// TestHistory finds what went out, and nothing else, through holes, gaps, bent timestamps and a change of log.
func TestHistory(t *testing.T) {
	tape := newTape(t, media.Params{Codec: media.H264, ClockRate: 90000})
	other := newTape(t, media.Params{Codec: media.H264, ClockRate: 90000})
	timeline := rtc.NewTimeline(90000, 32000, 7)
	var h history
	type noted struct {
		tape *log.Log
		sent
	}
	went := map[int64]noted{}
	send := func(from *tapeCursor, burst bool) {
		p, lost := from.cursor.Next()
		if p == nil {
			t.Fatal("nothing to send")
		}
		if burst {
			timeline.Join(p.Ticks, p.Ticks+90000)
		}
		seq, timestamp := timeline.Next(p, lost)
		out := sent{Packet: p, seq: seq, timestamp: uint32(timestamp), payloadType: 96}
		h.note(weak.Make(from.tape.Log), out)
		went[seq] = noted{from.tape.Log, out}
	}
	a, b := &tapeCursor{tape, tape.Cursor(log.Offset(1000))}, &tapeCursor{other, other.Cursor(log.Offset(1000))}
	for i := range 40 {
		if i == 20 {
			tape.next += 3 // lost on the way here
		}
		tape.frame(i%10 == 0, 5, 20)
		for range 5 {
			send(a, i == 5)
		}
	}
	other.ticks = tape.ticks
	for range 2 {
		other.frame(true, 10, 20)
	}
	for range 20 {
		send(b, false)
	}
	for seq, want := range went {
		got, ok := h.find(uint16(seq))
		if !ok || got.Packet != want.Packet || got.seq != seq || got.timestamp != want.timestamp {
			t.Fatalf("number %d is %+v, %v; want %+v", seq, got, ok, want)
		}
	}
	newest := h.newest.last
	for _, seq := range []int64{31999, newest + 1, newest + 1000} {
		if got, ok := h.find(uint16(seq)); ok {
			t.Errorf("number %d, which was never used, is %+v", seq, got)
		}
	}
	t.Logf("%d packets in %d stretches", len(went), h.n)
}

type tapeCursor struct {
	tape   *tape
	cursor *log.Cursor
}

// TestLatePacket asks for what filled its hole after the viewer had passed that by.
func TestLatePacket(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	w.video.frame(true, 4, 500)
	hole := w.video.next
	w.video.next++
	w.video.frame(false, 4, 500)
	w.eventually("all but the late packet", func() bool { return len(viewer.got(media.Video)) >= 8 })
	late := media.Packet{Offset: hole, Ticks: w.video.ticks - 3000, Payload: payloadOf(hole, 500)}
	if err := w.video.writer.Write(late); err != nil {
		t.Fatal(err)
	}
	// The client asks by itself, for as long as the number is missing.
	w.eventually("the late packet", func() bool {
		w.video.frame(false, 1, 500) // the client's stack hands on what was repaired together with what is new
		return slices.ContainsFunc(viewer.got(media.Video), func(p *rtp.Packet) bool { return offsetOf(p.Payload) == hole })
	})
	if v.Track(media.Video).Repairs().Sent == 0 {
		t.Error("nothing was repaired")
	}
}

// FuzzHistory writes any stretches and asks for any numbers: never a crash, never a packet under a number that it did
// not go out with.
func FuzzHistory(f *testing.F) {
	f.Add([]byte{1, 2, 3, 200, 5, 6, 255, 255, 0}, uint16(3))
	tape := newTape(f, media.Params{Codec: media.H264, ClockRate: 90000})
	for range 300 {
		tape.frame(true, 1, 12)
	}
	f.Fuzz(func(t *testing.T, steps []byte, ask uint16) {
		var h history
		went := map[int64]*media.Packet{}
		seq, offset := int64(ask), int64(1000)
		for _, step := range steps {
			seq, offset = seq+1+int64(step>>6), offset+1+int64(step&3)
			p := tape.Get(offset)
			if p == nil {
				break
			}
			h.note(weak.Make(tape.Log), sent{Packet: p, seq: seq, timestamp: uint32(p.Ticks) + uint32(step>>5), payloadType: step & 4})
			went[seq] = p
		}
		for low := ask; low < ask+uint16(3*len(steps)+10); low++ {
			got, ok := h.find(low)
			if before := went[got.seq]; ok && before != nil && before != got.Packet {
				t.Fatalf("number %d went out as offset %d, and comes again as %d", low, before.Offset, got.Offset)
			}
		}
	})
}
