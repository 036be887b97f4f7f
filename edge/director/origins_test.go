package director

import (
	"fmt"
	"slices"
	"testing"

	"banyan/relay/tree"
)

// reachedAt gives an edge another address.
func reachedAt(http string) func(*tree.Node) { return func(n *tree.Node) { n.HTTP = http } }

func TestOrigins(t *testing.T) {
	many := func(address string) (nodes []tree.Node) {
		for i := range 300 {
			nodes = append(nodes, edge(fmt.Sprintf("edge%03d", i), "eu", reachedAt(fmt.Sprintf(address, i))))
		}
		return nodes
	}
	var addresses []string
	for i := range mostOrigins {
		addresses = append(addresses, fmt.Sprintf("http://10.0.0.%d:8080", i))
	}
	for _, c := range []struct {
		name  string
		nodes []tree.Node
		want  []string
	}{
		{"none", nil, nil},
		{"one below what anybody may register under", []tree.Node{edge("a", "eu", reachedAt("https://banyan.co.uk"))}, []string{"https://banyan.co.uk"}},
		{"a few", []tree.Node{edge("b", "eu"), edge("a", "eu", reachedAt("https://a.example.org:8443/live")), edge("c", "eu", hidden), edge("d", "eu", noEdge)},
			[]string{"https://*.example.org:8443", "http://*.example.org"}},
		{"two behind one name", []tree.Node{edge("a", "eu", reachedAt("https://example.org/a")), edge("b", "eu", reachedAt("https://example.org/b"))},
			[]string{"https://example.org"}},
		{"two by address", []tree.Node{edge("a", "eu", reachedAt("http://10.0.0.1:8080")), edge("b", "eu", reachedAt("http://10.0.0.2:8080"))},
			[]string{"http://10.0.0.1:8080", "http://10.0.0.2:8080"}},
		{"many of one domain", many("https://edge%d.example.org"), []string{"https://*.example.org"}},
		{"many at a port", append(many("https://edge%d.eu.example.org:8443"), edge("us1", "us", reachedAt("https://us1.us.example.org:8443"))),
			[]string{"https://*.eu.example.org:8443", "https://*.us.example.org:8443"}},
		{"many by address", many("http://10.0.0.%d:8080"), addresses},
	} {
		if got := directorOn(t, "self", append(slices.Clone(c.nodes), edge("self", "eu", reachedAt("http://192.0.2.1")))...).Origins(); !slices.Equal(got, c.want) {
			t.Errorf("%s: the origins are %q, want %q", c.name, got, c.want)
		}
	}
	if got := directorOn(t, "self", edge("self", "eu")).Origins(); !slices.Equal(got, []string{"http://*.example.org"}) {
		t.Errorf("for edges that may join, the origins are %q", got)
	}
	names := many("https://edge%d.example")[:mostOrigins+1] // too short for a common domain
	if got := directorOn(t, "self", append(names, edge("self", "eu", reachedAt("http://192.0.2.1")))...).Origins(); len(got) != mostOrigins || got[0] != "https://edge0.example" {
		t.Errorf("of short names the origins are %q", got)
	}
}
