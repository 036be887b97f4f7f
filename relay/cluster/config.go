package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/tree"
)

// Config says who this node is and whom it talks to.
type Config struct {
	// Self is what others learn of this node; New sets its Boot. Name must be unique in the cluster. Where the IP of
	// Link is unspecified (0.0.0.0), others use the one that this node gossips from.
	Self tree.Node

	// Addr is host:port to gossip on, over UDP and TCP. If empty, ":7946" with Join; without, the node stays alone.
	Addr string
	// Advertise is the IP address, or IP:port, that others reach this node's gossip by, where it stands behind address
	// translation. If empty, the address of Addr or, where that is unspecified, the one by which Join is reached.
	Advertise string
	// Join are addresses, host:port, of other nodes; one that is reachable is enough. A name that stands for several
	// addresses is fine. They are tried for ever.
	Join []string
	// Allow lists the networks that gossip is taken from. If empty, all.
	Allow []netip.Prefix

	// Keys are cluster keys of at least 16 bytes, the same on all nodes. The first one seals, all open. To change the
	// key, let all nodes accept the new one (old, new), then let all use it (new, old), then remove the old one.
	// Without a key a node gossips on loopback addresses only.
	Keys [][]byte

	// ProbeInterval is how often the node checks another one, which has half of it to answer itself, and all of it by
	// way of others. If zero, 200 ms, by which a dead node is noticed in about a second. It must be more than the
	// longest round trip between any two nodes.
	ProbeInterval time.Duration

	// Metrics gets the package's collectors. If nil, there are none.
	Metrics prometheus.Registerer
	// Logger gets a line when a node comes or goes. If nil, slog.Default().
	Logger *slog.Logger

	network network // that of the machine, if nil; tests have others
}

// network opens sockets.
type network interface {
	ListenPacket(addr netip.AddrPort) (packetLine, error)
	Listen(addr netip.AddrPort) (net.Listener, error)
	// Dial opens a stream from an address of this machine, or from any where that is unspecified or invalid.
	Dial(ctx context.Context, from netip.Addr, addr string) (net.Conn, error)
}

const (
	defaultAddr  = ":7946"
	defaultProbe = 200 * time.Millisecond
)

// loopbackSecret stands in for a key among nodes that have none, and only talk to others on their own machine.
const loopbackSecret = "no cluster key: loopback addresses only"

// alone tells whether the node talks to nobody.
func (c *Config) alone() bool { return c.Addr == "" && len(c.Join) == 0 }

func (c *Config) setDefaults() error {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.network == nil {
		c.network = machine{}
	}
	if c.Addr == "" {
		c.Addr = defaultAddr
	}
	if c.ProbeInterval == 0 {
		c.ProbeInterval = defaultProbe
	}
	if c.ProbeInterval < 50*time.Millisecond || c.ProbeInterval > time.Minute {
		return fmt.Errorf("cluster: a probe interval of %v is not between 50ms and 1m", c.ProbeInterval)
	}
	for _, addr := range c.Join {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("cluster.join: %.80q is not an address: write host:port, such as \"relay1.example.org:7946\"", addr)
		}
	}
	return checkNode(&c.Self)
}

// bindAddr resolves Addr.
func (c *Config) bindAddr() (netip.AddrPort, error) {
	bad := func(err error) (netip.AddrPort, error) {
		return netip.AddrPort{}, fmt.Errorf("cluster.addr: %.80q is not an address to gossip on: write host:port, such as %q: %w", c.Addr, defaultAddr, err)
	}
	host, service, err := net.SplitHostPort(c.Addr)
	if err != nil {
		return bad(err)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return bad(err)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil // all addresses of both families
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip", host)
	if err != nil {
		return bad(err)
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), nil
}

// keysFor derives the keys for gossip on an address.
func (c *Config) keysFor(bind netip.Addr) ([]key, error) {
	if len(c.Keys) > 0 {
		return deriveKeys(c.Keys)
	}
	if !bind.IsLoopback() {
		return nil, fmt.Errorf("cluster.key is empty, and cluster.addr (%s) can be reached from other machines: set the same cluster.key on all nodes, such as `openssl rand -hex 32` prints, or gossip on 127.0.0.1 only", c.Addr)
	}
	return deriveKeys([][]byte{[]byte(loopbackSecret)})
}

// allowed makes the check of an address that gossip comes from.
func (c *Config) allowed() func(netip.Addr) bool {
	allow := c.Allow
	if len(c.Keys) == 0 {
		allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return func(a netip.Addr) bool {
		a = a.Unmap()
		for _, p := range allow {
			if p.Contains(a) {
				return true
			}
		}
		return len(allow) == 0
	}
}

// advertised decides the address that others are told.
func (c *Config) advertised(bound netip.AddrPort) (netip.AddrPort, error) {
	if c.Advertise != "" {
		if a, err := netip.ParseAddrPort(c.Advertise); err == nil {
			return a, nil
		}
		a, err := netip.ParseAddr(c.Advertise)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("cluster: %.80q is not an address to advertise: write an IP address, or IP:port", c.Advertise)
		}
		return netip.AddrPortFrom(a.Unmap(), bound.Port()), nil
	}
	if !bound.Addr().IsUnspecified() {
		return bound, nil
	}
	for _, join := range c.Join { // no packet is sent: the kernel chooses a route
		if a, ok := routeTo(join); ok {
			return netip.AddrPortFrom(a, bound.Port()), nil
		}
	}
	if a, ok := firstAddr(); ok {
		return netip.AddrPortFrom(a, bound.Port()), nil
	}
	return netip.AddrPort{}, errors.New("cluster: this machine has no address that other nodes could reach: write one into cluster.addr")
}

func routeTo(addr string) (netip.Addr, bool) {
	conn, err := net.DialTimeout("udp", addr, time.Second)
	if err != nil {
		return netip.Addr{}, false
	}
	defer conn.Close()
	local, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return local.AddrPort().Addr().Unmap(), true
}

// firstAddr is the first address of this machine that is not loopback, a private one if there is one.
func firstAddr() (first netip.Addr, ok bool) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return first, false
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().IsGlobalUnicast() {
			continue
		}
		if p.Addr().IsPrivate() {
			return p.Addr().Unmap(), true
		}
		if !ok {
			first, ok = p.Addr().Unmap(), true
		}
	}
	return first, ok
}

// machine is the real network.
type machine struct{}

func (machine) ListenPacket(addr netip.AddrPort) (packetLine, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err
	}
	conn.SetReadBuffer(1 << 20) //nolint:errcheck // the default will do, with more loss in a burst
	return conn, nil
}

func (machine) Listen(addr netip.AddrPort) (net.Listener, error) {
	return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
}

// Dial speaks from the very address that packets come from, so that whoever filters by address (cluster.allow, a
// firewall) sees one node on a machine with several.
func (machine) Dial(ctx context.Context, from netip.Addr, addr string) (net.Conn, error) {
	var d net.Dialer
	if from.IsValid() && !from.IsUnspecified() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return d.DialContext(ctx, "tcp", addr)
}
