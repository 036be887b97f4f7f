package director

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"banyan/relay/tree"
)

// Thousands of viewers may have one address. They go to one edge, which then needs the stream once, until it is loaded.
func TestACrowdOfOneAddress(t *testing.T) {
	for load, least := range map[float64]int{0: 1, 0.4: 1, 0.6: 4, 0.9: 4} {
		nodes := []tree.Node{edge("in", "eu", noEdge), edge("us1", "us")}
		for i := range 5 {
			nodes = append(nodes, edge(fmt.Sprint("eu", i), "eu", func(n *tree.Node) { n.Load = load }))
		}
		d := directorOn(t, "in", nodes...)
		seen := map[string]int{}
		for i := range 200 {
			r := httptest.NewRequest("POST", "/whep/cup/cam1?region=eu", nil)
			r.RemoteAddr = fmt.Sprint("100.64.0.1:", 1024+i)
			verdict := d.Serve(d.config.Locator.Viewer(r), cam, "")
			if verdict.Better == nil || verdict.Better.Region != "eu" {
				t.Fatalf("the verdict is %+v, want an edge of the region", verdict)
			}
			seen[verdict.Better.Name]++
		}
		if least == 1 && len(seen) != 1 || len(seen) < least {
			t.Errorf("at a load of %v they go to %v, want %d edges", load, seen, least)
		}
		for name, n := range seen {
			if least > 1 && n > 100 {
				t.Errorf("at a load of %v %d of 200 go to %s", load, n, name)
			}
		}
	}
}
