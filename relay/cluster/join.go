package cluster

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// retryFirst and retryMost are the bounds of the pause between attempts to reach somebody; half of it is chance, so
	// that nodes which lost each other at one time do not come back at one time. It stays well below the five seconds
	// in which a healed partition is to be forgotten.
	retryFirst = 200 * time.Millisecond
	retryMost  = 3 * time.Second
	// lookEvery is how often a node looks whether all addresses of cluster.join are among the living.
	lookEvery = 2 * time.Second
	// againAfter is when an address that answered under another one is tried again, such as a load balancer's.
	againAfter = time.Minute
	// A node that died without goodbye may only be cut off. It is looked for for missFor, a few such at a time.
	missFor  = time.Hour
	maxLost  = 256
	seekLost = 3
	// maxAddrs bounds what a name of cluster.join stands for, and is tried at one time.
	maxAddrs = 8
	// complainEvery is how often the log tells that nobody can be reached.
	complainEvery = 30 * time.Second
	// settleEvery is the pause while another node has our name.
	settleEvery = 300 * time.Millisecond
)

// lostNode is one that died without goodbye.
type lostNode struct {
	addr netip.AddrPort
	at   time.Time
}

// miss remembers a node that died, to look for it; with mu held.
func (c *Cluster) miss(m member) {
	for name := range c.lost { // any: the living tell us of the others
		if len(c.lost) < maxLost {
			break
		}
		delete(c.lost, name)
	}
	c.lost[m.node.Name] = lostNode{m.addr, time.Now()}
	signal(c.seek)
}

// keepJoining looks for the addresses of cluster.join, and for nodes that were lost, until they are among the living.
func (c *Cluster) keepJoining(ctx context.Context, list *memberlist.Memberlist) error {
	pause := retryFirst
	for ctx.Err() == nil {
		targets := c.targets(ctx)
		wait := lookEvery
		switch {
		case c.hasTwin():
			wait = settleEvery
		case len(targets) == 0:
			pause = retryFirst
		default:
			wait = pause/2 + rand.N(pause/2)
			pause = min(2*pause, retryMost)
		}
		if c.reach(list, targets) {
			pause = retryFirst
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.seek:
			// Not at once: whoever is just being found dead is not to be reached.
			sleep(ctx, settleEvery/2+rand.N(settleEvery/2))
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// reach exchanges states with the targets, and tells whether one of them answered.
func (c *Cluster) reach(list *memberlist.Memberlist, targets []netip.AddrPort) bool {
	var wg sync.WaitGroup
	failed := make([]error, len(targets))
	for i, target := range targets {
		wg.Go(func() {
			_, failed[i] = list.Join([]string{target.String()})
			if failed[i] != nil {
				c.metrics.joins.WithLabelValues("failed").Inc()
				return
			}
			c.metrics.joins.WithLabelValues("reached").Inc()
		})
	}
	wg.Wait()
	now := time.Now()
	any := false
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, err := range failed {
		if err == nil {
			c.reached[targets[i]] = now
			any = true
		}
	}
	if !any && len(targets) > 0 && len(c.nodes) == 0 && now.Sub(c.complained) > complainEvery && c.transport.closed.Err() == nil {
		c.complained = now
		c.logger.Warn("no other node can be reached yet; still trying", "addr", targets[0].String(), "err", oneLine(failed[0]))
	}
	return any
}

// oneLine is an error of memberlist's, which are laid out over several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// targets are the addresses to try now: one that we are at odds with, those of cluster.join that are not among the
// living, and a few lost nodes'.
// While another node has our name, all of cluster.join, to see which of us the others know.
func (c *Cluster) targets(ctx context.Context) []netip.AddrPort {
	var wanted []netip.AddrPort
	for _, addr := range c.config.Join {
		wanted = append(wanted, resolve(ctx, addr)...)
	}
	rand.Shuffle(len(wanted), func(i, j int) { wanted[i], wanted[j] = wanted[j], wanted[i] })
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[netip.AddrPort]bool{c.transport.advertise: true}
	for _, m := range c.nodes {
		known[m.addr] = known[m.addr] || c.twin == nil
	}
	for addr, at := range c.reached {
		if now.Sub(at) > againAfter {
			delete(c.reached, addr)
		} else if c.twin == nil && !c.isLost(addr) {
			known[addr] = true
		}
	}
	var targets []netip.AddrPort
	add := func(addr netip.AddrPort, most int) {
		if !known[addr] && len(targets) < most {
			known[addr] = true
			targets = append(targets, addr)
		}
	}
	if c.mend.IsValid() {
		targets, c.mend = append(targets, c.mend), netip.AddrPort{}
	}
	for _, addr := range wanted {
		add(addr, maxAddrs)
	}
	most := len(targets) + seekLost
	for name, l := range c.lost { // in no order
		if now.Sub(l.at) > missFor {
			delete(c.lost, name)
			continue
		}
		add(l.addr, most)
	}
	return targets
}

func (c *Cluster) isLost(addr netip.AddrPort) bool {
	for _, l := range c.lost {
		if l.addr == addr {
			return true
		}
	}
	return false
}

// resolve lists what an address stands for; nothing if the name cannot be resolved now.
func resolve(ctx context.Context, addr string) (all []netip.AddrPort) {
	host, service, err := net.SplitHostPort(addr)
	port, badPort := strconv.ParseUint(service, 10, 16)
	if err != nil || badPort != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host) // an IP address stands for itself
	if err != nil {
		return nil
	}
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
	}
	return all
}
