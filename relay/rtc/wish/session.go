package wish

import (
	"context"
	"net/http"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// Session is what an endpoint's owner made of an offer. rtc.Peer is most of one. Trickle and Restart are never
// called at the same time.
type Session interface {
	// Answer is the answer to the offer, with all candidates: servers do not trickle.
	Answer() string
	// Trickle adds candidates of the peer.
	Trickle(f *sdp.Fragment) error
	// Restart restarts ICE with the peer's new credentials and returns ours. When it fails the session goes on. ctx ends
	// when the client has gone; a restart that cannot be taken back is finished all the same.
	Restart(ctx context.Context, f *sdp.Fragment) (*sdp.Fragment, error)
	// Done is closed when the session is over for whatever reason, that it never connected included.
	Done() <-chan struct{}
	// Close ends the session and waits until nothing is left of it.
	Close()
}

// Offerer is a Session that may have been made of an offer that cannot be met: it makes one of its own, which the peer
// answers (WHEP's counter-offer). It ends by itself when the peer takes too long. rtc.Viewer is most of one.
type Offerer interface {
	Session
	// Offer is our offer, with all candidates; nil where the session has an Answer instead.
	Offer() *sdp.Offer
	// ValidUntil is until when the offer can be answered.
	ValidUntil() time.Time
	// Conclude takes the peer's answer. After an error of type *sdp.Error the session waits for a better one; after
	// any other it is over. It is called no more once it succeeded, and never together with Trickle and Restart.
	Conclude(a *sdp.Answer) error
}

// Explainer is a Session that tells why it has ended. For a minute its address answers 410 with that, so that a client
// that was sent away need not take it for a broken connection, and come back.
type Explainer interface {
	Session
	// Explain is why the session has ended or is about to; nil while it goes on, and where there is nothing to tell.
	Explain() *Explanation
}

// Explanation is why a session has ended.
type Explanation struct {
	// Cause is for programs, the member "cause" of the answer. Empty where the client itself closed the connection: its
	// DELETE, which comes after that, is answered 200.
	Cause  string
	Detail string // a sentence for the client
}

// Request is an offer that passed every check that needs no media.
type Request struct {
	ID     string // of the session to be; log lines tell its beginning only, as it may be all that protects the session
	Stream media.Name
	Offer  *sdp.Offer
	HTTP   *http.Request // for the query; its body is read already

	claims auth.Claims  // what Authorize found
	again  func() error // asks Authorize again
}

// Expired waits until what Authorize granted has run out, and says why; nil when done is closed first. Whoever makes
// a Session runs it beside, and ends the session.
func (r *Request) Expired(done <-chan struct{}) error {
	return auth.Watch(done, r.claims.Expires, r.again)
}

// Lasting tells whether what Authorize granted never runs out, so that there is nothing for Expired to wait for.
func (r *Request) Lasting() bool { return r.claims.Expires.IsZero() }

// Endpoint describes what is served at one path: WHIP or WHEP.
type Endpoint struct {
	// Name is the first segment of the path and a metric label: "whip" or "whep".
	Name string
	// Role is what a peer that comes here wants.
	Role sdp.Role
	// Authorize says who the client is (Claims.User, "" for nobody in particular) and for how long it may
	// (Claims.Expires), or an error, which should be a problem.Answerer. It is asked at POST, again at each PATCH and
	// DELETE of the sessions made here, and when the time is over.
	Authorize func(r *http.Request, stream media.Name) (auth.Claims, error)
	// Accept makes a session. An error that is a problem.Answerer (see Refusal) is told to the client; any other
	// is logged and answered 500. ctx ends when the client has gone or the server's patience.
	Accept func(ctx context.Context, r *Request) (Session, error)
	// Extensions are resources below the session, each advertised by a Link (RFC 9725 section 4.8).
	Extensions []Extension
}

// Extension is a resource below a session: /sessions/{id}/{Name}.
type Extension struct {
	Name string // path segment
	Rel  string // link relation, a URN
	// Serve answers a POST by the client that owns the session.
	Serve func(w http.ResponseWriter, r *http.Request, s Session)
}

// Refusal is an error that knows its answer, for owners.
type Refusal struct {
	Status int
	Detail string // a sentence for the client
	Header http.Header
}

func (r *Refusal) Error() string { return r.Detail }

// Answer implements problem.Answerer.
func (r *Refusal) Answer() (status int, detail string, header http.Header) {
	return r.Status, r.Detail, r.Header
}
