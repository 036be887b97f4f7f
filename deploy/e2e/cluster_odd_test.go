package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestOddConfigurations starts what operators get wrong: an edge in a region where nobody else is, relays that carry
// another format than is watched, two nodes of one name.
func TestOddConfigurations(t *testing.T) {
	c := NewCluster(t)
	flags := []string{"--ladder.default", "source,360p", "--transcoder.preset", "ultrafast"}
	ingest := c.Start("ingest1", "ingest,transcoder", "eu", flags...)
	c.Start("relay1", "relay", "eu", append([]string{"--relay.formats", "360p"}, flags...)...)
	edge := c.Start("edge1", "edge", "nowhere", flags...)
	camera(t, ingest, "cup/cam1")
	edge.WaitLive(t, "cup/cam1")

	viewer := Watch(t, edge.URL("/whep/cup/cam1?format=source"), 1)
	defer viewer.Leave()
	viewer.WaitFlowing(t, "a viewer in a region of its own, of a format that no relay carries")
	view, err := edge.Cluster(t)
	if err != nil {
		t.Fatal(err)
	}
	if parent := view.Parent("cup/cam1", "source", "video"); parent != "ingest1" {
		t.Errorf("the edge has the source from %q, want its birthplace, as no relay carries it", parent)
	}

	r, err := http.Post(edge.URL("/whep/cup/cam1?format=2160p"), "application/sdp", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(r.Body)
	_ = r.Body.Close()
	if err != nil || r.StatusCode < 400 || r.StatusCode >= 500 || r.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a format that nobody makes: %s, %s, %v; want a problem that says what to do", r.Status, answer, err)
	}

	noRelay, notCarried := `no relay is in the region "nowhere"`, "no relay carries source"
	page := OpenBrowser(t, 1280, 900)
	page.Open(edge.URL("/ops"))
	page.Fill("input[type=password]", edge.Token(t, "--api"))
	page.Press("Enter")
	troubled(t, edge, page, "edge1", noRelay, notCarried)

	own := c.doors["edge1"]
	delete(c.doors, "edge1") // the twin is elsewhere
	twin := c.Start("edge1", "edge", "eu", flags...)
	c.Nodes["edge1"], c.doors["edge1"] = edge, own
	select {
	case <-twin.done:
	case <-time.After(30 * time.Second):
		t.Fatal("two nodes go on with one name")
	}
	if said := twin.Output(); twin.err == nil || !strings.Contains(said, "node.name") {
		t.Errorf("the younger of two nodes with one name ended with %v and said %s", twin.err, said)
	}
	Eventually(t, 10*time.Second, "the elder one says what is wrong", func() error {
		if !strings.Contains(edge.Output(), "another node has this node's name") {
			return fmt.Errorf("it says nothing")
		}
		return nil
	})
	doubled := `two nodes have the name "edge1"`
	troubled(t, edge, page, "edge1", noRelay, notCarried, doubled)
	said := edge.Output()
	for _, sentence := range []string{noRelay, notCarried, doubled} {
		if n := strings.Count(said, strings.ReplaceAll(sentence, `"`, `\"`)); n != 1 {
			t.Errorf("the log of the edge has %d lines with %q, want one", n, sentence)
		}
	}
	viewer.WaitFlowing(t, "the viewer of the elder node")
	c.WaitSees(t, edge, len(c.Nodes))
}

// troubled waits until the tree that a node gathers, and the page that draws it, say what is set wrong at another one.
func troubled(t *testing.T, n *Node, page *Browser, name string, sentences ...string) {
	t.Helper()
	token := n.Token(t, "--api")
	Eventually(t, 30*time.Second, "the tree tells of "+strings.Join(sentences, ", and that "), func() error {
		body, err := get(n.URL("/api/v1/cluster/tree"), "Authorization", "Bearer "+token)
		if err != nil {
			return err
		}
		var tree struct {
			Nodes []struct {
				Name     string
				Troubles []string
			}
		}
		if err := json.Unmarshal(body, &tree); err != nil {
			return err
		}
		for _, node := range tree.Nodes {
			if said := strings.Join(node.Troubles, "\n"); node.Name == name && !containsAll(said, sentences) {
				return fmt.Errorf("%s says %q", node.Name, said)
			}
		}
		if shown := row(readOps(page).Rows, name); !containsAll(shown, sentences) {
			return fmt.Errorf("the page shows %q", shown)
		}
		return nil
	})
}
