package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc"
)

// silent is a viewer whose connection has been let go.
func silent(t *testing.T, w *world) (*client, *Viewer) {
	t.Helper()
	c := newClient(w)
	v := c.watch()
	v.mu.Lock()
	v.words.last = v.words.last.Add(-silence)
	v.mu.Unlock()
	w.eventually("silence", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.words.state != nil && v.words.conn == nil
	})
	w.video.frame(true, 3, 500)
	w.eventually("media", func() bool { return len(c.got(media.Video)) == 3 })
	return c, v
}

// TestSilentPeerLeaves hears the goodbye of a peer whose connection has been let go.
func TestSilentPeerLeaves(t *testing.T) {
	w := newWorld(t, Config{})
	c, v := silent(t, w)
	_ = c.pc.GracefulClose()
	w.eventually("the end of the session", func() bool { return errors.Is(v.Err(), rtc.ErrLeft) })
	<-v.Done()
}

// TestHangupInSilence says goodbye to a peer whose connection has been let go.
func TestHangupInSilence(t *testing.T) {
	w := newWorld(t, Config{})
	c, v := silent(t, w)
	v.Close()
	w.eventually("the client to learn of it", func() bool {
		s := c.pc.ConnectionState()
		return s == webrtc.PeerConnectionStateClosed || s == webrtc.PeerConnectionStateFailed
	})
}

// TestNoiseInSilence makes the connection again for records that are not the peer's, lets it go again, and still hears the
// peer's goodbye.
func TestNoiseInSilence(t *testing.T) {
	w := newWorld(t, Config{})
	c, v := silent(t, w)
	now := time.Now()
	for _, record := range [][]byte{
		{21, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},                   // an alert in the clear, of the keys' epoch
		{23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 10, 0, 4, 1, 2, 3, 4},            // data that does not open
		{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 1, 0, 4, 1, 0, 0, 0},             // a hello cut short
		{21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 2, 40}, {20}, {63, 255}, // a fatal alert in the clear; not even records
	} {
		v.say(record, now.Add(-silence))
	}
	w.eventually("silence again", func() bool {
		v.fallSilent(time.Now())
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.words.state != nil
	})
	w.video.frame(false, 3, 500)
	w.eventually("media", func() bool { return len(c.got(media.Video)) == 6 })
	_ = c.pc.GracefulClose()
	w.eventually("the end of the session", func() bool { return errors.Is(v.Err(), rtc.ErrLeft) })
}
