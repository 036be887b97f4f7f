package engine

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
)

// stranger is somebody who is no viewer.
func stranger(t testing.TB, w *world) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(w.engine.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func say(t testing.TB, c *net.UDPConn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// dropped waits until a reason for dropping has been met so often.
func (w *world) dropped(why Drop, n uint64) {
	w.Helper()
	w.eventually(why.String(), func() bool { return w.engine.Stats().Drops[why] >= n })
}

// TestStrangers sends what strangers may, while a viewer watches on.
func TestStrangers(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	c := stranger(t, w)
	ours := v.ours.Load()[0]
	forged := func(password string) []byte {
		return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ours.ufrag+":x"),
			stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.NewShortTermIntegrity(password), stun.Fingerprint).Raw
	}
	for range 100 {
		say(t, c, forged("not the password, but as long"))
		say(t, c, stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("nobody:x"), stun.NewShortTermIntegrity("p")).Raw)
		say(t, c, stun.MustBuild(stun.TransactionID, stun.BindingSuccess, stun.NewShortTermIntegrity("p")).Raw)
		say(t, c, []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // a hello, as it were
		say(t, c, []byte{0x80, 201, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0})      // a report
		say(t, c, []byte{99})
	}
	w.dropped(DropUnsigned, 100)
	w.dropped(DropStranger, 100) // the kernel may have dropped some of the rest
	w.video.frame(true, 5, 1000)
	w.eventually("media", func() bool { return len(viewer.got(media.Video)) == 5 })
	if got := v.RemoteAddr(); got == "udp "+c.LocalAddr().String() {
		t.Error("media goes to a stranger")
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, err := c.Read(make([]byte, 100)); err == nil {
		t.Errorf("a stranger is answered with %d bytes", n)
	}
	// Who knows the password is a path of the viewer's.
	say(t, c, forged(ours.password))
	w.eventually("the move", func() bool { return v.RemoteAddr() == "udp "+c.LocalAddr().String() })
}

// TestForgedControl sends a viewer's RTCP again, altered, in the clear and from elsewhere.
func TestForgedControl(t *testing.T) {
	w := newWorld(t, Config{})
	tap := &recorder{}
	viewer := newClient(w, tap.option(t))
	v := viewer.watch()
	w.video.frame(true, 5, 1000)
	w.eventually("media", func() bool { return len(viewer.got(media.Video)) == 5 })
	if err := viewer.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: v.Track(media.Video).ssrc}}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the request", func() bool { return len(v.keyframe) == 1 })
	<-v.KeyframeRequests()
	packet := tap.last()
	to := net.UDPAddrFromAddrPort(w.engine.Addr())
	send := func(b []byte) {
		if _, err := tap.WriteTo(b, to); err != nil {
			t.Fatal(err)
		}
	}
	clear, err := (&rtcp.PictureLossIndication{MediaSSRC: v.Track(media.Video).ssrc}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	send(packet)                                   // replayed
	send(append([]byte{packet[0]}, packet[2:]...)) // broken
	send(packet[:9])                               // truncated
	send(append(clear, make([]byte, 20)...))       // in the clear
	altered := append([]byte{}, packet...)
	altered[10] ^= 0xff
	send(altered)
	send(append([]byte{0x80, 96}, packet[2:]...)) // as media
	say(t, stranger(t, w), packet)                // from elsewhere
	w.dropped(DropForged, 4)
	w.dropped(DropMedia, 1)
	w.dropped(DropStranger, 1)
	select {
	case <-v.KeyframeRequests():
		t.Error("a forged request counts")
	default:
	}
	if v.Err() != nil {
		t.Errorf("the session ended: %v", v.Err())
	}
}

// recorder keeps what a client sends of RTCP.
type recorder struct {
	net.PacketConn
	mu   sync.Mutex // guards sent
	sent []byte
}

func (r *recorder) option(t testing.TB) clientOption {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	r.PacketConn = c
	return func(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) {
		s.SetICEUDPMux(webrtc.NewICEUDPMux(s.LoggerFactory.NewLogger("ice"), r))
	}
}

func (r *recorder) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > 8 && isRTP(b) && isControl(b) {
		r.mu.Lock()
		r.sent = append([]byte{}, b...)
		r.mu.Unlock()
	}
	return r.PacketConn.WriteTo(b, to)
}

func (r *recorder) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]byte{}, r.sent...)
}

// TestWrongFingerprint refuses a peer whose certificate is not the one of its offer.
func TestWrongFingerprint(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	offer := viewer.offer()
	hash, value, _ := strings.Cut(offer.Fingerprint, " ")
	offer.Fingerprint = hash + " 00" + value[2:]
	v, err := w.engine.NewViewer(t.Context(), rtc.ViewerConfig{
		PeerConfig: rtc.PeerConfig{ID: "test", Offer: offer, Stream: "cup/cam1"}, Codecs: offer.Of(media.Video).Codecs[:1],
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := viewer.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: v.Answer()}); err != nil {
		t.Fatal(err)
	}
	if err := v.Await(); !errors.Is(err, errFingerprint) {
		t.Errorf("ended because %v, want its certificate", err)
	}
	<-v.Done()
}

