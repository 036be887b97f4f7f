package director

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// Config sets up a Director.
type Config struct {
	// Self is the name of this node.
	Self string
	// View is the cluster as it is now. If nil, this node stands alone, serves everybody, and knows of no other.
	View func() *tree.View
	// Locator says where viewers are. If nil, nobody knows.
	Locator *Locator
	// Load is what this node carries where it stands alone, from 0 to 1. If nil, it has room for everybody.
	Load func() float64
	// Plays tells whether a request is of a player that this node serves already, which stays however full the node is. If nil,
	// all come for the first time.
	Plays func(r *http.Request, stream media.Name) bool
	// Allow tells whether a request may learn which edges have a stream; the answer to one that may not is written from the
	// error as relay/problem does. If nil, everyone may.
	Allow func(r *http.Request, stream media.Name) error
	// Metrics gets the counters. If nil, they are counted for nobody.
	Metrics prometheus.Registerer
}

// Director chooses edges for viewers. It is safe for concurrent use.
type Director struct {
	config  Config
	metrics *metrics

	mu      sync.Mutex // guards the fields below
	gate    tree.Gate  // of this node
	plan    *tree.Plan // of the newest view that was asked about
	regions []string   // of that view, to probe, see spread; nil until asked for
}

// New makes a director.
func New(config Config) (*Director, error) {
	if config.View != nil && config.Self == "" {
		return nil, errors.New("director: Self must be set to this node's name in the cluster")
	}
	if config.Locator == nil {
		config.Locator = &Locator{}
	}
	if config.Allow == nil {
		config.Allow = func(*http.Request, media.Name) error { return nil }
	}
	if config.Plays == nil {
		config.Plays = func(*http.Request, media.Name) bool { return false }
	}
	m, err := newMetrics(config.Metrics, config.Locator.GeoIP)
	if err != nil {
		return nil, err
	}
	return &Director{config: config, metrics: m}, nil
}

// Viewer is who asks.
type Viewer struct {
	Region string // empty where it is unknown
	By     Source // who told the region
	Key    string // tells viewers apart, so that they spread over equal edges: what comes from one address goes to one of them
	Lot    string // tells apart those of one Key, where the edge that is meant for them is loaded; empty where nothing does
}

// Edge is where a viewer can go.
type Edge struct {
	Name   string
	Region string
	Base   *url.URL // without a slash at its end
}

// Verdict is what becomes of a viewer who asked this node. The zero Verdict is that it is served here.
type Verdict struct {
	Better  *Edge  // where it had better go; nil where it stays
	Why     Reason // it goes
	Nowhere bool   // this node cannot serve it, nor can any other
	NoRoom  bool   // neither this node nor any other has room: it had better come back
}

// Reason is why a viewer is sent on, as metrics name it.
type Reason string

// The reasons to leave a node.
const (
	NoEdge   Reason = "no-edge"  // it does not have the role
	Draining Reason = "draining" // it is about to stop
	Hidden   Reason = "hidden"   // it has no address for viewers
	Format   Reason = "format"   // it does not carry what is asked for
	Full     Reason = "full"     // it has no room, see tree.Gate
	Region   Reason = "region"   // another is nearer
)

// Serve decides about a viewer who came to this node for a stream: it is served here, or had better go to another edge.
// format is what it wants; empty where anything will do.
//
// It stays where this node is a good edge in its region, or in a region as near as any other; also where no other is better.
// A node that cannot serve names another edge if there is any. Where nobody has room it has to come back: a line that is
// shared by more than it has room for is bad for all.
func (d *Director) Serve(v Viewer, stream media.Name, format media.Format) Verdict {
	plan := d.current()
	if plan == nil {
		return Verdict{NoRoom: d.config.Load != nil && d.shut(d.config.Load())}
	}
	formats := wanted(plan.View(), stream, format)
	self := plan.View().Node(d.config.Self)
	v = near(v, self)
	here := self != nil && self.Has(tree.Edge)
	good := here && self.HTTP != "" && plan.Serves(d.config.Self, formats...)
	shut := here && d.shut(self.Load)
	edges := d.list(plan, v, formats)
	if shut { // it would lead its own list again before the gate opens
		edges = slices.DeleteFunc(edges, func(e Edge) bool { return e.Name == d.config.Self })
	}
	if len(edges) == 0 {
		return Verdict{Nowhere: !here, NoRoom: shut}
	}
	best := edges[0]
	other := plan.View().Node(best.Name)
	switch {
	case best.Name == d.config.Self: // nothing comes before this node
	case other.Load >= tree.Full: // those with room come first
		return Verdict{NoRoom: shut || !good && (self == nil || self.HTTP != "" || !here)}
	case good && !shut && !tree.Nearer(v.Region, other.Region, self.Region):
	case here && other.Draining:
		return Verdict{NoRoom: shut}
	default:
		return Verdict{Better: &best, Why: why(self, good, shut)}
	}
	return Verdict{}
}

