package e2e

import (
	"testing"
	"time"
)

// TestTheClusterKeyIsChanged restarts the nodes of a cluster one after the other, three times, as the guide says, and
// has media cross between a node that has been restarted and one that has not.
func TestTheClusterKeyIsChanged(t *testing.T) {
	c := NewCluster(t)
	old, fresh := c.key, "another-"+newKey()
	flags := []string{"--ladder.default", "source"}
	roles := map[string]string{"ingest1": "ingest", "edge1": "edge"}
	order := []string{"ingest1", "edge1"}
	for _, name := range order {
		c.Start(name, roles[name], "eu", flags...)
	}
	token := c.Nodes["edge1"].Token(t, "--api")
	for _, keys := range []string{old + "," + fresh, fresh + "," + old, fresh} {
		c.key = keys
		for _, name := range order {
			drain(t, c.Nodes[name])
			c.Nodes[name].Wait(t, time.Minute)
			c.Start(name, roles[name], "eu", flags...)
			for _, n := range c.Nodes {
				c.WaitSees(t, n, len(order))
			}
			if name == "ingest1" { // else its camera is still there
				camera(t, c.Nodes["ingest1"], "cup/cam1")
			}
			c.Nodes["edge1"].WaitLive(t, "cup/cam1")
			viewer := Watch(t, c.Nodes["edge1"].URL("/whep/cup/cam1"), 1)
			viewer.WaitFlowing(t, "a viewer after "+name+" was restarted")
			viewer.Leave()
			_, err := get(c.Nodes[name].URL("/api/v1/cluster"), "Authorization", "Bearer "+token)
			if known := keys != fresh; known != (err == nil) {
				t.Errorf("%s answers a token of the old key with %v; want it to be taken as long as the key is: %v", name, err, known)
			}
		}
	}

	c.key = old
	stranger := c.Start("edge2", "edge", "eu", flags...)
	Eventually(t, 10*time.Second, "a node with the old key is refused", func() error {
		return c.Nodes["ingest1"].wants(t, 1, "banyan_cluster_refused_total")
	})
	c.WaitSees(t, stranger, 1)
	c.WaitSees(t, c.Nodes["ingest1"], len(order))
}
