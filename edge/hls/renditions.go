package hls

import (
	"slices"
	"sync"
	"time"

	"banyan/relay"
	"banyan/relay/log"
	"banyan/relay/media"
)

// rendition is a track that can be played by HLS.
type rendition struct {
	id      renditionID
	params  *media.Params
	running bool // the track is being written or was; not only on offer
}

// renditions are those that a stream has or offers: all video that stands on the grid, and one audio.
func (s *Server) renditions(stream *relay.Stream) []rendition {
	var all []rendition
	for _, t := range stream.Tracks() {
		if s.playable(t) {
			id := renditionID{t.ID.Format, t.ID.Kind}
			all = append(all, rendition{id: id, params: t.Params, running: t.Log != nil && t.Log.Params() != nil})
		}
	}
	audio := bestAudio(all)
	return slices.DeleteFunc(all, func(r rendition) bool { return r.id.kind == media.Audio && r.id != audio })
}

// bestAudio picks AAC, which every player has, before anything else, and what is there before what is
// on offer.
func bestAudio(all []rendition) (id renditionID) {
	best := -1
	for _, r := range all {
		if r.id.kind != media.Audio {
			continue
		}
		score := 0
		if r.params.Codec == media.AAC {
			score += 2
		}
		if r.id.format == media.Source {
			score++
		}
		if score > best {
			best, id = score, r.id
		}
	}
	return id
}

// Carries tells whether a track can be a rendition, for those who describe streams.
func (s *Server) Carries(t relay.Track) bool { return s.playable(t) }

// playable tells whether a track can be a rendition.
func (s *Server) playable(t relay.Track) bool {
	switch {
	case t.Params == nil || !canCarry(t.Params.Codec) || t.Params.Reordered:
		return false
	case t.ID.Kind == media.Audio || t.Params.Aligned:
		return true
	case t.Log == nil:
		return false
	}
	return s.cadences.joins(t.Log, s.grid, time.Now())
}

// cadences remembers which sources were found to stand on the grid, so that a window is not read
// through for each request.
type cadences struct {
	mu  sync.Mutex
	all map[*log.Log]verdict
}

type verdict struct {
	joins bool
	epoch uint32
	at    time.Time
}

// joins tells whether the newest epoch of l stands on the grid. One that did keeps its place: a
// rendition does not come and go with each odd frame.
func (c *cadences) joins(l *log.Log, g grid, now time.Time) bool {
	const fresh = 2 * time.Second // how long a no is believed
	params := l.Params()
	if params == nil {
		return false
	}
	c.mu.Lock()
	v, ok := c.all[l]
	c.mu.Unlock()
	if ok && v.epoch == params.Epoch && (v.joins || now.Sub(v.at) < fresh) {
		return v.joins
	}
	v = verdict{joins: joins(stampsOf(l), params.ClockRate, g), epoch: params.Epoch, at: now}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*log.Log]verdict{}
	}
	c.all[l] = v
	return v.joins
}

// prune forgets logs that have ended, and asks anew for the others now and then.
func (c *cadences) prune(now time.Time) {
	const believed = time.Minute
	c.mu.Lock()
	defer c.mu.Unlock()
	for l, v := range c.all {
		if l.Closed() || now.Sub(v.at) > believed {
			delete(c.all, l)
		}
	}
}
