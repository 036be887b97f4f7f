package engine

import (
	"errors"
	"testing"

	"github.com/pion/dtls/v3"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
)

// profile makes a client accept one way to protect media.
func profile(p dtls.SRTPProtectionProfile) clientOption {
	return func(s *webrtc.SettingEngine, _ *webrtc.MediaEngine) { s.SetSRTPProtectionProfiles(p) }
}

// TestWatch has the WebRTC stack receive two logs, protected in each way, sent in each way.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile dtls.SRTPProtectionProfile
		socket  batch.Options
	}{
		{"GCM-128", dtls.SRTP_AEAD_AES_128_GCM, batch.Options{}},
		{"GCM-256", dtls.SRTP_AEAD_AES_256_GCM, batch.Options{}},
		{"CM", dtls.SRTP_AES128_CM_HMAC_SHA1_80, batch.Options{}},
		{"one by one", dtls.SRTP_AEAD_AES_128_GCM, batch.Options{Plain: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Config{Socket: c.socket})
			w.video.frame(true, 10, 1188) // before anybody came
			viewer := newClient(w, profile(c.profile))
			v := viewer.watch()
			const frames = 60
			for i := range frames {
				w.video.frame(i%30 == 29, 1+i%10, 1188-i%3)
				w.audio.frame(true, 1, 80)
				w.eventually("all packets", func() bool { // before more come: a client's buffers are small
					return len(viewer.got(media.Video)) >= int(w.video.next-1000) && len(viewer.got(media.Audio)) > i
				})
			}
			for _, tape := range []*tape{w.video, w.audio} {
				kind := tape.params.Codec.Kind()
				packets := viewer.got(kind)
				for i, p := range packets {
					original := tape.Get(offsetOf(p.Payload))
					if original == nil || string(original.Payload) != string(p.Payload) {
						t.Fatalf("%v packet %d has a payload that was never sent", kind, i)
					}
					if i > 0 && p.SequenceNumber != packets[i-1].SequenceNumber+1 {
						t.Fatalf("%v packet %d has number %d after %d", kind, i, p.SequenceNumber, packets[i-1].SequenceNumber)
					}
					if want := kind == media.Video && original.Has(media.FrameEnd); p.Marker != want {
						t.Fatalf("%v packet %d: marker is %v, want %v", kind, i, p.Marker, want)
					}
				}
			}
			w.eventually("sender reports", func() bool {
				viewer.mu.Lock()
				defer viewer.mu.Unlock()
				return len(viewer.reports[v.Track(media.Video).ssrc]) > 0
			})
			if s := w.engine.Stats(); s.Checks == 0 || s.Sent.Dropped != 0 {
				t.Errorf("counted %+v", s)
			}
			t.Logf("%+v", w.engine.Stats())
		})
	}
}

// TestPeerLeaves ends a session by the client's DTLS.
func TestPeerLeaves(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	_ = viewer.pc.GracefulClose()
	w.eventually("the end of the session", func() bool { return errors.Is(v.Err(), rtc.ErrLeft) })
	<-v.Done()
	w.eventually("the engine to forget it", func() bool { return w.engine.Sessions() == 0 })
}

// TestHangup ends a session here; the peer learns of it.
func TestHangup(t *testing.T) {
	w := newWorld(t, Config{})
	viewer := newClient(w)
	v := viewer.watch()
	v.Close()
	w.eventually("the client to learn of it", func() bool {
		s := viewer.pc.ConnectionState()
		return s == webrtc.PeerConnectionStateClosed || s == webrtc.PeerConnectionStateFailed
	})
	if !errors.Is(v.Err(), rtc.ErrHangup) {
		t.Errorf("ended because %v", v.Err())
	}
}
