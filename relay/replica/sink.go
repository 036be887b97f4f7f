package replica

import (
	"errors"
	"slices"
	"time"

	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
)

// sink is where one parent's packets come in. While a replica moves there are two, of the lead and of its heir, which
// write to one log.
//
// Mostly both have replicas of the same log. Then both just write: what is there already is dropped as a duplicate, and
// what one lacks the other fills in.
//
// Where the track was born again (the job of a transcoder moved to another node), the heir has another log of the same
// programme, whose offsets begin far above: after its first packet those of the lead would be too late. Formats of one
// stream have keyframes at the same media times on whatever node they are made, so the one log ends and the other
// begins at such a keyframe (see handover.go).
type sink struct {
	replica *replica
	from    string // the parent

	// Guarded by replica.mu.
	params      *media.Params // of the epoch that the parent has come to
	path        []string      // as the parent told it; nil until it has accepted
	accepted    time.Time     // when it first told one
	reached     bool          // it once led to the birthplace
	start       int64         // the log's head when the sink was made
	first, next int64         // the range of offsets that the parent has delivered; zero before
	late        int           // packets in a row that were too old
	closed      bool          // the heir begins where it stopped
	wrote       time.Time     // when it last wrote

	// Of an heir with another log.
	began  time.Time
	reborn bool
	gated  bool       // it waits for the point where it takes over
	urgent bool       // any keyframe is such a point, as the lead is gone
	flows  bool       // a keyframe has come
	last   media.Time // of its newest packet
	held   []media.Packet
	bytes  int // of their payloads
}

func newSink(r *replica, from string) *sink {
	return &sink{replica: r, from: from, start: r.writer.Next(), began: time.Now()}
}

var errHandedOver = errors.New("the next parent goes on from here")

const (
	// mostLate is how many packets in a row may be too old before the track counts as born again.
	mostLate = 100
)

// Log is where the replica is.
func (s *sink) Log() *log.Log { return s.replica.writer.Log() }

// KeyframeRequests are the readers' merged wishes.
func (s *sink) KeyframeRequests() <-chan struct{} { return s.replica.writer.KeyframeRequests() }

// Begin notes the parameters of what is written next. The epoch begins with its first packet, as the other parent may
// be ahead.
func (s *sink) Begin(p media.Params) error {
	s.replica.mu.Lock()
	defer s.replica.mu.Unlock()
	if s.params != nil && s.params.Epoch != p.Epoch {
		s.release() // what is held is of the epoch before
	}
	s.params = &p
	return nil
}

// Write takes a packet of the parent's.
func (s *sink) Write(p media.Packet) error {
	r := s.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case s.closed:
		return errHandedOver
	case (s == r.heir || s.gated) && s.waits(&p):
		return nil
	case s == r.lead && r.heir.takesOver(&p):
		s.closed = true
		r.heir.release()
		return errHandedOver
	}
	return s.write(p)
}

// write puts a packet into the log. r.mu is held.
func (s *sink) write(p media.Packet) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.wrote = time.Now()
	w := s.replica.writer
	if w.Next() == 0 {
		if err := w.StartAt(p.Offset); err != nil {
			return err
		}
	}
	return s.judge(p.Offset, w.Write(p))
}

// begin starts the epoch that the parent has come to, unless the other one was there first. r.mu is held.
func (s *sink) begin() error {
	w := s.replica.writer
	if now := w.Log().Params(); s.params == nil || now != nil && now.Epoch >= s.params.Epoch {
		return nil
	}
	return w.Begin(*s.params)
}

// judge notes what became of a packet. r.mu is held.
func (s *sink) judge(offset int64, err error) error {
	switch {
	case err == nil, errors.Is(err, log.ErrDuplicate):
		s.late = 0
		if s.next == 0 {
			s.first = offset
		}
		s.next = max(s.next, offset+1)
	case errors.Is(err, log.ErrLate):
		if s.late++; s.late > mostLate {
			return errReborn
		}
	}
	return err
}

// delivered tells whether the parent gave anything that was not there.
func (s *sink) delivered() bool {
	s.replica.mu.Lock()
	defer s.replica.mu.Unlock()
	return s.next > s.start
}

// SetPath notes the nodes that the track comes by.
func (s *sink) SetPath(path []string) {
	r := s.replica
	r.mu.Lock()
	defer r.mu.Unlock()
	s.path = slices.Clone(path)
	if s.accepted.IsZero() {
		s.accepted = time.Now()
	}
	s.reached = s.reached || s.reaches()
	if s == r.lead {
		r.passOnLocked(s)
	}
	select {
	case r.ways <- struct{}{}:
	default:
	}
}

func (r *replica) setPathLocked(path []string) {
	if slices.Equal(path, r.path) {
		return
	}
	r.path = slices.Clone(path)
	close(r.moved)
	r.moved = make(chan struct{})
}

// setSinks says whose packets are those of the parent and those of the next one.
func (r *replica) setSinks(lead, heir *sink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lead, r.heir = lead, heir
	if lead != nil {
		r.passOnLocked(lead)
	}
}

// ready tells whether the next parent has delivered what comes next, so that the present one is not needed any more:
// it is beyond what was there when it was asked, and nothing is missing before what it began with. Where nothing comes
// from either, it is enough that it has accepted.
func (r *replica) ready() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.next.sink
	if s.next == 0 {
		quiet := s.path != nil && r.writer.Next() == s.start && time.Since(r.next.began) > overlap/2
		return quiet
	}
	return s.reborn || s.next > s.start && link.ResumeOffset(r.writer.Log()) >= s.first
}
