package whep

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/log"
	"banyan/relay/media"
)

// metrics are the accounts of all viewers.
type metrics struct {
	sessions  prometheus.Gauge
	delay     prometheus.Histogram
	packets   map[media.Kind]prometheus.Counter
	bytes     map[media.Kind]prometheus.Counter
	skipped   map[media.Kind]prometheus.Counter
	switches  prometheus.Counter
	dropped   prometheus.Counter // packets that the connection did not take
	forwarded prometheus.Counter // requests for a keyframe
	merged    prometheus.Counter
	refused   *prometheus.CounterVec
	counters  prometheus.Counter // offers of ours

	// Packets that viewers asked for again.
	repaired, overShare, irreparable prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_whep_" + name, Help: help}, []string{label})
	}
	packets := counters("packets_total", "RTP packets sent to WHEP viewers, by kind.", "kind")
	bytes := counters("bytes_total", "RTP payload bytes sent to WHEP viewers, by kind.", "kind")
	skipped := counters("skipped_total", "Packets that WHEP viewers passed over because they were lost or the viewer too slow, by kind.", "kind")
	keyframes := counters("keyframe_requests_total", "Keyframe requests of WHEP viewers: forwarded to the track's writer, or merged with an earlier one.", "outcome")
	repairs := counters("repairs_total", "Packets that WHEP viewers reported as lost: sent again, refused as more than the viewer's share, or not there any more.", "outcome")
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{Name: "banyan_whep_sessions", Help: "WHEP viewers that are connected."}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "banyan_whep_delay_seconds",
			Help:    "Time from a packet's arrival at this node until the kernel had taken it for a WHEP viewer, the longest of each frame or so, bursts for those who join left out.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .0075, .01, .015, .025, .05, .1, .25, 1},
		}),
		switches: prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_whep_switches_total", Help: "Changes of a WHEP viewer from one format or log to another."}),
		dropped:  prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_whep_dropped_total", Help: "Packets that could not be written to a WHEP viewer's connection."}),
		counters: prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_whep_counter_offers_total", Help: "WHEP offers that nothing of the stream fits, and that were answered by an offer of what there is."}),
		refused:  counters("refused_total", "WHEP offers that were refused for what they ask for, by reason.", "reason"),
		packets:  map[media.Kind]prometheus.Counter{}, bytes: map[media.Kind]prometheus.Counter{}, skipped: map[media.Kind]prometheus.Counter{},
		forwarded: keyframes.WithLabelValues("forwarded"), merged: keyframes.WithLabelValues("merged"),
		repaired: repairs.WithLabelValues("sent"), overShare: repairs.WithLabelValues("refused"), irreparable: repairs.WithLabelValues("missing"),
	}
	for _, kind := range media.Kinds {
		m.packets[kind] = packets.WithLabelValues(kind.String())
		m.bytes[kind] = bytes.WithLabelValues(kind.String())
		m.skipped[kind] = skipped.WithLabelValues(kind.String())
	}
	for _, c := range []prometheus.Collector{m.sessions, m.delay, packets, bytes, skipped, m.switches, m.dropped, keyframes, repairs, m.refused, m.counters} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of WHEP: %w", err)
		}
	}
	return m, nil
}

// tally is what a sender did lately: counters that all viewers share cost too much to be touched per packet, or per turn.
type tally struct {
	packets, bytes int
	skipped        int64
	oldest         media.Time // arrival of the first packet of those that the kernel may not have yet; zero where there is none
}

// wait notes that a packet which arrived then was sent.
func (t *tally) wait(arrived media.Time) {
	if arrived != 0 && (t.oldest == 0 || arrived < t.oldest) {
		t.oldest = arrived
	}
}

// sent notes that the kernel has all packets.
func (t *tally) sent(m *metrics, now media.Time) {
	if t.oldest != 0 {
		m.delay.Observe(max(0, now.Sub(t.oldest)).Seconds())
		t.oldest = 0
	}
}

// addTo adds t to the accounts, and begins anew.
func (t *tally) addTo(m *metrics, kind media.Kind) {
	if t.packets == 0 && t.skipped == 0 {
		return
	}
	m.packets[kind].Add(float64(t.packets))
	m.bytes[kind].Add(float64(t.bytes))
	m.skipped[kind].Add(float64(t.skipped))
	*t = tally{oldest: t.oldest}
}

// reason labels a refusal.
func reason(err error) string {
	switch {
	case errors.Is(err, errNothing):
		return "no-track"
	case errors.Is(err, errNoFormat):
		return "no-format"
	case errors.Is(err, errOutOfOrder):
		return "b-frames"
	case errors.Is(err, errUndecoded):
		return "codec"
	}
	return "not-live"
}

// keyframeRequests merges the viewers' requests for keyframes.
type keyframeRequests struct {
	mu   sync.Mutex // guards last
	last map[*log.Log]time.Time
}

// KeyframeInterval is the least time between two keyframe requests to one log. A request storm would otherwise make
// the publisher send nothing but keyframes.
const KeyframeInterval = 500 * time.Millisecond

// allow tells whether a request to whoever writes l goes through at now.
func (r *keyframeRequests) allow(l *log.Log, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if last, ok := r.last[l]; ok && now.Sub(last) < KeyframeInterval {
		return false
	}
	for old, last := range r.last { // as few as logs are asked for within the interval
		if now.Sub(last) >= KeyframeInterval {
			delete(r.last, old)
		}
	}
	if r.last == nil {
		r.last = map[*log.Log]time.Time{}
	}
	r.last[l] = now
	return true
}
