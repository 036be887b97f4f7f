package hls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay"
	"banyan/relay/media"
)

// Config sets up a Server. Zero means default.
type Config struct {
	// Hub is where streams come from. It must be set.
	Hub *relay.Hub
	// Segment is the length of a segment: whole seconds, the same on every node and in the transcoder. If
	// zero, 2 s.
	Segment time.Duration
	// Part is the wished length of a part. If zero, 200 ms.
	Part time.Duration
	// Window is how much of a stream its playlists list. If zero, 30 s.
	Window time.Duration
	// MaxBytes bounds the media kept for one rendition. Where it is too little for Window, and for as long again and a
	// segment as RFC 8216bis section 6.2.2 wants it, playlists list less, but no less than 8 segments. If zero, 192 MiB:
	// enough for 30 s of 25 Mbit/s, and for 8 segments of 2 s of 44 Mbit/s.
	MaxBytes int
	// Linger is how long the renditions of a stream are packaged after the last request for any of them. If
	// zero, 30 s.
	Linger time.Duration
	// Start is how long the first request for a rendition waits for something to play. If zero, 10 s.
	Start time.Duration
	// Settle is how long after a publisher has come the multivariant playlist waits for the parameters of all
	// its tracks. If zero, 2 s.
	Settle time.Duration
	// MaxRenditions bounds the renditions being packaged. If zero, 2000.
	MaxRenditions int
	// MaxWaiting bounds the requests that wait for media to come. If zero, 20000.
	MaxWaiting int
	// Allow tells whether a request may play a stream; the answer to one that may not is written from
	// the error as relay/problem does. If nil, everyone may play everything.
	Allow func(r *http.Request, stream media.Name) error
	// Steering gives lines to put at the head of a stream's multivariant playlist, where players are to learn of other
	// servers (EXT-X-CONTENT-STEERING). If nil, there are none.
	Steering func(stream media.Name) []string
	// Registerer takes the metrics. If nil, they are not exported.
	Registerer prometheus.Registerer
	// Logger gets a line when packaging of a rendition starts, ends or turns bad. If nil, slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	count := func(n *int, otherwise int) {
		if *n <= 0 {
			*n = otherwise
		}
	}
	set(&c.Segment, 2*time.Second)
	set(&c.Part, 200*time.Millisecond)
	set(&c.Window, 30*time.Second)
	set(&c.Linger, 30*time.Second)
	set(&c.Start, 10*time.Second)
	set(&c.Settle, 2*time.Second)
	count(&c.MaxBytes, 192<<20)
	count(&c.MaxRenditions, 2000)
	count(&c.MaxWaiting, 20000)
	if c.Allow == nil {
		c.Allow = func(*http.Request, media.Name) error { return nil }
	}
	if c.Steering == nil {
		c.Steering = func(media.Name) []string { return nil }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// bounds of a rendition's window. A segment can be had for its own length and a playlist's after it has
// left the playlist (RFC 8216bis section 6.2.2).
func (c Config) bounds() windowConfig {
	const leastListed = skipTargets + 2 // segments; so that delta updates have something to skip
	listed := max(int(c.Window/c.Segment), leastListed)
	return windowConfig{listed: listed, least: leastListed, retained: 2*listed + 1, maxBytes: c.MaxBytes}
}

// Server serves streams as low-latency HLS, below /hls/. Make it with New; its Run must be running.
type Server struct {
	config    Config
	grid      grid
	metrics   *metrics
	timelines timelines
	viewers   viewers
	cadences  cadences
	zipper    zipper
	waiting   atomic.Int64

	ctx    context.Context // ends packagers
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // packagers

	mu      sync.Mutex // guards the fields below, and the ladders
	ladders map[media.Name]*ladder
	closed  bool
}

// New makes a server. It fails where the configuration makes no playable HLS.
func New(config Config) (*Server, error) {
	c := config.withDefaults()
	switch {
	case c.Hub == nil:
		return nil, errors.New("hls: Config.Hub is missing: set the hub whose streams are to be served")
	case c.Segment%time.Second != 0 || c.Segment > 10*time.Second:
		return nil, fmt.Errorf("hls: segments of %v: set 1 to 10 whole seconds, so that every node counts them alike", c.Segment)
	case c.Part < 50*time.Millisecond || c.Part > c.Segment/2:
		return nil, fmt.Errorf("hls: parts of %v: set 50ms to half a segment (%v)", c.Part, c.Segment/2)
	}
	const viewerStays, mostViewers = 10 * time.Second, 100_000
	s := &Server{
		config: c, grid: grid{segment: c.Segment, part: c.Part}, metrics: newMetrics(c.Registerer),
		viewers: viewers{stays: viewerStays, most: mostViewers},
		ladders: map[media.Name]*ladder{},
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// Players is how many players there are that still ask: one that has not within two segments has gone.
func (s *Server) Players() int { return s.viewers.since(time.Now().Add(-2 * s.config.Segment)) }

// Run lets go of ladders that nobody asks for any more and completes the others, until ctx ends; then it
// ends all packaging, fails the requests that wait, and returns when everything that the server started has.
func (s *Server) Run(ctx context.Context) error {
	const period = time.Second
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			s.sweep(now)
		case <-ctx.Done():
			s.close()
			return nil
		}
	}
}

func (s *Server) close() {
	s.mu.Lock()
	s.closed = true // no packager starts from now on
	s.mu.Unlock()
	s.cancel(errStopping)
	s.wg.Wait()
	s.viewers.clear()
}

// sweep ends the ladders that no request has come for lately, completes the others, and forgets what
// belonged to streams that are gone.
func (s *Server) sweep(now time.Time) {
	s.letGo(now)
	for _, name := range s.streams() {
		if stream, err := s.config.Hub.Stream(name); err == nil {
			s.complete(stream)
			s.retire(stream, now)
		}
	}
	s.timelines.prune(func(name media.Name) bool {
		if s.ladder(name) {
			return true
		}
		_, err := s.config.Hub.Stream(name)
		return err == nil
	})
	s.cadences.prune(now)
	s.metrics.viewers.Set(float64(s.viewers.sweep(now)))
}

// Errors that decide how a request is answered, and why packaging ended.
var (
	errFull     = errors.New("too many renditions are being packaged")
	errCrowded  = errors.New("too many requests wait")
	errStopping = errors.New("the server is shutting down")
	errSlow     = errors.New("nothing came in time")

	errUnwatched = errors.New("nobody has asked for the stream lately") // the usual end of packaging
)

// await waits until a state of p satisfies enough, and at most for limit. It adds no goroutine: the
// request's own one waits.
func (s *Server) await(ctx context.Context, p *packager, limit time.Duration, enough func(*state) bool) (*state, error) {
	now := p.state.Load()
	if now.err != nil || enough(now) {
		return now, nil
	}
	leave, err := s.wait()
	if err != nil {
		return nil, err
	}
	defer leave()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	for now.err == nil && !enough(now) {
		select {
		case <-now.changed:
			now = p.state.Load()
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timeout.C:
			return nil, errSlow
		}
	}
	return now, nil
}

// settle waits until it is known what a stream consists of, or Config.Settle has passed since its publisher
// came. Players load the multivariant playlist once: one that is written while a publisher's picture is
// there and its sound is still to come would leave them without sound for good.
func (s *Server) settle(ctx context.Context, stream *relay.Stream) error {
	leave, err := s.wait()
	if err != nil {
		return err
	}
	defer leave()
	stream.Settle(ctx, s.config.Settle)
	return ctx.Err()
}

// wait takes a place among the requests that wait, if there is one.
func (s *Server) wait() (leave func(), err error) {
	if s.waiting.Add(1) > int64(s.config.MaxWaiting) {
		s.waiting.Add(-1)
		return nil, errCrowded
	}
	s.metrics.waiting.Inc()
	return func() {
		s.waiting.Add(-1)
		s.metrics.waiting.Dec()
	}, nil
}

// reports tells how far the renditions beside that of st are.
func (s *Server) reports(st *state) []report {
	name := st.owner.stream
	stream, err := s.config.Hub.Stream(name)
	if err != nil {
		return nil
	}
	var list []report
	for _, r := range s.renditions(stream) {
		var own *state
		if p := s.running(name, r.id); p != nil {
			own = p.state.Load()
		}
		list = append(list, reportOf(r.id, own, st))
	}
	return list
}
