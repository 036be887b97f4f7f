package whep

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
	"banyan/relay/rtc/wish"
)

// session is one viewer: a connection and the feed that fills it. It implements wish.Offerer.
type session struct {
	connection // nil until open

	server *Server
	stream *relay.Stream
	wanted atomic.Pointer[media.Format] // what the viewer asked for last
	asked  chan struct{}                // wakes the feed when wanted has changed; capacity 1, never closed
	done   chan struct{}                // closed when the feed has ended and the connection is gone
}

func newSession(s *Server, stream *relay.Stream, wanted media.Format) *session {
	v := &session{server: s, stream: stream, asked: make(chan struct{}, 1), done: make(chan struct{})}
	v.wanted.Store(&wanted)
	return v
}

// open negotiates and starts the feed. Subscribing comes before negotiating, so that formats on demand start while
// the peers connect. With a counter, that is what the peer is offered from; else its own offer is answered.
func (v *session) open(ctx context.Context, r *wish.Request, counter *sdp.Offer, tracks []relay.Track) error {
	config := rtc.ViewerConfig{PeerConfig: rtc.PeerConfig{
		ID: r.ID, Offer: r.Offer, Stream: r.Stream, AnswerTimeout: v.server.config.AnswerTimeout,
	}}
	offer := r.Offer
	if counter != nil {
		offer = counter
	}
	for i := range offer.Media {
		m := &offer.Media[i]
		format, _ := choose(tracks, m.Kind, m.Codecs, *v.wanted.Load())
		config.Codecs = append(config.Codecs, negotiable(tracks, m, format)...)
	}
	f := newFeed(v)
	for _, kind := range media.Kinds {
		if codecs := ofKind(config.Codecs, kind); len(codecs) > 0 {
			f.senders = append(f.senders, newSender(f, kind, codecs))
		}
	}
	f.retarget()
	c, err := v.server.connect(ctx, config, counter != nil)
	if err != nil {
		f.letGo()
		return fmt.Errorf("watch %q: %w", r.Stream, err)
	}
	v.connection = c
	go v.run(f, r) // done says when it has ended; whoever closes the session waits for that
	return nil
}

func ofKind(codecs []sdp.Codec, kind media.Kind) []sdp.Codec {
	var list []sdp.Codec
	for _, c := range codecs {
		if c.Codec.Kind() == kind {
			list = append(list, c)
		}
	}
	return list
}

// run feeds the viewer until its session ends. Whatever goes wrong in there ends this session alone.
func (v *session) run(f *feed, r *wish.Request) {
	defer v.server.forget(v)
	defer close(v.done)
	var watch sync.WaitGroup
	defer watch.Wait()
	expires := func() {
		if err := r.Expired(v.Ending()); err != nil {
			v.server.config.Logger.Info("viewer's token has run out", "session", v.ShortID(), "stream", v.stream.Name(), "cause", err)
			v.connection.Close()
		}
	}
	if !r.Lasting() { // one goroutine less for each viewer of an open stream
		watch.Go(expires)
	}
	defer v.connection.Close()
	defer f.letGo()
	defer func() {
		if cause := recover(); cause != nil {
			v.server.config.Logger.Error("viewer's feed panicked", "session", v.ShortID(), "stream", v.stream.Name(), "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
		}
	}()
	if err := v.Await(); err != nil {
		return // the connection was never made; rtc has said so
	}
	v.server.metrics.sessions.Inc()
	defer v.server.metrics.sessions.Dec()
	defer v.stream.Watch("whep")()
	if err := v.Serve(f); err != nil && !errors.Is(err, errEnded) {
		v.server.config.Logger.Warn("viewer's feed ended", "session", v.ShortID(), "stream", v.stream.Name(), "peer", v.RemoteAddr(), "cause", err)
	}
}

// want changes the format that the viewer asks for.
func (v *session) want(format media.Format) {
	v.wanted.Store(&format)
	select {
	case v.asked <- struct{}{}:
	default:
	}
}

// Done is closed when nothing is left of the session.
func (v *session) Done() <-chan struct{} { return v.done }

// Close ends the session and waits.
func (v *session) Close() {
	v.connection.Close()
	<-v.done
}
