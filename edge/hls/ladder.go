package hls

import (
	"context"
	"slices"
	"time"

	"banyan/relay"
	"banyan/relay/media"
)

// ladder is the packagers of one stream. It runs as a whole: they start together, and stay while any of
// them is asked for. Players change renditions at any time and begin at the live edge of the new one,
// which must be there by then: a rendition that starts only when it is asked for costs a stall of
// seconds, and GStreamer's hlsdemux2 loses its synchronisation for good on one that has no history.
//
// But a rendition that newcomers are not told of any more, as the publisher it was of has left, stays only while it is asked
// for itself: nobody can change to it but who knows it, and it may cost an encoder.
//
// It is guarded by Server.mu.
type ladder struct {
	used      time.Time // when the last request came
	packagers map[renditionID]*packager
}

// streams are those that have a ladder.
func (s *Server) streams() []media.Name {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]media.Name, 0, len(s.ladders))
	for name := range s.ladders {
		names = append(names, name)
	}
	return names
}

// ladder tells whether a stream has one.
func (s *Server) ladder(stream media.Name) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ladders[stream] != nil
}

// letGo ends the ladders that no request has come for lately.
func (s *Server) letGo(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.ladders {
		if now.Sub(l.used) <= s.config.Linger {
			continue
		}
		for _, p := range l.packagers {
			p.cancel(errUnwatched)
		}
		delete(s.ladders, name)
		s.timelines.of(name).forget()
	}
	s.metrics.renditions.Set(float64(s.countLocked()))
}

func (s *Server) countLocked() (n int) {
	for _, l := range s.ladders {
		n += len(l.packagers)
	}
	return n
}

// retire ends the packagers of a stream's renditions that have left and that no request has come for lately.
func (s *Server) retire(stream *relay.Stream, now time.Time) {
	var idle []renditionID
	s.mu.Lock()
	if l := s.ladders[stream.Name()]; l != nil {
		for id, p := range l.packagers {
			if now.Sub(p.used) > s.config.Linger {
				idle = append(idle, id)
			}
		}
	}
	s.mu.Unlock()
	idle = slices.DeleteFunc(idle, func(id renditionID) bool { return !retired(stream, id) }) // asks suppliers: without the lock
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.ladders[stream.Name()]
	for _, id := range idle {
		if l == nil || l.packagers[id] == nil || now.Sub(l.packagers[id].used) <= s.config.Linger {
			continue // it was asked for in between
		}
		l.packagers[id].cancel(errUnwatched)
		delete(l.packagers, id)
	}
}

// complete starts what a ladder lacks: all at first, later what the stream offers since, or what has
// ended by a fault. It is no request: a ladder that nobody asks for goes all the same.
func (s *Server) complete(stream *relay.Stream) {
	for _, r := range s.renditions(stream) {
		s.mu.Lock()
		l := s.ladders[stream.Name()]
		if l != nil && !l.has(r.id, true) {
			// Where there is no room the rendition's own request will say so.
			_, _ = s.startLocked(l, stream.Name(), r.id)
		}
		s.mu.Unlock()
	}
	s.rank(stream)
}

// ask notes a request for the ladder of a stream, and makes one if need be.
func (s *Server) ask(stream media.Name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.askLocked(stream)
}

func (s *Server) askLocked(stream media.Name) *ladder {
	l := s.ladders[stream]
	if l == nil {
		l = &ladder{packagers: map[renditionID]*packager{}}
		s.ladders[stream] = l
	}
	l.used = time.Now()
	return l
}

// has tells whether the packager of a rendition is there, and not one that has ended if the stream is
// there (again).
func (l *ladder) has(id renditionID, there bool) bool {
	p := l.packagers[id]
	return p != nil && (p.state.Load().err == nil || !there)
}

// packager finds or starts the packager of a rendition that is asked for. One that has ended is replaced
// if the stream is there (again).
func (s *Server) packager(stream media.Name, id renditionID, there bool) (*packager, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.askLocked(stream)
	if l.has(id, there) {
		l.packagers[id].used = l.used
		return l.packagers[id], nil
	}
	return s.startLocked(l, stream, id)
}

func (s *Server) startLocked(l *ladder, stream media.Name, id renditionID) (*packager, error) {
	switch {
	case s.closed:
		return nil, errStopping
	case s.countLocked() >= s.config.MaxRenditions:
		return nil, errFull
	}
	p := s.newPackager(stream, id)
	ctx, cancel := context.WithCancelCause(s.ctx)
	p.cancel, p.used = cancel, time.Now()
	l.packagers[id] = p
	s.wg.Go(func() {
		defer cancel(nil)
		p.run(ctx)
	})
	return p, nil
}

func (s *Server) newPackager(stream media.Name, id renditionID) *packager {
	p := &packager{
		hub: s.config.Hub, stream: stream, id: id, timeline: s.timelines.of(stream), metrics: s.metrics,
		logger: s.config.Logger, grid: s.grid, bounds: s.config.bounds(), reports: s.reports, zipper: &s.zipper,
		window: newWindow(s.grid, s.config.bounds()), cutter: newCutter(s.grid),
	}
	p.state.Store(&state{changed: make(chan struct{}), owner: p})
	return p
}

// running is the packager of a rendition if there is one.
func (s *Server) running(stream media.Name, id renditionID) *packager {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.ladders[stream]; l != nil {
		return l.packagers[id]
	}
	return nil
}
