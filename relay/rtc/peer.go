package rtc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// PeerConfig describes a session.
type PeerConfig struct {
	Offer *sdp.Offer // what the peer offers; nil where it is to answer an offer of ours
	// AnswerTimeout is how long the peer may take to answer our offer. If zero, 30 s (draft-ietf-wish-whep-03).
	AnswerTimeout time.Duration
	// ID, of which a few characters suffice to tell sessions apart, Stream and Role ("publisher", "viewer") are for log
	// lines.
	ID     string
	Stream media.Name
	Role   string

	receives bool // the peer is sent media, to which it must go on consenting
}

// Why a session ended, by Peer.Err.
var (
	ErrHangup  = errors.New("it was closed here")
	ErrTimeout = errors.New("the connection was not made in time")
	ErrSilence = errors.New("the peer did not answer the offer in time")
	ErrLost    = errors.New("the peer fell silent")
	ErrConsent = fmt.Errorf("%w: it sends, but answers no connectivity checks", ErrLost)
	ErrLeft    = errors.New("the peer closed the connection")
	ErrStuck   = errors.New("the peer reads nothing of what it is sent")
)

// errOffer is told to a peer whose offer passed our checks and not those of the stack.
var errOffer = &sdp.Error{Detail: "The offer cannot be answered. Send the SDP of your peer connection's offer as it is."}

const (
	// answerTimeout is what WHEP promises who says nothing (draft-ietf-wish-whep-03 section 4.2.2).
	answerTimeout = 30 * time.Second
	// answerGrace is added: the draft counts from when the offer is sent, which is a little after it is begun, and the
	// instant that is told to the peer has whole seconds.
	answerGrace = time.Second
)

// maxCandidates bounds what a peer may have us try, in its offer and after, until it restarts ICE.
const maxCandidates = 100

// Peer is one session. Methods are safe for concurrent use.
type Peer struct {
	network   *Network
	config    PeerConfig
	answerBy  time.Time // when the peer must have answered our offer; zero where it made the offer
	pc        *webrtc.PeerConnection
	answered  chan struct{} // closed when the first answer, either side's, is in use; never sent to
	connected chan struct{} // closed when media can flow; never sent to
	ending    chan struct{} // closed when the session is to end; never sent to
	done      chan struct{} // closed when everything of the session has ended
	handlers  sync.WaitGroup

	signal     sync.Mutex // held through one change of descriptions; guards candidates
	candidates int        // that trickled in

	mu     sync.Mutex // guards all below
	answer string
	offer  string // the peer's text that the stack was given last, be it an answer: an ICE restart edits it
	cause  error
}

// newPeer makes a session whose codecs and interceptors are those given. It runs until it ends.
func (n *Network) newPeer(config PeerConfig, engine *webrtc.MediaEngine, interceptors *interceptor.Registry) (*Peer, error) {
	certificate, err := n.currentCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(n.settings), webrtc.WithMediaEngine(engine),
		webrtc.WithInterceptorRegistry(interceptors))
	pc, err := api.NewPeerConnection(webrtc.Configuration{
		Certificates: []webrtc.Certificate{certificate},
		BundlePolicy: webrtc.BundlePolicyMaxBundle,
	})
	if err != nil {
		return nil, fmt.Errorf("make a peer connection: %w", err)
	}
	p := &Peer{
		network: n, config: config, pc: pc,
		answered: make(chan struct{}), connected: make(chan struct{}), ending: make(chan struct{}), done: make(chan struct{}),
	}
	pc.OnConnectionStateChange(p.stateChanged)
	now := time.Now()
	if config.Offer == nil {
		p.answerBy = now.Add(cmp.Or(config.AnswerTimeout, answerTimeout) + answerGrace)
	}
	if err := n.adopt(p); err != nil {
		_ = pc.GracefulClose()
		return nil, err
	}
	go p.run(now)
	return p, nil
}

// stateChanged follows the life of ICE and DTLS. The stack calls it, so it must not wait.
func (p *Peer) stateChanged(state webrtc.PeerConnectionState) {
	switch state {
	case webrtc.PeerConnectionStateConnected:
		p.mu.Lock()
		defer p.mu.Unlock()
		select {
		case <-p.connected: // once more, after an ICE restart
		default:
			close(p.connected)
		}
	case webrtc.PeerConnectionStateFailed:
		p.End(ErrLost)
	case webrtc.PeerConnectionStateClosed:
		p.End(ErrLeft)
	}
}

// run sees the session through: it waits for its end, takes it apart and says so.
func (p *Peer) run(begun time.Time) {
	defer p.network.wg.Done()
	defer close(p.done)
	defer p.network.letGo(p)
	log := p.network.config.Logger.With("session", p.ShortID(), "stream", p.config.Stream, "role", p.config.Role)

	p.awaitAnswer()
	timer := time.NewTimer(p.network.config.ConnectTimeout)
	defer timer.Stop()
	select {
	case <-p.connected:
		log.Info("session connected", "peer", p.RemoteAddr(), "after", time.Since(begun).Round(time.Millisecond))
		if p.config.receives {
			p.watchConsent()
		}
	case <-timer.C:
		p.End(ErrTimeout)
	case <-p.ending:
	}
	<-p.ending
	peer := p.RemoteAddr()
	_ = p.pc.GracefulClose() // its errors are about a peer that is gone anyway
	p.handlers.Wait()
	log.Info("session ended", "peer", peer, "cause", p.Err(), "lasted", time.Since(begun).Round(time.Millisecond))
}

