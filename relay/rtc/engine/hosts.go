package engine

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// hosts are the addresses under which peers reach a socket that is bound to addr: that, or all of this machine's where
// it is bound to none in particular, or what a 1:1 NAT shows instead.
func hosts(addr netip.AddrPort, public []netip.Addr, loopback bool) ([]netip.AddrPort, error) {
	var ips []netip.Addr
	switch {
	case len(public) > 0:
		ips = public
	case !addr.Addr().IsUnspecified():
		ips = []netip.Addr{addr.Addr()}
	default:
		all, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("list this machine's addresses: %w", err)
		}
		ips = choose(all, addr.Addr().Is4(), loopback)
	}
	var list []netip.AddrPort
	for _, ip := range ips {
		list = append(list, netip.AddrPortFrom(ip.Unmap(), addr.Port()))
	}
	return list, nil
}

// choose picks the addresses that a peer elsewhere may reach, IPv4 first; loopback ones if asked to, or if there are
// no others: in a container without a network, on a laptop in flight.
func choose(all []net.Addr, only4, loopback bool) []netip.Addr {
	var far, near []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		switch ip := prefix.Addr().Unmap(); {
		case ip.Is6() && only4, ip.IsLinkLocalUnicast():
		case ip.IsLoopback():
			near = append(near, ip)
		default:
			far = append(far, ip)
		}
	}
	if loopback || len(far) == 0 {
		far = append(far, near...)
	}
	slices.SortStableFunc(far, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return far
}
