package cluster

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the accounts of the gossip.
type metrics struct {
	nodes, tracks prometheus.Gauge
	deaths        prometheus.Counter
	goodbyes      prometheus.Counter
	conflicts     prometheus.Counter
	joins         *prometheus.CounterVec
	refusals      *prometheus.CounterVec
	changes       prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "banyan_cluster_" + name, Help: help})
	}
	gone := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_cluster_departures_total",
		Help: "Nodes that went: said goodbye, or were found dead."}, []string{"how"})
	m := &metrics{
		nodes:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "banyan_cluster_nodes", Help: "Nodes that are alive, this one included."}),
		tracks:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "banyan_cluster_tracks", Help: "Tracks that other nodes have announced, withdrawn ones that are still remembered included."}),
		deaths:    gone.WithLabelValues("dead"),
		goodbyes:  gone.WithLabelValues("goodbye"),
		conflicts: counter("name_conflicts_total", "Words of a node that has the name of another."),
		joins: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_cluster_joins_total",
			Help: "Attempts to reach the addresses of cluster.join and nodes that were lost, by result."}, []string{"result"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_cluster_refused_total",
			Help: "Packets, streams and messages of gossip that were refused, by reason."}, []string{"reason"}),
		changes: counter("changes_total", "Changes of the view of the cluster."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.nodes, m.tracks, gone, m.conflicts, m.joins, m.refusals, m.changes} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) refused(why refusal, n int) {
	if n > 0 {
		m.refusals.WithLabelValues(string(why)).Add(float64(n))
	}
}
