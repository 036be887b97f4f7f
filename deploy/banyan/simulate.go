package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"banyan/deploy/sim"
)

// simulateCommand tries the tree at a size that no test bench has. It needs no configuration and opens no socket.
type simulateCommand struct {
	Edges      int           `default:"10000" help:"Edges in the cluster."`
	Viewers    int           `default:"5000000" help:"Viewers who want to watch."`
	Programmes int           `default:"5" help:"Programmes. The second has half as many viewers as the first, the third a third, and so on."`
	Formats    int           `default:"5" help:"Formats of each programme: source, 720p, 360p, opus, aac, then others up to 10."`
	Relays     int           `default:"0" help:"Relays in the cluster. If 0, one for 80 edges, and three in each region at least."`
	Regions    []string      `placeholder:"NAME=SHARE,…" help:"Regions and their shares of the viewers, such as eu-west=0.6,us-east=0.4. Six by default."`
	Seed       uint64        `default:"1" help:"What all chance is drawn from. The same seed gives the same report."`
	Kill       sim.Failure   `default:"nothing" enum:"nothing,relay,edge,region,third" help:"What dies: nothing, the busiest relay, the busiest edge, a region, or a third (30 %) of all nodes."`
	RelayRate  float64       `default:"0" help:"Bits per second that a relay of capacity 1 can send. If 0, twice what the viewers need."`
	EdgeRate   float64       `default:"0" help:"Bits per second that an edge of capacity 1 can send. If 0, twice what the viewers need."`
	Silence    time.Duration `default:"350ms" help:"How soon a child misses its parent."`
	Gossip     time.Duration `default:"1s" help:"How soon the first nodes learn that another has died."`
	Stagger    time.Duration `default:"1s" help:"How much later the last nodes learn of it."`
	Client     time.Duration `default:"1s" help:"How soon a viewer misses its edge."`
	JSON       bool          `name:"json" help:"Print the report as JSON."`
}

func (c *simulateCommand) Run(ctx context.Context, console console) error {
	regions, err := parseRegions(c.Regions)
	if err != nil {
		return err
	}
	began := time.Now()
	report, err := sim.Run(ctx, sim.Config{
		Edges: c.Edges, Viewers: c.Viewers, Programmes: c.Programmes, Formats: c.Formats, Relays: c.Relays, Regions: regions,
		Seed: c.Seed, Kill: c.Kill, RelayRate: c.RelayRate, EdgeRate: c.EdgeRate,
		Silence: c.Silence, Gossip: c.Gossip, Stagger: c.Stagger, Client: c.Client,
		Progress: func(phase string) { console.note("%6.1f s  %s", time.Since(began).Seconds(), phase) },
	})
	if err != nil {
		return err
	}
	if c.JSON {
		encoder := json.NewEncoder(console.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	return report.Print(console.stdout)
}

// parseRegions reads regions as in eu-west=0.6. One without a share counts as one of 1.
func parseRegions(texts []string) (regions []sim.Region, err error) {
	for _, text := range texts {
		name, number, given := strings.Cut(text, "=")
		share := 1.0
		if given {
			if share, err = strconv.ParseFloat(number, 64); err != nil {
				return nil, fmt.Errorf("--regions: %q has no number after the \"=\": write such as eu-west=0.6", text)
			}
		}
		regions = append(regions, sim.Region{Name: name, Share: share})
	}
	return regions, nil
}
