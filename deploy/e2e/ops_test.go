package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// opsState is what the /ops page shows.
type opsState struct {
	Nodes map[string]string   // state by name
	Links map[string][]string // formats by "parent child"
	Rows  []string            // of the table of nodes
	Flows []string            // rows of the table of flows
	Gone  []string            // rows of the table of nodes that have gone
	Wide  bool                // the page is wider than the window
}

func readOps(b *Browser) (s opsState) {
	b.Eval(&s, `(() => {
		const all = (selector, of) => [...document.querySelectorAll(selector)].map(of);
		return {
			nodes: Object.fromEntries(all("[data-node]", (e) => [e.dataset.node, e.dataset.state])),
			links: Object.fromEntries(all("[data-link]", (e) => [e.dataset.link, [...e.children].map((lane) => lane.getAttribute("class"))])),
			rows: all("[data-table=nodes] tbody tr", (e) => e.innerText.replace(/\s+/g, " ")),
			flows: all("[data-table=flows] tbody tr", (e) => e.innerText.replace(/\s+/g, " ")),
			gone: all("[data-table=gone] tbody tr", (e) => e.innerText.replace(/\s+/g, " ")),
			wide: document.documentElement.scrollWidth > innerWidth,
		};
	})()`)
	return s
}

// row finds a row of a table by the words that it has.
func row(rows []string, words ...string) string {
	for _, row := range rows {
		if containsAll(row, words) {
			return row
		}
	}
	return ""
}

// TestOpsShowsTheTree looks at /ops while a stream is watched through three tiers and a relay is killed.
func TestOpsShowsTheTree(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	viewer := OpenBrowser(t, 640, 480)
	viewer.Open(edge.URL("/watch/cup/cam1?transport=webrtc&format=180p"))
	viewer.WaitPlaying("webrtc", 25, 60*time.Second)

	page := OpenBrowser(t, 1280, 1100)
	page.Open(edge.URL("/ops"))
	Eventually(t, 20*time.Second, "the page asks for a token", func() error {
		if text := page.State().Text; !strings.Contains(text, "banyan token --api") {
			return fmt.Errorf("it says %q", text)
		}
		return nil
	})
	page.Fill("input[type=password]", edge.Token(t, "--api"))
	page.Press("Enter")
	var parent, other string
	Eventually(t, 30*time.Second, "five nodes, and the way of the watched format", func() error {
		s := readOps(page)
		for _, name := range []string{"ingest1", "worker1", "relay1", "relay2", "edge1"} {
			if s.Nodes[name] != "up" {
				return fmt.Errorf("%s is %q in %+v", name, s.Nodes[name], s)
			}
		}
		view, err := edge.Cluster(t)
		if err != nil {
			return err
		}
		parent = view.Parent("cup/cam1", "180p", "video")
		if len(s.Links["worker1 "+parent]) == 0 || len(s.Links[parent+" edge1"]) == 0 || len(s.Links["ingest1 worker1"]) == 0 {
			return fmt.Errorf("the picture has the links %v", s.Links)
		}
		flow := row(s.Flows, "cup/cam1", "180p picture", parent+" → edge1")
		if !strings.Contains(flow, "kb/s") || !strings.Contains(flow, " ms") {
			return fmt.Errorf("the flow into the edge is %q in %v", flow, s.Flows)
		}
		if node := row(s.Rows, "edge1", "1 WebRTC"); node == "" {
			return fmt.Errorf("the viewer is not told of: %v", s.Rows)
		}
		return nil
	})
	other = map[string]string{"relay1": "relay2", "relay2": "relay1"}[parent]

	page.Screenshot("ops-light")
	page.Look("dark", 1280, 1100)
	page.Screenshot("ops-dark")
	page.Look("light", 390, 844)
	Eventually(t, 5*time.Second, "the page fits a phone", func() error {
		if readOps(page).Wide {
			return fmt.Errorf("it is wider than the window")
		}
		return nil
	})
	page.Screenshot("ops-phone")
	page.Look("light", 1280, 1100)

	page.Click(`[data-table=nodes] button:text-is("` + parent + `")`)
	Eventually(t, 5*time.Second, "the table has the flows of the chosen relay alone", func() error {
		flows := readOps(page).Flows
		if len(flows) == 0 || slices.ContainsFunc(flows, func(row string) bool { return !strings.Contains(row, parent) }) {
			return fmt.Errorf("it has %v", flows)
		}
		return nil
	})
	page.Screenshot("ops-chosen")
	page.Click(`button:text-is("Show all")`)

	c.Nodes[parent].Kill()
	killed := time.Now()
	Eventually(t, 8*time.Second, "the page shows the relay as lost", func() error {
		if state := readOps(page).Nodes[parent]; state != "lost" {
			return fmt.Errorf("%s is %q", parent, state)
		}
		return nil
	})
	t.Logf("a relay killed -9: /ops shows it as lost after %.1f s", time.Since(killed).Seconds())
	page.Screenshot("ops-lost")
	Eventually(t, 20*time.Second, "it fades out, and the flow goes by the other relay", func() error {
		s := readOps(page)
		if state, there := s.Nodes[parent]; there {
			return fmt.Errorf("%s is still shown: %s", parent, state)
		}
		if len(s.Links[other+" edge1"]) == 0 || row(s.Flows, "180p picture", other+" → edge1") == "" {
			return fmt.Errorf("the flows are %v", s.Flows)
		}
		return nil
	})
	page.Screenshot("ops-after")
	if gone := readOps(page).Gone; len(gone) != 1 || row(gone, parent, "ago", "Died, or was cut off") == "" {
		t.Errorf("of the relay that was killed it says %q", gone)
	}
}

// TestOpsOfANodeAlone looks at /ops on a node without a cluster.
func TestOpsOfANodeAlone(t *testing.T) {
	n := StartNode(t, small...)
	camera(t, n, "cup/cam1")
	n.WaitLive(t, "cup/cam1")
	page := OpenBrowser(t, 1280, 800)
	page.Open(n.URL("/ops#token=" + n.Token(t, "--api")))
	Eventually(t, 20*time.Second, "the node and its stream", func() error {
		s := readOps(page)
		if len(s.Nodes) != 1 || row(s.Flows, "cup/cam1", "Source", "born at") == "" {
			return fmt.Errorf("it shows %+v", s)
		}
		return nil
	})
	page.Screenshot("ops-alone")
}

// TestNodesBehindOneName asks a node for the tree where all nodes tell viewers one address, at which none of them answers.
func TestNodesBehindOneName(t *testing.T) {
	c := NewCluster(t)
	for _, name := range []string{"edge1", "edge2", "edge3"} {
		c.Start(name, "edge", "eu", "--http.url", "http://tv.invalid")
	}
	c.WaitSees(t, c.Nodes["edge1"], 3)
	Eventually(t, 10*time.Second, "all nodes tell of themselves", func() error {
		body, err := get(c.Nodes["edge1"].URL("/api/v1/cluster/tree"), "Authorization", "Bearer "+c.Nodes["edge1"].Token(t, "--api"))
		if err != nil {
			return err
		}
		var tree struct {
			Nodes []struct{ Name, Version, Trouble string }
		}
		if err := json.Unmarshal(body, &tree); err != nil {
			return err
		}
		for _, n := range tree.Nodes {
			if n.Trouble != "" || n.Version == "" {
				return fmt.Errorf("of %s it says %q", n.Name, n.Trouble)
			}
		}
		if len(tree.Nodes) != 3 {
			return fmt.Errorf("it has %d nodes", len(tree.Nodes))
		}
		return nil
	})
}
