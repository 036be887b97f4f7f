package wish

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds how often each client may ask.
type limiter struct {
	each  rate.Limit
	burst int

	mu      sync.Mutex // guards all below
	clients map[netip.Addr]*rate.Limiter
	swept   time.Time
}

const (
	burstSeconds = 5
	maxClients   = 1 << 14 // that are remembered; those beyond share one place
	ipv6Prefix   = 64      // what one IPv6 client has at least
	sweepEvery   = time.Second
)

func newLimiter(perSecond float64) limiter {
	return limiter{
		each: rate.Limit(perSecond), burst: max(1, int(perSecond*burstSeconds)),
		clients: map[netip.Addr]*rate.Limiter{},
	}
}

// host is what counts as one client: an IPv4 address or an IPv6 network.
func host(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(ipv6Prefix); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// allow counts a request of client at now, unless it is one too many.
func (l *limiter) allow(client netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.clients[client]
	if bucket == nil {
		if len(l.clients) >= maxClients && now.Sub(l.swept) >= sweepEvery { // not per request: it looks at all
			l.swept = now
			l.sweep(now)
		}
		if len(l.clients) >= maxClients {
			client = netip.Addr{} // an attack from everywhere: strangers share
			bucket = l.clients[client]
		}
		if bucket == nil {
			bucket = rate.NewLimiter(l.each, l.burst)
			l.clients[client] = bucket
		}
	}
	return bucket.AllowN(now, 1)
}

// sweep forgets clients that have been quiet.
func (l *limiter) sweep(now time.Time) {
	for client, bucket := range l.clients {
		if bucket.TokensAt(now) >= float64(l.burst) {
			delete(l.clients, client)
		}
	}
}
