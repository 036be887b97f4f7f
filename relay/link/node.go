package link

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"
	"golang.org/x/time/rate"

	"banyan/relay/log"
	"banyan/relay/media"
)

// Track is a track that a parent serves to one child.
type Track interface {
	Log() *log.Log
	// Path are the nodes that the track came through: its birthplace first, this node last. None tells the child that
	// this node has nobody to take the track from, though its log is there.
	Path() []string
	// PathChanged returns a channel that is closed when Path next changes. Take it before Path.
	PathChanged() <-chan struct{}
	// Close tells that the child does not read the track any more.
	Close()
}

// Source finds tracks for children.
type Source interface {
	// Open finds a track for a child. It may take its time, until ctx ends: the node may have to get the track from its
	// own parent first, and then as the child wishes. An error travels to the child as a sentence; ErrNoTrack, ErrFull,
	// ErrLoop and ErrDraining keep their identity.
	Open(ctx context.Context, id media.TrackID, wish Wish) (Track, error)
}

// Wish is what a child says when it asks for a track.
type Wish struct {
	// From is the first offset that it lacks; zero for where a new reader begins.
	From int64
	// After is the media time up to which it, or who is below it, has the track; zero where nobody has anything. A maker
	// who begins only now goes on there.
	After media.Time
	// Below are the nodes that will get the track through this one, the child first: none of them must become its parent.
	Below []string
}

// Config is what a Node is built on. Node, Identity and Addr must be set. Zero means default elsewhere.
type Config struct {
	Node     string // this node's name, that of Identity
	Identity *Identity
	// Source answers children. If nil, no track is served.
	Source Source
	// State says how this node is, to nodes that ask (Peer.Ask); at most 512 KiB. If nil, they are not answered.
	State func() []byte
	// Addr is the UDP host:port for links, both those that children open and those to parents.
	Addr string
	// Logger gets a line when a link comes up, goes down or is cut. If nil, slog.Default().
	Logger *slog.Logger
	// Metrics gets the counters. If nil, they are counted for nobody.
	Metrics prometheus.Registerer
	Limits  Limits
}

// Limits bound what peers can cost, and how soon a peer counts as dead. Zero means default.
type Limits struct {
	// Heartbeat is how often each side speaks. If zero, 100 ms.
	Heartbeat time.Duration
	// Silence is after how long a peer that does not speak is down. If zero, 350 ms: three heartbeats and a half.
	Silence time.Duration
	// Stale is how much further a child may fall behind than it was before a group is given up for a newer keyframe.
	// If zero, 500 ms.
	Stale time.Duration
	// Patience is how long a group waits for the end of the one before it. If zero, 100 ms.
	Patience time.Duration
	// Dial bounds one attempt to reach a parent. If zero, 1 s.
	Dial time.Duration
	// Children bounds the connections of children, those that still shake hands included. If zero, 1024.
	Children int
	// Subscriptions bounds the tracks of one child. If zero, 2048.
	Subscriptions int
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{
		{&l.Heartbeat, 100 * time.Millisecond}, {&l.Silence, 350 * time.Millisecond}, {&l.Stale, 500 * time.Millisecond},
		{&l.Patience, 100 * time.Millisecond}, {&l.Dial, time.Second},
	} {
		if *d.value <= 0 {
			*d.value = d.zero
		}
	}
	if l.Children <= 0 {
		l.Children = 1024
	}
	if l.Subscriptions <= 0 {
		l.Subscriptions = 2048
	}
	return l
}

// MaxDepth is through how many nodes below its parent a track may go: more is a loop, or a tree gone wrong.
const MaxDepth = 8

const (
	// Streams that a parent may have open to us: two groups of as many tracks as one child may have by default. More wait on
	// the parent's side, and few of these are read at once (see groupsEach).
	maxStreams = 4096
	// How much a peer can make us hold. A stream's window lets 4.5 Mbit/s through at any round trip below two seconds
	// even at its initial size; that of the connection carries 1 Gbit/s at 250 ms, and is what a hostile parent can fill.
	streamWindow, maxStreamWindow = 512 << 10, 4 << 20
	connWindow, maxConnWindow     = 2 << 20, 32 << 20
	// QUIC's own time-out is a back stop for connections whose control stream never came.
	idleTimeout      = 5 * time.Second
	handshakeTimeout = 2 * time.Second
	// Handshakes from unproven addresses per second, beyond which an address has to be proven first (RFC 9000
	// section 8.1.2): a forged address then costs us one small packet and no memory.
	handshakeRate, handshakeBurst = 50, 100
)

// Node is this process on the links: the parent of its children, the child of its parents, on one UDP socket.
type Node struct {
	config    Config
	limits    Limits
	metrics   *metrics
	start     time.Time // of the link clock
	socket    *net.UDPConn
	transport *quic.Transport
	listener  *quic.Listener
	unproven  *rate.Limiter
	warnings  *rate.Limiter // of strangers

	life context.Context // ends all that the node started
	stop context.CancelFunc
	wg   sync.WaitGroup // children and peers; Add only with mu held and closed false

	mu       sync.Mutex // guards the fields below
	closed   bool
	leaving  bool // GoAway was called
	shaking  int  // connections of children, from the first packet to the last
	peers    map[peerKey]*Peer
	children map[*downlink]struct{}
}

