package cluster

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"banyan/relay/media"
	"banyan/relay/tree"
)

func counterValue(c prometheus.Metric) float64 {
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		panic(err)
	}
	return m.GetCounter().GetValue()
}

func TestAlone(t *testing.T) {
	c, err := New(Config{Self: tree.Node{Name: "one"}, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if c.transport != nil || c.Addr().IsValid() {
		t.Error("a node that is alone opened a socket")
	}
	changed := c.Changed()
	c.Announce([]tree.Track{video("x")})
	select {
	case <-changed:
	default:
		t.Error("its own tracks are no change")
	}
	c.Update(func(n *tree.Node) { n.Draining = true; n.Name = "two" })
	if v := c.View(); len(v.Nodes) != 1 || len(v.Tracks) != 1 || !v.Node("one").Draining || v.Tracks[0].Node != "one" {
		t.Errorf("it sees %+v", v)
	}
	changed = c.Changed()
	c.Announce([]tree.Track{video("x")})
	c.Update(func(n *tree.Node) { n.Load = 0.001 })
	select {
	case <-changed:
		t.Error("what did not change is a change")
	default:
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	good := tree.Node{Name: "n"}
	var formats []media.Format
	for i := range maxFormats {
		formats = append(formats, media.Format(strings.Repeat("f", 30)+string(rune('a'+i%26))))
	}
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no key on all interfaces":   {Config{Self: good, Addr: ":0"}, "cluster.key"},
		"no key on another address":  {Config{Self: good, Addr: "192.0.2.1:0"}, "cluster.key"},
		"no key to join with":        {Config{Self: good, Join: []string{"192.0.2.1:7946"}}, "cluster.key"},
		"short key":                  {Config{Self: good, Addr: "127.0.0.1:0", Keys: [][]byte{[]byte("short")}}, "openssl"},
		"empty key":                  {Config{Self: good, Addr: "127.0.0.1:0", Keys: [][]byte{nil}}, "openssl"},
		"too many keys":              {Config{Self: good, Addr: "127.0.0.1:0", Keys: make([][]byte, 5)}, "remove"},
		"no name":                    {Config{}, "node.name"},
		"name with a space":          {Config{Self: tree.Node{Name: "a b"}}, "node.name"},
		"long name":                  {Config{Self: tree.Node{Name: strings.Repeat("n", 65536)}}, "node.name"},
		"bad region":                 {Config{Self: tree.Node{Name: "n", Region: "\n"}}, "node.region"},
		"bad URL":                    {Config{Self: tree.Node{Name: "n", HTTP: "javascript:alert(1)"}}, "public URL"},
		"too much to tell":           {Config{Self: tree.Node{Name: "n", Formats: formats}}, "fewer formats"},
		"address without port":       {Config{Self: good, Addr: "127.0.0.1"}, "cluster.addr"},
		"address of another machine": {Config{Self: good, Addr: "192.0.2.1:0", Keys: [][]byte{testKey}}, "cluster.addr"},
		"join without port":          {Config{Self: good, Addr: "127.0.0.1:0", Join: []string{"relay1"}}, "cluster.join"},
		"bad address to advertise":   {Config{Self: good, Addr: "127.0.0.1:0", Advertise: "here"}, "advertise"},
	} {
		c.config.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		got, err := New(c.config)
		if err == nil {
			got.closeSockets()
			t.Errorf("%s was accepted", name)
		} else if !strings.Contains(err.Error(), c.want) || len(err.Error()) > 500 {
			t.Errorf("%s: %q, want a sentence with %q", name, err, c.want)
		}
	}
}

func TestAllowed(t *testing.T) {
	c := Config{Keys: [][]byte{testKey}, Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for addr, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "192.0.2.1": false, "127.0.0.1": false} {
		if got := c.allowed()(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %v, want %v", addr, got, want)
		}
	}
}
