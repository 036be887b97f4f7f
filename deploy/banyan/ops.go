package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/deploy/api"
	"banyan/relay/auth"
)

// newPeerGuard makes and checks the tokens by which the nodes of a cluster ask each other how they are. Its secret
// comes from the cluster's key and is for nothing else, so that such a token does not open the API.
func newPeerGuard(keys [][]byte) (*auth.Guard, error) {
	var secrets [][]byte
	for _, key := range keys {
		secret, err := hkdf.Key(sha256.New, key, nil, "banyan accounts between nodes 1", auth.MinSecretBytes)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	if len(secrets) == 0 {
		return nil, errors.New("cluster.key is empty: set the same one on all nodes")
	}
	return auth.NewGuard(auth.Config{Secret: secrets[0], Also: secrets[1:]})
}

// publicURL is where others reach this node by HTTP: as configured, else http.addr at the address of its links. Empty
// where that would lead nowhere.
func (n *node) publicURL(link netip.Addr) string {
	c := &n.cfg.HTTP
	host, port, err := net.SplitHostPort(c.Addr)
	if c.URL != "" || err != nil || port == "0" {
		return c.URL
	}
	addr := link
	if bound, err := netip.ParseAddr(host); err == nil && !bound.IsUnspecified() {
		addr = bound
	}
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsLoopback() && !link.IsLoopback() {
		return ""
	}
	return "http://" + net.JoinHostPort(addr.String(), port)
}

// hops reads the metrics of links for what happened lately. Who asks every second gets what came in about ten.
type hops struct {
	metrics prometheus.Gatherer

	mu   sync.Mutex
	past []reading // oldest first
}

// reading is the state of the histogram at a time.
type reading struct {
	at     time.Time
	bounds []float64 // seconds; upper bounds of the buckets
	counts []uint64  // up to each bound, and last of all
}

const (
	hopMetric  = "banyan_link_hop_seconds"
	dropMetric = "banyan_link_dropped_packets_total"
	hopWindow  = 10 * time.Second
	mostPast   = 32
)

// links tells the API of the links to parents.
func (h *hops) links() (*api.Hop, map[string]uint64) {
	now, drops := reading{at: time.Now()}, map[string]uint64{}
	families, _ := h.metrics.Gather() // what could be read is there also after an error
	for _, family := range families {
		for _, m := range family.GetMetric() {
			switch family.GetName() {
			case hopMetric:
				for _, b := range m.GetHistogram().GetBucket() {
					now.bounds = append(now.bounds, b.GetUpperBound())
					now.counts = append(now.counts, b.GetCumulativeCount())
				}
				now.counts = append(now.counts, m.GetHistogram().GetSampleCount())
			case dropMetric:
				// What comes twice is dropped because nothing was lost.
				if reason := m.GetLabel()[0].GetValue(); reason != "duplicate" && m.GetCounter().GetValue() > 0 {
					drops[reason] = uint64(m.GetCounter().GetValue())
				}
			}
		}
	}
	return h.since(now), drops
}

// since is what came since the oldest reading of the window.
func (h *hops) since(now reading) *api.Hop {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.past) > 1 && (now.at.Sub(h.past[1].at) >= hopWindow || len(h.past) >= mostPast) {
		h.past = h.past[1:]
	}
	var before reading
	if len(h.past) > 0 && now.at.Sub(h.past[0].at) <= 2*hopWindow {
		before = h.past[0]
	}
	if len(h.past) == 0 || now.at.Sub(h.past[len(h.past)-1].at) >= time.Second/2 {
		h.past = append(h.past, now)
	}
	grown := now.less(before)
	if len(grown) == 0 || grown[len(grown)-1] == 0 {
		return nil
	}
	return &api.Hop{P50MS: 1000 * quantile(now.bounds, grown, 0.5), P99MS: 1000 * quantile(now.bounds, grown, 0.99)}
}

// less is what was counted since before.
func (r reading) less(before reading) []uint64 {
	grown := make([]uint64, len(r.counts))
	for i, n := range r.counts {
		grown[i] = n
		if i < len(before.counts) {
			grown[i] -= min(before.counts[i], n)
		}
	}
	return grown
}

// quantile estimates q of a distribution within the bucket that it falls into. counts are cumulative, one more than
// bounds; what lies above all bounds counts as the largest.
func quantile(bounds []float64, counts []uint64, q float64) float64 {
	want := q * float64(counts[len(counts)-1])
	low, below := 0.0, 0.0
	for i, bound := range bounds {
		if up := float64(counts[i]); up >= want && up > below {
			return low + (bound-low)*(want-below)/(up-below)
		}
		low, below = bound, float64(counts[i])
	}
	return low
}
