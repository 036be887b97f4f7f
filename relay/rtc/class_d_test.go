package rtc

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"banyan/relay/media"
	"banyan/relay/rtc/peertest"
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
	for _, list := range [][]string{
		names(slices.Concat(peertest.DuringHandshake, peertest.AfterHandshake), func(in peertest.Input) string { return in.Name }),
		names(publishing, func(in input) string { return in.name }),
		names(peertest.Playing, func(in peertest.Control) string { return in.Name }),
	} {
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
	for _, in := range peertest.DuringHandshake {
		t.Run(in.Name, func(t *testing.T) {
			x := newIntruder(t, n, sdp.Publish)
			in.Try(x.Intruder)
			if x.publisher.RemoteAddr() != "" {
				t.Error("it is connected")
			}
		})
		after(in.Name)
	}
	for _, in := range peertest.AfterHandshake {
		t.Run(in.Name, func(t *testing.T) {
			x := newIntruder(t, n, sdp.Publish).handshake()
			x.lives()
			in.Try(x.Intruder)
			x.lives()
		})
		after(in.Name)
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
		for _, in := range peertest.Playing { // RTCP from the other side
			x.Send(x.Report(in.Packet(peertest.VideoSSRC)))
			x.lives()
		}
	})
	after("publishing")
	t.Run("playing", func(t *testing.T) {
		x := newIntruder(t, n, sdp.Play).handshake()
		if err := x.viewer.Await(); err != nil {
			t.Fatal(err)
		}
		for _, in := range peertest.Playing {
			t.Run(in.Name, func(t *testing.T) {
				ssrc := uint32(x.viewer.Track(media.Video).ssrc)
				if in.Name == "BYE for others' SSRC" {
					ssrc = uint32(o.viewer.Track(media.Video).ssrc)
				}
				for range max(1, in.Times) {
					x.Send(x.Report(in.Packet(ssrc)))
				}
				x.watches()
				o.goesOn(t)
				if missing := x.viewer.Track(media.Video).Repairs().Missing; strings.HasPrefix(in.Name, "NACK") && missing < 17*17 {
					t.Errorf("%d packets were asked for: the test proves nothing", missing)
				}
			})
		}
	})
	after("playing")
	newIntruder(t, n, sdp.Publish).handshake().lives() // others can still come
}

// input is one of class D, of a publisher.
type input struct {
	name string
	try  func(*intruder)
}

func names[T any](inputs []T, name func(T) string) (list []string) {
	for _, in := range inputs {
		list = append(list, name(in))
	}
	return list
}

func (x *intruder) wantNothingEvil(t testing.TB) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for payload, times := range x.got {
		if strings.Contains(payload, peertest.Evil) {
			t.Errorf("%q came through %d times", payload, times)
			delete(x.got, payload)
		}
	}
}

