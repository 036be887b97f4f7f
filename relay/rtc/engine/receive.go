package engine

import (
	"bytes"
	"time"

	"banyan/relay/rtc/engine/batch"
	"banyan/relay/rtc/engine/stun"
)

// What shares a port is told apart by its first byte (RFC 7983 section 7).
func isDTLS(b []byte) bool { return b[0] >= 20 && b[0] <= 63 }
func isRTP(b []byte) bool  { return b[0] >= 128 && b[0] <= 191 }

// isControl tells RTCP from RTP by the second byte (RFC 5761 section 4).
func isControl(b []byte) bool { return len(b) >= 8 && b[1] >= 192 && b[1] <= 223 }

// receive reads the socket until it is closed.
func (e *Engine) receive(r *batch.Receiver) {
	for {
		datagrams, err := r.Receive()
		if err != nil {
			return
		}
		now := time.Now()
		for _, d := range datagrams {
			e.take(d, now)
		}
	}
}

// take does what a datagram is for. Its bytes may be changed, and not kept.
func (e *Engine) take(d batch.Datagram, now time.Time) {
	switch {
	case len(d.Data) == 0:
		e.counters.drop(DropMalformed)
		return
	case stun.Is(d.Data):
		e.takeCheck(d, now)
		return
	}
	if v := e.directory.at(d.From); v != nil {
		v.take(d.Data, now)
		return
	}
	e.leave(d)
}

// leave leaves a datagram to the rest of the port.
func (e *Engine) leave(d batch.Datagram) {
	if !e.rest.put(d.Data, d.From) {
		e.counters.drop(DropStranger)
	}
}

// take does what a packet is for that is no check, and came by a way that the viewer has proved.
func (v *Viewer) take(packet []byte, now time.Time) {
	drop := v.engine.counters.drop
	switch {
	case isDTLS(packet):
		if !v.say(packet, now) {
			drop(DropHandshake)
		}
	case !isRTP(packet):
		drop(DropMalformed)
	case !isControl(packet):
		drop(DropMedia)
	default:
		v.hear(packet, now)
	}
}

// takeCheck does what a datagram is for that may be a check.
func (e *Engine) takeCheck(d batch.Datagram, now time.Time) {
	route, err := e.socket.Route(d.From)
	if err != nil {
		return
	}
	v, answer := e.check(d.Data, path{route: route}, now)
	switch {
	case v == nil: // an answer to a check of the rest's, or a check of a publisher's
		e.leave(d)
	case answer != nil:
		_ = e.socket.Write(answer, route) // the peer asks again
	}
}

// check answers a connectivity check that came by a path, by which a peer proves that it knows our password, where it
// is, and that it still wants what it gets (RFC 8445 section 7.3, RFC 7675). v is nil where the check is not for a viewer
// here, and answer where it proves nothing.
func (e *Engine) check(packet []byte, from path, now time.Time) (v *Viewer, answer []byte) {
	request, err := stun.Parse(packet)
	ours, _, _ := bytes.Cut(request.Username, []byte(":"))
	if err == nil {
		v = e.directory.named(ours)
	}
	if v == nil {
		return nil, nil
	}
	password := v.password(string(ours))
	if !request.Verify(password) {
		e.counters.drop(DropUnsigned)
		return v, nil
	}
	e.counters.checks.Add(1)
	switch {
	case request.Unknown != 0:
		return v, request.AppendError(nil, stun.UnknownAttribute, password)
	case request.Controlled: // both sides cannot be
		return v, request.AppendError(nil, stun.RoleConflict, password)
	}
	v.proved(from, request.UseCandidate, string(ours), now)
	return v, request.AppendSuccess(nil, from.addr(), password)
}

// proved notes that an authenticated check came by a path, which it may nominate.
func (v *Viewer) proved(from path, nominates bool, ufrag string, now time.Time) {
	v.consented.Store(now.UnixNano())
	v.used(ufrag)
	if from.route != nil {
		v.engine.directory.place(from.addr(), v)
	}
	if p := v.path.Load(); p == nil || nominates && (p.stream != from.stream || p.addr() != from.addr()) {
		v.path.Store(&from)
	}
	v.handshake.Do(v.begin)
}
