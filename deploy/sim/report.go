package sim

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"banyan/relay/tree"
)

// Report is what came out of a simulation.
type Report struct {
	Config Config

	Nodes   map[tree.Role]int
	Viewers int // who have an edge
	Refused int // who found no edge with room
	Orphans int // tracks that a node found no parent for

	Depths []int // links between an edge and the birthplace of a track: how many tracks at edges have 0, 1, 2 …

	Relays, Edges Tier

	// OriginLinks is how many copies leave birthplaces for relays, OriginDirect for edges, and OriginMakers for workers.
	OriginLinks, OriginDirect, OriginMakers int
	OriginRate                              float64 // of all these, in bits per second
	// OriginCopies is how many copies of a track leave its birthplace for relays and edges, for each relay that
	// there is; of the track that has most.
	OriginCopies float64

	Failure *FailureReport
}

// Tier tells how work spreads over the nodes of a role.
type Tier struct {
	Used        int     // nodes that have any work
	FanOut      Spread  // links downwards, of relays; viewers, of edges
	Load        float64 // mean share of capacity in use
	Most        float64 // largest share of capacity in use
	Spread      float64 // largest share by mean share, over all nodes
	WorstSpread float64 // the same within a region, where it is worst
}

// Spread is the mean and the largest of some numbers.
type Spread struct {
	Mean float64
	Most int
}

// FailureReport is what followed a failure.
type FailureReport struct {
	Kind            Failure
	Dead            int // nodes
	LostBirthplaces int // tracks

	OwnChildren int // links that ended at the dead nodes, from those that live
	Moves       int // links that have another parent once all is quiet
	Later       int // moves after the new loads were told for the first time
	Restless    int // moves even after they were told several times
	BrokenPaths int // links with no way up to the birthplace, at any of the moments looked at

	OwnViewers, MovedViewers, RefusedViewers int

	Links, Viewers Quantiles // time without a parent, and without an edge

	After Report
}

// Quantiles tells how times are spread.
type Quantiles struct {
	Count          int
	Half, P95, Max time.Duration
}

func quantiles(times []time.Duration) Quantiles {
	if len(times) == 0 {
		return Quantiles{}
	}
	slices.Sort(times)
	at := func(share float64) time.Duration { return times[min(int(share*float64(len(times))), len(times)-1)] }
	return Quantiles{Count: len(times), Half: at(0.5), P95: at(0.95), Max: times[len(times)-1]}
}

// report looks at the world as it is.
func (w *world) report() *Report {
	r := &Report{Config: w.config, Nodes: map[tree.Role]int{}, Refused: w.refused, Orphans: w.orphans}
	for i := range w.nodes {
		if !w.dead[i] {
			r.Nodes[w.nodes[i].Roles[0]]++
		}
	}
	for _, e := range w.viewers {
		if e != nobody {
			r.Viewers++
		}
	}
	w.origin(r)
	r.Relays, r.Edges = w.tier(tree.Relay), w.tier(tree.Edge)
	return r
}

func (w *world) origin(r *Report) {
	copies, most := make([]int, len(w.tracks)), 0
	for child := range w.nodes {
		n := &w.nodes[child]
		for t := range w.tracks {
			p := w.parent[child][t]
			if p == nobody {
				continue
			}
			if n.Has(tree.Edge) {
				d := max(w.depth(int32(child), t), 0)
				r.Depths = append(r.Depths, make([]int, max(0, d+1-len(r.Depths)))...)
				r.Depths[d]++
			}
			if p != w.tracks[t].birth {
				continue
			}
			r.OriginRate += w.tracks[t].rate
			switch {
			case n.Has(tree.Relay):
				r.OriginLinks++
				copies[t]++
			case n.Has(tree.Edge):
				r.OriginDirect++
				copies[t]++
			default:
				r.OriginMakers++
			}
			most = max(most, copies[t])
		}
	}
	r.OriginCopies = ratio(float64(most), float64(r.Nodes[tree.Relay]))
}