// ShortID is what log lines call the session: its peer's address, which they tell too, may change while it lasts. What
// the log does not tell of the id nobody guesses.
func (p *Peer) ShortID() string { return p.config.ID[:min(len(p.config.ID), 8)] }

// awaitAnswer waits for the first answer, or for the end.
func (p *Peer) awaitAnswer() {
	var late <-chan time.Time // whoever answers has a context of its own
	if !p.answerBy.IsZero() {
		timer := time.NewTimer(time.Until(p.answerBy))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-p.answered:
	case <-late:
		p.End(ErrSilence)
	case <-p.ending:
	}
}

// End asks the session to end for the given cause, which Err and the log tell, unless it ends already. It does not wait.
func (p *Peer) End(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.cause = cause
		close(p.ending)
	}
}

// Close ends the session and waits until nothing is left of it. A second call waits too.
func (p *Peer) Close() {
	p.End(ErrHangup)
	<-p.done
}

// Connected is closed when media can flow for the first time.
func (p *Peer) Connected() <-chan struct{} { return p.connected }

// Ending is closed when the session has begun to end; whoever uses it should let go.
func (p *Peer) Ending() <-chan struct{} { return p.ending }

// Done is closed when the session has ended and nothing is left of it.
func (p *Peer) Done() <-chan struct{} { return p.done }

// Err is why the session ended; nil while it has not.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// handle runs f in a goroutine that Close waits for, unless the session is already ending.
func (p *Peer) handle(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cause == nil {
		p.handlers.Go(f)
	}
}

// endOnPanic, deferred, keeps a mistake of ours that a packet brings to light from ending more than its session.
func (p *Peer) endOnPanic() {
	if cause := recover(); cause != nil {
		p.network.config.Logger.Error("a peer's packet broke the session", "stream", p.config.Stream, "role", p.config.Role,
			"cause", cause, "stack", string(debug.Stack()))
		p.End(fmt.Errorf("a packet broke it: %v", cause))
	}
}

// RemoteAddr is "udp 192.0.2.1:5000" of the peer, or "" before there is a connection.
func (p *Peer) RemoteAddr() string {
	select {
	case <-p.connected: // before, the stack may not be asked
	default:
		return ""
	}
	pair, err := p.ice().GetSelectedCandidatePair()
	if err != nil || pair == nil || pair.Remote == nil {
		return ""
	}
	return fmt.Sprintf("%v %s:%d", pair.Remote.Protocol, pair.Remote.Address, pair.Remote.Port)
}

// Answer is the answer to the peer's offer, with all candidates; "" where there was none.
func (p *Peer) Answer() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answer
}

// takesTrickle tells peers that their candidates may come later (RFC 8840 section 4.1). Ours never do.
var takesTrickle = webrtc.OfferAnswerOptions{ICETricklingSupported: true}

// negotiate answers an offer. prepare runs between reading the offer and writing the answer.
func (p *Peer) negotiate(ctx context.Context, offer string, prepare func() error) error {
	p.signal.Lock()
	defer p.signal.Unlock()
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return errors.Join(errOffer, fmt.Errorf("read the offer: %w", err))
	}
	if err := prepare(); err != nil {
		return err
	}
	answer, err := p.pc.CreateAnswer(&webrtc.AnswerOptions{OfferAnswerOptions: takesTrickle})
	if err != nil {
		return errors.Join(errOffer, fmt.Errorf("make the answer: %w", err))
	}
	if err := p.describe(ctx, answer); err != nil {
		return err
	}
	p.candidates = 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.offer, p.answer = offer, sdp.MuxOnly(p.pc.LocalDescription().SDP)
	select {
	case <-p.answered: // once more, for an ICE restart
	default:
		close(p.answered)
	}
	return nil
}

// describe makes ours the local description, and waits until all candidates are in it.
func (p *Peer) describe(ctx context.Context, ours webrtc.SessionDescription) error {
	gathered := webrtc.GatheringCompletePromise(p.pc)
	if err := p.pc.SetLocalDescription(ours); err != nil {
		return fmt.Errorf("use our %s: %w", ours.Type, err)
	}
	select {
	case <-gathered:
		return nil
	case <-p.ending:
		return p.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Trickle adds candidates of the peer. Those that cannot be used are dropped silently (RFC 9725 section 4.3.2).
func (p *Peer) Trickle(f *sdp.Fragment) error {
	p.signal.Lock()
	defer p.signal.Unlock()
	for _, candidate := range f.Candidates {
		if p.candidates++; p.candidates > maxCandidates {
			break
		}
		_ = p.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: candidate})
	}
	return nil
}

// Restart restarts ICE with the peer's new credentials and candidates, and returns ours. When it fails the session
// goes on as it was, as long as its consent lasts. So it is begun for no peer that has left, and, once begun, finished
// for one that leaves: the stack drops the old connection at once and never goes back to it, and a peer that asks again
// needs the new credentials of both.
func (p *Peer) Restart(ctx context.Context, f *sdp.Fragment) (*sdp.Fragment, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("restart ICE: %w", err)
	}
	p.mu.Lock()
	offer := f.Restarted(p.offer)
	p.mu.Unlock()
	// It waits for our own candidates only, or for the end of the session.
	if err := p.negotiate(context.WithoutCancel(ctx), offer, func() error { return nil }); err != nil {
		return nil, fmt.Errorf("restart ICE: %w", err)
	}
	if err := p.Trickle(f); err != nil {
		return nil, err
	}
	return sdp.Restart(p.Answer()), nil
}
