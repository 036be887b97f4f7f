package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// URLGuard decides which URLs this node may be made to fetch from (CHECKLISTS S13), so that nobody
// reaches through it what they could not reach themselves. A name is resolved once; every address it
// has must be allowed, and the connection goes to one of those, so a second answer changes nothing.
// Whoever follows redirects dials by the guard each time.
//
// The zero guard allows nothing: set Schemes. A guard may be used by several goroutines.
type URLGuard struct {
	// Schemes that are allowed, with the port that each has by default.
	Schemes map[string]uint16
	// Private allows loopback, private and link-local networks: for URLs that the operator wrote into
	// the configuration, as cameras usually are on such networks. URLs that come from elsewhere must
	// not have it.
	Private bool
	// Ports below 1024 that are allowed. From 1024 on all are.
	Ports []uint16
	// Lookup resolves a name. If nil, net.DefaultResolver does.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

const (
	maxURL      = 2048
	dialTimeout = 5 * time.Second
	maxTried    = 4 // addresses of one name
)

// Check parses raw and checks all that can be told without resolving its name.
func (g *URLGuard) Check(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("the URL has more than %d bytes", maxURL)
	}
	for _, r := range raw {
		if r <= ' ' || r > '~' || r == '\\' {
			return nil, errors.New("the URL has a space, a backslash or another character that URLs do not have: escape it with %")
		}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("the URL cannot be parsed") // err would quote it, password and all
	}
	if _, allowed := g.Schemes[u.Scheme]; !allowed {
		return nil, fmt.Errorf("the scheme %.20q is not allowed: use %s", u.Scheme, strings.Join(g.schemes(), " or "))
	}
	if u.Opaque != "" || u.Fragment != "" || strings.Contains(raw, "#") {
		return nil, errors.New("the URL has a fragment or no host: write it like rtsp://host/path")
	}
	if _, err := g.port(u); err != nil {
		return nil, err
	}
	if err := checkHost(u.Hostname()); err != nil {
		return nil, err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return u, g.checkAddr(ip)
	}
	return u, nil
}

func (g *URLGuard) schemes() []string {
	var all []string
	for s := range g.Schemes {
		all = append(all, s+"://")
	}
	slices.Sort(all)
	return all
}

// Address is the host and port that u is to be dialled at.
func (g *URLGuard) Address(u *url.URL) string {
	port, _ := g.port(u)
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), strconv.Itoa(int(port)))
}

func (g *URLGuard) port(u *url.URL) (uint16, error) {
	if u.Port() == "" {
		return g.Schemes[u.Scheme], nil
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		return 0, errors.New("the port of the URL is no number between 1 and 65535")
	}
	return uint16(n), g.checkPort(uint16(n))
}

func (g *URLGuard) checkPort(port uint16) error {
	if port < 1024 && !slices.Contains(g.Ports, port) {
		return fmt.Errorf("port %d is not allowed, as it belongs to another service: use %s", port, g.ports())
	}
	return nil
}

// ports says which are allowed.
func (g *URLGuard) ports() string {
	var all strings.Builder
	for _, port := range g.Ports {
		fmt.Fprintf(&all, "%d, ", port)
	}
	return all.String() + "or one from 1024 to 65535"
}

// checkHost refuses what resolvers understand in more than one way: numbers in other forms than four
// decimals (127.1, 0x7f000001), and bytes that names do not have.
func checkHost(host string) error {
	if host == "" {
		return errors.New("the URL has no host: write it like rtsp://host/path")
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return errors.New("an address with a zone is not allowed")
		}
		return nil
	}
	host = strings.TrimSuffix(host, ".")
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("the host %.80q is no name and no IP address", host)
		}
	}
	if last := labels[len(labels)-1]; last[0] >= '0' && last[0] <= '9' { // no top-level domain begins with a digit
		return fmt.Errorf("the host %.80q is not an IP address in its usual form: write it like 192.0.2.1", host)
	}
	return nil
}

// Dial connects to address ("host:port") if all that its name resolves to is allowed. It fits the
// DialContext fields of clients.
func (g *URLGuard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	addrs, port, err := g.resolve(ctx, address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	var failed error
	for _, ip := range addrs[:min(len(addrs), maxTried)] {
		c, err := dialer.DialContext(ctx, network, netip.AddrPortFrom(ip, port).String())
		if err == nil {
			return c, nil
		}
		failed = err
	}
	return nil, failed
}

func (g *URLGuard) resolve(ctx context.Context, address string) ([]netip.Addr, uint16, error) {
	host, digits, err := net.SplitHostPort(address)
	if err != nil {
		return nil, 0, fmt.Errorf("connect to %.80q: write it as host and port", address)
	}
	port, err := strconv.ParseUint(digits, 10, 16)
	if err != nil {
		return nil, 0, fmt.Errorf("connect to %.80q: the port is no number between 1 and 65535", address)
	}
	if err := errors.Join(g.checkPort(uint16(port)), checkHost(host)); err != nil {
		return nil, 0, fmt.Errorf("connect to %.80q: %w", address, err)
	}
	addrs, err := g.lookup(ctx, host)
	if err != nil {
		return nil, 0, fmt.Errorf("resolve %.80q: %w", host, err)
	}
	if len(addrs) == 0 {
		return nil, 0, fmt.Errorf("resolve %.80q: it has no address", host)
	}
	for i, ip := range addrs {
		addrs[i] = ip.Unmap()
		if err := g.checkAddr(ip); err != nil {
			return nil, 0, fmt.Errorf("connect to %.80q: %w", host, err)
		}
	}
	return addrs, uint16(port), nil
}

func (g *URLGuard) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if g.Lookup != nil {
		return g.Lookup(ctx, host)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

var (
	errAddress = errors.New("the address is not one that streams come from")
	errPrivate = errors.New("the address is in a private network: only the operator's configuration may name such")
)

func (g *URLGuard) checkAddr(ip netip.Addr) error {
	if ip.Zone() != "" {
		return errAddress
	}
	ip = ip.Unmap()
	within := func(p netip.Prefix) bool { return p.Contains(ip) }
	if slices.ContainsFunc(neverNets, within) {
		return errAddress
	}
	if !g.Private && slices.ContainsFunc(privateNets, within) {
		return errPrivate
	}
	return nil
}

// neverNets are no place for a camera: unspecified, multicast, broadcast and reserved addresses, the
// clouds' metadata services, and forms of IPv6 that hide another address (RFC 6890, RFC 3056, RFC
// 4380, RFC 6052).
var neverNets = prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "192.0.0.0/24", "169.254.169.254/32", "100.100.100.200/32",
	"::/128", "::/96", "ff00::/8", "fd00:ec2::254/128", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "100::/64")

// privateNets are reached from this node but not from where its users are.
var privateNets = prefixes("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10",
	"198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "::1/128", "fc00::/7", "fe80::/10", "fec0::/10", "2001:db8::/32")

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, s := range list {
		all[i] = netip.MustParsePrefix(s)
	}
	return all
}
