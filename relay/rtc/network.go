package rtc

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"
	"github.com/pion/webrtc/v4"
	"golang.org/x/net/netutil"
)

// Config says where a network listens. Zero means default, except where said.
type Config struct {
	// Addr is host:port for UDP and TCP alike. Port 0 takes a free one. If empty, ":8189".
	Addr string
	// Port is used in place of Addr, where others share it: a part of one. It is closed with the network.
	Port *Port
	// PublicIPs are told to peers instead of this machine's own addresses, where it is behind a 1:1 NAT.
	PublicIPs []netip.Addr
	// Loopback tells peers the loopback address too. It is implied where Addr is a loopback address, and where this
	// machine has no other.
	Loopback bool
	// NoTCP leaves ICE-TCP out.
	NoTCP bool
	// ConnectTimeout is how long a session may take from its answer to its first DTLS Finished. If zero, 15 s.
	ConnectTimeout time.Duration
	// DisconnectTimeout is the silence after which a connection counts as disturbed, FailTimeout the one after
	// which it is over. If zero, 5 s and 15 s.
	DisconnectTimeout, FailTimeout time.Duration
	// ConsentTimeout is how long a viewer that is not silent may leave our connectivity checks unanswered. If zero, the
	// 30 s of RFC 7675 section 5.1.
	ConsentTimeout time.Duration
	// StallTimeout is how long a viewer may get nothing of what is sent to it. If zero, 10 s.
	StallTimeout time.Duration
	// Logger gets one line when a session connects and one when it ends. If nil, slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	if c.Addr == "" {
		c.Addr = ":8189"
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = 15 * time.Second
	}
	if c.DisconnectTimeout <= 0 {
		c.DisconnectTimeout = 5 * time.Second
	}
	if c.FailTimeout <= c.DisconnectTimeout {
		c.FailTimeout = c.DisconnectTimeout + 10*time.Second
	}
	if c.ConsentTimeout <= 0 {
		c.ConsentTimeout = 30 * time.Second
	}
	if c.StallTimeout <= 0 {
		c.StallTimeout = 10 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// ErrClosed is returned for sessions that are asked for while the network shuts down.
var ErrClosed = errors.New("the WebRTC network is closed")

// Network is the shared ground of all WebRTC sessions of this node.
type Network struct {
	config   Config
	port     *Port
	udpMux   ice.UDPMux
	tcpMux   ice.TCPMux
	settings webrtc.SettingEngine // copied for every session

	mu          sync.Mutex // guards all below
	certificate webrtc.Certificate
	peers       map[*Peer]struct{}
	closed      bool
	wg          sync.WaitGroup // one per peer; Add only with mu held and closed false
}

// New opens the sockets. Call Close when done.
func New(config Config) (*Network, error) {
	n := &Network{config: config.withDefaults(), peers: map[*Peer]struct{}{}}
	if n.port = config.Port; n.port == nil {
		var err error
		if n.port, err = Listen(n.config.Addr, !n.config.NoTCP); err != nil {
			return nil, err
		}
	}
	logs := logAdapter{n.config.Logger}
	n.udpMux = webrtc.NewICEUDPMux(logs.NewLogger("ice"), n.port.UDP)
	if n.port.TCP != nil {
		n.tcpMux = newTCPMux(&stallListener{Listener: n.port.TCP, patience: n.config.StallTimeout}, logs)
	}
	if err := n.configure(logs); err != nil {
		_ = n.closeSockets() // why it came to this says more
		return nil, err
	}
	if _, err := n.currentCertificate(time.Now()); err != nil {
		_ = n.closeSockets() // why it came to this says more
		return nil, err
	}
	return n, nil
}

// newTCPMux shares a TCP port among sessions. Strangers that connect and say nothing are cut soon.
func newTCPMux(l net.Listener, logs logAdapter) ice.TCPMux {
	const (
		connections = 8192
		queued      = 64      // packets of one peer before they are read
		unsent      = 4 << 20 // bytes to one peer; what is more is dropped
	)
	return ice.NewTCPMuxDefault(ice.TCPMuxParams{
		Listener: netutil.LimitListener(l, connections), Logger: logs.NewLogger("ice"),
		ReadBufferSize: queued, WriteBufferSize: unsent,
		FirstStunBindTimeout: 5 * time.Second, AliveDurationForConnFromStun: 10 * time.Second,
	})
}

// onlyLoopback tells whether this machine has no other address: a container without a network, a laptop in flight.
func onlyLoopback() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(addrs, func(a net.Addr) bool {
		ip, ok := a.(*net.IPNet)
		return ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast()
	})
}

