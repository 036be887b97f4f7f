package director

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The doors, as metrics name them.
const (
	whepDoor     = "whep"
	hlsDoor      = "hls"
	edgesDoor    = "edges"
	steeringDoor = "steering"
)

// Reasons of refusals.
const (
	refusedNowhere = "no-edge" // there is none in the cluster
	refusedMoved   = "moved"   // an edge was named that is none any more
	refusedFull    = "full"    // nobody has room
	refusedName    = "name"    // no stream can be called so
	refusedToken   = "token"   // it is missing, or does not allow this
)

// metrics are the accounts of a director.
type metrics struct {
	redirects *prometheus.CounterVec // door, reason
	answers   *prometheus.CounterVec // door, region: by whom the viewer's is known
	refused   *prometheus.CounterVec // door, reason
}

func newMetrics(r prometheus.Registerer, g *GeoIP) (*metrics, error) {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "banyan_director_" + name, Help: help}, labels)
	}
	m := &metrics{
		redirects: counters("redirects_total", "Viewers sent to another edge (307), by what they asked for, and by what is wrong with this node.", "door", "reason"),
		answers:   counters("answers_total", "Lists of edges and steering manifests that were given, by who told the viewer's region.", "door", "region"),
		refused:   counters("refused_total", "Requests that the director turned away, by what they asked for and by reason.", "door", "reason"),
	}
	list := []prometheus.Collector{m.redirects, m.answers, m.refused}
	if g != nil {
		list = append(list, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "banyan_director_geoip_built_seconds", Help: "When the database of addresses in use was built, in seconds since 1970.",
		}, func() float64 { return float64(g.Built().Unix()) }))
	}
	for _, c := range list {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the director: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) refuse(door, reason string) { m.refused.WithLabelValues(door, reason).Inc() }
