package whep

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/sdp"
	"banyan/relay/rtc/wish"
)

// Config says what a server serves. Hub, Network, Signal and Authorize must be set; otherwise zero means default.
type Config struct {
	Hub     *relay.Hub
	Network *rtc.Network
	// Engine connects viewers in place of Network, which then only makes those that are made an offer. If nil, Network
	// makes all.
	Engine *engine.Engine
	Signal *wish.Server // keeps the sessions
	// Authorize says who may watch a stream; see wish.Endpoint.
	Authorize func(r *http.Request, stream media.Name) (auth.Claims, error)
	// MaxLag is how far behind live a viewer may fall before it skips to the newest keyframe. If zero, 3 s.
	MaxLag time.Duration
	// AnswerTimeout is how long a viewer may take to answer an offer of ours. If zero, the 30 s of the draft, which
	// viewers count on.
	AnswerTimeout time.Duration
	// Metrics gets the counters. If nil, they are counted for nobody.
	Metrics prometheus.Registerer
	// Logger gets what is our own fault. If nil, slog.Default().
	Logger *slog.Logger
}

// Server lets viewers in and feeds them.
type Server struct {
	config    Config
	metrics   *metrics
	keyframes keyframeRequests

	mu       sync.Mutex // guards all below
	sessions map[*session]struct{}
	closed   bool
	wg       sync.WaitGroup // one per session; Add only with mu held and closed false
}

// New makes a server without viewers. Call Close when done.
func New(config Config) (*Server, error) {
	if config.Hub == nil || config.Network == nil || config.Signal == nil || config.Authorize == nil {
		return nil, errors.New("whep: Hub, Network, Signal and Authorize must be set")
	}
	if config.MaxLag <= 0 {
		config.MaxLag = 3 * time.Second
	}
	if config.Metrics == nil {
		config.Metrics = prometheus.NewRegistry()
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	m, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	return &Server{config: config, metrics: m, sessions: map[*session]struct{}{}}, nil
}

// Handler serves /whep/. The sessions are served by Config.Signal.
func (s *Server) Handler() http.Handler {
	return s.config.Signal.Endpoint(wish.Endpoint{
		Name: "whep", Role: sdp.Play, Authorize: s.config.Authorize,
		Accept: func(ctx context.Context, r *wish.Request) (wish.Session, error) {
			return s.accept(ctx, r)
		},
		Extensions: []wish.Extension{{Name: "layer", Rel: layerRelation, Serve: serveLayer}},
	})
}

// Viewers is how many sessions there are, those that connect included.
func (s *Server) Viewers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Close ends all viewers' sessions and waits until nothing is left of them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for v := range s.sessions {
		s.wg.Go(v.Close)
	}
	s.mu.Unlock()
	s.wg.Wait()
}

const (
	// settling is how old a publisher may be for its sound to be waited for when there is a picture, or the other way
	// round: it may never come.
	settling = 2 * time.Second
	// patience is how long an offer waits for a publisher that has not sent enough yet to answer at all.
	patience = 2 * time.Second
)

// retryAfter is when to ask again for a stream that is not live.
const retryAfter = "2"

// accept makes a session of an offer.
func (s *Server) accept(ctx context.Context, r *wish.Request) (*session, error) {
	wanted, err := parseFormat(r.HTTP.URL.Query().Get("format"))
	if err != nil {
		return nil, &wish.Refusal{Status: http.StatusBadRequest, Detail: "?format= is not valid: " + err.Error() + "."}
	}
	stream, tracks, err := s.look(ctx, r, wanted)
	var counter *sdp.Offer
	if errors.Is(err, errUndecoded) {
		counter = everything(tracks)
		err = answerable(tracks, counter, wanted, false)
	}
	if err != nil {
		s.metrics.refused.WithLabelValues(reason(err)).Inc()
		return nil, refusal(err, tracks, wanted)
	}
	v := newSession(s, stream, wanted)
	switch err := v.open(ctx, r, counter, tracks); {
	case errors.Is(err, rtc.ErrClosed):
		return nil, stopping()
	case err != nil:
		return nil, err
	}
	if !s.adopt(v) {
		v.Close()
		return nil, stopping()
	}
	if counter != nil {
		s.metrics.counters.Inc()
	}
	return v, nil
}