// reachable tells whether to send connectivity checks to an address that a peer names. A peer could otherwise make
// this server knock at services that listen on its loopback, or at a cloud's metadata address.
func reachable(ip net.IP, loopback bool) bool {
	if ip.IsLoopback() {
		return loopback
	}
	return !ip.IsLinkLocalUnicast() && !ip.IsMulticast() && !ip.IsUnspecified()
}

func (n *Network) configure(logs logAdapter) error {
	s := &n.settings
	s.LoggerFactory = logs
	s.SetICEUDPMux(n.udpMux)
	networks := []webrtc.NetworkType{webrtc.NetworkTypeUDP4, webrtc.NetworkTypeUDP6}
	if n.tcpMux != nil {
		s.SetICETCPMux(n.tcpMux)
		networks = append(networks, webrtc.NetworkTypeTCP4, webrtc.NetworkTypeTCP6)
	}
	s.SetNetworkTypes(networks)
	s.DisableActiveTCP(true) // a stranger's candidate must not make this server open connections
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	loopback := n.config.Loopback || n.Addr().Addr().IsLoopback() || onlyLoopback()
	s.SetIncludeLoopbackCandidate(loopback)
	s.SetRemoteIPFilter(func(ip net.IP) bool { return reachable(ip, loopback) })
	if len(n.config.PublicIPs) > 0 {
		rule := webrtc.ICEAddressRewriteRule{AsCandidateType: webrtc.ICECandidateTypeHost, Mode: webrtc.ICEAddressRewriteReplace}
		for _, ip := range n.config.PublicIPs {
			rule.External = append(rule.External, ip.String())
		}
		if err := s.SetICEAddressRewriteRules(rule); err != nil {
			return fmt.Errorf("rtc.public_ips: %w", err)
		}
	}
	const keepalive = 2 * time.Second
	// The stack counts its second timeout from the first.
	s.SetICETimeouts(n.config.DisconnectTimeout, n.config.FailTimeout-n.config.DisconnectTimeout,
		min(keepalive, n.config.DisconnectTimeout/2))
	s.SetSRTPProtectionProfiles(dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80)
	const window = 512 // packets; reordering beyond that is treated as replay
	s.SetSRTPReplayProtectionWindow(window)
	s.SetSRTCPReplayProtectionWindow(window)
	s.SetDTLSReplayProtectionWindow(64)
	const mtu = 2048 // some publishers send up to the Ethernet MTU and beyond the stack's 1460
	s.SetReceiveMTU(mtu)
	return nil
}

// Addr is where the network listens, by UDP and, unless told not to, by TCP.
func (n *Network) Addr() netip.AddrPort { return n.port.Addr() }

// Sessions is how many there are.
func (n *Network) Sessions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.peers)
}

// currentCertificate is the certificate for a session that begins now. It is renewed when half of its life is over,
// so that it outlasts every session that was begun with it.
func (n *Network) currentCertificate(now time.Time) (webrtc.Certificate, error) {
	const halfLife = 14 * 24 * time.Hour
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.certificate.Expires().After(now.Add(halfLife)) {
		return n.certificate, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make a DTLS key: %w", err)
	}
	certificate, err := webrtc.GenerateCertificate(key)
	if err != nil {
		return webrtc.Certificate{}, fmt.Errorf("make a DTLS certificate: %w", err)
	}
	n.certificate = *certificate
	return n.certificate, nil
}

// adopt makes the network answer for p until it is let go. Close waits for its wg.Done.
func (n *Network) adopt(p *Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return ErrClosed
	}
	n.peers[p] = struct{}{}
	n.wg.Add(1)
	return nil
}

func (n *Network) letGo(p *Peer) {
	n.mu.Lock()
	delete(n.peers, p)
	n.mu.Unlock()
}

// Close ends all sessions, so that peers learn of it by a DTLS alert, then the sockets, and waits for both.
func (n *Network) Close() error {
	n.mu.Lock()
	n.closed = true
	for p := range n.peers {
		p.End(ErrClosed)
	}
	n.mu.Unlock()
	n.wg.Wait()
	return n.closeSockets()
}

func (n *Network) closeSockets() error {
	err := n.udpMux.Close()
	if n.tcpMux != nil {
		err = errors.Join(err, n.tcpMux.Close())
	}
	if closed := n.port.UDP.Close(); !errors.Is(closed, net.ErrClosed) {
		err = errors.Join(err, closed)
	}
	return err
}
