package hls

import (
	"fmt"
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

// idOf names the rendition that a track belongs to; the zero ID while that is not known. Sound is named by its
// codec: where a publisher returns with another one, the rendition in the old codec is made of it from
// then on, and players, which can change neither codec nor rendition of sound in mid-play, go on.
func idOf(t relay.Track) renditionID {
	switch {
	case t.ID.Kind == media.Video:
		return renditionID{t.ID.Format, media.Video}
	case t.Params == nil:
		return renditionID{}
	}
	return renditionID{media.Format(t.Params.Codec), media.Audio}
}

// trackOf finds the track that a rendition is made of now: the publisher's own before one made of it. So it is
// the same on every node.
func trackOf(stream *relay.Stream, id renditionID) (media.Format, bool) {
	for _, t := range stream.Tracks() { // the source first
		if idOf(t) == id {
			return t.ID.Format, true
		}
	}
	return "", false
}

// renditions are those that a stream has or offers: all video that stands on the grid, and one audio.
func (s *Server) renditions(stream *relay.Stream) []rendition {
	var all []rendition
	for _, t := range stream.Tracks() {
		id := idOf(t)
		known := slices.ContainsFunc(all, func(r rendition) bool { return r.id == id })
		if s.playable(t) && !known && !left(stream, t) {
			all = append(all, rendition{id: id, params: t.Params, running: t.Log != nil && t.Log.Params() != nil})
		}
	}
	audio := bestAudio(all)
	return slices.DeleteFunc(all, func(r rendition) bool { return r.id.kind == media.Audio && r.id != audio })
}

// bestAudio picks AAC, which every player has, before anything else.
func bestAudio(all []rendition) (id renditionID) {
	for _, r := range all {
		if r.id.kind == media.Audio && (id == renditionID{} || r.params.Codec == media.AAC) {
			id = r.id
		}
	}
	return id
}

// Without says why a track can be no rendition and what viewers get instead, for those who describe streams; nothing
// where it can.
func (s *Server) Without(t relay.Track) string {
	stream, err := s.config.Hub.Stream(t.ID.Stream)
	switch {
	case err == nil && left(stream, t) && t.Withdrawn:
		return "it was made of what an earlier publisher sent"
	case err == nil && left(stream, t):
		return "the publisher who is there now does not send it"
	case s.playable(t):
		return ""
	case t.Params == nil:
		return "nothing is known of it yet"
	case !canCarry(t.Params.Codec) && t.ID.Kind == media.Audio:
		return fmt.Sprintf("HLS does not carry %s: viewers get the sound as AAC", t.Params.Codec)
	case !canCarry(t.Params.Codec):
		return fmt.Sprintf("HLS does not carry %s: viewers get a format of the ladder", t.Params.Codec)
	case t.Params.Reordered:
		return "it has B-frames, for which low-latency HLS would have to wait: set them to 0 in the encoder; until then viewers get a format of the ladder"
	case t.Log == nil:
		return "nobody reads it on this node, so that it is not known where its keyframes are"
	}
	return fmt.Sprintf("its keyframes do not fall on whole multiples of %v of the clock, or its frames come irregularly: "+
		"viewers get a format of the ladder", s.config.Segment)
}

// left tells whether a track is of an earlier publisher, or made of what that one sent, and the one that is there now has no
// such track.
func left(stream *relay.Stream, t relay.Track) bool { return (!t.Live || t.Withdrawn) && stream.Live() }

// retired tells whether all that a rendition was ever made of has left: newcomers are not told of it any more.
func retired(stream *relay.Stream, id renditionID) bool {
	found := false
	for _, t := range stream.Tracks() {
		if idOf(t) == id {
			if found = true; !left(stream, t) {
				return false
			}
		}
	}
	return found
}

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
