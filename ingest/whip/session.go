package whip

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"banyan/ingest"
	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/wish"
)

// session is one publisher. It is a wish.Session by its rtc.Publisher, but for its end, which comes when
// the name is free again, too.
type session struct {
	*rtc.Publisher // set before made is closed

	server  *Server
	stream  media.Name
	kinds   []media.Kind                     // that were negotiated
	origin  string                           // where the request came from
	expired func(done <-chan struct{}) error // waits until the publisher may no longer; see wish.Request

	repairs chan *rtp.Packet // of video; readRepairs sends, never closed

	made    chan struct{} // closed when Publisher is set
	claimed chan struct{} // closed by run when publication is set
	broken  chan struct{} // tells run to end the session; capacity 1, never closed
	done    chan struct{} // closed by run at its end

	// Set before claimed is closed.
	publication *relay.Publication
	timeline    *ingest.Timeline
}

func newSession(s *Server, r *wish.Request) *session {
	x := &session{
		server: s, stream: r.Stream, origin: r.HTTP.RemoteAddr, expired: r.Expired,
		repairs: make(chan *rtp.Packet, queuedRepairs),
		made:    make(chan struct{}), claimed: make(chan struct{}), broken: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for _, m := range r.Offer.Media {
		x.kinds = append(x.kinds, m.Kind)
	}
	return x
}

// Done is closed when the session has ended and nothing is left of it.
func (x *session) Done() <-chan struct{} { return x.done }

// Close ends the session and waits until nothing is left of it.
func (x *session) Close() {
	x.Publisher.Close()
	<-x.done
}

// run sees the session through: it claims the name when the peer is there and gives it up when either
// is over.
func (x *session) run() {
	defer close(x.done)
	defer x.Publisher.Close()
	select {
	case <-x.Connected():
	case <-x.Ending():
		x.server.metrics.ended(endNeverConnected)
		return
	}
	if err := x.claim(); err != nil {
		x.server.metrics.ended(endNoRoom)
		x.End(err)
		x.server.config.Logger.Warn("publisher cannot be taken", "stream", x.stream, "cause", err)
		return
	}
	defer x.publication.Close()
	x.server.metrics.sessions.Inc()
	defer x.server.metrics.sessions.Dec()
	expired := make(chan error, 1)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer x.Publisher.Close() // what is watched
	watch.Go(func() { expired <- x.expired(x.Ending()) })
	select {
	case cause := <-expired:
		if cause == nil { // the session is ending for another reason
			x.server.metrics.ended(endOf(x.Err()))
			return
		}
		x.End(fmt.Errorf("%w: %w", errExpired, cause))
		x.server.config.Logger.Info("the publisher's token has run out", "stream", x.stream, "cause", cause)
		x.server.metrics.ended(endExpired)
	case <-x.publication.Ended():
		x.End(x.publication.Cause())
		x.server.metrics.ended(endOf(x.publication.Cause()))
	case <-x.broken:
		x.server.metrics.ended(endOther)
	case <-x.Ending():
		x.server.metrics.ended(endOf(x.Err()))
	}
}

// claim takes the name over, and goes on in media time where the publisher before stopped. It also claims the tracks
// that were negotiated before anything of them has come, so that whoever waits for the stream to be complete
// (relay.Stream.Settle) knows what to wait for. One that never sends stays claimed, without parameters.
func (x *session) claim() error {
	from := x.RemoteAddr()
	if from == "" {
		from = x.origin
	}
	publication, err := x.server.config.Hub.Publish(x.stream, "whip "+from)
	if err != nil {
		return err
	}
	x.timeline = ingest.Resume(publication.Stream(), time.Now())
	for _, kind := range x.kinds {
		if _, err := publication.Source(kind); err != nil { // taken over already
			publication.Close()
			return err
		}
	}
	x.publication = publication
	close(x.claimed)
	return nil
}

// onTrack carries a track until the session ends. The WebRTC stack calls it, in a goroutine of its own,
// also again for a track whose sender goes on with another SSRC; the newest has the log.
func (x *session) onTrack(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	<-x.made
	select {
	case <-x.claimed:
	case <-x.Ending():
		return
	}
	if isRepair(remote.Codec()) {
		x.readRepairs(remote)
		return
	}
	t, err := newTrack(x, remote, receiver)
	if err != nil {
		x.server.config.Logger.Warn("a publisher's track cannot be taken", "stream", x.stream,
			"codec", remote.Codec().MimeType, "cause", err)
		return
	}
	t.run()
}

// endOnPanic keeps a mistake of ours that a packet brings to light from ending more than its session.
func (x *session) endOnPanic() {
	if cause := recover(); cause != nil {
		x.server.config.Logger.Error("a publisher's packet broke the session", "stream", x.stream,
			"cause", cause, "stack", string(debug.Stack()))
		select {
		case x.broken <- struct{}{}: // run ends the session: this function is one of those that it waits for
		default:
		}
	}
}

var errExpired = errors.New("the publisher's token has run out")

// Explain implements wish.Explainer. Publishers need it most: one that takes its end for a broken connection would come
// back, and take the name from whoever has taken it over.
func (x *session) Explain() *wish.Explanation {
	cause := endOf(x.Err())
	switch cause {
	case endReplaced:
		return &wish.Explanation{Cause: "taken-over", Detail: "Somebody else publishes under this name now. " +
			"Publish again only if the name is to be taken back."}
	case endKicked:
		return &wish.Explanation{Cause: cause, Detail: "The session was ended by the operator."}
	case endExpired:
		return &wish.Explanation{Cause: cause, Detail: "The token that the session was made with has run out. Ask the operator for a new one."}
	case endLost:
		return &wish.Explanation{Cause: cause, Detail: "The publisher fell silent. Make a new session with POST."}
	case endLeft:
		return &wish.Explanation{}
	}
	return nil
}

// endOf names why a session ended, for metrics.
func endOf(cause error) string {
	switch {
	case errors.Is(cause, rtc.ErrHangup):
		return endClosed
	case errors.Is(cause, rtc.ErrLeft):
		return endLeft
	case errors.Is(cause, rtc.ErrLost):
		return endLost
	case errors.Is(cause, relay.ErrTakenOver):
		return endReplaced
	case errors.Is(cause, relay.ErrKicked):
		return endKicked
	case errors.Is(cause, errExpired):
		return endExpired
	}
	return endOther
}
