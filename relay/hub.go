package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Errors that callers branch on.
var (
	ErrNoStream = errors.New("no such stream is live: check the name, or publish to it first")
	ErrNoTrack  = errors.New("the stream has no such track")
	ErrFull     = errors.New("this node carries as many streams as it may: end one, or publish to another node")
	ErrClosed   = errors.New("this node is shutting down: connect to another one")
)

// Config bounds a hub. Zero means default.
type Config struct {
	// Log is the window of each track.
	Log log.Config
	// Linger is how long a stream is kept that has neither publisher nor readers. If zero, 60 s.
	Linger time.Duration
	// Segment is the length of a segment of HLS, on which the breaks of streams show (media.Break). If zero, 2 s.
	Segment time.Duration
	// MaxStreams bounds the streams on this node. If zero, 10000.
	MaxStreams int
	// Logger gets a line when a stream or a supply starts, ends or turns bad. If nil, slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Linger <= 0 {
		c.Linger = time.Minute
	}
	if c.Segment <= 0 {
		c.Segment = 2 * time.Second
	}
	if c.MaxStreams <= 0 {
		c.MaxStreams = 10000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Supplier provides tracks of streams that nobody publishes as they are.
type Supplier interface {
	// Offers lists the tracks that could be supplied for s as it is now. It is called often, must
	// be quick, and may call methods of s that only look (Live, Published).
	Offers(s *Stream) []Offer
	// Supply writes a track that was offered until ctx ends. It is given a writer to a fresh log,
	// deals with its own failures, and returns only when ctx has ended or it can never go on.
	Supply(ctx context.Context, s *Stream, offer Offer, w *log.Writer) error
}

// Offer is a track that a Supplier could provide.
type Offer struct {
	Format media.Format
	Kind   media.Kind
	// Params is what the track is expected to be like; parameter sets are not known yet. They have no codec where a
	// publisher on another node has claimed the track and sent nothing yet.
	Params media.Params
	// Always asks to supply the track while the stream is live, read or not.
	Always bool
	// Linger is how long the supply goes on after the last reader has left.
	Linger time.Duration
	// Waits tells that the track is wanted, and has waited for room here for a while: another node had better make it.
	Waits bool
	// Replica tells that the track is born on another node: its offsets come from there, and the supplier calls
	// StartAt on its writer.
	Replica bool
}

// expected is what the track is to be like; nil where nothing is known.
func (o *Offer) expected() *media.Params {
	if o.Params.Codec == "" {
		return nil
	}
	return &o.Params
}

// Hub holds the streams of this node.
type Hub struct {
	config Config

	ctx    context.Context // ends supplies
	cancel context.CancelFunc
	wg     sync.WaitGroup // supplies and timers
	panics atomic.Uint64  // of suppliers

	mu        sync.Mutex // guards all below, and the streams' state
	streams   map[media.Name]*Stream
	suppliers []Supplier
	closed    bool
	changed   chan struct{} // closed and replaced when the set of streams changes
}

// New makes an empty hub. Call Close when done.
func New(config Config) *Hub {
	h := &Hub{config: config.withDefaults(), streams: map[media.Name]*Stream{}, changed: make(chan struct{})}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// AddSupplier asks s for offers from now on. Where several offer the same track, the first that was
// added supplies it.
func (h *Hub) AddSupplier(s Supplier) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.suppliers = append(slices.Clone(h.suppliers), s)
}

// Panics is how often a supplier broke.
func (h *Hub) Panics() uint64 { return h.panics.Load() }

// Stream finds a stream that has, or lately had, a publisher.
func (h *Hub) Stream(name media.Name) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.streams[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("stream %q: %w", name, ErrNoStream)
}

// Streams lists all streams by name.
func (h *Hub) Streams() []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*Stream, 0, len(h.streams))
	for _, s := range h.streams {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Stream) int { return strings.Compare(string(a.name), string(b.name)) })
	return all
}

// Changed returns a channel that is closed when a stream next appears or goes.
func (h *Hub) Changed() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.changed
}

// Publish claims name for a publisher. One that held it before is replaced: its Publication ends, and
// readers stay. origin says for logs and the API by which door and from where the publisher came, such
// as "whip 192.0.2.1:5000".
func (h *Hub) Publish(name media.Name, origin string) (*Publication, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.streamLocked(name)
	if err != nil {
		return nil, err
	}
	p := &Publication{stream: s, origin: origin, since: time.Now(), ended: make(chan struct{})}
	s.claimLocked(p)
	h.config.Logger.Info("publisher came", "stream", name, "origin", origin)
	return p, nil
}

// streamLocked finds a stream, or makes it.
func (h *Hub) streamLocked(name media.Name) (*Stream, error) {
	if h.closed {
		return nil, ErrClosed
	}
	s := h.streams[name]
	if s == nil {
		if len(h.streams) >= h.config.MaxStreams {
			return nil, ErrFull
		}
		s = newStream(h, name)
		h.streams[name] = s
		h.ringLocked()
	}
	return s, nil
}

// Close ends all publications and supplies, closes all logs, and waits for what the hub started.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	for _, s := range h.streams {
		h.removeLocked(s)
	}
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

func (h *Hub) removeLocked(s *Stream) {
	delete(h.streams, s.name)
	s.closeLocked()
	h.ringLocked()
}

func (h *Hub) ringLocked() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// after runs f with the lock held after d, unless the hub closes or the returned function is called
// (with the lock held) first.
func (h *Hub) after(d time.Duration, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(h.ctx)
	h.wg.Go(func() {
		defer cancel()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() == nil {
			f()
		}
	})
	return cancel
}
