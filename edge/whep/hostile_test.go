package whep_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"banyan/relay/rtc"
	"banyan/relay/rtc/peertest"
	"banyan/relay/rtc/sdp"
	"banyan/relay/rtc/wish"
)

// watching is what intruders offer here: H.264 with retransmissions.
const watching = "m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\n" +
	"a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n" +
	"a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\na=rtcp-fb:102 ccm fir\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n"

// address is where viewers' packets go to.
func (w *world) address() string {
	if native {
		return w.engine.Addr().String()
	}
	return w.network.Addr().String()
}

// intrude lets an intruder in, as one who watches cup/cam1. Its session is deleted when t ends.
func (w *world) intrude(t testing.TB) *peertest.Intruder {
	t.Helper()
	x := peertest.NewIntruder(t, w.address(), watching, func(offer string) string {
		response, answer := w.do("POST", "/whep/cup/cam1", "application/sdp", offer)
		if response.StatusCode != http.StatusCreated {
			t.Fatalf("%s: %s", response.Status, answer)
		}
		t.Cleanup(func() { w.do("DELETE", response.Header.Get("Location"), "", "") })
		return answer
	})
	sessions := w.connections()
	x.Ended = func() { w.eventually("the end of the session", func() bool { return w.connections() < sessions }) }
	return x
}

// goesOn wants media to come still.
func (w *world) goesOn(x *peertest.Intruder) {
	w.Helper()
	n := len(x.Got())
	w.eventually("media for the intruder", func() bool { return len(x.Got()) > n+2 })
}

// onlooker is a viewer who is there all the while.
type onlooker struct{ *player }

func (w *world) onlooker() onlooker {
	w.Helper()
	o := onlooker{newPlayer(w)}
	o.watch("/whep/cup/cam1")
	o.goesOn()
	return o
}

func (o onlooker) goesOn() {
	o.w.Helper()
	received := func() int { // in whatever order
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.packets["video"])
	}
	n := received()
	o.w.eventually("media for the onlooker", func() bool { return received() > n+2 })
}

// goroutines is how many there are, without those of requests that are over.
func (w *world) goroutines() int {
	w.http.Client().CloseIdleConnections()
	return runtime.NumGoroutine()
}

// scene is a world with a camera that rolls, and an onlooker.
func scene(t *testing.T) (*world, onlooker) {
	t.Helper()
	return patientScene(t, rtc.Config{})
}

// patientScene is one with time limits of its own.
func patientScene(t *testing.T, limits rtc.Config) (*world, onlooker) {
	t.Helper()
	w := newLimitedWorld(t, limits, wish.Config{PostRate: 1000, MaxPerClient: 1000})
	c := w.newCamera("cup/cam1", "baseline")
	c.shoot(5)
	t.Cleanup(c.roll(2))
	return w, w.onlooker()
}

// TestClassD tries what class D of the checklists has for those who watch, from a peer that has a session and has got as
// far as the input needs. What a test of an input does not say: the onlooker goes on, and once the intruder is gone
// nothing is left of it.
func TestClassD(t *testing.T) {
	w, o := scene(t)
	before := w.goroutines() + 1 // a request's connection may be about to end
	after := func(name string) {
		t.Helper()
		o.goesOn()
		w.eventually("the end of the session after "+name, func() bool { return w.connections() == 1 && w.signal.Sessions() == 1 })
		w.eventually("the end of its goroutines after "+name, func() bool { return w.goroutines() <= before })
	}
	for _, in := range peertest.DuringHandshake {
		t.Run(in.Name, func(t *testing.T) {
			x := w.intrude(t)
			in.Try(x)
			if len(x.Got()) > 0 {
				t.Error("it gets media")
			}
		})
		after(in.Name)
	}
	for _, in := range peertest.AfterHandshake {
		t.Run(in.Name, func(t *testing.T) {
			x := w.intrude(t).Handshake()
			w.goesOn(x)
			in.Try(x)
			w.goesOn(x)
		})
		after(in.Name)
	}
	t.Run("reports", func(t *testing.T) {
		x := w.intrude(t).Handshake()
		w.goesOn(x)
		o.mu.Lock()
		ours, theirs := x.Got()[0].SSRC, o.ssrc["video"]
		o.mu.Unlock()
		for _, in := range peertest.Playing {
			t.Run(in.Name, func(*testing.T) {
				for range max(1, in.Times) {
					x.Send(x.Report(in.Packet(ours)), x.Report(in.Packet(theirs)))
				}
				w.goesOn(x)
				o.goesOn()
			})
		}
	})
	after("reports")
}

