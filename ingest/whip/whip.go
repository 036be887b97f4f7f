package whip

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/sdp"
	"banyan/relay/rtc/wish"
)

// Guard decides who may publish. *auth.Guard is one.
type Guard interface {
	CheckPublish(token string, stream media.Name) (auth.Claims, error)
}

// Config is what a Server is built on. Hub, Network, Signal and Guard must be set.
type Config struct {
	Hub     *relay.Hub
	Network *rtc.Network
	Signal  *wish.Server // answers for the sessions, at /sessions/
	Guard   Guard
	// Metrics gets the counters. If nil, they are counted for nobody.
	Metrics prometheus.Registerer
	// Logger gets a line when a track begins. If nil, slog.Default().
	Logger *slog.Logger
}

// Server takes publishers. It is the handler of /whip/.
type Server struct {
	config   Config
	endpoint http.Handler
	metrics  *metrics

	mu       sync.Mutex // guards all below
	sessions map[*session]struct{}
	closed   bool
	wg       sync.WaitGroup // one per session; Add only with mu held and closed false
}

// New makes a server. Close it when done.
func New(config Config) (*Server, error) {
	if config.Hub == nil || config.Network == nil || config.Signal == nil || config.Guard == nil {
		return nil, errors.New("whip: set Hub, Network, Signal and Guard")
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = prometheus.NewRegistry()
	}
	m, err := newMetrics(config.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{config: config, metrics: m, sessions: map[*session]struct{}{}}
	s.endpoint = config.Signal.Endpoint(wish.Endpoint{
		Name: "whip", Role: sdp.Publish, Authorize: s.authorize, Accept: s.accept,
	})
	return s, nil
}

// ServeHTTP serves /whip/{stream}.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.endpoint.ServeHTTP(w, r) }

// Close ends all sessions, takes no more, and waits until nothing is left of them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for session := range s.sessions {
		s.wg.Go(session.Close) // together: each takes as long as its peer's alert
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// authorize checks the bearer token of a request.
func (s *Server) authorize(r *http.Request, stream media.Name) (auth.Claims, error) {
	claims, err := s.check(r, stream)
	switch {
	case errors.Is(err, auth.ErrForbidden):
		s.metrics.refused(refusedForbidden)
	case err != nil:
		s.metrics.refused(refusedToken)
	}
	return claims, err
}

func (s *Server) check(r *http.Request, stream media.Name) (auth.Claims, error) {
	token, err := auth.Bearer(r)
	if err != nil {
		return auth.Claims{}, err
	}
	return s.config.Guard.CheckPublish(token, stream)
}

// errClosing is told to a publisher that comes while the server goes.
var errClosing = &wish.Refusal{
	Status: http.StatusServiceUnavailable,
	Detail: "This server is about to stop and takes nobody new. Try again: another one will answer.",
	Header: http.Header{"Retry-After": {"2"}},
}

// accept makes a session of an offer.
func (s *Server) accept(ctx context.Context, r *wish.Request) (wish.Session, error) {
	x := newSession(s, r)
	publisher, err := s.config.Network.NewPublisher(ctx, rtc.PeerConfig{ID: r.ID, Offer: r.Offer, Stream: r.Stream}, x.onTrack)
	if err != nil {
		s.metrics.refused(refusedOffer)
		return nil, err
	}
	x.Publisher = publisher
	close(x.made)
	if !s.adopt(x) {
		publisher.Close()
		s.metrics.refused(refusedClosing)
		return nil, errClosing
	}
	return x, nil
}

// adopt starts a session, unless the server is closed.
func (s *Server) adopt(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.sessions[x] = struct{}{}
	s.wg.Go(func() {
		x.run()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.sessions, x)
	})
	return true
}
