package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/pion/webrtc/v4"
)

// Watch lets n cheap WebRTC viewers connect to a WHEP address. They throw away what they get. Call stop to let them
// go; it waits until they have.
func Watch(t testing.TB, url string, n int) (stop func()) {
	t.Helper()
	var connections []*webrtc.PeerConnection
	var readers sync.WaitGroup
	stop = func() {
		for _, pc := range connections {
			_ = pc.Close()
		}
		readers.Wait()
	}
	for range n {
		pc, err := watch(url, &readers)
		if err != nil {
			stop()
			t.Fatal(err)
		}
		connections = append(connections, pc)
	}
	return stop
}

func watch(url string, readers *sync.WaitGroup) (pc *webrtc.PeerConnection, err error) {
	engine := &webrtc.MediaEngine{}
	if err := engine.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	// Without interceptors: reports and repairs of so many viewers would be the load generator's cost.
	pc, err = webrtc.NewAPI(webrtc.WithMediaEngine(engine), webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return nil, err
	}
	opened := pc
	defer func() {
		if err != nil {
			_ = opened.Close()
		}
	}()
	pc.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		readers.Go(func() {
			buffer := make([]byte, 1500)
			for {
				if _, _, err := track.Read(buffer); err != nil {
					return
				}
			}
		})
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
	answer, err := postOffer(url, pc.LocalDescription().SDP)
	if err != nil {
		return nil, err
	}
	return pc, pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
}

func postOffer(url, offer string) (answer string, err error) {
	r, err := http.Post(url, "application/sdp", bytes.NewBufferString(offer))
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusCreated {
		err = fmt.Errorf("POST %s: %s: %s", url, r.Status, body)
	}
	return string(body), err
}
