package whip

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/ingest"
	"banyan/relay/media"
)

// Why a session ended, and why a request was refused, as metrics label it.
const (
	endNeverConnected = "never-connected"
	endNoRoom         = "no-room"
	endExpired        = "expired"
	endReplaced       = "replaced"
	endKicked         = "kicked"
	endClosed         = "closed"
	endLeft           = "left"
	endLost           = "lost"
	endOther          = "other"

	refusedToken     = "token"
	refusedForbidden = "forbidden"
	refusedOffer     = "offer"
	refusedClosing   = "closing"
)

// metrics are the accounts of all sessions. Streams are no label: their number has no bound.
type metrics struct {
	sessions  prometheus.Gauge
	ends      *prometheus.CounterVec
	refusals  *prometheus.CounterVec
	keyframes prometheus.Counter
	forgotten prometheus.Counter

	packets *prometheus.CounterVec // by kind and fate
	dropped *prometheus.CounterVec // by kind and reason
	waits   *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		sessions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "banyan_whip_sessions", Help: "Publishers that are connected by WHIP."}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "banyan_whip_sessions_ended_total", Help: "WHIP sessions that ended, by reason."}, []string{"reason"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "banyan_whip_refused_total", Help: "WHIP requests that were refused, by reason."}, []string{"reason"}),
		keyframes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "banyan_whip_keyframe_requests_total", Help: "PLI sent to publishers."}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "banyan_whip_forgotten_sets_total",
			Help: "Parameter sets of publishers that were not kept: broken, of layers that nobody decodes, or too many."}),
		packets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "banyan_whip_packets_total",
			Help: "Packets of publishers by kind and fate: received; forwarded into a log; lost (given up waiting); " +
				"late (came after that); mended (came out of order, yet in time: NACK or a detour); " +
				"retransmitted (on a retransmission stream); duplicate; inserted (parameter sets of ours); " +
				"unreadable.",
		}, []string{"kind", "fate"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "banyan_whip_dropped_total", Help: "Packets of publishers that were left out, by kind and reason."},
			[]string{"kind", "reason"}),
		waits: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "banyan_whip_reorder_wait_seconds", Help: "How long packets were held back behind a missing one.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .15, .2, .25, .5}}, []string{"kind"}),
	}
	for _, c := range []prometheus.Collector{m.sessions, m.ends, m.refusals, m.keyframes, m.forgotten, m.packets, m.dropped, m.waits} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of WHIP: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) ended(reason string)   { m.ends.WithLabelValues(reason).Inc() }
func (m *metrics) refused(reason string) { m.refusals.WithLabelValues(reason).Inc() }

// trackMetrics are the accounts of one track. They are owned by its reader.
type trackMetrics struct {
	received, forwarded, lost, late, mended, duplicate, inserted prometheus.Counter
	retransmitted, unreadable, forgotten                         prometheus.Counter
	dropped                                                      []prometheus.Counter // by ingest.Drop
	strays                                                       prometheus.Counter
	wait                                                         prometheus.Observer

	last ingest.ForwarderStats // accounted for
}

func (m *metrics) track(kind media.Kind) *trackMetrics {
	name := kind.String()
	fate := func(f string) prometheus.Counter { return m.packets.WithLabelValues(name, f) }
	t := &trackMetrics{
		received: fate("received"), forwarded: fate("forwarded"), lost: fate("lost"), late: fate("late"),
		mended: fate("mended"), duplicate: fate("duplicate"), inserted: fate("inserted"),
		retransmitted: fate("retransmitted"), unreadable: fate("unreadable"), forgotten: m.forgotten,
		strays: m.dropped.WithLabelValues(name, "stray"), wait: m.waits.WithLabelValues(name),
	}
	for _, d := range ingest.Drops() {
		t.dropped = append(t.dropped, m.dropped.WithLabelValues(name, d.String()))
	}
	return t
}

// begin starts with a new forwarder, whose accounts are empty.
func (t *trackMetrics) begin() { t.last = ingest.ForwarderStats{} }

func (t *trackMetrics) waited(d time.Duration) { t.wait.Observe(d.Seconds()) }

// account adds what happened since it was last called.
func (t *trackMetrics) account(now ingest.ForwarderStats) {
	was := t.last
	t.last = now
	for _, c := range []struct {
		counter  prometheus.Counter
		now, was uint64
	}{
		{t.received, now.Reorder.Received, was.Reorder.Received},
		{t.forwarded, now.Forwarded, was.Forwarded},
		{t.lost, now.Reorder.Lost, was.Reorder.Lost},
		{t.late, now.Reorder.Late, was.Reorder.Late},
		{t.mended, now.Reorder.Mended, was.Reorder.Mended},
		{t.duplicate, now.Reorder.Duplicates, was.Reorder.Duplicates},
		{t.strays, now.Reorder.Strays, was.Reorder.Strays},
		{t.inserted, now.Inserted, was.Inserted},
		{t.forgotten, now.Forgotten, was.Forgotten},
	} {
		c.counter.Add(float64(c.now - c.was))
	}
	for d, counter := range t.dropped {
		counter.Add(float64(now.Dropped[d] - was.Dropped[d]))
	}
}
