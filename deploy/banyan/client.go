package main

import (
	"context"
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
		client, ok := forwarded(r, trusted)
		if isProxy(r, trusted) {
			r = r.WithContext(context.WithValue(r.Context(), trustedProxy{}, true))
		}
		if ok {
			r.RemoteAddr = client.String()
		}
		next.ServeHTTP(w, r)
	})
}

// trustedProxy marks, in the context of a request, that a trusted proxy speaks for the client.
type trustedProxy struct{}

// fromTrustedProxy tells whether what a proxy adds to the request can be believed.
func fromTrustedProxy(r *http.Request) bool { return r.Context().Value(trustedProxy{}) != nil }

// forwarded is the client that a trusted proxy speaks for; ok is false where there is none.
func forwarded(r *http.Request, trusted []netip.Prefix) (client netip.AddrPort, ok bool) {
	if !isProxy(r, trusted) {
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
		if !within(addr, trusted) {
			return netip.AddrPortFrom(addr.Unmap(), 0), true
		}
	}
	return netip.AddrPort{}, false
}

// isProxy tells whether a request came straight from a proxy that is trusted.
func isProxy(r *http.Request, trusted []netip.Prefix) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && within(peer.Addr(), trusted)
}

func within(a netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) })
}