// TestNobodyComes reaps a session whose peer never connects.
func TestNobodyComes(t *testing.T) {
	w := newWorld(t, Config{ConnectTimeout: 100 * time.Millisecond})
	viewer := newClient(w)
	offer := viewer.offer()
	v, err := w.engine.NewViewer(t.Context(), rtc.ViewerConfig{PeerConfig: rtc.PeerConfig{ID: "test", Offer: offer}, Codecs: offer.Of(media.Video).Codecs[:1]})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Await(); !errors.Is(err, rtc.ErrTimeout) {
		t.Errorf("ended because %v", err)
	}
	<-v.Done()
	d := w.engine.directory
	d.mu.RLock()
	defer d.mu.RUnlock()
	if len(d.names)+len(d.addrs) != 0 {
		t.Errorf("%d names and %d addresses are left of it", len(d.names), len(d.addrs))
	}
}

// TestConsent ends a session whose peer falls silent without a word.
func TestConsent(t *testing.T) {
	w := newWorld(t, Config{ConsentTimeout: time.Second})
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	viewer := newClient(w, func(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) {
		s.SetICETimeouts(time.Minute, time.Minute, 200*time.Millisecond)
		s.SetICEUDPMux(webrtc.NewICEUDPMux(s.LoggerFactory.NewLogger("ice"), c))
	})
	v := viewer.watch()
	w.eventually("more checks than it takes to connect", func() bool { return w.engine.Stats().Checks > 20 })
	c.Close()
	w.eventually("the end", func() bool { return errors.Is(v.Err(), rtc.ErrLost) })
	<-v.Done()
}

// TestHellos sprays hellos and checks while sessions connect.
func TestHellos(t *testing.T) {
	w := newWorld(t, Config{})
	done := make(chan struct{})
	var spray sync.WaitGroup
	spray.Go(func() {
		hello := append([]byte{22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 1}, make([]byte, 99)...)
		c := stranger(t, w)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			_, _ = c.Write(hello) // what is lost is lost
			if i%20 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	})
	for range 5 {
		viewer := newClient(w)
		v := viewer.watch()
		v.Close()
	}
	close(done)
	spray.Wait()
	if w.engine.Stats().Drops[DropStranger] == 0 {
		t.Error("no hello was dropped")
	}
}

// TestRestart moves a session over to new credentials; the old ones are of no more use then.
func TestRestart(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	before := v.ours.Load()[0]
	f, err := v.Restart(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Ufrag == before.ufrag || f.Password == before.password || !strings.Contains(v.Answer(), f.Ufrag) || len(f.Candidates) == 0 {
		t.Fatalf("restarted as %+v", f)
	}
	check := func(ufrag, password string) []byte {
		return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ufrag+":x"),
			stun.NewShortTermIntegrity(password), stun.Fingerprint).Raw
	}
	c := stranger(t, w)
	answered := func(request []byte) bool {
		say(t, c, request)
		_ = c.SetReadDeadline(time.Now().Add(soon))
		_, err := c.Read(make([]byte, 200))
		return err == nil
	}
	if !answered(check(before.ufrag, before.password)) {
		t.Error("the old credentials end before the new ones are used")
	}
	if !answered(check(f.Ufrag, f.Password)) {
		t.Error("the new credentials do not work")
	}
	strangers := w.engine.Stats().Drops[DropStranger]
	say(t, c, check(before.ufrag, before.password))
	w.dropped(DropStranger, strangers+1)
}

// TestManyAddresses bounds what one viewer may prove.
func TestManyAddresses(t *testing.T) {
	d := newDirectory()
	v := &Viewer{}
	for port := range uint16(100) {
		d.place(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port), v)
	}
	if len(d.addrs) != maxAddrs || len(v.addrs) != maxAddrs {
		t.Errorf("%d addresses, want at most %d", len(d.addrs), maxAddrs)
	}
	other := &Viewer{}
	d.place(v.addrs[0], other)
	if len(v.addrs) != maxAddrs-1 || d.at(other.addrs[0]) != other {
		t.Error("an address does not change hands")
	}
	d.forget(v)
	d.place(netip.MustParseAddrPort("192.0.2.1:7"), v)
	if len(d.addrs) != 1 {
		t.Errorf("%d addresses of a viewer that is gone", len(d.addrs)-1)
	}
}

// FuzzTake has the engine take what a stranger, and what a viewer, may send.
func FuzzTake(f *testing.F) {
	f.Add([]byte{22, 0xfe, 0xfd, 0, 0}, true)
	f.Add([]byte{0x80, 201, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, true)
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername("a:b"), stun.NewShortTermIntegrity("p")).Raw, false)
	w := newWorld(f, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	known := v.path.Load().addr()
	f.Fuzz(func(t *testing.T, b []byte, fromViewer bool) {
		from := netip.MustParseAddrPort("127.0.0.1:9")
		if fromViewer {
			from = known
		}
		before := w.engine.Stats()
		w.engine.take(batch.Datagram{From: from, Data: b}, time.Now())
		if v.Err() != nil && len(b) > 0 && !isDTLS(b) {
			t.Fatalf("%x ends the session: %v", b, v.Err())
		}
		if after := w.engine.Stats(); after.Reports != before.Reports && !fromViewer {
			t.Fatalf("%x of a stranger is heard", b)
		}
	})
}
