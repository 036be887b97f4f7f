package relay

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Stream is a named live thing on this node. Methods are safe for concurrent use.
type Stream struct {
	hub    *Hub
	name   media.Name
	breaks *breaks

	keeping sync.Mutex // held while what is always supplied is looked after; before hub.mu

	// Guarded by hub.mu.
	publication *Publication // nil while there is no publisher on this node
	adoption    *Adoption    // nil while there is none on another node
	tracks      map[trackKey]*track
	readers     int            // open subscriptions
	viewers     map[string]int // people who watch, by transport
	changed     chan struct{}  // closed and replaced when anything of the above changes
	forget      func()         // stops the linger of a stream that nobody needs; nil if none runs
	closed      bool
}

type trackKey struct {
	format media.Format
	kind   media.Kind
}

// track is a log with what the hub knows of it.
type track struct {
	log     *log.Log
	by      *Publication // who writes it now, nil for a supplied one or when its publisher has left
	supply  *supply      // nil for a published one
	readers int
}

// Track describes a track that is there or on offer.
type Track struct {
	ID media.TrackID
	// Params are the track's own if it has begun, else what its supplier expects; nil where a
	// publisher has not sent enough yet to tell.
	Params *media.Params
	// Log is nil for a track that is only on offer.
	Log *log.Log
	// Live tells that somebody writes the track now, or would if asked.
	Live bool
	// Withdrawn tells that the track is supplied for those who read it, but on offer no more, as of another publisher.
	Withdrawn bool
	Readers   int
}

func newStream(h *Hub, name media.Name) *Stream {
	return &Stream{
		hub: h, name: name, breaks: newBreaks(h.config.Segment),
		tracks: map[trackKey]*track{}, viewers: map[string]int{}, changed: make(chan struct{}),
	}
}

// Name is the name of the stream.
func (s *Stream) Name() media.Name { return s.name }

// Live tells whether the stream has a publisher now, on this node or another.
func (s *Stream) Live() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.liveLocked()
}

// Local tells whether the stream has a publisher on this node.
func (s *Stream) Local() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.publication != nil
}

// Publisher tells by which door the publisher came and when; ok is false where there is none.
func (s *Stream) Publisher() (origin string, since time.Time, ok bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	switch {
	case s.publication != nil:
		return s.publication.origin, s.publication.since, true
	case s.adoption != nil:
		return s.adoption.origin, s.adoption.since, true
	}
	return "", time.Time{}, false
}

// Changed returns a channel that is closed when the publisher or the tracks of the stream next change,
// or the stream goes. Take it before looking, so that no change is missed.
func (s *Stream) Changed() <-chan struct{} {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.changed
}

// Settle waits until the parameters of all tracks that the publisher has claimed are known, and, where it is on another
// node, until no word of its formats has come for a moment; until it has been known here for as long as patience; or until
// ctx ends. Who has to say at once what a stream consists of (a playlist, an answer) calls it first: a publisher's sound may
// come a moment after its picture, or never, and the nodes that make formats of it tell of them one after the other.
func (s *Stream) Settle(ctx context.Context, patience time.Duration) {
	for {
		changed := s.Changed()
		since, stirred, live := s.heard()
		rest := time.Until(since.Add(patience))
		if s.known() {
			rest = min(rest, time.Until(stirred.Add(calm)))
		}
		if !live || rest <= 0 {
			return
		}
		timer := time.NewTimer(rest)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// calm is for how long no word of a stream's formats must have come until all are taken for told: several times as long as
// word is on its way through a region, once those that make them have heard of the publisher.
const calm = 300 * time.Millisecond

// heard tells since when the publisher has been known on this node, and when there was news of its formats; the zero time for
// one on this node, of which nothing is heard from others.
func (s *Stream) heard() (since, stirred time.Time, live bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	switch {
	case s.publication != nil:
		return s.publication.since, time.Time{}, true
	case s.adoption != nil:
		return s.adoption.heard, s.adoption.stirred, true
	}
	return time.Time{}, time.Time{}, false
}

// known tells whether the publisher has claimed tracks and the parameters of all of them are known.
func (s *Stream) known() bool {
	live := 0
	for _, t := range s.Published() {
		if t.Live && t.Params == nil {
			return false
		}
		if t.Live {
			live++
		}
	}
	return live > 0
}

// Closed tells whether the stream has been forgotten; a new one may have its name.
func (s *Stream) Closed() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.closed
}

// Published lists the tracks that publishers write or wrote. Those of a publisher on another node have a Log only
// while somebody here reads them.
func (s *Stream) Published() []Track {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if list := s.elsewhereLocked(); list != nil {
		slices.SortFunc(list, compareTracks)
		return list
	}
	return s.listLocked(func(t *track) bool { return t.supply == nil })
}

// Tracks lists the tracks that are there and those on offer: video before audio, source first, then
// by falling height and name.
func (s *Stream) Tracks() []Track {
	offers := s.offers()
	s.hub.mu.Lock()
	list := s.listLocked(func(*track) bool { return true })
	for i := range list {
		t := &list[i]
		key := trackKey{t.ID.Format, t.ID.Kind}
		offered := slices.IndexFunc(offers, func(o supplierOffer) bool { return trackKey{o.Format, o.Kind} == key })
		t.Withdrawn = s.tracks[key].supply != nil && offered < 0
		if t.Params == nil && s.tracks[key].supply != nil && offered >= 0 {
			t.Params = offers[offered].expected() // more may be known by now than when it was first read
		}
	}
	s.hub.mu.Unlock()
	for _, o := range offers {
		id := media.TrackID{Stream: s.name, Format: o.Format, Kind: o.Kind}
		if slices.ContainsFunc(list, func(t Track) bool { return t.ID == id }) {
			continue
		}
		list = append(list, Track{ID: id, Params: o.expected(), Live: true})
	}
	slices.SortFunc(list, compareTracks)
	return list
}

// Readers is how many read a track of the stream; zero where it is not there. Unlike Tracks it asks no supplier, and may
// be called with a supplier's locks held.
func (s *Stream) Readers(format media.Format, kind media.Kind) int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if t := s.tracks[trackKey{format, kind}]; t != nil {
		return t.readers
	}
	return 0
}

