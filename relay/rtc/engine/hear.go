package engine

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine/feedback"
	"banyan/relay/rtc/engine/seal"
)

// requests are sequence numbers that a viewer wants again: put in by the reader, taken out by the shard.
type requests struct {
	mu   sync.Mutex            // guards all below
	lost *[maxRequests]request // nil before the first: most viewers lose nothing
	n    int
}

// maxRequests may wait for the shard's next turn: a storm of them is answered with what a viewer may have at most.
const maxRequests = 128

type request struct {
	ssrc uint32
	seq  uint16
}

// put adds a request, and tells whether it is the first that waits, and whether there was room.
func (r *requests) put(ssrc uint32, seq uint16) (first, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == maxRequests {
		return false, false
	}
	if r.lost == nil {
		r.lost = new([maxRequests]request)
	}
	r.lost[r.n] = request{ssrc, seq}
	r.n++
	return r.n == 1, true
}

// take empties the list into list.
func (r *requests) take(list *[maxRequests]request) []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.n
	r.n = 0
	if n > 0 {
		copy(list[:n], r.lost[:n])
	}
	return list[:n]
}

// hear opens a packet of RTCP and does what it asks for. Only the engine's reader calls it.
func (v *Viewer) hear(packet []byte, now time.Time) {
	select {
	case <-v.connected:
	default: // there are no keys yet
		v.engine.counters.drop(DropStranger)
		return
	}
	defer v.endOnPanic()
	plain, err := v.media.Open(packet)
	if err != nil {
		v.engine.counters.drop(DropForged)
		return
	}
	if err := feedback.Read(plain, ear{v}); err != nil {
		v.engine.counters.drop(DropMalformed)
		return
	}
	v.engine.counters.reports.Add(1)
}

// endOnPanic, deferred, keeps a mistake of ours that a packet brings to light from ending more than its session.
func (v *Viewer) endOnPanic() {
	if cause := recover(); cause != nil {
		v.engine.config.Logger.Error("a viewer's packet broke the session", v.attributes("cause", cause, "stack", string(debug.Stack()))...)
		v.end(fmt.Errorf("a packet broke it: %v", cause))
	}
}

// ear hears what a viewer says of its own tracks. What it says of others is passed over.
type ear struct{ *Viewer }

func (e ear) track(ssrc uint32) *Track {
	for _, t := range e.tracks {
		if t.ssrc == ssrc {
			return t
		}
	}
	return nil
}

// Reported implements feedback.Listener.
func (e ear) Reported(r feedback.Report) {
	if t := e.track(r.SSRC); t != nil {
		t.highest.Store(r.Highest)
	}
}

// Lost implements feedback.Listener.
func (e ear) Lost(ssrc uint32, seq uint16) {
	if e.track(ssrc) == nil {
		return
	}
	first, ok := e.requests.put(ssrc, seq)
	if !ok {
		e.engine.counters.drop(DropRequest)
	}
	if first {
		e.shard.ask(e.Viewer)
	}
}

// WantsKeyframe implements feedback.Listener.
func (e ear) WantsKeyframe(ssrc uint32) {
	if t := e.track(ssrc); t == nil || t.kind != media.Video {
		return
	}
	select {
	case e.keyframe <- struct{}{}:
		e.shard.ask(e.Viewer)
	default: // one is waiting to be passed on
	}
}

// repair sends again what the viewer asked for. Only the shard calls it.
func (v *Viewer) repair(now time.Time) {
	var list [maxRequests]request
	for _, r := range v.requests.take(&list) {
		if t := (ear{v}).track(r.ssrc); t != nil {
			t.repair(r.seq, now)
		}
	}
}

// streamID joins the tracks of a session: it names their media stream and is their CNAME, without which a browser
// would not keep them in step.
const streamID = "banyan"

// Report sends the peer a report of what was sent on each track so far, and which timestamp stands for now, so that it
// can play them in step (RFC 3550 section 6.4.1). A Feed calls it once a second.
func (v *Viewer) Report(now media.Time) error {
	var sent, heard uint32
	for _, t := range v.tracks {
		sent += t.packets
		heard += t.highest.Load()
	}
	if v.progress.stuck(sent, heard, now, v.engine.config.StallTimeout) {
		v.end(rtc.ErrStuck)
		return rtc.ErrStuck
	}
	for _, t := range v.tracks {
		if t.packets == 0 {
			continue
		}
		room, err := v.room(feedback.SenderReportSize(len(streamID)) + seal.ControlOverhead)
		if err != nil {
			return err
		}
		r := feedback.SenderReport{
			SSRC: t.ssrc, NTP: now.NTP(), RTP: t.timeline.At(now), Packets: t.packets, Octets: t.octets, Name: streamID,
		}
		packet, err := v.media.SealControl(r.AppendTo(room))
		if err != nil {
			return fmt.Errorf("report on %v: %w", t.kind, err)
		}
		if err := v.post(packet); err != nil {
			return err
		}
	}
	return nil
}

// progress finds out by receiver reports that nothing arrives.
type progress struct {
	heard, sent uint32     // at the last look
	since       media.Time // of the last look at which all was well
}

// stuck tells whether the peer, which has reported before, has got nothing for longer than patience although packets
// were sent all the time. heard is the sum of what it reported: it moves with each of its parts.
func (p *progress) stuck(sent, heard uint32, now media.Time, patience time.Duration) bool {
	well := heard == 0 || heard != p.heard || sent == p.sent
	p.sent, p.heard = sent, heard
	if well || p.since == 0 {
		p.since = now
		return false
	}
	return now.Sub(p.since) > patience
}
