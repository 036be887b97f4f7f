package whep

import (
	"context"
	"errors"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/sdp"
	"banyan/relay/rtc/wish"
)

// connection is a viewer's, of either kind: a plain one, for which a goroutine of its own reads the logs and writes, or
// one of the fan-out engine, which calls the feed when there is something to send. What a viewer gets is the same.
type connection interface {
	wish.Offerer
	// Await returns when media can flow, or with an error when the session ends first.
	Await() error
	// Serve has f send until the session ends, and returns why when f is used no more.
	Serve(f *feed) error
	// Track is the track of a kind, or nil where none was negotiated.
	Track(kind media.Kind) track
	KeyframeRequests() <-chan struct{}
	// Report sends sender reports. Only the feed calls it.
	Report(now media.Time) error
	Ending() <-chan struct{}
	ShortID() string
	RemoteAddr() string
}

// track is what a viewer gets of one kind. Its sending methods belong to the feed.
type track interface {
	Codecs() []sdp.Codec
	PayloadType(p *media.Params) (uint8, error)
	From(source *log.Log)
	Join(from, live int64)
	Bursting(ticks int64) bool
	Send(p *media.Packet, lost int64, payloadType uint8) error
	Repairs() rtc.Repairs
	// Abandon says that what was sent so far is not worth repairing any more.
	Abandon()
}

// plain is a connection of the WebRTC stack's.
type plain struct{ *rtc.Viewer }

func (c plain) Serve(f *feed) error { return f.run() }

func (c plain) Track(kind media.Kind) track {
	if t := c.Viewer.Track(kind); t != nil {
		return plainTrack{t}
	}
	return nil
}

// plainTrack is a track of the WebRTC stack's.
type plainTrack struct{ *rtc.Track }

// Abandon implements track. A plain connection never drops what it has begun: nobody estimates its network.
func (plainTrack) Abandon() {}

// native is a connection of the fan-out engine's.
type native struct{ *engine.Viewer }

func (c native) Serve(f *feed) error {
	f.begin()
	_ = c.Viewer.Serve(f) // the engine has said why
	return errEnded
}

func (c native) Track(kind media.Kind) track {
	if t := c.Viewer.Track(kind); t != nil {
		return t
	}
	return nil
}

// Pad implements line.
func (c native) Pad() (int, error) { return c.Viewer.Track(media.Video).Pad() }

// Offer implements wish.Offerer: the engine answers, and leaves offers to the plain kind.
func (c native) Offer() *sdp.Offer { return nil }

// ValidUntil implements wish.Offerer.
func (c native) ValidUntil() time.Time { return time.Time{} }

// Conclude implements wish.Offerer.
func (c native) Conclude(*sdp.Answer) error {
	return errors.New("the session was not made of an offer of ours")
}

// connect makes a connection: of the engine where there is one, unless the viewer is to be made an offer, which is seldom.
func (s *Server) connect(ctx context.Context, config rtc.ViewerConfig, counter bool) (connection, error) {
	switch {
	case counter:
		v, err := s.config.Network.OfferViewer(ctx, config)
		return plain{v}, err
	case s.config.Engine != nil:
		v, err := s.config.Engine.NewViewer(ctx, config)
		return native{v}, err
	}
	v, err := s.config.Network.NewViewer(ctx, config)
	return plain{v}, err
}