// times is how often the packet came that went out under a number of its own, as it was or as RTX.
func times(x *peertest.Intruder, ssrc uint32, seq uint16) (n int) {
	for _, p := range x.Got() {
		switch {
		case p.SSRC == ssrc && p.SequenceNumber == seq,
			p.PayloadType == 103 && len(p.Payload) > 2 && binary.BigEndian.Uint16(p.Payload) == seq:
			n++
		}
	}
	return n
}

// TestForgedReports has what a viewer asked for asked again: by the same packet, by one that was altered, cut short or
// lengthened, in the clear, and by somebody else (S6). None of it is heard.
func TestForgedReports(t *testing.T) {
	w, o := scene(t)
	x := w.intrude(t).Handshake()
	w.goesOn(x)
	first := x.Got()[len(x.Got())-1]
	lost := func(seq uint16) []byte { // RFC 4585 section 6.2.1
		return peertest.Feedback(205, 1, first.SSRC, peertest.Words(uint32(seq)<<16))
	}
	request := x.Report(lost(first.SequenceNumber))
	x.Send(request)
	w.eventually("the repair", func() bool { return times(x, first.SSRC, first.SequenceNumber) == 2 })
	time.Sleep(100 * time.Millisecond) // who asks again sooner is not answered in any case
	stranger := x.Stranger()
	for range 10 {
		x.Send(request)
		_, _ = stranger.Write(request)
	}
	for i := range request {
		altered := append([]byte{}, request...)
		altered[i] ^= 1
		x.Send(altered, request[:i])
	}
	x.Send(append(append([]byte{}, request...), 0), lost(first.SequenceNumber), append(lost(first.SequenceNumber), make([]byte, 20)...))
	var second uint16
	w.eventually("another packet", func() bool {
		for _, p := range x.Got() {
			if p.SSRC == first.SSRC {
				second = p.SequenceNumber
			}
		}
		return second != first.SequenceNumber
	})
	ask := func(seq uint16, want int) { // what is sent behind all that is heard
		t.Helper()
		next := time.Now()
		w.eventually("a repair", func() bool {
			if time.Now().After(next) {
				x.Send(x.Report(lost(seq)))
				next = time.Now().Add(200 * time.Millisecond)
			}
			return times(x, first.SSRC, seq) >= want
		})
	}
	ask(second, 2)
	if n := times(x, first.SSRC, first.SequenceNumber); n != 2 {
		t.Errorf("a packet came %d times, asked for once", n)
	}
	ask(first.SequenceNumber, 3)
	o.goesOn()
}

// TestKeysAreFresh: no two sessions have the same secret, and none tells it (S26).
func TestKeysAreFresh(t *testing.T) {
	w, _ := scene(t)
	seen := map[string]bool{}
	for range 3 {
		x := w.intrude(t).Handshake()
		if seen[x.Secret] || x.Secret == "" {
			t.Error("two sessions have one secret")
		}
		seen[x.Secret] = true
		if strings.Contains(x.Answer, "a=crypto") {
			t.Error("the answer has keys in it")
		}
	}
}

// checks are connectivity checks that prove nothing, of somebody who knows our user name fragment (class C).
func checks(ufrag string) [][]byte {
	build := func(setters ...stun.Setter) []byte {
		return stun.MustBuild(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...).Raw
	}
	name, nominates := stun.NewUsername(ufrag+":x"), stun.RawAttribute{Type: stun.AttrUseCandidate}
	wrong := stun.NewShortTermIntegrity("not the password, but as long")
	sound := build(name, nominates, wrong, stun.Fingerprint)
	broken := func(change func(b []byte) []byte) []byte { return change(append([]byte{}, sound...)) }
	return [][]byte{
		sound, build(name), build(name, nominates, stun.Fingerprint), build(nominates, wrong, stun.Fingerprint),
		build(stun.NewUsername(strings.Repeat("a", 513)), wrong), build(stun.NewUsername(ufrag+"\n:x"), wrong),
		build(stun.NewUsername("nobody:x"), wrong), build(name, wrong, stun.RawAttribute{Type: stun.AttrPriority, Value: make([]byte, 4)}),
		build(name, stun.RawAttribute{Type: 0x7fff, Value: make([]byte, 4)}, wrong), // unknown, and to be understood
		build(name, stun.RawAttribute{Type: stun.AttrXORMappedAddress}, wrong),
		build(name, stun.RawAttribute{Type: stun.AttrXORMappedAddress, Value: []byte{0, 3, 0, 1, 1, 2, 3, 4}}, wrong),
		build(name, stun.RawAttribute{Type: stun.AttrMessageIntegrity, Value: []byte{1, 2, 3, 4}}),
		stun.MustBuild(stun.TransactionID, stun.BindingSuccess, name, wrong).Raw,
		stun.MustBuild(stun.TransactionID, stun.BindingError, stun.CodeRoleConflict, wrong).Raw,
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication), name).Raw,
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), name, wrong).Raw,
		broken(func(b []byte) []byte { b[3]++; return b }),                                                     // no multiple of 4
		broken(func(b []byte) []byte { b[2] = 0xff; return b }),                                                // longer than the packet
		broken(func(b []byte) []byte { b[2], b[3] = 0, 0; return b }),                                          // as if nothing followed
		broken(func(b []byte) []byte { b[22], b[23] = 0xff, 0xff; return b }),                                  // an attribute is
		broken(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),                                           // the checksum
		broken(func(b []byte) []byte { b[4] ^= 1; return b }),                                                  // RFC 3489
		broken(func(b []byte) []byte { return b[:len(b)-9] }), broken(func(b []byte) []byte { return b[:20] }), // cut short
		{0}, {0, 1}, sound[:19],
	}
}