func (w *world) tier(role tree.Role) (t Tier) {
	type sums struct {
		used, room, most float64
	}
	all, regions := sums{}, map[string]*sums{}
	fanOut, nodes := 0, 0
	for i := range w.nodes {
		n := &w.nodes[i]
		if w.dead[i] || !n.Has(role) || w.room[i] == 0 {
			continue
		}
		region := regions[n.Region]
		if region == nil {
			region = &sums{}
			regions[n.Region] = region
		}
		for _, s := range []*sums{&all, region} {
			s.used, s.room, s.most = s.used+w.used[i], s.room+w.room[i], max(s.most, w.used[i]/w.room[i])
		}
		nodes++
		down := w.below(int32(i))
		fanOut += down
		t.FanOut.Most = max(t.FanOut.Most, down)
		if w.used[i] > 0 {
			t.Used++
		}
	}
	t.FanOut.Mean = ratio(float64(fanOut), float64(nodes))
	t.Load, t.Most = ratio(all.used, all.room), all.most
	t.Spread = ratio(all.most, t.Load)
	for _, s := range regions {
		t.WorstSpread = max(t.WorstSpread, ratio(s.most, ratio(s.used, s.room)))
	}
	return t
}

// below is how many links or viewers hang below a node.
func (w *world) below(node int32) (n int) {
	counts := w.children[node]
	if w.nodes[node].Has(tree.Edge) {
		counts = w.watched[node]
	}
	for _, c := range counts {
		n += int(c)
	}
	return n
}

// Print writes the report for people to read.
func (r *Report) Print(out io.Writer) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	// Into memory, so only Flush could fail.
	line := func(name, format string, arguments ...any) {
		_, _ = fmt.Fprintf(table, "%s\t"+format+"\n", append([]any{name}, arguments...)...)
	}
	c := &r.Config
	line("cluster", "%d edges, %d relays, %d transcoders, %d ingest nodes in %d regions, seed %d",
		r.Nodes[tree.Edge], r.Nodes[tree.Relay], r.Nodes[tree.Transcoder], r.Nodes[tree.Ingest], len(c.Regions), c.Seed)
	line("programmes", "%d in %d formats", c.Programmes, c.Formats)
	r.lines(line)
	if f := r.Failure; f != nil {
		line("", "")
		f.lines(line, c)
		line("", "")
		line("once all is quiet", "")
		f.After.lines(line)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, text.String())
	return err
}

type printer func(name, format string, arguments ...any)

func (r *Report) lines(line printer) {
	line("viewers", "%d have an edge, %d were refused by all they asked", r.Viewers, r.Refused)
	depths := make([]string, 0, len(r.Depths))
	for d, n := range r.Depths {
		if n > 0 {
			depths = append(depths, fmt.Sprintf("%d links: %d", d, n))
		}
	}
	line("depth of tracks at edges", "%s; %d without a parent", strings.Join(depths, ", "), r.Orphans)
	line("relay fan-out (links)", "mean %.0f, most %d; %d relays in use", r.Relays.FanOut.Mean, r.Relays.FanOut.Most, r.Relays.Used)
	line("edge fan-out (tracks to viewers)", "mean %.0f, most %d; %d edges in use", r.Edges.FanOut.Mean, r.Edges.FanOut.Most, r.Edges.Used)
	for _, t := range []struct {
		name string
		Tier
	}{{"relay", r.Relays}, {"edge", r.Edges}} {
		line(t.name+" load", "mean %.0f %%, most %.0f %% of capacity; max/mean %.2f, within a region %.2f", 100*t.Load, 100*t.Most, t.Spread, t.WorstSpread)
	}
	line("origin egress", "at most %.2f copies of a track for each relay; %d copies to relays, %d to edges, %d to workers, %.2f Gbit/s",
		r.OriginCopies, r.OriginLinks, r.OriginDirect, r.OriginMakers, r.OriginRate/1e9)
}

func (f *FailureReport) lines(line printer, c *Config) {
	line("failure", "%s: %d nodes die; %d tracks lose their birthplace", f.Kind, f.Dead, f.LostBirthplaces)
	line("noticed", "by children after %v, by gossip after %v to %v, by viewers after %v", c.Silence, c.Gossip, c.Gossip+c.Stagger, c.Client)
	line("links lost with their parent", "%d", f.OwnChildren)
	line("links moved", "%d, %.2f for each lost; %d of these only by new loads, %d without end", f.Moves, ratio(float64(f.Moves), float64(f.OwnChildren)), f.Later, f.Restless)
	line("links with no way up", "%d, at any moment", f.BrokenPaths)
	line("time to re-attach, links", "%s", f.Links)
	line("viewers lost with their edge", "%d; %d have another, %d were refused", f.OwnViewers, f.MovedViewers, f.RefusedViewers)
	line("time to re-attach, viewers", "%s", f.Viewers)
}

func (q Quantiles) String() string {
	if q.Count == 0 {
		return "none had to"
	}
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("half %v, p95 %v, most %v", round(q.Half), round(q.P95), round(q.Max))
}
