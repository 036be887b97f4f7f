package rtc

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// onlooker is a viewer who is sent a frame every so often all the while.
type onlooker struct {
	viewer *Viewer
	frames atomic.Int64
	worst  atomic.Int64 // longest time between two frames
}

func newOnlooker(t *testing.T, n *Network) *onlooker {
	t.Helper()
	v, _, got := watch(t, n)
	o := &onlooker{viewer: v}
	track := v.Track(media.Video)
	payloadType, err := track.PayloadType(h264)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for i := int64(0); ; i++ {
			p := *at(i)
			p.Flags, p.Payload = media.FrameEnd, []byte{0x41, 0xb5, byte(i)}
			if err := track.Send(&p, 0, payloadType); err != nil {
				t.Errorf("send to the onlooker: %v", err)
				return
			}
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	})
	both.Go(func() {
		for last := time.Now(); ; last = time.Now() {
			select {
			case <-stop:
				return
			case p := <-got:
				if !bytes.HasPrefix(p.Payload, []byte{0x41, 0xb5}) {
					t.Errorf("the onlooker got %.20q, which is not from its track", p.Payload)
				}
				o.worst.Store(max(o.worst.Load(), int64(time.Since(last))))
				o.frames.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		both.Wait()
		t.Logf("the onlooker's longest wait for a frame was %v", time.Duration(o.worst.Load()).Round(time.Millisecond))
	})
	return o
}

// goesOn wants frames to arrive still.
func (o *onlooker) goesOn(t testing.TB) {
	t.Helper()
	until := o.frames.Load() + 3
	for deadline := time.Now().Add(patience10); o.frames.Load() < until; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) || o.viewer.Err() != nil {
			t.Fatalf("the onlooker gets no more frames: %v", o.viewer.Err())
		}
	}
}

// wantGoroutines wants no more goroutines than there were: what an intruder left is gone (class D: within 5 s).
func wantGoroutines(t testing.TB, most int) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > most; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), most)
			return
		}
	}
}

// TestClassD is class D of the checklists: each of its inputs comes from a peer that has a session and has got as far as
// the input needs, while a viewer watches something else on the same socket. What a test of an input does not say: the
// viewer goes on, nothing of the input is forwarded, and once its sender is gone nothing is left of it.
func TestClassD(t *testing.T) {
	named := map[string]bool{}
	for _, list := range [][]string{names(duringHandshake), names(afterHandshake), names(publishing), names(playing)} {
		for _, name := range list {
			if named[name] {
				t.Errorf("%q stands in the tables twice", name)
			}
			named[name] = true
		}
	}
	if len(named) != 44 {
		t.Errorf("the tables have %d inputs, class D has 44", len(named))
	}
	n := newTestNetwork(t, Config{})
	o := newOnlooker(t, n)
	o.goesOn(t)
	before := runtime.NumGoroutine()
	after := func(name string) {
		t.Helper()
		o.goesOn(t)
		wantGoroutines(t, before)
		if got := n.Sessions(); got != 1 {
			t.Errorf("%s: %d sessions are left, want the onlooker's", name, got)
		}
	}
	for _, in := range duringHandshake {
		t.Run(in.name, func(t *testing.T) {
			x := newIntruder(t, n, sdp.Publish)
			in.try(x)
			if x.publisher.RemoteAddr() != "" {
				t.Error("it is connected")
			}
		})
		after(in.name)
	}
	for _, in := range afterHandshake {
		t.Run(in.name, func(t *testing.T) {
			x := newIntruder(t, n, sdp.Publish).handshake()
			x.lives()
			in.try(x)
			x.lives()
		})
		after(in.name)
	}
	t.Run("publishing", func(t *testing.T) {
		x := newIntruder(t, n, sdp.Publish).handshake()
		x.lives()
		for _, in := range publishing {
			t.Run(in.name, func(t *testing.T) {
				in.try(x)
				x.lives()
				o.goesOn(t)
				x.wantNothingEvil(t)
			})
		}
		for _, in := range playing { // RTCP from the other side
			x.send(x.report(in.packet(ssrcVideo)))
			x.lives()
		}
	})
	after("publishing")
	t.Run("playing", func(t *testing.T) {
		x := newIntruder(t, n, sdp.Play).handshake()
		if err := x.viewer.Await(); err != nil {
			t.Fatal(err)
		}
		for _, in := range playing {
			t.Run(in.name, func(t *testing.T) {
				ssrc := uint32(x.viewer.Track(media.Video).ssrc)
				if in.name == "BYE for others' SSRC" {
					ssrc = uint32(o.viewer.Track(media.Video).ssrc)
				}
				for range max(1, in.times) {
					x.send(x.report(in.packet(ssrc)))
				}
				x.watches()
				o.goesOn(t)
				if missing := x.viewer.Track(media.Video).Repairs().Missing; strings.HasPrefix(in.name, "NACK") && missing < 17*17 {
					t.Errorf("%d packets were asked for: the test proves nothing", missing)
				}
			})
		}
	})
	after("playing")
	newIntruder(t, n, sdp.Publish).handshake().lives() // others can still come
}

