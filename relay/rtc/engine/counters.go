package engine

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/rtc/engine/batch"
)

// Drop is why something that came was not looked at further.
type Drop uint8

// The reasons.
const (
	DropStranger  Drop = iota // from an address that has proved nothing, and not wanted by the rest either
	DropMalformed             // no STUN, DTLS or RTP by its first byte, or broken within
	DropUnsigned              // a check with a wrong password
	DropForged                // RTCP that does not open: forged, damaged or replayed
	DropMedia                 // RTP from a viewer, which has nothing to send
	DropHandshake             // DTLS beyond what a handshake may have waiting
	DropRequest               // requests for repair beyond what may wait
	DropFeedback              // reports of what arrived beyond what may wait
	drops
)

func (d Drop) String() string {
	return [drops]string{"stranger", "malformed", "unsigned", "forged", "media", "handshake", "request", "feedback"}[d]
}

// Drops lists all reasons.
func Drops() []Drop {
	list := make([]Drop, drops)
	for i := range list {
		list[i] = Drop(i)
	}
	return list
}

// counters are the accounts of an engine. They only grow.
type counters struct {
	checks, reports atomic.Uint64
	drops           [drops]atomic.Uint64
}

func (c *counters) drop(why Drop) { c.drops[why].Add(1) }

// Stats are the accounts of an engine. All but Viewers only grow.
type Stats struct {
	Viewers int
	Checks  uint64 // connectivity checks that were answered
	Reports uint64 // packets of RTCP that were heard
	Drops   [drops]uint64
	Sent    batch.Counts
}

// Stats reads the accounts. It may be called from any goroutine.
func (e *Engine) Stats() Stats {
	s := Stats{
		Viewers: e.Sessions(), Checks: e.counters.checks.Load(), Reports: e.counters.reports.Load(), Sent: e.socket.Counts(),
	}
	for i := range s.Drops {
		s.Drops[i] = e.counters.drops[i].Load()
	}
	return s
}

// collector tells Prometheus of the accounts.
type collector struct{ engine *Engine }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_rtc_engine_"+name, help, labels, nil)
}

var (
	viewersDesc = describe("viewers", "Viewers of the fan-out engine, those that are connecting included.")
	dropsDesc   = describe("dropped_total", "Packets that came and were not looked at further, by reason.", "reason")
	checksDesc  = describe("checks_total", "Connectivity checks that were answered.")
	reportsDesc = describe("reports_total", "RTCP packets of viewers that were heard.")
	packetsDesc = describe("packets_total", "UDP packets handed to the kernel.")
	bytesDesc   = describe("bytes_total", "Bytes of UDP payload handed to the kernel.")
	runsDesc    = describe("messages_total", "Messages to the kernel that those packets were in: with segmentation offload, fewer than packets.")
	callsDesc   = describe("calls_total", "System calls for those messages.")
	unsentDesc  = describe("unsent_total", "UDP packets that the kernel refused.")
)

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{viewersDesc, dropsDesc, checksDesc, reportsDesc, packetsDesc, bytesDesc, runsDesc, callsDesc, unsentDesc, estimateDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.engine.Stats()
	ch <- prometheus.MustNewConstMetric(viewersDesc, prometheus.GaugeValue, float64(s.Viewers))
	ch <- c.engine.estimates()
	for _, why := range Drops() {
		ch <- prometheus.MustNewConstMetric(dropsDesc, prometheus.CounterValue, float64(s.Drops[why]), why.String())
	}
	for _, m := range []struct {
		desc  *prometheus.Desc
		value uint64
	}{
		{checksDesc, s.Checks}, {reportsDesc, s.Reports}, {packetsDesc, s.Sent.Packets}, {bytesDesc, s.Sent.Bytes},
		{runsDesc, s.Sent.Runs}, {callsDesc, s.Sent.Calls}, {unsentDesc, s.Sent.Dropped},
	} {
		ch <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value))
	}
}
