// Package sim tries the tree at a size that no test bench has: thousands of edges, millions of viewers, and failures. It
// makes up a cluster, but decides nothing itself: who hangs below whom, who makes which format, and which edge a viewer
// is sent to, it asks of relay/tree, the code that nodes run.
//
// Run goes through these steps, and a Report has what came out of each:
//
//  1. world.go builds the cluster: regions of unequal size, edges and relays of two sizes, an ingest node per region,
//     transcoders, and programmes whose formats are placed on workers one after the other, as nodes would.
//  2. viewers.go lets viewers come, in waves. Each asks for edges with a view that has the loads of the wave before, as
//     gossip is late, and is refused by an edge that is full (tree.Gate, by which nodes refuse them). What is left of them is counts per edge and track.
//  3. links.go lets each edge take the tracks that its viewers want, from the first of its parents with room, and those
//     theirs, up to the birthplace.
//  4. failure.go kills nodes, and goes through what follows: silence on links, fail-over along the lists that nodes have
//     from before, nodes that learn of the deaths one after another, some a second later, and the moves that
//     the new view asks for.
//
// Everything follows from the seed, and nothing from the machine: the same configuration gives the same report.
//
// What it does not model: queues and loss on lines, the time that media takes, and nodes that are slow rather than dead.
// Traffic of a track is its nominal rate.
package sim

import (
	"context"
	"fmt"
	"time"
)

// Config says what to simulate. Zero means default, but for Kill.
type Config struct {
	Edges      int // 10000
	Viewers    int // 5,000,000
	Programmes int // 5
	Formats    int // 5, of each programme: source, 720p, 360p, opus, aac, then others; at most 10
	Relays     int // if zero, one for 80 edges, and three in each region at least

	Regions []Region // if empty, six of unequal size
	Seed    uint64
	Kill    Failure

	// Capacities in bits per second, of a node of capacity one. If zero, such that the world as it is needs half of them.
	RelayRate, EdgeRate float64

	// How soon things are noticed, and how far nodes are apart.
	Silence time.Duration // until a child misses its parent, and until one gives up dialling; 350 ms
	Gossip  time.Duration // until the first nodes learn of a death; 1 s
	Stagger time.Duration // until the last node has learnt of it, after the first; 1 s
	Client  time.Duration // until a viewer misses its edge; 1 s
	Start   time.Duration // until another birthplace has the track, once it knows; 2 s
	Near    time.Duration // round trip within a region, at most; 10 ms
	Far     time.Duration // round trip between regions, at most; 200 ms

	// Progress is told of each phase that begins; not called if nil.
	Progress func(phase string) `json:"-"`
}

// Region is a part of the world.
type Region struct {
	Name  string
	Share float64 // of all viewers, relative to those of the others
}

// Failure is what dies.
type Failure string

// The failures that can be simulated.
const (
	Nothing    Failure = "nothing"
	KillRelay  Failure = "relay"  // the one with the most children
	KillEdge   Failure = "edge"   // the one with the most viewers
	KillRegion Failure = "region" // the second largest, with all that is in it
	KillThird  Failure = "third"  // 30 % of all nodes, by lot
)

// Failures lists them all.
var Failures = []Failure{Nothing, KillRelay, KillEdge, KillRegion, KillThird}

func (c Config) withDefaults() Config {
	number := func(n *int, d int) {
		if *n == 0 {
			*n = d
		}
	}
	duration := func(t *time.Duration, d time.Duration) {
		if *t == 0 {
			*t = d
		}
	}
	number(&c.Edges, 10_000)
	number(&c.Viewers, 5_000_000)
	number(&c.Programmes, 5)
	number(&c.Formats, 5)
	duration(&c.Silence, 350*time.Millisecond)
	duration(&c.Gossip, time.Second)
	duration(&c.Stagger, time.Second)
	duration(&c.Client, time.Second)
	duration(&c.Start, 2*time.Second)
	duration(&c.Near, 10*time.Millisecond)
	duration(&c.Far, 200*time.Millisecond)
	if len(c.Regions) == 0 {
		c.Regions = []Region{{"eu-west", 0.3}, {"us-east", 0.25}, {"asia-east", 0.2}, {"us-west", 0.12}, {"asia-south", 0.08}, {"sa-east", 0.05}}
	}
	if c.Kill == "" {
		c.Kill = Nothing
	}
	return c
}

// check bounds what is asked for, so that a slip of the finger does not fill the machine's memory.
func (c *Config) check() error {
	for _, bound := range []struct {
		what        string
		value, most int
	}{
		{"edges", c.Edges, 100_000}, {"viewers", c.Viewers, 50_000_000}, {"programmes", c.Programmes, 200}, {"formats", c.Formats, len(ladder)},
		{"relays", c.Relays, 10_000}, {"regions", len(c.Regions), 100},
	} {
		if bound.value < 0 || bound.value > bound.most {
			return fmt.Errorf("%d %s cannot be simulated: ask for 1 to %d", bound.value, bound.what, bound.most)
		}
	}
	seen := map[string]bool{}
	for _, r := range c.Regions {
		if r.Share <= 0 || r.Share > 1e6 || seen[r.Name] || r.Name == "" {
			return fmt.Errorf("region %q: give each region a name of its own and a share above 0, such as eu-west=0.4", r.Name)
		}
		seen[r.Name] = true
	}
	for _, d := range []time.Duration{c.Silence, c.Gossip, c.Stagger, c.Client, c.Start, c.Near, c.Far} {
		if d < 0 {
			return fmt.Errorf("the time %v is negative: give it as 350ms or 1s", d)
		}
	}
	for _, f := range Failures {
		if c.Kill == f {
			return nil
		}
	}
	return fmt.Errorf("there is no failure %q: choose one of %v", c.Kill, Failures)
}

// tell tells of a phase that begins.
func (c *Config) tell(format string, arguments ...any) {
	if c.Progress != nil {
		c.Progress(fmt.Sprintf(format, arguments...))
	}
}

// Run simulates. It ends early, with its error, when ctx ends.
func Run(ctx context.Context, config Config) (*Report, error) {
	config = config.withDefaults()
	if err := config.check(); err != nil {
		return nil, err
	}
	config.tell("making %d edges and what they need", config.Edges)
	w := newWorld(config)
	if err := w.admit(ctx); err != nil {
		return nil, err
	}
	config.tell("connecting nodes to their parents")
	w.connect()
	config.tell("measuring")
	report := w.report()
	if config.Kill != Nothing {
		var err error
		if report.Failure, err = w.fail(ctx, config.Kill); err != nil {
			return nil, err
		}
	}
	return report, nil
}
