package director

import (
	"slices"
	"strings"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// mostProbes bounds how many edges a viewer measures.
const mostProbes = 6

// Probes are good edges of different regions, that of this node first, at most six: what a viewer of an unknown region may
// measure the way to. It is empty where there are not two to choose from.
func (d *Director) Probes(v Viewer, stream media.Name, format media.Format) (probes []Edge) {
	plan := d.current()
	if plan == nil {
		return nil
	}
	formats := wanted(plan.View(), stream, format)
	for _, region := range d.spreadOver(plan) {
		if e, ok := d.inRegion(plan, Viewer{Region: region, Key: v.Key}, formats); ok && len(probes) < mostProbes {
			probes = append(probes, e)
		}
	}
	if len(probes) < 2 {
		return nil
	}
	return probes
}

// inRegion is an edge with room in the region of v: this node, if it is one.
func (d *Director) inRegion(plan *tree.Plan, v Viewer, formats []media.Format) (Edge, bool) {
	self := plan.View().Node(d.config.Self)
	if self != nil && self.Region == v.Region && self.Load < tree.Full && plan.Serves(self.Name, formats...) {
		return edgeOf(self)
	}
	for _, e := range d.list(plan, v, formats) {
		if n := plan.View().Node(e.Name); e.Region == v.Region && !n.Draining && n.Load < tree.Full {
			return e, true
		}
	}
	return Edge{}, false
}

// spreadOver is spread of the regions of a plan, which is that of d.current() or an older one.
func (d *Director) spreadOver(plan *tree.Plan) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.regions != nil && d.plan == plan {
		return d.regions
	}
	home := ""
	if self := plan.View().Node(d.config.Self); self != nil {
		home = self.Region
	}
	var all []string
	for _, n := range plan.View().With(tree.Edge) {
		if n.Region != "" && !slices.Contains(all, n.Region) {
			all = append(all, n.Region)
		}
	}
	regions := spread(home, all)
	if d.plan == plan {
		d.regions = regions
	}
	return regions
}

// spread orders regions so that the first of them are far from each other: home, if it is there, and then one of each
// continent in turn, as the first words of their names (eu in eu-west) tell continents.
func spread(home string, regions []string) []string {
	regions = slices.Clone(regions)
	slices.SortFunc(regions, func(a, b string) int {
		if (a == home) != (b == home) {
			return map[bool]int{true: -1, false: 1}[a == home]
		}
		return strings.Compare(a, b)
	})
	turns := map[string]int{} // regions of a continent so far
	turn := map[string]int{}  // of a region
	for _, r := range regions {
		continent, _, _ := strings.Cut(r, "-")
		turn[r] = turns[continent]
		turns[continent]++
	}
	slices.SortStableFunc(regions, func(a, b string) int { return turn[a] - turn[b] })
	return regions
}
