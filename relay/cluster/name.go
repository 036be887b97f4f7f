package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/hashicorp/memberlist"
)

// Two nodes with one name cannot both be in the cluster: whatever is said of one would be taken for the other. The
// younger one stops, with an error that says what to change. It does not take another name by itself, because an
// operator who copied a configuration would then see nodes that nobody named, in metrics and in the log, and would
// find out late; a node that does not start is noticed at once, while the one that serves goes on.
//
// Younger is who came later into the cluster, and not whose clock says so. A node that comes and finds its name there
// makes its Boot greater than the one it finds. That also holds for its own former life after the clock was set
// back, so the lives of a node are always in order. Where both were members of clusters that had not met, Boot decides
// as it is.
//
// A node that restarts at another address finds its former life in the others' memory, and looks like a younger twin.
// So the name is fought for only after a while, in which a former life is found dead.

// ErrNameTaken is why Run ends where another node has the name.
var ErrNameTaken = errors.New("another node of the cluster has the same name")

const (
	// nameGrace is how long a twin must be alive beside us, or 15 probe intervals if those are longer.
	nameGrace = 3 * time.Second
	// twinForgotten is how long nobody must have mentioned a twin until it is taken for gone.
	twinForgotten = 2 * time.Second
)

// twin is another node with our name.
type twin struct {
	addr        netip.AddrPort
	boot        int64
	first, last time.Time // when it was heard of
	told        bool      // the log has it
}

// meet is called when somebody says that our name is alive, be it us, a former life, or another node; with mu held.
func (c *Cluster) meet(other member) {
	boot := other.node.Boot
	if boot == c.self.Boot && other.addr == c.transport.advertise {
		return
	}
	formerLife := other.addr == c.transport.advertise
	if boot < c.self.Boot || !formerLife && c.joined {
		return
	}
	n := normal(c.self)
	n.Boot = boot + 1
	if err := c.become(n); err != nil {
		c.logger.Error("could not tell of a new life", "err", err)
		return
	}
	c.spread(n.Name, n.Boot, c.registry.rename(n.Boot))
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d delegate) NotifyConflict(existing, other *memberlist.Node) {
	d.metrics.conflicts.Inc()
	if other.Name != d.config.Self.Name {
		d.mu.Lock()
		d.doubles.note(other.Name, time.Now())
		d.mu.Unlock()
		d.logger.Debug("two nodes have one name", "member", other.Name, "addr", existing.Address(), "other", other.Address())
		return
	}
	got, err := d.admit(other)
	if err != nil {
		return
	}
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.twin == nil || d.twin.addr != got.addr {
		d.twin = &twin{addr: got.addr, first: now}
		signal(d.seek)
	}
	d.twin.boot, d.twin.last = got.node.Boot, now
	d.doubles.note(other.Name, now)
}

func (c *Cluster) hasTwin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.twin != nil
}

// watchName ends with ErrNameTaken when a twin has outlasted the grace and is the elder.
func (c *Cluster) watchName(ctx context.Context) error {
	for sleep(ctx, settleEvery) {
		if err := c.checkName(time.Now()); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) checkName(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.twin
	switch {
	case t == nil:
		return nil
	case now.Sub(t.last) > twinForgotten:
		c.twin = nil
		return nil
	case now.Sub(t.first) < max(nameGrace, 15*c.config.ProbeInterval):
		return nil
	}
	younger := c.self.Boot > t.boot || c.self.Boot == t.boot && t.addr.Compare(c.transport.advertise) < 0
	if younger {
		c.logger.Error("another node has this node's name and is the elder: this one leaves. Set node.name to a name of its own",
			"other", t.addr.String())
		return fmt.Errorf("%w: %q is at %s already; set node.name to a name of its own", ErrNameTaken, c.self.Name, t.addr)
	}
	if !t.told {
		t.told = true
		c.logger.Error("another node has this node's name, and is the younger: it will leave. Set its node.name to a name of its own",
			"other", t.addr.String())
	}
	return nil
}
