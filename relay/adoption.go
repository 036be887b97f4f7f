package relay

import (
	"time"

	"banyan/relay/media"
)

// Elsewhere is a track of a stream that is published on another node.
type Elsewhere struct {
	Format media.Format
	Kind   media.Kind
	Params *media.Params // nil where not known yet
}

// Adoption keeps a stream known, and live, that is published on another node. Its tracks come from a Supplier,
// which replicates them from there. A publisher on this node goes first: while there is one, the adoption only
// waits.
type Adoption struct {
	stream *Stream
	origin string
	since  time.Time // by the clock of that node
	heard  time.Time // when it became known here

	// Guarded by hub.mu.
	tracks  []Elsewhere
	stirred time.Time // when there was news of what it sends or what is made of it
}

// Adopt makes a stream known that is published elsewhere, with the tracks that its publisher sends. One that was
// adopted under the name before is replaced. origin says for logs and the API where the publisher is.
func (h *Hub) Adopt(name media.Name, origin string, since time.Time, tracks []Elsewhere) (*Adoption, error) {
	a, err := h.adopt(name, origin, since, tracks)
	if err == nil {
		a.stream.keepAlways()
	}
	return a, err
}

func (h *Hub) adopt(name media.Name, origin string, since time.Time, tracks []Elsewhere) (*Adoption, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.streamLocked(name)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	a := &Adoption{stream: s, origin: origin, since: since, heard: now, tracks: tracks, stirred: now}
	s.adoption = a
	s.breaks.hear(tracks)
	s.forgetLocalLocked()
	s.lingerLocked()
	s.ringLocked()
	h.config.Logger.Info("stream is live elsewhere", "stream", name, "origin", origin)
	return a, nil
}

// Update tells that the publisher's tracks, or what is known of them, or the formats that are made of them elsewhere, have
// changed.
func (a *Adoption) Update(tracks []Elsewhere) {
	a.stream.hub.mu.Lock()
	a.tracks, a.stirred = tracks, time.Now()
	a.stream.breaks.hear(tracks)
	a.stream.ringLocked()
	a.stream.hub.mu.Unlock()
	a.stream.keepAlways()
}

// Close tells that nobody publishes the stream elsewhere any more. Readers stay; a second call does nothing.
func (a *Adoption) Close() {
	s := a.stream
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.adoption != a {
		return
	}
	s.adoption = nil
	s.restAllLocked()
	s.lingerLocked()
	s.ringLocked()
	s.hub.config.Logger.Info("stream is no longer live elsewhere", "stream", s.name, "origin", a.origin)
}

// forgetLocalLocked ends the logs of a publisher that has left this node, now that there is one elsewhere: what it
// sends has offsets of its own. Readers get the replica when they subscribe again.
func (s *Stream) forgetLocalLocked() {
	if s.publication != nil {
		return
	}
	for key, t := range s.tracks {
		if t.supply == nil {
			delete(s.tracks, key)
			t.log.Close()
		}
	}
}

// elsewhereLocked lists the tracks that are published on another node.
func (s *Stream) elsewhereLocked() (list []Track) {
	if s.adoption == nil || s.publication != nil {
		return nil
	}
	for _, t := range s.adoption.tracks {
		track := Track{ID: media.TrackID{Stream: s.name, Format: t.Format, Kind: t.Kind}, Params: t.Params, Live: true}
		if here := s.tracks[trackKey{t.Format, t.Kind}]; here != nil {
			track.Log, track.Readers = here.log, here.readers
			if p := here.log.Params(); p != nil {
				track.Params = p
			}
		}
		list = append(list, track)
	}
	return list
}

// liveLocked tells whether anybody publishes the stream, here or elsewhere.
func (s *Stream) liveLocked() bool { return s.publication != nil || s.adoption != nil }