func compareTracks(a, b Track) int {
	height := func(t Track) int {
		if t.ID.Format == media.Source || t.Params == nil {
			return 1 << 30
		}
		return t.Params.Height
	}
	source := func(t Track) int {
		if t.ID.Format == media.Source {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.ID.Kind, b.ID.Kind), cmp.Compare(source(a), source(b)),
		cmp.Compare(height(b), height(a)), cmp.Compare(a.ID.Format, b.ID.Format))
}

func (s *Stream) listLocked(want func(*track) bool) []Track {
	list := make([]Track, 0, len(s.tracks))
	for _, t := range s.tracks {
		if !want(t) {
			continue
		}
		params := t.log.Params()
		if params == nil && t.supply != nil {
			params = t.supply.offer.expected()
		}
		list = append(list, Track{
			ID: t.log.ID(), Params: params, Log: t.log, Readers: t.readers,
			Live: t.supply != nil || t.by != nil && t.by == s.publication,
		})
	}
	slices.SortFunc(list, compareTracks)
	return list
}

// Subscribe gives the log of a track and counts its reader. The first reader of a track on offer
// starts its supply. Errors wrap ErrNoTrack or ErrNoStream.
func (s *Stream) Subscribe(format media.Format, kind media.Kind) (*Subscription, error) {
	return s.SubscribeAfter(format, kind, 0)
}

// SubscribeAfter is Subscribe for a reader that has the track already up to a media time, as another node made it or
// supplied it before. Where the supply starts for this reader, it goes on there, as far as it can (log.Want).
func (s *Stream) SubscribeAfter(format media.Format, kind media.Kind, after media.Time) (*Subscription, error) {
	key := trackKey{format, kind}
	offers := s.offers()
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("stream %q: %w", s.name, ErrNoStream)
	}
	t := s.tracks[key]
	if t == nil {
		i := slices.IndexFunc(offers, func(o supplierOffer) bool { return o.Format == format && o.Kind == kind })
		if i < 0 {
			return nil, fmt.Errorf("stream %q, format %q, %v: %w", s.name, format, kind, ErrNoTrack)
		}
		t = s.startLocked(key, offers[i], after)
	}
	t.readers++
	s.readers++
	if t.supply != nil && t.supply.linger != nil {
		t.supply.linger()
		t.supply.linger = nil
	}
	s.lingerLocked()
	return &Subscription{stream: s, key: key, track: t}, nil
}

// claimLocked makes p the publisher.
func (s *Stream) claimLocked(p *Publication) {
	if s.publication != nil {
		s.publication.endLocked(ErrTakenOver)
	}
	s.publication = p
	s.lingerLocked()
	s.ringLocked()
}

// Kick ends the publication with ErrKicked. It tells whether there was one. Readers stay, and the publisher may come
// back.
func (s *Stream) Kick() bool { return s.end(ErrKicked) }

// TakeOver ends the publication with ErrTakenOver, as the name is published on another node now. It tells whether
// there was one.
func (s *Stream) TakeOver() bool { return s.end(ErrTakenOver) }

func (s *Stream) end(cause error) bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	p := s.publication
	if p == nil {
		return false
	}
	p.endLocked(cause)
	p.leaveLocked()
	return true
}

// lingerLocked starts or stops the time after which a stream that nobody needs is forgotten.
func (s *Stream) lingerLocked() {
	needed := s.liveLocked() || s.readers > 0
	switch {
	case needed && s.forget != nil:
		s.forget()
		s.forget = nil
	case !needed && s.forget == nil && !s.closed:
		s.forget = s.hub.after(s.hub.config.Linger, func() { s.hub.removeLocked(s) })
	}
}

func (s *Stream) closeLocked() {
	s.closed = true
	if s.publication != nil {
		s.publication.endLocked(ErrClosed)
		s.publication = nil
	}
	if s.forget != nil {
		s.forget()
	}
	for key, t := range s.tracks {
		if t.supply != nil {
			s.dropLocked(key, t)
		} else {
			t.log.Close()
		}
	}
	s.ringLocked()
}

func (s *Stream) ringLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Subscription is one reader's hold on a track. Its log is closed when the track ends; the reader
// may then subscribe again.
type Subscription struct {
	stream *Stream
	key    trackKey
	track  *track
	closed bool // guarded by hub.mu
}

// Log is what the reader reads.
func (s *Subscription) Log() *log.Log { return s.track.log }

// Close lets go of the track. A second call does nothing.
func (s *Subscription) Close() {
	h := s.stream.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.track.readers--
	s.stream.readers--
	s.stream.restLocked(s.key, s.track)
	s.stream.lingerLocked()
}

// Watch counts somebody who watches by the given transport ("whep", "hls"), for the API and metrics,
// until the returned function is called.
func (s *Stream) Watch(transport string) (leave func()) {
	s.count(transport, 1)
	return func() { s.count(transport, -1) }
}

func (s *Stream) count(transport string, n int) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.viewers[transport] += n
}

// Viewers tells how many watch, by transport.
func (s *Stream) Viewers() map[string]int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	viewers := make(map[string]int, len(s.viewers))
	for transport, n := range s.viewers {
		viewers[transport] = n
	}
	return viewers
}
