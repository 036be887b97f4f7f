package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"
)

// Viewers are cheap WebRTC viewers, who throw away what they get and note only when pictures come, and whether packets
// are missing or come twice.
type Viewers struct {
	all     []*viewer
	readers sync.WaitGroup
}

// viewer is one of them.
type viewer struct {
	pc      *webrtc.PeerConnection
	socket  *socket
	mu      sync.Mutex
	first   time.Time     // picture; zero before
	last    time.Time     // of the newest picture; zero before the first
	largest time.Duration // between two since WatchGaps
	ended   bool          // it has lost its connection
	video   sequence
	dropped int // at its socket, when WatchGaps was called
}

// Watch lets n viewers connect to a WHEP address. Call Leave to let them go.
func Watch(t testing.TB, url string, n int) *Viewers {
	t.Helper()
	v := &Viewers{}
	for range n {
		one, err := v.watch(url)
		if err != nil {
			v.Leave()
			t.Fatal(err)
		}
		v.all = append(v.all, one)
	}
	return v
}

// Leave ends all of them, and waits until they have.
func (v *Viewers) Leave() {
	for _, one := range v.all {
		_ = one.close()
	}
	v.readers.Wait()
}

// WatchGaps begins to note the largest gap between two pictures, and the account of packets.
func (v *Viewers) WatchGaps() {
	drops := overflows()
	for _, one := range v.all {
		one.mu.Lock()
		one.largest, one.dropped = 0, drops[one.socket.port()]
		one.video.reset()
		one.mu.Unlock()
	}
}

// Account is that of the video of all viewers together, since WatchGaps. Viewers ask for no packet again, so what this
// machine loses at their own sockets is missing as well.
func (v *Viewers) Account() (sum Account) {
	drops := overflows()
	for _, one := range v.all {
		one.mu.Lock()
		sum = sum.Add(one.video.Account)
		sum.Overflowed += drops[one.socket.port()] - one.dropped
		one.mu.Unlock()
	}
	return sum
}

// LargestGaps are those of all viewers since WatchGaps, in ascending order, the ones that last included. It also tells
// how many have lost their connection.
func (v *Viewers) LargestGaps() (gaps []time.Duration, lost int) {
	for _, one := range v.all {
		one.mu.Lock()
		gaps = append(gaps, max(one.largest, time.Since(one.last)))
		if one.ended {
			lost++
		}
		one.mu.Unlock()
	}
	slices.Sort(gaps)
	return gaps, lost
}

// since is how many had a picture after a time.
func (v *Viewers) since(at time.Time) (n int) {
	for _, one := range v.all {
		one.mu.Lock()
		if one.last.After(at) {
			n++
		}
		one.mu.Unlock()
	}
	return n
}

// WaitFlowing waits until all of them get a picture that is not there yet.
func (v *Viewers) WaitFlowing(t testing.TB, who string) {
	t.Helper()
	began := time.Now()
	Eventually(t, 30*time.Second, "pictures flow to "+who, func() error {
		if n := v.since(began); n < len(v.all) {
			return fmt.Errorf("to %d of %d", n, len(v.all))
		}
		return nil
	})
}

// packet takes a packet of video.
func (v *viewer) packet(number uint16, stamp uint32, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.video.take(number, stamp) {
		return
	}
	if v.first.IsZero() {
		v.first = now
	}
	if !v.last.IsZero() {
		v.largest = max(v.largest, now.Sub(v.last))
	}
	v.last = now
}

// watch lets one more viewer connect.
func (v *Viewers) watch(url string) (*viewer, error) {
	one, err := v.prepare()
	if err != nil {
		return nil, err
	}
	if err := one.connect(http.DefaultClient, url, nil); err != nil {
		_ = one.close()
		return nil, err
	}
	return one, nil
}

// close returns once nothing of the viewer runs any more.
func (v *viewer) close() error { return errors.Join(v.pc.Close(), v.socket.Close()) }

// prepare makes a viewer that has only to be let in.
func (v *Viewers) prepare() (one *viewer, err error) {
	socket, err := newSocket()
	if err != nil {
		return nil, err
	}
	pc, err := newPeer(socket)
	if err != nil {
		_ = socket.Close()
		return nil, err
	}
	one = &viewer{pc: pc, socket: socket}
	defer func() {
		if err != nil {
			_ = one.close()
		}
	}()
	pc.OnConnectionStateChange(one.note)
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		v.readers.Go(func() { one.read(track) })
	})
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		if _, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
			return nil, err
		}
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return nil, err
	}
	if err := pc.SetLocalDescription(offer); err != nil {
		return nil, err
	}
	<-gathered
	return one, nil
}

// newPeer makes a connection without interceptors: reports and repairs of so many viewers would be the load generator's
// cost. What comes twice is not dropped, so that it can be counted.
func newPeer(socket *socket) (*webrtc.PeerConnection, error) {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetICEUDPMux(socket.mux)
	settings.DisableSRTPReplayProtection(true)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(settings),
		webrtc.WithInterceptorRegistry(&interceptor.Registry{})) // without it, there are those that ask for packets again
	return api.NewPeerConnection(webrtc.Configuration{})
}

// note notes when the connection is lost; it stays so, as a viewer of ours must never lose it.
func (v *viewer) note(s webrtc.PeerConnectionState) {
	switch s {
	case webrtc.PeerConnectionStateDisconnected, webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
		v.mu.Lock()
		defer v.mu.Unlock()
		v.ended = true
	}
}

// read notes when pictures come, until the track ends.
func (v *viewer) read(track *webrtc.TrackRemote) {
	buffer := make([]byte, 1500)
	for {
		n, _, err := track.Read(buffer)
		if err != nil {
			return
		}
		if track.Kind() != webrtc.RTPCodecTypeVideo || n < 12 {
			continue
		}
		v.packet(binary.BigEndian.Uint16(buffer[2:]), binary.BigEndian.Uint32(buffer[4:]), time.Now())
	}
}

// connect posts the viewer's offer, again for a while where the server asks for patience. refused hears of each time
// that it does, if it is not nil.
func (v *viewer) connect(client *http.Client, url string, refused func(*http.Response)) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		r, err := client.Post(url, "application/sdp", strings.NewReader(v.pc.LocalDescription().SDP))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		switch busy := r.StatusCode == http.StatusTooManyRequests || r.StatusCode == http.StatusServiceUnavailable; {
		case err != nil:
			return err
		case r.StatusCode == http.StatusCreated:
			return v.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(body)})
		case !busy || time.Now().After(deadline):
			return fmt.Errorf("POST %s: %s: %s", url, r.Status, body)
		}
		if refused != nil {
			refused(r)
		}
	}
}
