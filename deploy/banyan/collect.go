package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"banyan/ingest/rtsp"
	"banyan/relay"
	"banyan/relay/log"
)

// collector tells of what exists at the moment of asking: streams, tracks, RTSP sessions. What happens over time is
// counted where it happens.
type collector struct {
	hub  *relay.Hub
	rtsp *rtsp.Server // nil without that door
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("banyan_"+name, help, labels, nil)
}

var (
	streamLive    = describe("stream_live", "1 while the stream has a publisher.", "stream")
	streamViewers = describe("stream_viewers", "People who watch.", "stream", "transport")

	supplyPanics = describe("supply_panics_total", "Times that making a format broke us; each is in the log with its stack.")

	trackPackets = describe("track_packets_total", "RTP packets published.", "stream", "format", "kind")
	trackBytes   = describe("track_payload_bytes_total", "Bytes of RTP payload published.", "stream", "format", "kind")
	trackHoles   = describe("track_holes_total", "Packets missing when they were due.", "stream", "format", "kind")
	trackFilled  = describe("track_filled_total", "Holes that a late packet filled.", "stream", "format", "kind")
	trackSkipped = describe("track_skipped_total", "Packets that readers passed over.", "stream", "format", "kind", "reason")
	trackReaders = describe("track_readers", "Readers of the track.", "stream", "format", "kind")
	trackMemory  = describe("track_window_bytes", "Memory that the track's window takes.", "stream", "format", "kind")

	rtspSessions    = describe("rtsp_sessions", "RTSP sessions.", "direction")
	rtspRefused     = describe("rtsp_refused_total", "RTSP connections and requests refused.", "reason")
	rtspUndecodable = describe("rtsp_undecodable_total", "RTP packets of RTSP publishers that made no frame.")
	rtspSkipped     = describe("rtsp_skipped_total", "Times that a slow RTSP player skipped to a keyframe.")

	rtspPullFailures = describe("rtsp_pull_failures_total", "Times that a pulled camera ended or did not begin to deliver.")
)

// Describe sends nothing: which series exist follows from the streams. The registry then checks each scrape.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the hub and the doors.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(supplyPanics, c.hub.Panics())
	for _, s := range c.hub.Streams() {
		name := string(s.Name())
		live := 0.0
		if s.Live() {
			live = 1
		}
		gauge(streamLive, live, name)
		for transport, n := range s.Viewers() {
			gauge(streamViewers, float64(n), name, transport)
		}
		for _, t := range s.Tracks() {
			if t.Log == nil {
				continue
			}
			labels := []string{name, string(t.ID.Format), t.ID.Kind.String()}
			stats := t.Log.Stats()
			counter(trackPackets, stats.Packets, labels...)
			counter(trackBytes, stats.Bytes, labels...)
			counter(trackHoles, stats.Holes, labels...)
			counter(trackFilled, stats.Filled, labels...)
			gauge(trackReaders, float64(t.Readers), labels...)
			gauge(trackMemory, float64(stats.WindowBytes), labels...)
			for _, why := range log.Skips() {
				counter(trackSkipped, stats.Skips[why], append(labels, why.String())...)
			}
		}
	}
	if c.rtsp == nil {
		return
	}
	stats := c.rtsp.Stats()
	gauge(rtspSessions, float64(stats.Publishers), "in")
	gauge(rtspSessions, float64(stats.Players), "out")
	counter(rtspRefused, stats.RefusedConns, "connections")
	counter(rtspRefused, stats.RefusedAuth, "credentials")
	counter(rtspUndecodable, stats.Undecodable)
	counter(rtspSkipped, stats.Skipped)
	counter(rtspPullFailures, stats.PullFailures)
}
