package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// What operators get wrong mostly works all the same: an edge in a region without a relay takes tracks from another
// region, a format that no relay carries comes from its birthplace. It costs lines that nobody meant to use, so the
// node says so: once in the log, and for as long as it is so in Troubles, which the ops page shows.

const (
	// troubleGrace is how long something must be wrong to count: while a cluster starts, much is for a moment.
	troubleGrace = 5 * time.Second
	// troubleAgain is how long the log is spared a line that it had already.
	troubleAgain = 10 * time.Minute
	maxTroubles  = 16
	// doubleGrace is how long two nodes must have one name, which the younger gives up after nameGrace; a node that comes
	// back at another address has it with its former life for less. doubleStays is how long it is told.
	doubleGrace = 2 * time.Second
	doubleStays = time.Minute
	// mostNamed bounds a list in a sentence.
	mostNamed = 8
)

// Troubles are sentences about what is set wrong, at this node or around it. They do not keep it from working.
func (c *Cluster) Troubles() []string { return c.troubles.list() }

// watchTroubles keeps them up to date, and logs them.
func (c *Cluster) watchTroubles(ctx context.Context) error {
	for sleep(ctx, settleEvery) {
		now := time.Now()
		wrong := misfits(c.View(), c.config.Self.Name)
		c.mu.Lock()
		doubled := c.doubles.names(now)
		c.mu.Unlock()
		for _, sentence := range c.troubles.update(wrong, doubled, now) {
			c.logger.Warn("the cluster is set up oddly: " + sentence)
		}
	}
	return nil
}

// doubles are names that two nodes go by, and when that was heard.
type doubles map[string]span

type span struct{ first, last time.Time }

// note is told of a name whenever it is heard of.
func (d doubles) note(name string, now time.Time) {
	heard, known := d[name]
	if !known && len(d) >= maxTroubles {
		return
	}
	if now.Sub(heard.last) > twinForgotten {
		heard.first = now
	}
	d[name] = span{heard.first, now}
}

// names makes sentences of those that outlasted a former life, and forgets what was long ago.
func (d doubles) names(now time.Time) (wrong []string) {
	for name, heard := range d {
		switch {
		case now.Sub(heard.last) > doubleStays:
			delete(d, name)
		case heard.last.Sub(heard.first) >= doubleGrace:
			wrong = append(wrong, fmt.Sprintf("two nodes have the name %.64q: give one of them another node.name", name))
		}
	}
	return wrong
}

// misfits are what is odd about a node's place in a view.
func misfits(v *tree.View, name string) (wrong []string) {
	self, relays := v.Node(name), v.With(tree.Relay)
	if self == nil || !self.Has(tree.Edge) || self.Has(tree.Relay) || len(relays) == 0 {
		return nil
	}
	if !slices.ContainsFunc(relays, func(r *tree.Node) bool { return r.Region == self.Region }) {
		wrong = append(wrong, fmt.Sprintf("no relay is in the region %q, and tracks come from another one: check node.region, or start a relay there", self.Region))
	}
	lacks := map[media.Format]bool{}
	for i := range v.Tracks {
		f := v.Tracks[i].ID.Format
		if _, known := lacks[f]; !known && self.Carries(f) {
			lacks[f] = !slices.ContainsFunc(relays, func(r *tree.Node) bool { return r.Carries(f) })
		}
	}
	maps.DeleteFunc(lacks, func(_ media.Format, nobody bool) bool { return !nobody })
	if formats := slices.Sorted(maps.Keys(lacks)); len(formats) > 0 {
		wrong = append(wrong, fmt.Sprintf("no relay carries %s, and each edge takes that from its birthplace: add it to relay.formats, or take it out of edge.formats", words(formats)))
	}
	return wrong
}

// words lists formats, up to a bound.
func words(formats []media.Format) string {
	var list []string
	for _, f := range formats[:min(len(formats), mostNamed)] {
		list = append(list, string(f))
	}
	if more := len(formats) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more", more))
	}
	return strings.Join(list, ", ")
}

// troubles remembers what is wrong, and since when. The zero value is ready to use.
type troubles struct {
	mu    sync.Mutex           // guards the fields below
	since map[string]time.Time // sentence by sentence
	told  map[string]time.Time // when it went to the log
	stand []string             // those that count
}

// update takes what is wrong now, and what is so for sure, and returns what the log has not had lately.
func (t *troubles) update(wrong, sure []string, now time.Time) (news []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.since == nil {
		t.since, t.told = map[string]time.Time{}, map[string]time.Time{}
	}
	wrong = slices.Concat(sure, wrong)
	maps.DeleteFunc(t.since, func(s string, _ time.Time) bool { return !slices.Contains(wrong, s) })
	maps.DeleteFunc(t.told, func(_ string, at time.Time) bool { return now.Sub(at) >= troubleAgain })
	t.stand = nil
	slices.Sort(wrong)
	for _, s := range wrong[:min(len(wrong), maxTroubles)] {
		if _, known := t.since[s]; !known {
			t.since[s] = now
		}
		if now.Sub(t.since[s]) < troubleGrace && !slices.Contains(sure, s) {
			continue
		}
		t.stand = append(t.stand, s)
		if _, had := t.told[s]; !had && len(t.told) < 4*maxTroubles {
			news = append(news, s)
		}
		if len(t.told) < 4*maxTroubles {
			t.told[s] = now
		}
	}
	return news
}

func (t *troubles) list() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.stand)
}
