package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// TestMain gives memberlist's last probes the time that Run says they may take.
func TestMain(m *testing.M) {
	code := m.Run()
	for end := time.Now().Add(5 * time.Second); code == 0; time.Sleep(50 * time.Millisecond) {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var testKey = []byte("a key of the cluster in these tests")

// testNode is a node that runs.
type testNode struct {
	*Cluster
	t    *testing.T
	stop func() error // with goodbye; returns what Run returned
	done chan struct{}
	err  error // of Run; valid once done is closed
	net  *faulty
}

type option func(*Config)

func joining(others ...*testNode) option {
	return func(c *Config) {
		for _, o := range others {
			c.Join = append(c.Join, o.Addr().String())
		}
	}
}

func keyed(keys ...string) option {
	return func(c *Config) {
		c.Keys = nil
		for _, k := range keys {
			c.Keys = append(c.Keys, []byte(k))
		}
	}
}

func at(addr netip.AddrPort) option { return func(c *Config) { c.Addr = addr.String() } }

func start(t *testing.T, name string, options ...option) *testNode {
	t.Helper()
	n := &testNode{t: t, done: make(chan struct{}), net: &faulty{}}
	config := Config{
		Self: tree.Node{Name: name, Region: "local", Roles: []tree.Role{tree.Relay, tree.Edge}, Link: netip.MustParseAddrPort("0.0.0.0:7947")},
		Addr: "127.0.0.1:0", Keys: [][]byte{testKey},
		Logger:  slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: logLevel})).With("at", name),
		network: n.net,
	}
	for _, o := range options {
		o(&config)
	}
	var err error
	for range 50 { // an address that was just given up may not be free at once
		if n.Cluster, err = New(config); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		n.err = n.Run(ctx)
		close(n.done)
	}()
	n.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case <-n.done:
			return n.err
		case <-time.After(patience):
			panic(name + " did not end")
		}
	})
	t.Cleanup(func() { n.stop() })
	return n
}

var logLevel = func() slog.Level {
	if os.Getenv("CLUSTER_DEBUG") != "" {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}()

type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	if testing.Verbose() {
		os.Stderr.Write(b)
	}
	return len(b), nil
}

// kill cuts the node off for ever, as a crash would: no goodbye gets through, nobody answers.
func (n *testNode) kill() { n.net.cut(func(netip.AddrPort) bool { return true }) }

// patience is how long anything that must happen is waited for. It says nothing of how long it takes.
const patience = 30 * time.Second

// eventually waits, from change to change of the view, until ok holds of it.
func (n *testNode) eventually(what string, ok func(*tree.View) bool) time.Duration {
	n.t.Helper()
	began := time.Now()
	deadline := time.After(patience)
	for {
		changed := n.Changed()
		v := n.View()
		if ok(v) {
			return time.Since(began)
		}
		select {
		case <-changed:
		case <-deadline:
			n.t.Fatalf("%s never saw %s; it sees %s", n.self.Name, what, describe(n.View()))
		}
	}
}

func describe(v *tree.View) string {
	s := ""
	for _, n := range v.Nodes {
		s += n.Name + " "
	}
	return fmt.Sprintf("nodes %sand %d tracks", s, len(v.Tracks))
}

func nodes(count int) func(*tree.View) bool {
	return func(v *tree.View) bool { return len(v.Nodes) == count }
}

func tracks(count int) func(*tree.View) bool {
	return func(v *tree.View) bool { return len(v.Tracks) == count }
}

func video(stream string) tree.Track {
	return tree.Track{
		ID: media.TrackID{Stream: media.Name(stream), Format: media.Source, Kind: media.Video}, Source: true, Since: 7,
		Params: &media.Params{Epoch: 3, Codec: media.H264, ClockRate: 90000, Width: 1280, Height: 720, FPS: 30, Sets: [][]byte{{1, 2, 3}, {4}}, Bitrate: 2_500_000},
	}
}

// family starts count nodes; all join the first.
func family(t *testing.T, count int, options ...option) []*testNode {
	t.Helper()
	all := []*testNode{start(t, "n0", options...)}
	for i := 1; i < count; i++ {
		all = append(all, start(t, fmt.Sprintf("n%d", i), append(options, joining(all[0]))...))
	}
	for _, n := range all {
		n.eventually("everybody", nodes(count))
	}
	return all
}

// agree waits until all nodes see the same, and returns it.
func agree(t *testing.T, all ...*testNode) *tree.View {
	t.Helper()
	var first *tree.View
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		first = all[0].View()
		same := true
		for _, n := range all[1:] {
			same = same && reflect.DeepEqual(n.View(), first)
		}
		if same {
			return first
		}
		if time.Now().After(end) {
			for _, n := range all {
				t.Logf("%s sees %s", n.self.Name, describe(n.View()))
			}
			t.Fatal("the views never agreed")
		}
	}
}

func TestFiveNodesConverge(t *testing.T) {
	all := family(t, 5)
	all[1].Announce([]tree.Track{video("cup/cam1"), video("cup/cam2")})
	all[4].Announce([]tree.Track{video("cup/cam1")})
	for _, n := range all {
		n.eventually("three tracks", tracks(3))
	}
	v := agree(t, all...)
	got := v.Tracks[0]
	want := video("cup/cam1")
	want.Node = "n1"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the track arrived as %+v, want %+v", got, want)
	}
	if link := v.Node("n3").Link; link != netip.MustParseAddrPort("127.0.0.1:7947") {
		t.Errorf("n3 takes links at %v, want the address that it gossips from", link)
	}
	all[2].Update(func(n *tree.Node) { n.Draining, n.Load = true, 0.26 })
	for _, n := range all {
		n.eventually("n2 drain", func(v *tree.View) bool { n := v.Node("n2"); return n.Draining && n.Load == 0.25 })
	}
	all[1].Announce([]tree.Track{video("cup/cam2")})
	for _, n := range all {
		n.eventually("two tracks", tracks(2))
	}
}

func TestDeadNodeIsNoticed(t *testing.T) {
	all := family(t, 5)
	all[4].Announce([]tree.Track{video("cup/cam1")})
	all[0].eventually("the track", tracks(1))
	all[4].kill()
	for _, n := range all[:4] {
		took := n.eventually("n4 dead", func(v *tree.View) bool { return v.Node("n4") == nil && len(v.Tracks) == 0 })
		t.Logf("%s noticed after at most %v", n.self.Name, took.Round(time.Millisecond))
	}
}

func TestGoodbyeIsNoticed(t *testing.T) {
	all := family(t, 5)
	began := time.Now()
	go all[4].stop()
	for _, n := range all[:4] {
		n.eventually("n4 gone", nodes(4))
		t.Logf("%s noticed after %v", n.self.Name, time.Since(began).Round(time.Millisecond))
	}
}
