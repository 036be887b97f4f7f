package rtsp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"golang.org/x/sync/errgroup"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
)

// Guard says who may publish and play; *auth.Guard is one. Errors are those of package auth.
type Guard interface {
	CheckPublish(token string, name media.Name) (auth.Claims, error)
	CheckPlay(token string, name media.Name) (auth.Claims, error)
}

// Config says how a Server works. Zero means default where a field says so.
type Config struct {
	// Hub has the streams.
	Hub *relay.Hub
	// Guard decides about tokens.
	Guard Guard
	// Users may use Digest authentication, and Basic over TLS.
	Users []User

	// Addr is where to listen for RTSP. If empty, ":8554". "off" leaves RTSPS alone.
	Addr string
	// TLSAddr is where to listen for RTSPS. If empty, nowhere. Media comes and goes within the connection: there is
	// no UDP for these sessions.
	TLSAddr string
	// TLS has the certificate for TLSAddr.
	TLS *tls.Config
	// UDPAddr is where RTP is sent from and received; RTCP has the next port. Its port is even, or 0
	// for any free pair. If empty, port 8000 of the host of Addr. "off" leaves TCP as the only
	// transport.
	UDPAddr string

	// Pull lists cameras to fetch from.
	Pull []Pull

	// MaxConns bounds the connections, and with them the sessions. If zero, 2000.
	MaxConns int
	// MaxConnsPerIP bounds them per address. If zero, 100.
	MaxConnsPerIP int
	// Silence is how long a publisher may send nothing. If zero, 10 s.
	Silence time.Duration
	// RequestTimeout is how long a connection may take to complete a request until it has a session, and a
	// camera from the connection to its first packet. If zero, 20 s.
	RequestTimeout time.Duration

	// SessionTimeout is how long a session in which no media flows, before PLAY or RECORD and after PAUSE, may go
	// without a request or a frame; SETUP tells it to the peer, in seconds. If zero, 60 s, which is also what a player
	// over UDP has while media flows.
	SessionTimeout time.Duration

	// Logger gets a line when a session starts, ends or turns bad. If nil, slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = ":8554"
	}
	if c.UDPAddr == "" {
		host, _, _ := net.SplitHostPort(c.Addr)
		c.UDPAddr = net.JoinHostPort(host, "8000")
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 2000
	}
	if c.MaxConnsPerIP <= 0 {
		c.MaxConnsPerIP = 100
	}
	if c.Silence <= 0 {
		c.Silence = 10 * time.Second
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = 20 * time.Second
	}
	if c.SessionTimeout <= 0 {
		c.SessionTimeout = 60 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Server serves RTSP and RTSPS, and fetches cameras. Make one with New and Run it once.
type Server struct {
	config   Config
	users    users
	pullers  []*puller
	counters counters

	life  context.Context // Run's, for handlers, whom gortsplib gives none; set before it accepts
	quota *quota          // who is connected

	refusals *auth.RefusalLog

	draining atomic.Bool

	listening chan struct{} // closed when the addresses are set
	addr      net.Addr      // nil where this is off
	tlsAddr   net.Addr      // nil where this is off
}

type counters struct {
	refusedConns, refusedAuth, undecodable, skipped, pullFailures atomic.Uint64
	publishers, players                                           atomic.Int64
}

// Stats are the accounts of a server.
type Stats struct {
	Publishers, Players int64  // sessions now
	RefusedConns        uint64 // connections over a bound
	RefusedAuth         uint64 // requests with wrong credentials
	Undecodable         uint64 // packets of publishers that made no frame
	Skipped             uint64 // times that a slow player skipped to a keyframe
	PullFailures        uint64 // times that a camera ended or did not begin to deliver
}

// Stats reads the accounts.
func (s *Server) Stats() Stats {
	c := &s.counters
	return Stats{
		Publishers: c.publishers.Load(), Players: c.players.Load(),
		RefusedConns: c.refusedConns.Load(), RefusedAuth: c.refusedAuth.Load(),
		Undecodable: c.undecodable.Load(), Skipped: c.skipped.Load(),
		PullFailures: c.pullFailures.Load(),
	}
}

// New makes a server. It fails when a user or a camera of the configuration is not usable.
func New(config Config) (*Server, error) {
	config = config.withDefaults()
	if config.Hub == nil || config.Guard == nil {
		return nil, errors.New("rtsp: the configuration needs a hub and a guard")
	}
	users, err := checkUsers(config.Users)
	if err != nil {
		return nil, err
	}
	if config.TLSAddr != "" && config.TLS == nil {
		return nil, errors.New("rtsp: RTSPS needs a certificate: set TLS")
	}
	s := &Server{config: config, users: users, listening: make(chan struct{}), refusals: auth.NewRefusalLog(config.Logger)}
	s.quota = newQuota(config, &s.counters.refusedConns)
	for i, p := range config.Pull {
		one, err := s.newPull(p)
		if err != nil {
			return nil, fmt.Errorf("rtsp.pull: item %d: %w", i+1, err)
		}
		s.pullers = append(s.pullers, one)
	}
	return s, nil
}

// Listening is closed when the server accepts connections.
func (s *Server) Listening() <-chan struct{} { return s.listening }

// Addr is where the server listens for RTSP, once Listening is closed; nil where it does not.
func (s *Server) Addr() net.Addr { return s.addr }

// TLSAddr is where the server listens for RTSPS, once Listening is closed; nil where it does not.
func (s *Server) TLSAddr() net.Addr { return s.tlsAddr }

// off is an address at which not to listen.
const off = "off"

// Run serves until ctx ends or a listener fails, and returns after all sessions have.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	s.life = ctx
	var open []*gortsplib.Server
	for _, start := range []func() (*gortsplib.Server, error){s.openPlain, s.openTLS} {
		lib, err := start()
		if err != nil {
			for _, lib := range open {
				lib.Close()
			}
			return err
		}
		if lib != nil {
			open = append(open, lib)
		}
	}
	close(s.listening)
	for _, lib := range open {
		group.Go(func() error { return serve(ctx, lib) })
	}
	for _, p := range s.pullers {
		group.Go(func() error { p.run(ctx); return nil })
	}
	return group.Wait()
}

