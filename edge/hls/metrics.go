package hls

import "github.com/prometheus/client_golang/prometheus"

// metrics are the counters of a Server.
type metrics struct {
	requests   *prometheus.CounterVec // by resource and status
	refused    *prometheus.CounterVec // by reason
	bytes      *prometheus.CounterVec // by resource
	parts      prometheus.Counter
	unpackable prometheus.Counter
	dropped    *prometheus.CounterVec // frames by reason
	waiting    prometheus.Gauge
	renditions prometheus.Gauge
	viewers    prometheus.Gauge
	delay      prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	const ns, sub = "banyan", "hls"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &metrics{
		requests:   counters("requests_total", "Requests answered, by what was asked for and status.", "resource", "status"),
		refused:    counters("refused_total", "Requests refused, by reason.", "reason"),
		bytes:      counters("sent_bytes_total", "Bytes of bodies sent, by what was asked for.", "resource"),
		parts:      counter("parts_total", "Partial segments built."),
		unpackable: counter("unpackable_parts_total", "Parts that could not be built from their frames."),
		dropped:    counters("dropped_frames_total", "Frames that got into no part, by reason.", "reason"),
		waiting:    gauge("waiting_requests", "Requests that wait for media to come."),
		renditions: gauge("renditions", "Renditions being packaged."),
		viewers:    gauge("viewers", "Players seen in the last ten seconds."),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "publish_delay_seconds",
			Help:    "From the arrival of a part's last frame on this node to the part being published.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1}}),
	}
	if r != nil {
		r.MustRegister(m.requests, m.refused, m.bytes, m.parts, m.unpackable, m.dropped, m.waiting, m.renditions, m.viewers, m.delay)
	}
	return m
}
