//go:build linux

package server

import (
	"context"
	"io"
	"net/http"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

// reference is what one builds first with the WebRTC stack: a connection each with its default interceptors, and a track
// that all share. It is what the engine is compared with.
type reference struct {
	api          *webrtc.API
	video, audio *webrtc.TrackLocalStaticRTP

	mu          sync.Mutex // guards connections
	connections []*webrtc.PeerConnection
}

// serveReference serves the stream "bench" of hub until ctx ends.
func serveReference(ctx context.Context, hub *relay.Hub, o Options, ready func(url string)) error {
	r := &reference{}
	if err := r.prepare(); err != nil {
		return err
	}
	defer r.close()
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	stopped, err := play(ctx, hub, o.Rate, o.Mute)
	if err != nil {
		return err
	}
	stream, err := hub.Stream("bench")
	if err != nil {
		return err
	}
	for kind, track := range map[media.Kind]*webrtc.TrackLocalStaticRTP{media.Video: r.video, media.Audio: r.audio} {
		subscription, err := stream.Subscribe(media.Source, kind)
		if err != nil {
			return err
		}
		defer subscription.Close()
		readers.Go(func() { forward(ctx, subscription.Log(), track) })
	}
	url, closeDoor, err := open(r)
	if err != nil {
		return err
	}
	defer closeDoor()
	ready(url)
	<-stopped
	return nil
}

func (r *reference) prepare() (err error) {
	codecs := &webrtc.MediaEngine{}
	if err := codecs.RegisterDefaultCodecs(); err != nil {
		return err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(codecs, interceptors); err != nil {
		return err
	}
	var settings webrtc.SettingEngine
	settings.SetLite(true)
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	r.api = webrtc.NewAPI(webrtc.WithMediaEngine(codecs), webrtc.WithInterceptorRegistry(interceptors), webrtc.WithSettingEngine(settings))
	if r.video, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeH264}, "video", "bench"); err != nil {
		return err
	}
	r.audio, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus}, "audio", "bench")
	return err
}

// ServeHTTP connects a viewer.
func (r *reference) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	offer, err := io.ReadAll(request.Body)
	if err == nil {
		var answer string
		if answer, err = r.connect(string(offer)); err == nil {
			w.WriteHeader(http.StatusCreated)
			_, err = io.WriteString(w, answer)
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (r *reference) connect(offer string) (answer string, err error) {
	c, err := r.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	r.connections = append(r.connections, c)
	r.mu.Unlock()
	for _, track := range []*webrtc.TrackLocalStaticRTP{r.video, r.audio} {
		sender, err := c.AddTrack(track)
		if err != nil {
			return "", err
		}
		go func() { // interceptors see only what is read
			buffer := make([]byte, 1500)
			for {
				if _, _, err := sender.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
	if err := c.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	description, err := c.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(c)
	if err := c.SetLocalDescription(description); err != nil {
		return "", err
	}
	<-gathered
	return c.LocalDescription().SDP, nil
}

func (r *reference) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.connections {
		_ = c.Close() // the process ends
	}
}

// forward writes a log to a track.
func forward(ctx context.Context, l *log.Log, track *webrtc.TrackLocalStaticRTP) {
	cursor := l.Cursor(log.Live())
	for seq := uint16(0); ; seq++ {
		p, _, err := cursor.Read(ctx)
		if err != nil {
			return
		}
		packet := &rtp.Packet{Header: rtp.Header{
			Version: 2, SequenceNumber: seq, Timestamp: uint32(p.Ticks), Marker: p.Has(media.FrameEnd),
		}, Payload: p.Payload}
		_ = track.WriteRTP(packet) // about one viewer, who may be gone
	}
}