// input is one of class D.
type input struct {
	name string
	try  func(*intruder)
}

func names[T interface{ label() string }](inputs []T) (list []string) {
	for _, in := range inputs {
		list = append(list, in.label())
	}
	return list
}

func (in input) label() string   { return in.name }
func (in control) label() string { return in.name }

// evil is a payload that nobody may get.
const evil = "evil, of some length"

func (x *intruder) wantNothingEvil(t testing.TB) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for payload, times := range x.got {
		if strings.Contains(payload, evil) {
			t.Errorf("%q came through %d times", payload, times)
			delete(x.got, payload)
		}
	}
}

// duringHandshake are inputs of a client that never connects.
var duringHandshake = []input{
	{"hello with null cipher", func(x *intruder) { x.greet(hello{ciphers: []uint16{0x0000, 0x0001, 0xc006}}) }},
	{"hello of 1,000 ciphers", func(x *intruder) {
		var all []uint16
		for i := range uint16(1000) {
			all = append(all, 0xfa00+i)
		}
		x.greet(hello{ciphers: all})
	}},
	{"hello split in 1-byte fragments", func(x *intruder) {
		body := hello{ciphers: usual}.body(nil)
		for i := range body {
			x.send(handshakeRecord(0, uint64(i), fragment{kind: clientHello, size: len(body), offset: i, bytes: body[i : i+1]}))
		}
		x.settle()
	}},
	{"fragment offset past length", func(x *intruder) {
		x.send(handshakeRecord(0, 0, fragment{kind: clientHello, size: 10, offset: 1000, bytes: make([]byte, 100)}),
			handshakeRecord(0, 1, fragment{kind: clientHello, size: 0xffffff, offset: 0xfffffe, bytes: make([]byte, 100)}))
		x.settle()
	}},
	{"overlapping fragments", func(x *intruder) {
		body := hello{ciphers: usual}.body(nil)
		for i := range 20 {
			x.send(handshakeRecord(0, uint64(i), fragment{kind: clientHello, size: len(body), offset: i, bytes: bytes.Repeat([]byte{byte(i)}, 30)}))
		}
		x.send(handshakeRecord(0, 99, fragment{kind: clientHello, size: len(body), bytes: body}))
		x.settle()
	}},
	{"unfinished handshake x 10,000", func(x *intruder) {
		stranger := x.stranger()
		x.greet(hello{ciphers: usual})
		for i := range 10000 {
			b := handshakeRecord(0, uint64(i+10), fragment{kind: clientHello, sequence: uint16(i), bytes: hello{ciphers: usual, random: uint64(i)}.body(nil)})
			x.send(b)
			_, _ = stranger.Write(b)
		}
		x.settle()
	}},
	{"certificate of 1 MiB", func(x *intruder) {
		x.greet(hello{ciphers: usual})
		const size, step = 1 << 20, 1 << 10
		for i := 0; i < size; i += step {
			x.send(handshakeRecord(0, uint64(10+i/step), fragment{kind: certificate, sequence: 2, size: size, offset: i, bytes: make([]byte, step)}))
		}
		x.settle()
	}},
	{"wrong fingerprint", func(x *intruder) {
		other, err := selfsign.GenerateSelfSigned()
		if err != nil {
			x.Fatal(err)
		}
		x.attempt(x.client(dtls.WithCertificates(other), dtls.WithSRTPProtectionProfiles(honest...)))
		wait(x, x.peer.Done(), "the end of the session")
	}},
	{"client cert without verify", func(x *intruder) {
		x.greet(hello{ciphers: usual})
		der := x.certificate.Certificate[0]
		list := append(size24(len(der)), der...)
		x.send(handshakeRecord(0, 10, fragment{kind: certificate, sequence: 2, bytes: append(size24(len(list)), list...)}),
			handshakeRecord(0, 11, fragment{kind: clientKeyExchange, sequence: 3, bytes: append([]byte{32}, make([]byte, 32)...)}),
			record(20, 0, 12, []byte{1}), record(22, 1, 0, make([]byte, 60)))
		x.settle()
	}},
	{"app data before Finished", func(x *intruder) {
		x.greet(hello{ciphers: usual})
		x.send(record(23, 0, 10, []byte(evil)), record(23, 1, 10, []byte(evil)))
		x.settle()
	}},
	{"use_srtp absent", func(x *intruder) {
		x.attempt(x.client(dtls.WithCertificates(x.certificate)))
	}},
	{"unknown profile", func(x *intruder) { x.greet(hello{ciphers: usual, profile: 0xfefe}) }},
	{"ECDHE_PSK key exchange crafted", func(x *intruder) {
		x.greet(hello{ciphers: []uint16{0xc037, 0xd001, 0xd002, 0xd005}})
		x.send(handshakeRecord(0, 10, fragment{kind: clientKeyExchange, sequence: 2, bytes: []byte{0xff, 0xff, 'i', 'd', 200, 1}}),
			handshakeRecord(0, 11, fragment{kind: clientKeyExchange, sequence: 3, bytes: []byte{0xff}}))
		x.settle()
	}},
}

