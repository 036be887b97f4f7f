package cluster

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay/tree"
)

// A load that is measured every two seconds for an hour, and flutters, is told hardly ever, and never more often than all two
// seconds. What others see is never far from the truth for long, and on its side of the marks.
func TestLoadThatFlutters(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	around := func(middle float64) func(int) float64 {
		return func(int) float64 { return middle + (random.Float64()-0.5)/17 }
	}
	for _, c := range []struct {
		name  string
		every time.Duration
		load  func(look int) float64
		most  int // messages
	}{
		{"around a half", 2 * time.Second, around(0.5), 2},
		{"around full", 2 * time.Second, around(tree.Full), 2},
		{"around roomy", 2 * time.Second, around(tree.Roomy), 2},
		{"around a half, looked at all the time", 50 * time.Millisecond, around(0.5), 2},
		{"to and fro by a sixteenth", 50 * time.Millisecond, func(i int) float64 { return 0.5 + float64(i%2)/16 }, 1801},
		{"up and down like a day", 2 * time.Second, func(i int) float64 { return 0.5 - 0.5*math.Cos(float64(i)/1800*2*math.Pi) }, 40},
	} {
		synctest.Test(t, func(t *testing.T) {
			node, err := New(Config{Self: tree.Node{Name: "n", Roles: []tree.Role{tree.Edge}}})
			if err != nil {
				t.Fatal(err)
			}
			told, last := 0, time.Time{}
			for i := range int(time.Hour / c.every) {
				load, before := c.load(i), node.View()
				node.Update(func(n *tree.Node) { n.Load, n.Encoding = load, load })
				if after := node.View(); after != before {
					if told++; time.Since(last) < loadEvery {
						t.Fatalf("%s: told again after %v", c.name, time.Since(last))
					}
					last = time.Now()
				}
				seen := node.View().Node("n").Load
				if c.every >= loadEvery && (math.Abs(seen-load) > loadStep+1.0/loadSteps || load >= 1 && seen < tree.Full || load < 0.78 && seen >= tree.Roomy) {
					t.Fatalf("%s: others see %v of a load of %v", c.name, seen, load)
				}
				time.Sleep(c.every)
			}
			if told > c.most {
				t.Errorf("%s: %d messages in an hour, want %d at most", c.name, told, c.most)
			}
		})
	}
}

// What came too soon is told when its time has come, also if nobody looks again; and who says something else meanwhile says
// it at once, and does not take it back.
func TestLoadThatWaits(t *testing.T) {
	t.Parallel()
	all := family(t, 2)
	all[0].Update(func(n *tree.Node) { n.Load = 0.25 })
	all[0].Update(func(n *tree.Node) { n.Load = 1 })
	all[0].Update(func(n *tree.Node) { n.Draining = true })
	all[1].eventually("the first load", func(v *tree.View) bool { n := v.Node("n0"); return n.Draining && n.Load == 0.25 })
	all[1].eventually("the second load", func(v *tree.View) bool { return v.Node("n0").Load == 1 })
}
