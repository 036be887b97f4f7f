package main

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// realClient lets next see the client's own address where the request came through proxies that are trusted, as
// limits are counted by it. Of X-Forwarded-For only what trusted proxies have added counts: the last address that is
// not theirs. Everything to the left of it is the client's own word.
func realClient(networks []string, next http.Handler) http.Handler {
	var trusted []netip.Prefix
	for _, text := range networks {
		if network, err := netip.ParsePrefix(text); err == nil { // checked with the configuration
			trusted = append(trusted, network)
		}
	}
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := forwarded(r, trusted); ok {
			r.RemoteAddr = client.String()
		}
		next.ServeHTTP(w, r)
	})
}

// forwarded is the client that a trusted proxy speaks for; ok is false where there is none.
func forwarded(r *http.Request, trusted []netip.Prefix) (client netip.AddrPort, ok bool) {
	isTrusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) })
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !isTrusted(peer.Addr()) {
		return netip.AddrPort{}, false
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		hop = strings.TrimSpace(hop)
		if host, _, err := net.SplitHostPort(hop); err == nil {
			hop = host
		}
		addr, err := netip.ParseAddr(strings.Trim(hop, "[]"))
		if err != nil {
			return netip.AddrPort{}, false
		}
		if !isTrusted(addr) {
			return netip.AddrPortFrom(addr.Unmap(), 0), true
		}
	}
	return netip.AddrPort{}, false
}
