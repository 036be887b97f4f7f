package engine

import (
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/pion/stun/v4"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc"
)

// byTCP makes a client that cannot use UDP.
func byTCP(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) {
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
}

// TestTCP watches by TCP, through all that a session has.
func TestTCP(t *testing.T) {
	w := newWorld(t, Config{ConsentTimeout: time.Minute})
	viewer := newClient(w, byTCP)
	v := viewer.watch()
	if addr := v.RemoteAddr(); addr[:4] != "tcp " {
		t.Fatalf("the peer is at %s", addr)
	}
	w.video.frame(true, 40, 1188)
	for range 20 {
		w.video.frame(false, 5, 1188)
		w.audio.frame(true, 1, 100)
	}
	w.eventually("all packets", func() bool { return len(viewer.got(media.Video)) == 140 && len(viewer.got(media.Audio)) == 20 })
	w.eventually("sender reports", func() bool {
		viewer.mu.Lock()
		defer viewer.mu.Unlock()
		return len(viewer.reports) == 2
	})
	// Its DTLS alone says goodbye: the client closes its connection before what it has written last has gone out.
	if err := viewer.pc.GetTransceivers()[0].Receiver().Transport().Stop(); err != nil {
		t.Fatal(err)
	}
	w.eventually("the goodbye", func() bool { return errors.Is(v.Err(), rtc.ErrLeft) })
	<-v.Done()
}

// TestTCPEnds ends a session whose connection has ended, long before its consent has run out.
func TestTCPEnds(t *testing.T) {
	w := newWorld(t, Config{ConsentTimeout: time.Minute})
	viewer := newClient(w)
	v := viewer.watch()
	ours := v.ours.Load()[0]
	c := dial(t, w)
	check := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ours.ufrag+":x"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.NewShortTermIntegrity(ours.password), stun.Fingerprint).Raw
	if _, err := c.Write(framed(check)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the move to TCP", func() bool { return v.RemoteAddr() == "tcp "+c.LocalAddr().String() })
	_ = c.Close()
	w.eventually("the end", func() bool { return errors.Is(v.Err(), rtc.ErrLost) })
	<-v.Done()
}

// dial connects by TCP.
func dial(t testing.TB, w *world) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", w.engine.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(soon))
	return c
}

func framed(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// TestTCPStrangers connects and says wrong things, or nothing.
func TestTCPStrangers(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	ours := v.ours.Load()[0]
	forged := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ours.ufrag+":x"), stun.NewShortTermIntegrity("no"), stun.Fingerprint).Raw
	for why, b := range map[string][]byte{
		"a length beyond all packets":   {0xff, 0xff, 1},
		"a check with a wrong password": framed(forged),
	} {
		c := dial(t, w)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 100)); err != io.EOF && !errors.Is(err, net.ErrClosed) && n > 0 {
			t.Errorf("%s is answered with %d bytes, %v", why, n, err)
		}
	}
	dial(t, w) // and says nothing: it ends with the engine, if not before
	w.video.frame(true, 3, 500)
	w.eventually("media", func() bool { return len(viewer.got(media.Video)) == 3 })
}

// TestStuckTCP cuts a viewer that reads nothing, having dropped what it could not take.
func TestStuckTCP(t *testing.T) {
	w := newWorld(t, Config{StallTimeout: 200 * time.Millisecond, ConsentTimeout: time.Minute})
	viewer := newClient(w)
	v := viewer.watch()
	ours := v.ours.Load()[0]
	c := dial(t, w)
	check := stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewUsername(ours.ufrag+":x"),
		stun.RawAttribute{Type: stun.AttrUseCandidate}, stun.NewShortTermIntegrity(ours.password), stun.Fingerprint).Raw
	if _, err := c.Write(framed(check)); err != nil {
		t.Fatal(err)
	}
	w.eventually("the move to TCP", func() bool { return v.RemoteAddr() == "tcp "+c.LocalAddr().String() })
	w.eventually("the cut", func() bool {
		w.video.frame(true, 100, 1188)
		return v.Err() != nil
	})
	<-v.Done()
}

// TestSharedPort has both kinds of session on one port, by UDP and by TCP.
func TestSharedPort(t *testing.T) {
	for _, network := range []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeTCP4} {
		t.Run(network.String(), func(t *testing.T) {
			w := newWorld(t, Config{})
			logger := slog.New(slog.NewTextHandler(t.Output(), nil))
			n, err := rtc.New(rtc.Config{Port: w.engine.Rest(), Loopback: true, Logger: logger})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := n.Close(); err != nil {
					t.Errorf("close the network: %v", err)
				}
			})
			if n.Addr() != w.engine.Addr() {
				t.Errorf("the network is at %v, the engine at %v", n.Addr(), w.engine.Addr())
			}
			over := func(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) { s.SetNetworkTypes([]webrtc.NetworkType{network}) }
			viewer := newClient(w, over)
			viewer.watch()
			other := newClient(w, over)
			offer := other.offer()
			plain, err := n.NewViewer(t.Context(), rtc.ViewerConfig{
				PeerConfig: rtc.PeerConfig{ID: "plain", Offer: offer}, Codecs: offer.Of(media.Video).Codecs[:1],
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := other.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: plain.Answer()}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-plain.Connected():
			case <-time.After(soon):
				t.Fatal("no connection through the rest of the port")
			}
			w.video.frame(true, 3, 500)
			w.eventually("media", func() bool { return len(viewer.got(media.Video)) == 3 })
		})
	}
}
