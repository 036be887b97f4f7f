package wish

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// Config bounds a server. Zero means default.
type Config struct {
	// MaxSessions bounds the sessions of this node; beyond it clients are told to come back (503). If zero, 10000.
	MaxSessions int
	// MaxPerClient bounds the sessions of one client address (429). If zero, 1000: many viewers share one address
	// behind a carrier's NAT.
	MaxPerClient int
	// PostRate and PatchRate are requests per second that one client address may make on average, with bursts of
	// five seconds' worth. PatchRate is for PATCH and DELETE together. If zero, 20 and 50.
	PostRate, PatchRate float64
	// BodyTimeout is how long a request's body may take to arrive. If zero, 10 s.
	BodyTimeout time.Duration
	// Client tells the address to which bounds apply. If nil, that of the connection: right unless a proxy is in
	// front.
	Client func(*http.Request) netip.Addr
	// ICEServers lists what the client of a new session may use to get through to us; user is whom Authorize named,
	// for short-lived credentials. If nil, none: peers reach a server at its own candidates.
	ICEServers func(user string) []ICEServer
	// Metrics gets the counters. If nil, they are counted for nobody.
	Metrics prometheus.Registerer
	// Logger gets a line for what is our own fault, and, within bounds, for who may not do what it asked for. If nil,
	// slog.Default().
	Logger *slog.Logger
}

// ICEServer is a STUN or TURN server (RFC 9725 section 4.6).
type ICEServer struct {
	URL                  string // stun:… or turn:…, RFC 7064 and RFC 7065
	Username, Credential string // empty for STUN
}

func (c Config) withDefaults() Config {
	if c.MaxSessions <= 0 {
		c.MaxSessions = 10000
	}
	if c.MaxPerClient <= 0 {
		c.MaxPerClient = 1000
	}
	if c.PostRate <= 0 {
		c.PostRate = 20
	}
	if c.PatchRate <= 0 {
		c.PatchRate = 50
	}
	if c.BodyTimeout <= 0 {
		c.BodyTimeout = 10 * time.Second
	}
	if c.Client == nil {
		c.Client = connectionAddr
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = prometheus.NewRegistry()
	}
	return c
}

// connectionAddr is the address of the other end of the connection; the zero Addr where there is none.
func connectionAddr(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr()
}

// Server answers for all sessions of a node. It serves /sessions/.
type Server struct {
	config   Config
	posts    limiter
	patches  limiter
	requests *prometheus.CounterVec
	refusals *auth.RefusalLog

	mu       sync.Mutex // guards all below
	sessions map[string]*entry
	ended    ended
	perHost  map[netip.Addr]int // sessions and those in the making, by client
	total    int                // the same, in all
	draining bool
	closed   bool
	wg       sync.WaitGroup // one per session; Add only with mu held and closed false
}

// entry is a session in the table.
type entry struct {
	id       string
	endpoint *Endpoint
	stream   media.Name
	user     string
	host     netip.Addr
	session  Session    // nil once it has ended
	ours     *sdp.Offer // that the peer is to answer; nil where it made the offer

	explanation *Explanation // why it has ended; set with endedAt, in what is remembered of it
	endedAt     time.Time

	turn          chan struct{} // holds a token; whoever has it may change what follows
	tag           string        // entity tag of the ICE generation
	mids          []string      // of the m-lines in use
	ufrag, secret string        // the peer's
	past          []string      // ufrags from before its last restarts, the newest last
	restarted     string        // what its last ICE restart was answered; empty before the first
	concluded     bool          // ours is answered
}

// New makes a server without endpoints.
func New(config Config) (*Server, error) {
	s := &Server{config: config.withDefaults(), sessions: map[string]*entry{}, ended: newEnded(), perHost: map[netip.Addr]int{}}
	s.refusals = auth.NewRefusalLog(s.config.Logger)
	s.posts, s.patches = newLimiter(s.config.PostRate), newLimiter(s.config.PatchRate)
	s.requests = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "banyan_signal_requests_total",
		Help: "WHIP and WHEP requests by endpoint, method and status of the answer.",
	}, []string{"endpoint", "method", "status"})
	sessions := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "banyan_signal_sessions", Help: "WHIP and WHEP sessions, those in the making included.",
	}, func() float64 { return float64(s.Sessions()) })
	for _, c := range []prometheus.Collector{s.requests, sessions} {
		if err := s.config.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of WHIP and WHEP: %w", err)
		}
	}
	return s, nil
}

// Sessions is how many sessions there are, those in the making included.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Drain refuses new sessions from now on; those that are there go on.
func (s *Server) Drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
}

// Close ends all sessions and waits until nothing is left of them.
func (s *Server) Close() {
	s.mu.Lock()
	s.draining, s.closed = true, true
	for _, e := range s.sessions {
		s.wg.Go(e.session.Close) // together: each takes as long as its peer's alert
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// Errors of reserve.
var (
	errDraining = errors.New("the server is draining")
	errFull     = errors.New("the server is full")
	errGreedy   = errors.New("the client has too many sessions")
)

// reserve takes a place in the table for a session in the making.
func (s *Server) reserve(host netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.draining:
		return errDraining
	case s.total >= s.config.MaxSessions:
		return errFull
	case s.perHost[host] >= s.config.MaxPerClient:
		return errGreedy
	}
	s.total++
	s.perHost[host]++
	return nil
}

func (s *Server) releaseLocked(host netip.Addr) {
	s.total--
	if s.perHost[host]--; s.perHost[host] <= 0 {
		delete(s.perHost, host)
	}
}

// release gives back the place of a session that came to nothing.
func (s *Server) release(host netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(host)
}

// speaksFor notes who the peer of the session is, in the words of its offer or answer.
func (e *entry) speaksFor(lines []sdp.Media, ufrag, secret string) {
	e.ufrag, e.secret, e.mids = ufrag, secret, nil
	for _, m := range lines {
		e.mids = append(e.mids, m.MID)
	}
}

// enter puts a session into the table, where it stays until it is over.
func (s *Server) enter(e *entry) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	e.tag, e.turn = newTag(), make(chan struct{}, 1)
	e.turn <- struct{}{}
	s.sessions[e.id] = e
	s.wg.Go(func() {
		<-e.session.Done()
		s.remember(e)
		s.release(e.host)
	})
	return true
}

// forget makes the session's address answer 404.
func (s *Server) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, e.id)
}

// remember does so, too, unless the client has ended the session with DELETE, or it tells nothing of its end.
func (s *Server) remember(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	why := e.whyEnded()
	if s.sessions[e.id] == e && why != nil {
		s.ended.add(e, why, time.Now())
	}
	delete(s.sessions, e.id)
}

// find gives a session, or what is left of it, or nil.
func (s *Server) find(id string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.sessions[id]; e != nil {
		return e
	}
	return s.ended.find(id, time.Now())
}

func newTag() string { return `"` + rand.Text()[:16] + `"` }

// reaction is how long a client should wait before it tries again.
const reaction = 2 * time.Second
