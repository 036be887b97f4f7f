package link

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
)

// Why a track cannot be had from a parent, or can no longer. What Peer.Follow returns wraps one of them, its
// sink's error, or the context's.
var (
	// ErrNoTrack: the parent neither has the track nor knows where to get it.
	ErrNoTrack = errors.New("the node does not have the track")
	// ErrFull: the parent has no room for another child.
	ErrFull = errors.New("the node is full")
	// ErrLoop: the track would go in a circle, or through more nodes than MaxDepth.
	ErrLoop = errors.New("the track would come back to a node that passes it on")
	// ErrDraining: the parent is about to stop and takes nothing new.
	ErrDraining = errors.New("the node is draining")
	// ErrBehind: the parent's log ends far below the offset that the child asked for. It is not the same log: the track
	// was born again, by a clock that is behind that of its former birthplace. Begin a new log from 0.
	ErrBehind = errors.New("the node's log of the track ends far before the offset asked for")
	// ErrEnded: the track is over.
	ErrEnded = errors.New("the track has ended")
	// ErrGoingAway: the parent stops soon. It serves until its children have left: go to another parent now.
	ErrGoingAway = errors.New("the node is going away")
	// ErrSilent: the parent was not heard of for Config.Silence, or could not be reached.
	ErrSilent = errors.New("the node is silent or cannot be reached")
	// ErrViolation: the peer broke the protocol.
	ErrViolation = errors.New("the peer broke the link protocol")
	// ErrClosed: the peer or the node was closed on this side.
	ErrClosed = errors.New("the link is closed")
	// ErrBroken: a sink, a source or the link itself panicked on this side.
	ErrBroken = errors.New("this node failed to handle it")
)

// survive turns a panic into an error: whatever breaks for one track, peer or packet ends that and nothing else. It is
// deferred as it is.
func (n *Node) survive(err *error, what string) {
	v := recover()
	if v == nil {
		return
	}
	n.metrics.panics.Inc()
	n.config.Logger.Error("panicked, and gave up what it was at", "at", what, "panic", v, "stack", string(debug.Stack()))
	*err = ErrBroken
}

// code is what an error is on the wire.
type code uint64

const codeOther code = 0

// codes keep their identity over the wire. Numbers are never used again for something else.
var codes = map[code]error{
	1: ErrNoTrack, 2: ErrFull, 3: ErrLoop, 4: ErrDraining, 5: ErrBehind, 6: ErrEnded, 7: ErrGoingAway,
}

// codeOf finds the code and the sentence for an error of ours.
func codeOf(err error) (code, string) {
	text := err.Error()
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "")
	}
	for c, known := range codes {
		if errors.Is(err, known) {
			return c, text
		}
	}
	return codeOther, text
}

// errorOf makes an error of what the node said.
func errorOf(node string, c code, text string) error {
	known := codes[c]
	if known != nil && (text == "" || text == known.Error()) {
		return fmt.Errorf("node %s: %w", node, known)
	}
	return &remoteError{node: node, text: text, kind: known}
}

// remoteError is a sentence of another node. It is quoted: it comes from outside.
type remoteError struct {
	node, text string
	kind       error // nil where the code is not known
}

func (e *remoteError) Error() string { return fmt.Sprintf("node %s says %q", e.node, e.text) }

func (e *remoteError) Unwrap() error { return e.kind }