type peerKey struct {
	name string
	addr netip.AddrPort
}

// New opens the socket. Call Run, which closes it.
func New(config Config) (*Node, error) {
	if config.Identity == nil || config.Addr == "" {
		return nil, errors.New("link: set Node, Identity and Addr")
	}
	if config.Node != config.Identity.node {
		return nil, fmt.Errorf("link: the identity is that of node %q, not %q", config.Identity.node, config.Node)
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Metrics == nil {
		config.Metrics = prometheus.NewRegistry()
	}
	n := &Node{
		config: config, limits: config.Limits.withDefaults(), start: time.Now(),
		unproven: rate.NewLimiter(handshakeRate, handshakeBurst),
		warnings: rate.NewLimiter(1, 1),
		peers:    map[peerKey]*Peer{}, children: map[*downlink]struct{}{},
	}
	n.life, n.stop = context.WithCancel(context.Background())
	var err error
	if n.metrics, err = newMetrics(config.Metrics, n); err != nil {
		return nil, err
	}
	if err := n.listen(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *Node) listen() error {
	addr, err := net.ResolveUDPAddr("udp", n.config.Addr)
	if err != nil {
		return fmt.Errorf("link address %q: %w; write host:port, such as :7947", n.config.Addr, err)
	}
	if n.socket, err = net.ListenUDP("udp", addr); err != nil {
		return fmt.Errorf("listen for links: %w", err)
	}
	n.transport = &quic.Transport{Conn: n.socket, VerifySourceAddress: n.mustProve, ConnContext: n.admit}
	config := quicConfig()
	config.MaxIncomingStreams, config.MaxIncomingUniStreams = 1, -1 // a child opens the control stream and no other
	if n.listener, err = n.transport.Listen(n.config.Identity.config(n.stranger), config); err != nil {
		n.close()
		return fmt.Errorf("listen for links: %w", err)
	}
	return nil
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: handshakeTimeout, MaxIdleTimeout: idleTimeout,
		InitialStreamReceiveWindow: streamWindow, MaxStreamReceiveWindow: maxStreamWindow,
		InitialConnectionReceiveWindow: connWindow, MaxConnectionReceiveWindow: maxConnWindow,
	}
}

// stranger notes that somebody knocked who is not of this cluster. Floods of them are no flood of lines.
func (n *Node) stranger(err error) {
	n.metrics.refused(errRefused)
	if n.warnings.Allow() {
		n.config.Logger.Warn("link from a stranger refused", "cause", err)
	}
}

// mustProve tells whether the sender of a first packet has to prove its address.
func (n *Node) mustProve(net.Addr) bool {
	if n.unproven.Allow() {
		return false
	}
	n.metrics.retries.Inc()
	return true
}

var errCrowded = errors.New("too many connections")

// admit bounds the connections of children while they shake hands and after.
func (n *Node) admit(ctx context.Context, _ *quic.ClientInfo) (context.Context, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.shaking >= n.limits.Children {
		n.metrics.refused(errCrowded)
		return nil, errCrowded
	}
	n.shaking++
	context.AfterFunc(ctx, func() {
		n.mu.Lock()
		n.shaking--
		n.mu.Unlock()
	})
	return ctx, nil
}

// Addr is where the node listens.
func (n *Node) Addr() netip.AddrPort {
	addr := n.socket.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Run serves children and keeps peers connected until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	defer context.AfterFunc(ctx, n.stop)()
	for {
		conn, err := n.listener.Accept(ctx)
		if err != nil {
			// In this order: nothing new starts, all links are closed by those who hold them, then the socket.
			n.mu.Lock()
			n.closed = true
			n.mu.Unlock()
			n.stop()
			n.wg.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept links: %w", err)
		}
		n.mu.Lock()
		n.wg.Add(1)
		n.mu.Unlock()
		go func() {
			defer n.wg.Done()
			n.serve(conn)
		}()
	}
}

func (n *Node) close() {
	if n.listener != nil {
		_ = n.listener.Close()
	}
	_ = n.transport.Close() // there is nobody to tell
	_ = n.socket.Close()
}

// GoAway tells all children, now and from now on, to take their tracks from others, and returns when none reads
// anything here any more, or when ctx ends. The node serves as before meanwhile; whether it takes new
// subscriptions is up to its Source.
func (n *Node) GoAway(ctx context.Context) {
	n.mu.Lock()
	n.leaving = true
	children := make([]*downlink, 0, len(n.children))
	for child := range n.children {
		children = append(children, child)
	}
	n.mu.Unlock()
	for _, child := range children {
		_ = child.send(frameGoingAway, nil) // one that cannot be told is being closed
	}
	const look = 20 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for n.metrics.served.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// clock is the link clock: microseconds since the node started, whatever happens to the wall clock.
func (n *Node) clock(now time.Time) int64 { return now.Sub(n.start).Microseconds() }