// afterHandshake are inputs that a session survives.
var afterHandshake = []input{
	{"alert fatal from third party", func(x *intruder) {
		stranger := x.stranger()
		for epoch := range uint16(2) {
			_, _ = stranger.Write(record(21, epoch, 100, []byte{2, 40}))
		}
	}},
	{"close_notify in clear", func(x *intruder) { x.send(record(21, 0, 100, []byte{1, 0}), record(21, 0, 101, []byte{2, 80})) }},
	{"renegotiation", func(x *intruder) {
		body := hello{ciphers: usual}.body(nil)
		for sequence := range uint16(10) {
			x.send(handshakeRecord(0, uint64(100+sequence), fragment{kind: clientHello, sequence: sequence, bytes: body}))
		}
		x.send(handshakeRecord(0, 200, fragment{kind: 0, sequence: 9})) // HelloRequest
	}},
}

// publishing are inputs of a peer that sends media. Those that are sealed are from somebody who has the keys.
var publishing = []input{
	{"SRTP bad tag", func(x *intruder) {
		b := x.packet(evil)
		b[len(b)-1] ^= 1
		x.send(b)
	}},
	{"SRTCP shorter than trailer", func(x *intruder) {
		for size := range 28 {
			x.send(append([]byte{0x80, 200, 0, 1, 1, 1, 1, 1}, make([]byte, 28)...)[:size])
		}
	}},
	{"replay", func(x *intruder) {
		const payload = "once"
		b := x.packet(payload)
		for range 10 {
			x.send(b)
		}
		x.lives()
		if n := x.times(payload); n != 1 {
			x.Errorf("a packet that was replayed came through %d times", n)
		}
	}},
	{"ROC jump", func(x *intruder) {
		x.send(x.seal(x.header(ssrcVideo, typeVideo), []byte(evil), 1), x.seal(x.header(ssrcVideo, typeVideo), []byte(evil), 1<<31))
	}},
	{"SSRC of other user", func(x *intruder) {
		x.send(x.seal(x.header(0x33333333, typeVideo), []byte(evil), 0))
	}},
	{"padding length 0", func(x *intruder) {
		h := x.header(ssrcVideo, typeVideo)
		h[0] |= 0x20
		x.send(x.seal(h, []byte(evil+"\x00"), 0))
	}},
	{"padding > payload", func(x *intruder) {
		h := x.header(ssrcVideo, typeVideo)
		h[0] |= 0x20
		x.send(x.seal(h, []byte(evil+"\xff"), 0))
	}},
	{"CSRC count past end", func(x *intruder) {
		h := x.header(ssrcVideo, typeVideo)
		h[0] |= 15
		x.send(x.seal(h, nil, 0), x.seal(h, []byte(evil), 0), h)
	}},
	{"extension length past end", func(x *intruder) {
		h := append(x.header(ssrcVideo, typeVideo), 0xbe, 0xde, 0xff, 0xff)
		h[0] |= 0x10
		x.send(x.seal(h, []byte(evil), 0), x.seal(h[:14], []byte(evil), 0))
	}},
	{"one-byte ext id 15", func(x *intruder) { // which ends the extensions (RFC 8285 section 4.2), not the packet
		h := append(x.header(ssrcVideo, typeVideo), 0xbe, 0xde, 0, 1, 0xf7, 1, 2, 3)
		h[0] |= 0x10
		x.send(x.seal(h, []byte("odd"), 0))
	}},
	{"two-byte ext length 255", func(x *intruder) {
		h := append(x.header(ssrcVideo, typeVideo), 0x10, 0, 0, 1, 1, 255, 1, 2)
		h[0] |= 0x10
		x.send(x.seal(h, []byte(evil), 0))
	}},
	{"RTP version 1", func(x *intruder) {
		h := x.header(ssrcVideo, typeVideo)
		h[0] = 0x40
		x.send(x.seal(h, []byte(evil), 0))
	}},
	{"12-byte packet", func(x *intruder) {
		x.send(x.header(ssrcVideo, typeVideo), x.seal(x.header(ssrcVideo, typeVideo), nil, 0))
	}},
	{"0-byte packet", func(x *intruder) {
		x.send(nil)
		_, _ = x.stranger().Write(nil)
	}},
	{"64 KiB packet", func(x *intruder) {
		x.send(x.packet(strings.Repeat(evil, 3200)), x.packet(strings.Repeat(evil, 200)))
	}},
	{"seq jump 30,000", func(x *intruder) {
		x.sequence += 30000
		x.send(x.packet("leap"))
	}},
	{"timestamp jump 2^31", func(x *intruder) {
		h := x.header(ssrcVideo, typeVideo)
		h[4] ^= 0x80
		x.send(x.seal(h, []byte("leap"), 0))
	}},
	{"RTX for unknown", func(x *intruder) {
		x.send(x.seal(x.header(0x44444444, typeRTX), []byte("\x00\x01"+evil), 0))
	}},
	{"RTX with 1-byte payload", func(x *intruder) {
		x.send(x.seal(x.header(ssrcRTX, typeRTX), []byte{1}, 0), x.seal(x.header(ssrcRTX, typeRTX), nil, 0))
	}},
	{"FEC garbage", func(x *intruder) {
		x.send(x.seal(x.header(ssrcVideo, typeFEC), []byte(evil), 0), x.seal(x.header(0x55555555, typeFEC), []byte(evil), 0))
	}},
}

