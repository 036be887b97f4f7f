package cluster

import (
	"testing"
	"time"

	"banyan/relay/tree"
)

// TestDefaults holds what decides how soon a dead node is noticed. Tests that wait for that cannot tell a second from
// four on a busy machine.
func TestDefaults(t *testing.T) {
	c, err := New(Config{Self: tree.Node{Name: "one"}, Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.closeSockets)
	m := c.gossip()
	for what, d := range map[string]struct{ got, want time.Duration }{
		"probe interval":     {m.ProbeInterval, 200 * time.Millisecond},
		"probe timeout":      {m.ProbeTimeout, 100 * time.Millisecond},
		"suspicion, probes":  {time.Duration(m.SuspicionMult), 2},
		"suspicion, at most": {time.Duration(m.SuspicionMaxTimeoutMult), 1},
		"gossip interval":    {m.GossipInterval, 50 * time.Millisecond},
		"exchange interval":  {m.PushPullInterval, exchangeEvery},
		"name reclaimed":     {m.DeadNodeReclaimTime, time.Millisecond},
		"grace for twins":    {nameGrace, 3 * time.Second},
		"grace for troubles": {troubleGrace, 5 * time.Second},
	} {
		if d.got != d.want {
			t.Errorf("%s: %v, want %v", what, d.got, d.want)
		}
	}
	// Found within one interval, unconfirmed after another, suspected for two.
	if worst := time.Duration(2+m.SuspicionMult*m.SuspicionMaxTimeoutMult) * m.ProbeInterval; worst > time.Second {
		t.Errorf("a dead node of a small cluster is noticed after %v, want about a second", worst)
	}
}
