package engine

import (
	"cmp"
	"log/slog"
	"net/netip"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/rtc/engine/batch"
)

// Config says where an engine listens and how patient it is. Zero means default, except where said.
type Config struct {
	// Addr is host:port, for UDP and TCP alike. Port 0 takes a free one. If empty, ":8189".
	Addr string
	// NoTCP leaves ICE-TCP out.
	NoTCP bool
	// PublicIPs are told to peers instead of this machine's own addresses, where it is behind a 1:1 NAT.
	PublicIPs []netip.Addr
	// Loopback tells peers the loopback address too. It is implied where Addr is a loopback address, and where this
	// machine has no other.
	Loopback bool
	// Shards is how many goroutines share the viewers. If zero, one per CPU that Go uses.
	Shards int
	// ConnectTimeout is how long a session may take from its answer to its first DTLS Finished. If zero, 15 s.
	ConnectTimeout time.Duration
	// ConsentTimeout is how long a peer may be silent: it ends then (RFC 7675 section 5.1). If zero, 15 s.
	ConsentTimeout time.Duration
	// StallTimeout is how long a viewer may get nothing of what is sent to it. If zero, 10 s.
	StallTimeout time.Duration
	// Estimate asks viewers to report which packets arrived and when, and estimates their networks by that. It costs
	// 8 bytes per packet of video, and ten or twenty reports per second and viewer.
	Estimate bool
	// Socket is for tests and for systems that misbehave.
	Socket batch.Options
	// Metrics gets the accounts. If nil, they are kept for Stats alone.
	Metrics prometheus.Registerer
	// Logger gets one line when a session connects and one when it ends. If nil, slog.Default().
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Addr = cmp.Or(c.Addr, ":8189")
	if c.Shards <= 0 {
		c.Shards = runtime.GOMAXPROCS(0)
	}
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&c.ConnectTimeout, 15 * time.Second}, {&c.ConsentTimeout, 15 * time.Second}, {&c.StallTimeout, 10 * time.Second}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}