// control is an input that is RTCP, about the given source.
type control struct {
	name   string
	times  int // that it is sent; 0 for once
	packet func(ssrc uint32) []byte
}

// playing are inputs of a peer that receives media. All are sealed.
var playing = []control{
	{"RTCP length lie", 0, func(ssrc uint32) []byte { return words(0x81ceffff, 1, ssrc) }},
	{"compound of 400", 0, func(uint32) []byte { return bytes.Repeat(words(0x80cb0000), 400) }},
	{"NACK of 17 x 1,000", 1000, func(ssrc uint32) []byte {
		b := words(0x81cd0013, 1, ssrc)
		for i := range uint32(17) {
			b = append(b, words(i*17<<16|0xffff)...)
		}
		return b
	}},
	{"PLI/FIR 1,000/s", 1000, func(ssrc uint32) []byte {
		return append(words(0x81ce0002, 1, ssrc), words(0x84ce0004, 1, 0, ssrc, 7<<24)...)
	}},
	{"REMB 2^63", 0, func(ssrc uint32) []byte {
		return words(0x8fce0005, 1, 0, 0x52454d42, 1<<24|63<<18|0x3ffff, ssrc)
	}},
	{"TWCC wrong count", 0, func(ssrc uint32) []byte {
		return append(words(0x8fcd0004, 1, ssrc, 0x0000ffff, 0), words(0x8fcd0005, 1, ssrc, 0x00000001, 0, 0xffffffff)...)
	}},
	{"SDES no null", 0, func(ssrc uint32) []byte { return words(0x81ca0002, ssrc, 0x01ff6162) }},
	{"BYE for others' SSRC", 0, func(ssrc uint32) []byte { return words(0x81cb0001, ssrc) }},
}

// words are the 32-bit words that RTCP is made of.
func words(list ...uint32) (b []byte) {
	for _, w := range list {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// stranger is somebody without a session.
func (x *intruder) stranger() net.Conn {
	x.Helper()
	conn, err := net.Dial("udp", x.network.Addr().String())
	if err != nil {
		x.Fatal(err)
	}
	x.Cleanup(func() { _ = conn.Close() })
	return conn
}

// attempt tries to connect, which must fail in the end: the client may not know.
func (x *intruder) attempt(client *dtls.Conn) {
	ctx, cancel := context.WithTimeout(x.Context(), 300*time.Millisecond)
	defer cancel()
	_ = client.HandshakeContext(ctx)
}
