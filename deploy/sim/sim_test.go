package sim

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// simulate runs a configuration and holds what must be true of every one: no loops, nobody above its capacity, and one copy
// for each relay.
func simulate(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	reports := []*Report{r}
	if f := r.Failure; f != nil {
		reports = append(reports, &f.After)
		if f.BrokenPaths > 0 {
			t.Errorf("seed %d, kill %s: %d links have no way up to the birthplace", c.Seed, c.Kill, f.BrokenPaths)
		}
		if f.MovedViewers+f.RefusedViewers != f.OwnViewers {
			t.Errorf("seed %d, kill %s: %d of %d viewers moved and %d were refused", c.Seed, c.Kill, f.MovedViewers, f.OwnViewers, f.RefusedViewers)
		}
		if f.Restless > 0 {
			t.Errorf("seed %d, kill %s: %d links still move after loads were told several times; want them to rest", c.Seed, c.Kill, f.Restless)
		}
	}
	for _, r := range reports {
		// With a third of a small cluster gone, a few edges find every relay that they know of full.
		if (r.OriginCopies > 1 || r.OriginDirect > 0) && c.Kill != KillThird {
			t.Errorf("seed %d: %.2f copies of a track leave the origin for each relay, and %d for edges; want 1 and none", c.Seed, r.OriginCopies, r.OriginDirect)
		}
		if r.Relays.Most > 1 || r.Edges.Most > 1 {
			t.Errorf("seed %d: a relay carries %.2f of its capacity and an edge %.2f; want 1 at most", c.Seed, r.Relays.Most, r.Edges.Most)
		}
		if r.Refused > 0 || r.Orphans > 0 || r.Viewers != r.Config.Viewers {
			t.Errorf("seed %d: %d viewers and %d tracks found nobody with room", c.Seed, r.Refused, r.Orphans)
		}
	}
	return r
}

// wantSpread holds what must be true while all is well.
func wantSpread(t *testing.T, r *Report) {
	t.Helper()
	if r.Relays.WorstSpread > 1.3 || r.Edges.WorstSpread > 1.3 {
		t.Errorf("seed %d: max/mean within a region is %.2f of relays and %.2f of edges; want 1.3 at most", r.Config.Seed, r.Relays.WorstSpread, r.Edges.WorstSpread)
	}
	if len(r.Depths) != 3 || r.Depths[0]+r.Depths[1] > 0 {
		t.Errorf("depths are %d; want all edges two links below", r.Depths)
	}
}

func TestSmallWorlds(t *testing.T) {
	t.Parallel()
	for _, kill := range Failures {
		for seed := range uint64(2) {
			r := simulate(t, Config{Edges: 200, Viewers: 80_000, Seed: seed, Kill: kill})
			wantSpread(t, r)
			f := r.Failure
			if f == nil {
				continue
			}
			if float64(f.Moves) > 1.5*float64(f.OwnChildren) {
				t.Errorf("seed %d, kill %s: %d links move where %d lost their parent; want 1.5 times as many at most", seed, kill, f.Moves, f.OwnChildren)
			}
			if kill == KillRelay && f.Links.Max > time.Second {
				t.Errorf("seed %d: a child of the relay was without a parent for %v", seed, f.Links.Max)
			}
			if kill == KillEdge && (f.OwnViewers == 0 || f.Viewers.Max > 2*time.Second) {
				t.Errorf("seed %d: %d viewers of the edge waited up to %v", seed, f.OwnViewers, f.Viewers.Max)
			}
		}
	}
}

// The size that the tree is made for, but for viewers: they load edges alone, and millions of them take minutes under the race
// detector.
func TestTheWholeWorld(t *testing.T) {
	t.Parallel()
	r := simulate(t, Config{Edges: 10_000, Viewers: 50_000, Seed: 1, Kill: KillRelay})
	if after := r.Failure.After.Relays; after.WorstSpread > 1.3 {
		t.Errorf("relays after the death of one: max/mean within a region %.2f; want 1.3 at most", after.WorstSpread)
	}
	if r.Relays.Spread > 1.3 || r.Failure.OwnChildren == 0 || r.Failure.Moves > r.Failure.OwnChildren*3/2 {
		t.Errorf("relays: max/mean %.2f; %d links lost, %d moved", r.Relays.Spread, r.Failure.OwnChildren, r.Failure.Moves)
	}
}

func TestTheSameSeedGivesTheSameReport(t *testing.T) {
	t.Parallel()
	text := func(seed uint64) string {
		var out bytes.Buffer
		r, err := Run(t.Context(), Config{Edges: 200, Viewers: 20_000, Seed: seed, Kill: KillThird})
		if err == nil {
			err = r.Print(&out)
		}
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if a, b := text(7), text(7); a != b {
		t.Errorf("the same seed gave\n%s\nand\n%s", a, b)
	}
	if text(7) == text(8) {
		t.Error("two seeds gave the same report")
	}
}

func TestBadConfigurations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{Edges: -1}, "edges"}, {Config{Edges: 1 << 30}, "edges"}, {Config{Viewers: 1 << 40}, "viewers"}, {Config{Formats: 11}, "formats"},
		{Config{Programmes: 1000}, "programmes"}, {Config{Kill: "everything"}, "everything"}, {Config{Silence: -1}, "negative"},
		{Config{Regions: []Region{{"eu", 0}}}, "eu"}, {Config{Regions: []Region{{"eu", 1}, {"eu", 1}}}, "eu"}, {Config{Regions: []Region{{"", 1}}}, "name"},
	} {
		if _, err := Run(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want an error with %q", c.config, err, c.want)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if _, err := Run(b.Context(), Config{Viewers: 500_000, Kill: KillRelay}); err != nil {
			b.Fatal(err)
		}
	}
}
