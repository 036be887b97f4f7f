package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/quic-go/quic-go"

	"banyan/relay/media"
)

// As metrics label them: which side of a link this node is on, and what was dropped or wrong.
const (
	sideParent = "parent"
	sideChild  = "child"

	dropStale     = "stale"
	dropTooLarge  = "too-large"
	dropLate      = "late"
	dropDuplicate = "duplicate"
	dropRepair    = "repair" // came late to the parent, and the line was busy
)

// metrics are the accounts of all links. Tracks and nodes are no labels: their number has no bound.
type metrics struct {
	served    atomic.Int64 // subscriptions of children
	followed  atomic.Int64 // subscriptions to parents
	connected atomic.Int64 // links to parents that are up

	retries, skipped, panics  prometheus.Counter
	sentPackets, sentBytes    prometheus.Counter
	sentGroups, staleGroups   prometheus.Counter
	gotPackets, gotBytes      prometheus.Counter
	gotGroups, cutGroups      prometheus.Counter
	strays, impatient         prometheus.Counter
	late, duplicate, repaired prometheus.Counter
	drops, ends               *prometheus.CounterVec
	refusals, declines, cuts  *prometheus.CounterVec
	hop, age                  prometheus.Histogram
}

func newMetrics(registry prometheus.Registerer, n *Node) (*metrics, error) {
	m := &metrics{}
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_link_" + name, Help: help})
		all = append(all, c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_link_" + name, Help: help}, labels)
		all = append(all, c)
		return c
	}
	gauge := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "banyan_link_" + name, Help: help}, value))
	}
	m.retries = counter("address_checks_total", "Handshakes that had to prove their address first, as too many came at once.")
	m.skipped = counter("frames_skipped_total", "Control frames and streams of types that this version does not know.")
	m.panics = counter("panics_total", "Times that something broke on this side: each ended one track or link, and is in the log with its stack.")
	m.sentPackets = counter("sent_packets_total", "Packets of tracks sent to children.")
	m.sentBytes = counter("sent_bytes_total", "Bytes of groups sent to children, without QUIC's own.")
	m.sentGroups = counter("sent_groups_total", "Groups of pictures, or seconds of audio, begun for children.")
	m.staleGroups = counter("stale_groups_total", "Groups given up for a newer keyframe, as the line was too slow.")
	m.gotPackets = counter("received_packets_total", "Packets of tracks received from parents.")
	m.gotBytes = counter("received_bytes_total", "Bytes of payload received from parents.")
	m.gotGroups = counter("received_groups_total", "Groups received from parents.")
	m.cutGroups = counter("cut_groups_total", "Groups that the parent did not bring to their end.")
	m.strays = counter("stray_groups_total", "Groups that came for a subscription which had ended.")
	m.impatient = counter("overtaken_groups_total", "Groups that were begun before the one before had ended.")
	m.repaired = counter("repaired_packets_total", "Packets sent to children behind others, as they came late to this node.")
	m.drops = vector("dropped_packets_total", "Packets of tracks that were left out, by reason.", "reason")
	m.ends = vector("ended_total", "Links that ended, by this node's side and reason.", "side", "reason")
	m.refusals = vector("refused_total", "Connections of children that were refused, by reason.", "reason")
	m.declines = vector("declined_total", "Subscriptions of children that were refused, by reason.", "reason")
	m.cuts = vector("violations_total", "Links that were cut because the peer broke the protocol, by this node's side.", "side")
	m.late, m.duplicate = m.drops.WithLabelValues(dropLate), m.drops.WithLabelValues(dropDuplicate)
	delay := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "banyan_link_" + name, Help: help, Buckets: []float64{.0001, .00025, .0005, .001, .002, .003, .005, .01, .02, .05, .1, .2, .5, 1},
		})
		all = append(all, h)
		return h
	}
	m.hop = delay("hop_seconds", "Delay of packets from when the parent sends them to this node's log, clocks apart.")
	m.age = delay("age_seconds", "How long ago packets came to Banyan when they come to this node's log: the delay of all hops, with the waits on each node.")
	gauge("children", "Nodes that are connected as children.", func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return float64(len(n.children))
	})
	gauge("parents", "Nodes that this node is connected to as their child.", func() float64 { return float64(m.connected.Load()) })
	gauge("served_tracks", "Subscriptions of children.", func() float64 { return float64(m.served.Load()) })
	gauge("followed_tracks", "Subscriptions to parents.", func() float64 { return float64(m.followed.Load()) })
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of links: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) dropped(reason string, n int) {
	m.drops.WithLabelValues(reason).Add(float64(max(n, 0)))
}

func (m *metrics) ended(side string, err error) {
	m.ends.WithLabelValues(side, reason(err)).Inc()
	if isViolation(err) {
		m.cuts.WithLabelValues(side).Inc()
	}
}

func (m *metrics) refused(err error) { m.refusals.WithLabelValues(reason(err)).Inc() }

func (m *metrics) declined(err error) { m.declines.WithLabelValues(reason(err)).Inc() }

// hopped takes the delay of a packet's hop, and when it came to Banyan; zero where nobody knows that.
func (m *metrics) hopped(delay time.Duration, arrived media.Time, now time.Time) {
	m.hop.Observe(delay.Seconds())
	if arrived != 0 {
		m.age.Observe(media.TimeOf(now).Sub(arrived).Seconds())
	}
}

// isViolation tells whether the peer broke the protocol.
func isViolation(err error) bool {
	return errors.Is(err, errMalformed) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// reason is a label for why something ended; there are few of them.
func reason(err error) string {
	var version *versionError
	var app *quic.ApplicationError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return "closed"
	case errors.As(err, &version):
		return "version"
	case isViolation(err):
		return "violation"
	case errors.Is(err, errCrowded), errors.Is(err, ErrFull):
		return "full"
	case errors.Is(err, errRefused):
		return "identity"
	case errors.Is(err, ErrSilent):
		return "silent"
	case errors.Is(err, ErrGoingAway), errors.Is(err, ErrDraining):
		return "going-away"
	case errors.Is(err, ErrLoop):
		return "loop"
	case errors.Is(err, ErrNoTrack):
		return "no-track"
	case errors.Is(err, ErrBehind):
		return "behind"
	case errors.As(err, &app):
		return "by-peer"
	}
	return "other"
}