// publishing are inputs of a peer that sends media. Those that are sealed are from somebody who has the keys.
var publishing = []input{
	{"SRTP bad tag", func(x *intruder) {
		b := x.Packet(peertest.Evil)
		b[len(b)-1] ^= 1
		x.Send(b)
	}},
	{"SRTCP shorter than trailer", func(x *intruder) {
		for size := range 28 {
			x.Send(append([]byte{0x80, 200, 0, 1, 1, 1, 1, 1}, make([]byte, 28)...)[:size])
		}
	}},
	{"replay", func(x *intruder) {
		const payload = "once"
		b := x.Packet(payload)
		for range 10 {
			x.Send(b)
		}
		x.lives()
		if n := x.times(payload); n != 1 {
			x.Errorf("a packet that was replayed came through %d times", n)
		}
	}},
	{"ROC jump", func(x *intruder) {
		x.Send(x.Seal(x.Header(peertest.VideoSSRC, peertest.VideoType), []byte(peertest.Evil), 1), x.Seal(x.Header(peertest.VideoSSRC, peertest.VideoType), []byte(peertest.Evil), 1<<31))
	}},
	{"SSRC of other user", func(x *intruder) {
		x.Send(x.Seal(x.Header(0x33333333, peertest.VideoType), []byte(peertest.Evil), 0))
	}},
	{"padding length 0", func(x *intruder) {
		h := x.Header(peertest.VideoSSRC, peertest.VideoType)
		h[0] |= 0x20
		x.Send(x.Seal(h, []byte(peertest.Evil+"\x00"), 0))
	}},
	{"padding > payload", func(x *intruder) {
		h := x.Header(peertest.VideoSSRC, peertest.VideoType)
		h[0] |= 0x20
		x.Send(x.Seal(h, []byte(peertest.Evil+"\xff"), 0))
	}},
	{"CSRC count past end", func(x *intruder) {
		h := x.Header(peertest.VideoSSRC, peertest.VideoType)
		h[0] |= 15
		x.Send(x.Seal(h, nil, 0), x.Seal(h, []byte(peertest.Evil), 0), h)
	}},
	{"extension length past end", func(x *intruder) {
		h := append(x.Header(peertest.VideoSSRC, peertest.VideoType), 0xbe, 0xde, 0xff, 0xff)
		h[0] |= 0x10
		x.Send(x.Seal(h, []byte(peertest.Evil), 0), x.Seal(h[:14], []byte(peertest.Evil), 0))
	}},
	{"one-byte ext id 15", func(x *intruder) { // which ends the extensions (RFC 8285 section 4.2), not the packet
		h := append(x.Header(peertest.VideoSSRC, peertest.VideoType), 0xbe, 0xde, 0, 1, 0xf7, 1, 2, 3)
		h[0] |= 0x10
		x.Send(x.Seal(h, []byte("odd"), 0))
	}},
	{"two-byte ext length 255", func(x *intruder) {
		h := append(x.Header(peertest.VideoSSRC, peertest.VideoType), 0x10, 0, 0, 1, 1, 255, 1, 2)
		h[0] |= 0x10
		x.Send(x.Seal(h, []byte(peertest.Evil), 0))
	}},
	{"RTP version 1", func(x *intruder) {
		h := x.Header(peertest.VideoSSRC, peertest.VideoType)
		h[0] = 0x40
		x.Send(x.Seal(h, []byte(peertest.Evil), 0))
	}},
	{"12-byte packet", func(x *intruder) {
		x.Send(x.Header(peertest.VideoSSRC, peertest.VideoType), x.Seal(x.Header(peertest.VideoSSRC, peertest.VideoType), nil, 0))
	}},
	{"0-byte packet", func(x *intruder) {
		x.Send(nil)
		_, _ = x.Stranger().Write(nil)
	}},
	{"64 KiB packet", func(x *intruder) {
		x.Send(x.Packet(strings.Repeat(peertest.Evil, 3200)), x.Packet(strings.Repeat(peertest.Evil, 200)))
	}},
	{"seq jump 30,000", func(x *intruder) {
		x.Sequence += 30000
		x.Send(x.Packet("leap"))
	}},
	{"timestamp jump 2^31", func(x *intruder) {
		h := x.Header(peertest.VideoSSRC, peertest.VideoType)
		h[4] ^= 0x80
		x.Send(x.Seal(h, []byte("leap"), 0))
	}},
	{"RTX for unknown", func(x *intruder) {
		x.Send(x.Seal(x.Header(0x44444444, peertest.RTXType), []byte("\x00\x01"+peertest.Evil), 0))
	}},
	{"RTX with 1-byte payload", func(x *intruder) {
		x.Send(x.Seal(x.Header(peertest.RTXSSRC, peertest.RTXType), []byte{1}, 0), x.Seal(x.Header(peertest.RTXSSRC, peertest.RTXType), nil, 0))
	}},
	{"FEC garbage", func(x *intruder) {
		x.Send(x.Seal(x.Header(peertest.VideoSSRC, peertest.FECType), []byte(peertest.Evil), 0), x.Seal(x.Header(0x55555555, peertest.FECType), []byte(peertest.Evil), 0))
	}},
}
