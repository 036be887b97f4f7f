package engine

import (
	"cmp"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/batch"
	"banyan/relay/rtc/engine/seal"
)

// description is what a peer's side of the negotiation says of its transport.
type description struct {
	ufrag, password string
	fingerprint     string // of its certificate
	passive         bool   // it waits for us to begin with DTLS
}

// credentials are a pair of ours.
type credentials struct{ ufrag, password string }

// Viewer is a session whose peer receives. Methods are safe for concurrent use, but for Report, which belongs to the
// Feed.
type Viewer struct {
	// What each turn looks at lies together, in as few lines of the cache as it fits. Owned by the shard, where
	// nothing else is said.
	feed     Feed
	logs     [4]*log.Log          // that give it a turn
	path     atomic.Pointer[path] // where the peer is; nil before its first check. Anyone's.
	due      Due                  // for its next turn; zero where it is not in the queue
	attached bool                 // it has turns
	estimate *estimate            // nil where the peer is not asked; does not change
	media    *seal.Session        // set before connected is closed
	shard    *shard               // does not change
	engine   *Engine              // the same
	tracks   []*Track             // those negotiated, in the order of the offer; they do not change after Await

	config rtc.ViewerConfig
	begun  time.Time

	certificate *certificate
	peer        description
	ours        atomic.Pointer[[2]credentials] // the newest first; the other until a check uses that

	consented atomic.Int64 // Unix nanoseconds of the last authenticated check
	handshake sync.Once    // begins with the first check

	connected chan struct{} // closed when media can flow; never sent to
	ending    chan struct{} // closed when the session is to end; never sent to
	done      chan struct{} // closed when nothing is left of it
	keyframe  chan struct{} // the peer's requests, merged; capacity 1, never closed
	talks     sync.WaitGroup

	// Owned by the directory.
	addrs    []netip.AddrPort
	unlisted bool

	again    time.Time // owned by the shard, as what follows
	progress progress
	detached bool // it had its last turn

	requests requests

	mu     sync.Mutex // guards all below
	cause  error
	answer string
	words  conversation
}

// Await returns when media can flow, or with an error when the session ends first, as it does when it takes too long.
func (v *Viewer) Await() error {
	select {
	case <-v.connected:
		return nil
	case <-v.ending:
		return v.Err()
	}
}

// Serve has f say what is sent, until the session ends, and returns why. It calls f no more then. Call it once, after
// Await.
func (v *Viewer) Serve(f Feed) error {
	v.shard.do(func() { v.shard.attach(v, f) })
	<-v.ending
	v.shard.do(func() { v.shard.detach(v) })
	return v.Err()
}

// Track is the track of a kind, or nil where none was negotiated.
func (v *Viewer) Track(kind media.Kind) *Track {
	for _, t := range v.tracks {
		if t.kind == kind {
			return t
		}
	}
	return nil
}

// KeyframeRequests delivers the peer's requests for a keyframe (PLI, FIR), merged. The channel is never closed.
func (v *Viewer) KeyframeRequests() <-chan struct{} { return v.keyframe }

// Connected is closed when media can flow for the first time.
func (v *Viewer) Connected() <-chan struct{} { return v.connected }

// Ending is closed when the session has begun to end; whoever uses it should let go.
func (v *Viewer) Ending() <-chan struct{} { return v.ending }

// Done is closed when the session has ended and nothing is left of it.
func (v *Viewer) Done() <-chan struct{} { return v.done }

// Err is why the session ended; nil while it has not.
func (v *Viewer) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cause
}

// Close ends the session and waits until nothing is left of it. A second call waits too.
func (v *Viewer) Close() {
	v.end(rtc.ErrHangup)
	<-v.done
}

// ShortID is what log lines call the session; see rtc.Peer.
func (v *Viewer) ShortID() string { return v.config.ID[:min(len(v.config.ID), 8)] }

// RemoteAddr is "udp 192.0.2.1:5000" of the peer, or "" before there is a connection.
func (v *Viewer) RemoteAddr() string {
	p := v.path.Load()
	if p == nil {
		return ""
	}
	return p.String()
}

// end asks the session to end, once, for the given cause.
func (v *Viewer) end(cause error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.endLocked(cause)
}

// endLocked is end for who holds mu.
func (v *Viewer) endLocked(cause error) {
	if v.cause != nil {
		return
	}
	v.cause = cause
	close(v.ending)
	go v.takeDown() // done says when it is over, and the engine waits for that
}

// takeDown ends what a session consists of.
func (v *Viewer) takeDown() {
	defer v.engine.sessions.Done()
	defer close(v.done)
	v.shard.do(func() { v.shard.detach(v) }) // nothing is sent after the goodbye
	v.sayGoodbye()
	v.talks.Wait()
	v.engine.forget(v)
	v.engine.config.Logger.Info("session ended", v.attributes("cause", v.Err(), "lasted", time.Since(v.begun).Round(time.Millisecond))...)
}

// attributes are those of a log line about the session.
func (v *Viewer) attributes(more ...any) []any {
	role := cmp.Or(v.config.Role, "viewer")
	return append([]any{"session", v.ShortID(), "stream", v.config.Stream, "role", role, "peer", v.RemoteAddr()}, more...)
}

// tend ends a session that took too long, or whose peer is gone.
func (v *Viewer) tend(now time.Time) {
	select {
	case <-v.ending:
		return
	default:
	}
	select {
	case <-v.connected:
		p := v.path.Load()
		if now.Sub(time.Unix(0, v.consented.Load())) > v.engine.config.ConsentTimeout || p.stream != nil && p.stream.gone(now) {
			v.end(rtc.ErrLost)
		}
		v.fallSilent(now)
	default:
		if now.Sub(v.begun) > v.engine.config.ConnectTimeout {
			v.end(rtc.ErrTimeout)
		}
	}
}

// Errors of sending, each about one packet.
var (
	errRoute = errors.New("the viewer has no address yet")
	errLarge = errors.New("the packet is too large for a datagram")
)

// room is where to write a packet of n bytes for the peer. Only the shard calls it.
func (v *Viewer) room(n int) ([]byte, error) {
	switch {
	case v.path.Load() == nil:
		return nil, errRoute
	case n > batch.MaxDatagram:
		return nil, errLarge
	}
	return v.shard.batch.Room(n), nil
}

// post sends the packet that was written in room.
func (v *Viewer) post(packet []byte) error {
	p := v.path.Load()
	if p.stream != nil {
		return p.stream.put(packet)
	}
	v.shard.batch.Add(packet, p.route)
	return nil
}

// write sends a packet at once, from any goroutine.
func (v *Viewer) write(packet []byte) error {
	p := v.path.Load()
	switch {
	case p == nil:
		return errRoute
	case p.stream != nil:
		return p.stream.put(packet)
	}
	return v.engine.socket.Write(packet, p.route)
}
