package transcoder

import (
	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/media"
)

// Why frames were dropped.
const (
	dropAwaitKeyframe = "await-keyframe" // before the first keyframe
	dropDamaged       = "damaged"        // between a loss and the next keyframe
	dropTooLarge      = "too-large"      // a picture beyond what is decoded
	dropUnusable      = "unusable"       // the container cannot carry it
	dropFilled        = "filled"         // sound so late that silence has taken its place
	dropRepeated      = "repeated"       // output for a time that has been written
	dropUnwritable    = "unwritable"     // output that cannot be packetised
)

var dropReasons = []string{dropAwaitKeyframe, dropDamaged, dropTooLarge, dropUnusable, dropFilled, dropRepeated, dropUnwritable}

// metrics are the counters of a transcoder.
type metrics struct {
	restarts *prometheus.CounterVec // by reason
	frames   *prometheus.CounterVec // by direction and kind
	dropped  *prometheus.CounterVec // by reason
	silence  prometheus.Counter
	slow     prometheus.Counter
}

func newMetrics() metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "banyan", Subsystem: "transcoder", Name: name, Help: help}, labels)
	}
	m := metrics{
		restarts: counter("process_ends_total", "FFmpeg processes that ended while their format was wanted, by reason.", "reason"),
		frames:   counter("frames_total", "Frames fed to FFmpeg (in) and made by it (out).", "direction", "kind"),
		dropped:  counter("dropped_frames_total", "Frames left out, by reason.", "reason"),
		silence: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "banyan", Subsystem: "transcoder",
			Name: "silence_frames_total", Help: "Frames of silence fed to FFmpeg where the source's sound had stopped."}),
		slow: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "banyan", Subsystem: "transcoder",
			Name: "process_slow_total", Help: "Times that a process was fed and showed nothing for long, and was spared as it used the processor or waited for it."}),
	}
	// All are there from the start, at zero: a rate over a series that begins with its first event misses that one.
	for _, end := range endings {
		m.restarts.WithLabelValues(string(end))
	}
	for _, reason := range dropReasons {
		m.dropped.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) fed(k media.Kind)  { m.frames.WithLabelValues("in", k.String()).Inc() }
func (m *metrics) made(k media.Kind) { m.frames.WithLabelValues("out", k.String()).Inc() }

// collector shows the counters and what the workers are about now.
type collector struct{ t *Transcoder }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("banyan", "transcoder", name), help, labels, nil)
}

var (
	descRunning = describe("processes", "FFmpeg processes that may run now.")
	descWaiting = describe("processes_waiting", "Formats that wait for leave to run a process.")
	descRefused = describe("processes_refused_total", "Times that a process had to wait because as many ran as may.")
	descShed    = describe("processes_shed_total", "Processes ended to make room for a format that is worth more.")
	descLag     = describe("lag_seconds", "Media time from the source's newest frame back to the newest made.", "stream", "format", "kind")
	descOpen    = describe("circuit_open", "1 while a format is suspended after too many crashes.", "stream", "format", "kind")
)

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRunning, descWaiting, descRefused, descShed, descLag, descOpen} {
		out <- d
	}
	c.t.metrics.restarts.Describe(out)
	c.t.metrics.frames.Describe(out)
	c.t.metrics.dropped.Describe(out)
	c.t.metrics.silence.Describe(out)
	c.t.metrics.slow.Describe(out)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	running, waiting, refused, shed := c.t.slots.counts()
	out <- prometheus.MustNewConstMetric(descRunning, prometheus.GaugeValue, float64(running))
	out <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(waiting))
	out <- prometheus.MustNewConstMetric(descRefused, prometheus.CounterValue, float64(refused))
	out <- prometheus.MustNewConstMetric(descShed, prometheus.CounterValue, float64(shed))
	for _, w := range c.t.Workers() {
		labels := []string{string(w.Track.Stream), string(w.Track.Format), w.Track.Kind.String()}
		open := 0.0
		if w.State == Open {
			open = 1
		}
		out <- prometheus.MustNewConstMetric(descLag, prometheus.GaugeValue, w.Lag.Seconds(), labels...)
		out <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, open, labels...)
	}
	c.t.metrics.restarts.Collect(out)
	c.t.metrics.frames.Collect(out)
	c.t.metrics.dropped.Collect(out)
	c.t.metrics.silence.Collect(out)
	c.t.metrics.slow.Collect(out)
}