// TestSpoofedChecks has a stranger, and the viewer's own address, send checks that are not authentic. Media goes on to
// where it went, and none to the stranger.
func TestSpoofedChecks(t *testing.T) {
	w, o := scene(t)
	x := w.intrude(t).Handshake()
	w.goesOn(x)
	stranger := x.Stranger()
	list := checks(sdp.Restart(x.Answer).Ufrag)
	for range 20 {
		for _, check := range list {
			_, _ = stranger.Write(check)
			x.Send(check)
		}
	}
	w.goesOn(x)
	o.goesOn()
	buffer := make([]byte, 2048)
	for {
		_ = stranger.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := stranger.Read(buffer)
		if err != nil {
			break
		}
		if n > 0 && buffer[0] >= 20 {
			t.Fatalf("the stranger is sent %x", buffer[:n])
		}
	}
}

// TestNoise sends datagrams of all sizes and kinds that are cut short, too long or nothing at all, from a viewer's address
// and from elsewhere (S7).
func TestNoise(t *testing.T) {
	w, o := scene(t)
	x := w.intrude(t).Handshake()
	w.goesOn(x)
	stranger := x.Stranger()
	random := rand.New(rand.NewPCG(1, 2))
	garbage := func(first byte, size int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		if size > 0 {
			b[0] = first
		}
		return b
	}
	for _, first := range []byte{0, 3, 4, 19, 20, 22, 23, 25, 63, 64, 79, 80, 127, 128, 144, 191, 192, 255} { // RFC 7983
		for _, size := range []int{0, 1, 2, 3, 4, 7, 8, 11, 12, 13, 19, 20, 27, 28, 100, 1200, 1473, 2048, 9000, 65507} {
			b := garbage(first, size)
			_, _ = stranger.Write(b)
			x.Send(b)
			if size > 1 {
				b[1] = 201 // RTCP
				x.Send(b)
			}
		}
	}
	for n := range 200 { // media, which viewers have no business to send
		x.Send(x.Packet(peertest.Evil), x.Packet(peertest.Evil)[:n%40])
	}
	w.goesOn(x)
	o.goesOn()
	if n := w.connections(); n != 2 {
		t.Errorf("%d sessions are left", n)
	}
}

// TestSprayedHellos has viewers connect, while others say hello without a session, thousands of times a second (S5).
func TestSprayedHellos(t *testing.T) {
	const viewers, perSecond = 20, 5000
	w, o := scene(t)
	done := make(chan struct{})
	var spray sync.WaitGroup
	defer spray.Wait()
	defer close(done)
	to, err := net.ResolveUDPAddr("udp4", w.address())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c, err := net.DialUDP("udp4", nil, to)
		if err != nil {
			t.Fatal(err)
		}
		spray.Go(func() {
			defer c.Close()
			ticker := time.NewTicker(10 * time.Millisecond)
			defer ticker.Stop()
			for n := uint64(0); ; {
				for range perSecond / 100 / 2 {
					n++
					_, _ = c.Write(peertest.Hello(n)) // what is lost is lost
				}
				select {
				case <-done:
					return
				case <-ticker.C:
				}
			}
		})
	}
	for range viewers {
		w.goesOn(w.intrude(t).Handshake())
	}
	o.goesOn()
}
