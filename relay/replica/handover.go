package replica

import (
	"bytes"
	"time"

	"banyan/relay/media"
)

// A track that was born again goes on in another log. At one keyframe the lead's log ends and the heir's begins, and
// readers are to miss nothing there. Who comes to that keyframe first waits for the other one: the heir's packets are
// held back from it on (held) until the lead has come there as well, or the lead ends there (takesOver), and the heir
// follows a little later.

const (
	// leap is how far above the newest offset another log begins: it is beyond every log's window, and of two births
	// the later is above the earlier by a million for each second between them.
	leap = 1 << 16
	// behindMost is how far an heir may be behind in media time to take over: that long readers get nothing. One that
	// does not come nearer in half of overlap may be as far as behindAtAll.
	behindMost  = 150 * time.Millisecond
	behindAtAll = 2 * time.Second
	// heldMost is how far it may be ahead, and standing how long the lead may give nothing meanwhile. One that is further
	// behind, or stands, is left with a hole.
	heldMost = 2 * time.Second
	heldSize = 8 << 20 // bytes of payload, for the same
	standing = 300 * time.Millisecond
)

// waits tells whether a packet of the heir's other log is not for readers yet. r.mu is held.
func (s *sink) waits(p *media.Packet) bool {
	r := s.replica
	if !s.reborn {
		if head := r.writer.Next(); head == 0 || s.next > 0 || p.Offset <= head+leap {
			return false
		}
		s.reborn, s.gated = true, true
	}
	if !s.gated {
		return false
	}
	s.last = s.time(p)
	if len(s.held) > 0 {
		s.hold(p)
		return true
	}
	if !begins(r.id, p) {
		return true
	}
	s.flows = true
	switch led := r.lead != nil && r.lead != s && !r.lead.closed; {
	case s.urgent:
	case s.last <= r.writer.Log().NewestTime():
		return true
	case led:
		s.hold(p)
		return true
	}
	s.takeOver()
	return false
}

// hold keeps a packet until the lead has come to the first that is held. r.mu is held.
func (s *sink) hold(p *media.Packet) {
	kept := *p
	kept.Payload = bytes.Clone(p.Payload)
	s.held = append(s.held, kept)
	s.bytes += len(p.Payload)
	lead := s.replica.lead
	if s.last.Sub(s.time(&s.held[0])) > heldMost || s.bytes > heldSize || lead == nil || time.Since(lead.wrote) > standing {
		s.release()
	}
}

// release has the heir take over where something is held. r.mu is held.
func (s *sink) release() {
	if len(s.held) == 0 {
		return
	}
	s.takeOver()
	held := s.held
	s.held, s.bytes = nil, 0
	for _, p := range held {
		_ = s.write(p) // an error that lasts meets the next packet as well
	}
}

// takeOver ends the lead's log. r.mu is held.
func (s *sink) takeOver() {
	if lead := s.replica.lead; lead != nil && lead != s {
		lead.closed = true
	}
	s.gated = false
}

// takesOver tells whether the heir's log goes on where p, of the lead's, begins. r.mu is held; s may be nil.
func (s *sink) takesOver(p *media.Packet) bool {
	if s == nil || !s.gated || !s.flows {
		return false
	}
	at := s.time(p)
	if len(s.held) > 0 {
		return at >= s.time(&s.held[0])
	}
	most := behindMost
	if time.Since(s.began) > overlap/2 {
		most = behindAtAll
	}
	return begins(s.replica.id, p) && s.last < at && at.Sub(s.last) < most
}

// begins tells whether a reader can begin with p.
func begins(id media.TrackID, p *media.Packet) bool {
	return id.Kind == media.Audio || p.Has(media.Keyframe)
}

// time is the media time of a packet that has no parameters yet. All epochs of a format have one clock rate.
func (s *sink) time(p *media.Packet) media.Time {
	params := s.params
	if params == nil {
		params = s.replica.writer.Log().Params()
	}
	if params == nil || params.ClockRate <= 0 {
		return 0
	}
	return media.TimeAt(p.Ticks, params.ClockRate)
}

// urge lets the sink take over at once, as there is nobody else.
func (s *sink) urge() {
	s.replica.mu.Lock()
	defer s.replica.mu.Unlock()
	s.urgent = true
	s.release()
}