func stopping() error {
	return &wish.Refusal{
		Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {retryAfter}},
		Detail: "This server is about to stop. Try again: another one will answer.",
	}
}

// adopt makes the server answer for v until it is forgotten.
func (s *Server) adopt(v *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case <-v.done: // and it will not be forgotten again
	default:
		s.sessions[v] = struct{}{}
		s.wg.Add(1)
	}
	return true
}

// forget notes that nothing is left of v. It may not have been adopted.
func (s *Server) forget(v *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ours := s.sessions[v]; ours {
		delete(s.sessions, v)
		s.wg.Done()
	}
}

// look finds the stream and checks that the offer can be met. A publisher that has only just connected is waited for.
func (s *Server) look(ctx context.Context, r *wish.Request, wanted media.Format) (*relay.Stream, []relay.Track, error) {
	stream, err := s.config.Hub.Stream(r.Stream)
	if err != nil {
		return nil, nil, err
	}
	stream.Settle(ctx, settling)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for wait := true; ; {
		changed := stream.Changed()
		tracks := tracksOf(stream)
		if !stream.Live() {
			return nil, tracks, relay.ErrNoStream
		}
		err := answerable(tracks, r.Offer, wanted, wait)
		if !errors.Is(err, errUnknown) || !wait {
			return stream, tracks, err
		}
		select {
		case <-changed:
		case <-timer.C:
			wait = false
		case <-ctx.Done():
			return nil, tracks, ctx.Err()
		}
	}
}

// answerable tells whether enough of the offer can be met: video where the stream has it, or else audio. While wait is
// set, it is unknown whether a stream has a format that may yet be made of a track without parameters.
func answerable(tracks []relay.Track, offer *sdp.Offer, wanted media.Format, wait bool) error {
	if wanted != auto && !hasFormat(tracks, wanted) {
		if wait && unknown(tracks) || !known(tracks) {
			return errUnknown
		}
		return errNoFormat
	}
	met := false
	for _, m := range offer.Media {
		switch _, err := choose(tracks, m.Kind, m.Codecs, wanted); {
		case err == nil:
			met = true
		case errors.Is(err, errNothing), errors.Is(err, errUnknown): // it may come later
		case m.Kind == media.Video || offer.Of(media.Video) == nil: // sound without its picture is not what was asked for
			return err
		}
	}
	switch {
	case met:
		return nil
	case unknown(tracks):
		return errUnknown
	}
	return errNothing
}

func hasFormat(tracks []relay.Track, format media.Format) bool {
	for _, t := range tracks {
		if t.ID.Format == format {
			return true
		}
	}
	return false
}

// unknown tells whether a publisher's track has no parameters yet: formats may appear when it has.
func unknown(tracks []relay.Track) bool {
	for _, t := range tracks {
		if t.Params == nil {
			return true
		}
	}
	return len(tracks) == 0
}

// known tells whether any track has parameters.
func known(tracks []relay.Track) bool {
	return slices.ContainsFunc(tracks, func(t relay.Track) bool { return t.Params != nil })
}

// refusal is the answer to an offer that cannot be met.
func refusal(err error, tracks []relay.Track, wanted media.Format) error {
	switch {
	case errors.Is(err, relay.ErrNoStream), errors.Is(err, errUnknown):
		return &wish.Refusal{
			Status: http.StatusConflict, Header: http.Header{"Retry-After": {retryAfter}},
			Detail: "The stream is not live now. Check its name, or try again after a while.",
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return &wish.Refusal{Status: http.StatusUnprocessableEntity, Detail: explain(err, tracks, wanted)}
}