// shut tells whether this node turns newcomers away at a load.
func (d *Director) shut(load float64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gate.Shut(load)
}

// why is the reason for which a viewer leaves self, which is nil where the view does not have this node. good tells whether it
// could serve, and shut that it has no room.
func why(self *tree.Node, good, shut bool) Reason {
	switch {
	case self == nil || !self.Has(tree.Edge):
		return NoEdge
	case self.Draining:
		return Draining
	case self.HTTP == "":
		return Hidden
	case !good:
		return Format
	case shut:
		return Full
	}
	return Region
}

// near supposes that a viewer of whom nothing is known came to an edge because it is near.
func near(v Viewer, self *tree.Node) Viewer {
	if v.Region == "" && self != nil && self.Has(tree.Edge) {
		v.Region = self.Region
	}
	return v
}

// Edges lists where a viewer may turn to for a stream, best first, and at most four: this node, if Serve would keep the viewer
// here, and others. It is empty where this node stands alone.
func (d *Director) Edges(v Viewer, stream media.Name, format media.Format) []Edge {
	plan := d.current()
	if plan == nil {
		return nil
	}
	self := plan.View().Node(d.config.Self)
	v = near(v, self)
	list := d.list(plan, v, wanted(plan.View(), stream, format))
	if verdict := d.Serve(v, stream, format); verdict.Better != nil || verdict.Nowhere || verdict.NoRoom || self == nil {
		return list
	}
	mine, ok := edgeOf(self)
	if !ok {
		return list
	}
	list = slices.DeleteFunc(list, func(e Edge) bool { return e.Name == mine.Name })
	return append([]Edge{mine}, list[:min(len(list), mostEdges-1)]...)
}

// Elsewhere tells whether viewers of this node have another edge to go to.
func (d *Director) Elsewhere() bool {
	plan := d.current()
	return plan != nil && slices.ContainsFunc(plan.View().With(tree.Edge), func(n *tree.Node) bool {
		_, reachable := edgeOf(n)
		return reachable && !n.Draining && n.Name != d.config.Self
	})
}

const mostEdges = 4 // as many as tree.Plan.Edges lists

// crowded is the load of an edge from which on it is not for all who come from one address: thousands may, behind the address
// translation of a carrier.
const crowded = 0.5

func (d *Director) list(plan *tree.Plan, v Viewer, formats []media.Format) (edges []Edge) {
	names := plan.Edges(v.Region, v.Key, formats...)
	if v.Lot != "" && len(names) > 0 && plan.View().Node(names[0]).Load >= crowded {
		names = plan.Edges(v.Region, v.Key+" "+v.Lot, formats...)
	}
	for _, name := range names {
		if e, ok := edgeOf(plan.View().Node(name)); ok {
			edges = append(edges, e)
		}
	}
	return edges
}

// current is the plan of the view as it is now; nil on a node that stands alone.
func (d *Director) current() *tree.Plan {
	if d.config.View == nil {
		return nil
	}
	view := d.config.View()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.plan == nil || d.plan.View() != view {
		d.plan, d.regions = tree.NewPlan(view), nil
	}
	return d.plan
}

// wanted are formats of which an edge must carry one: the given one, or else what the stream has pictures in, or sound if
// it has no picture. It is empty for a stream that nobody has, so that any edge may say so.
func wanted(v *tree.View, stream media.Name, format media.Format) []media.Format {
	if format != "" {
		return []media.Format{format}
	}
	of := map[media.Kind][]media.Format{}
	for _, t := range v.Stream(stream) {
		if !slices.Contains(of[t.ID.Kind], t.ID.Format) {
			of[t.ID.Kind] = append(of[t.ID.Kind], t.ID.Format)
		}
	}
	if len(of[media.Video]) > 0 {
		return of[media.Video]
	}
	return of[media.Audio]
}

// edgeOf is where viewers reach a node. A host of 0.0.0.0 or :: stands for the address that other nodes reach it by.
func edgeOf(n *tree.Node) (Edge, bool) {
	base, err := url.Parse(n.HTTP)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return Edge{}, false
	}
	host := base.Host
	if addr, err := netip.ParseAddr(base.Hostname()); err == nil && addr.IsUnspecified() {
		link := n.Link.Addr().Unmap()
		if !link.IsValid() || link.IsUnspecified() {
			return Edge{}, false
		}
		port := base.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[base.Scheme]
		}
		host = net.JoinHostPort(link.String(), port)
	}
	return Edge{Name: n.Name, Region: n.Region, Base: &url.URL{Scheme: base.Scheme, Host: host, Path: strings.TrimRight(base.Path, "/")}}, true
}
