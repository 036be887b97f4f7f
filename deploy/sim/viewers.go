package sim

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strconv"
	"sync"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// viewer is what one of them wants.
type viewer struct {
	region int
	tracks [2]int // picture and sound; nobody where there is none
}

// audience draws viewers. Programmes are as popular as Zipf's law has it: the second has half as many viewers as the first.
type audience struct {
	world           *world
	regions, shows  []float64 // cumulated shares
	pictures, sound lottery
}

// lottery draws formats of a kind.
type lottery struct {
	formats []int // indices of the ladder
	shares  []float64
}

func newAudience(w *world) *audience {
	a := &audience{world: w}
	sum := 0.0
	for _, r := range w.config.Regions {
		sum += r.Share
		a.regions = append(a.regions, sum)
	}
	sum = 0
	for p := range w.config.Programmes {
		sum += 1 / float64(p+1)
		a.shows = append(a.shows, sum)
	}
	a.pictures, a.sound = newLottery(media.Video, w.config.Formats), newLottery(media.Audio, w.config.Formats)
	return a
}

func newLottery(kind media.Kind, formats int) (l lottery) {
	sum := 0.0
	for i, r := range ladder[:formats] {
		if r.kind == kind {
			sum += r.share
			l.formats, l.shares = append(l.formats, i), append(l.shares, sum)
		}
	}
	return l
}

// pick finds where a chance from 0 to 1 falls among cumulated shares.
func pick(shares []float64, chance float64) int {
	i, _ := slices.BinarySearch(shares, chance*shares[len(shares)-1])
	return min(i, len(shares)-1)
}

func (l lottery) draw(chance float64) int {
	if len(l.formats) == 0 {
		return nobody
	}
	return l.formats[pick(l.shares, chance)]
}

// viewer is the same whenever it is asked for.
func (a *audience) viewer(i int) (v viewer) {
	n := uint64(i)
	v.region = pick(a.regions, a.world.chance("region", n))
	show := pick(a.shows, a.world.chance("show", n))
	for kind, l := range [...]lottery{a.pictures, a.sound} {
		v.tracks[kind] = nobody
		if f := l.draw(a.world.chance("format"+strconv.Itoa(kind), n)); f != nobody {
			v.tracks[kind] = show*a.world.config.Formats + f
		}
	}
	return v
}

// formats are what the viewer asks the tree for, and rate what it takes of an edge.
func (w *world) formats(v viewer) (formats []media.Format, rate float64) {
	for _, t := range v.tracks {
		if t != nobody {
			formats, rate = append(formats, w.tracks[t].id.Format), rate+w.tracks[t].rate
		}
	}
	return formats, rate
}

// waves is how many times viewers come while gossip tells of how full edges have got.
const waves = 10

// admit lets all viewers come.
func (w *world) admit(ctx context.Context) error {
	a := newAudience(w)
	w.provision(tree.Edge, w.config.EdgeRate, w.demand(a))
	w.viewers = slices.Repeat([]int32{nobody}, w.config.Viewers)
	for wave := range waves {
		from, to := wave*w.config.Viewers/waves, (wave+1)*w.config.Viewers/waves
		w.config.tell("viewers %d to %d of %d come", from+1, to, w.config.Viewers)
		coming := make([]int, 0, to-from)
		for i := from; i < to; i++ {
			coming = append(coming, i)
		}
		choices, err := w.ask(ctx, w.plan, a, coming)
		if err != nil {
			return err
		}
		for i, who := range coming {
			w.seat(a, who, choices[i])
		}
		w.refresh(w.coarse)
	}
	return nil
}

// demand is what viewers want, in bits per second, from a sample of them.
func (w *world) demand(a *audience) float64 {
	const sample = 10_000
	sum := 0.0
	for i := range sample {
		_, rate := w.formats(a.viewer(i))
		sum += rate
	}
	return sum / sample * float64(w.config.Viewers)
}

// provision gives nodes of a role their capacities: rate for each unit, or if that is zero what the demand needs.
func (w *world) provision(role tree.Role, rate, demand float64) {
	if rate == 0 {
		units := 0.0
		for i := range w.nodes {
			if w.nodes[i].Has(role) {
				units += w.nodes[i].Capacity
			}
		}
		rate = demand / units / planned
	}
	for i := range w.nodes {
		if w.nodes[i].Has(role) {
			w.room[i] = rate * w.nodes[i].Capacity
		}
	}
}

// ask has a plan say for each of some viewers which edges are good for them. It uses all processors, as each question stands
// alone.
func (w *world) ask(ctx context.Context, plan *tree.Plan, a *audience, who []int) ([][]int32, error) {
	choices := make([][]int32, len(who))
	var wg sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		wg.Go(func() {
			for i := part * len(who) / parts; i < (part+1)*len(who)/parts && ctx.Err() == nil; i++ {
				v := a.viewer(who[i])
				formats, _ := w.formats(v)
				for _, name := range plan.Edges(w.config.Regions[v.region].Name, strconv.Itoa(who[i]), formats...) {
					choices[i] = append(choices[i], w.number[name])
				}
			}
		})
	}
	wg.Wait()
	return choices, ctx.Err()
}

// seat gives a viewer a place on the first edge that lives, whose gate is open, and that has room, and returns how many it tried.
func (w *world) seat(a *audience, who int, edges []int32) (tries int) {
	v := a.viewer(who)
	_, rate := w.formats(v)
	for i, e := range edges {
		if w.dead[e] || w.shut[e] || w.used[e]+rate > w.room[e] {
			continue
		}
		w.used[e] += rate
		w.viewers[who] = e
		for _, t := range v.tracks {
			if t != nobody {
				w.watched[e][t]++
			}
		}
		return i + 1
	}
	w.viewers[who] = nobody
	w.refused++
	return len(edges)
}

// ratio avoids dividing by nothing.
func ratio(a, b float64) float64 {
	if b == 0 {
		if a == 0 {
			return 0
		}
		return math.Inf(1)
	}
	return a / b
}
