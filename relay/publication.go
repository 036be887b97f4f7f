package relay

import (
	"errors"
	"fmt"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Why a publication has ended, besides ErrClosed.
var (
	ErrTakenOver = errors.New("another publisher has taken the name over")
	ErrKicked    = errors.New("the publisher was sent away through the API")
)

// Publication is a publisher's hold on a name, until it closes it or another publisher takes it over.
type Publication struct {
	stream *Stream
	origin string
	since  time.Time
	ended  chan struct{} // closed with hub.mu held; never sent to
	cause  error         // set before ended is closed
}

// Stream is what p publishes to.
func (p *Publication) Stream() *Stream { return p.stream }

// Ended is closed when p no longer holds the name although it was not given up by Close; Cause says why.
func (p *Publication) Ended() <-chan struct{} { return p.ended }

// Cause is ErrTakenOver, ErrKicked or ErrClosed once Ended is closed, and nil before.
func (p *Publication) Cause() error {
	select {
	case <-p.ended:
		return p.cause
	default:
		return nil
	}
}

func (p *Publication) endLocked(cause error) {
	p.cause = cause
	close(p.ended)
}

// Source gives the writer of the source track of a kind. Call Begin on it as soon as the parameters
// are known, and Announce after each Begin. It fails with log.ErrReplaced where p has ended.
func (p *Publication) Source(kind media.Kind) (*log.Writer, error) {
	return p.Track(media.Source, kind)
}

// Track is Source for any format: a publisher may send several (simulcast).
func (p *Publication) Track(format media.Format, kind media.Kind) (*log.Writer, error) {
	s := p.stream
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if s.publication != p {
		return nil, fmt.Errorf("publish %q: %w", s.name, log.ErrReplaced)
	}
	key := trackKey{format, kind}
	t := s.tracks[key]
	if t != nil && t.supply != nil { // a publisher's own track is worth more than one made of another
		s.dropLocked(key, t)
		t = nil
	}
	if t == nil {
		id := media.TrackID{Stream: s.name, Format: format, Kind: kind}
		config := s.hub.config.Log
		config.Break = s.breaks.begin
		t = &track{log: log.New(id, log.FirstOffset(time.Now()), config)}
		s.tracks[key] = t
	}
	t.by = p
	s.ringLocked()
	return t.log.Writer(), nil
}

// Announce tells those who watch the stream that the parameters of a track are known or have changed,
// and starts the formats that are always made of it.
func (p *Publication) Announce() {
	s := p.stream
	s.hub.mu.Lock()
	s.ringLocked()
	s.hub.mu.Unlock()
	s.keepAlways()
}

// Close gives the name up. Readers stay; a second call does nothing.
func (p *Publication) Close() {
	p.stream.hub.mu.Lock()
	defer p.stream.hub.mu.Unlock()
	if p.stream.publication == p {
		p.leaveLocked()
	}
}

func (p *Publication) leaveLocked() {
	s := p.stream
	s.publication = nil
	line := []any{"stream", s.name, "origin", p.origin}
	if p.cause != nil { // it did not leave by itself
		line = append(line, "cause", p.cause)
	}
	s.hub.config.Logger.Info("publisher left", line...)
	if s.adoption != nil {
		s.forgetLocalLocked()
	}
	s.restAllLocked()
	s.lingerLocked()
	s.ringLocked()
}