// serve waits for the end of ctx, and then of all connections.
func serve(ctx context.Context, lib *gortsplib.Server) error {
	var err error // set before ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = lib.Wait()
	}()
	select {
	case <-ctx.Done():
		lib.Close() // ends connections, then sessions; each tells its handler
		<-ended
		return nil
	case <-ended:
		return fmt.Errorf("accept RTSP connections: %w", err)
	}
}

// newLib makes gortsplib's part of a listener; secure is nil for plain RTSP.
func (s *Server) newLib(address string, secure *tls.Config, addr *net.Addr) *gortsplib.Server {
	lib := &gortsplib.Server{
		RTSPAddress: address,
		ReadTimeout: s.config.Silence, // for a publisher; before that boundedConn sees to it
		// A player that takes this long for a packet is gone.
		WriteTimeout: 10 * time.Second,
		// A player's queue takes a burst of a second of HD video; what is more waits in the log.
		WriteQueueSize:           1024,
		DisableRTCPSenderReports: true, // ours carry media time
	}
	lib.Handler = &handler{Server: s, lib: lib}
	lib.Listen = func(network, address string) (net.Listener, error) {
		l, err := net.Listen(network, address)
		if err != nil {
			return nil, err
		}
		*addr = l.Addr()
		return &listener{Listener: l, quota: s.quota, tls: secure, refusals: s.refusals}, nil
	}
	return lib
}

// openPlain listens for RTSP; nil where it is off.
func (s *Server) openPlain() (*gortsplib.Server, error) {
	if s.config.Addr == off {
		return nil, nil
	}
	lib := s.newLib(s.config.Addr, nil, &s.addr)
	if err := s.bindUDP(lib); err != nil {
		return nil, err
	}
	if err := lib.Start(); err != nil {
		return nil, fmt.Errorf("rtsp.addr: listen on %s: %w", s.config.Addr, err)
	}
	s.config.Logger.Info("listening for RTSP", "addr", s.addr.String(), "udp", lib.UDPRTPAddress)
	return lib, nil
}

// openTLS listens for RTSPS; nil where it is off.
func (s *Server) openTLS() (*gortsplib.Server, error) {
	if s.config.TLSAddr == "" {
		return nil, nil
	}
	lib := s.newLib(s.config.TLSAddr, s.config.TLS, &s.tlsAddr)
	if err := lib.Start(); err != nil {
		return nil, fmt.Errorf("rtsp.tls.addr: listen on %s: %w", s.config.TLSAddr, err)
	}
	s.config.Logger.Info("listening for RTSPS", "addr", s.tlsAddr.String())
	return lib, nil
}

// bindUDP finds the pair of ports for RTP and RTCP and hands the sockets to gortsplib, which insists
// on an even port and the one after it (RFC 3550, section 11).
func (s *Server) bindUDP(lib *gortsplib.Server) error {
	if s.config.UDPAddr == off {
		return nil
	}
	rtp, rtcp, err := listenPair(s.config.UDPAddr)
	if err != nil {
		return fmt.Errorf("rtsp.udp_addr: listen on %s: %w", s.config.UDPAddr, err)
	}
	lib.UDPRTPAddress, lib.UDPRTCPAddress = rtp.LocalAddr().String(), rtcp.LocalAddr().String()
	lib.ListenPacket = func(_, address string) (net.PacketConn, error) {
		if address == lib.UDPRTPAddress {
			return rtp, nil
		}
		return rtcp, nil
	}
	return nil
}

func listenPair(address string) (rtp, rtcp net.PacketConn, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, nil, err
	}
	attempts := 1
	if port == "0" {
		attempts = 100 // the kernel may choose an odd port, or the next may be taken
	}
	for range attempts {
		if rtp, err = net.ListenPacket("udp", address); err != nil {
			return nil, nil, err
		}
		n := rtp.LocalAddr().(*net.UDPAddr).Port
		if n%2 != 0 {
			err = fmt.Errorf("port %d is odd: choose an even one, as RTCP takes the next", n)
		} else if rtcp, err = net.ListenPacket("udp", net.JoinHostPort(host, strconv.Itoa(n+1))); err == nil {
			return rtp, rtcp, nil
		}
		rtp.Close()
	}
	return nil, nil, err
}
