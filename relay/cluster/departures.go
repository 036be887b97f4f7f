package cluster

import (
	"slices"
	"time"

	"banyan/relay/tree"
)

// A Departure is a node that went while this one looked.
type Departure struct {
	Node tree.Node // as it was last known
	At   time.Time // when this node learned of it
	// Goodbye is whether it left of its own accord. If not, it died, or the network between cut it off.
	Goodbye bool
}

const (
	// keepDepartures is for how long operators are told of a node that went.
	keepDepartures = 10 * time.Minute
	maxDepartures  = 20
)

// departures are the latest ones, oldest first.
type departures []Departure

func (d *departures) note(node tree.Node, now time.Time, goodbye bool) {
	*d = append(*d, Departure{Node: node, At: now, Goodbye: goodbye})
	*d = slices.Delete(*d, 0, max(0, len(*d)-maxDepartures))
}

// since leaves out what is long past; the newest is first.
func (d departures) since(past time.Time) []Departure {
	var late []Departure
	for _, one := range slices.Backward(d) {
		if one.At.After(past) {
			late = append(late, one)
		}
	}
	return late
}

// Departures are the nodes that went in the last ten minutes, as far as this one was there to see it; twenty at most,
// the latest first. A node that came back is among them too.
func (c *Cluster) Departures() []Departure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.departures.since(time.Now().Add(-keepDepartures))
}
