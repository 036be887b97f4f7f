package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
)

// The live tree. A node knows from gossip who is there and who makes what, but not what others replicate from whom.
// So the node that is asked for the tree asks all others, each for an Account of itself, and puts together what they
// say. What they say counts for themselves alone: a node cannot make a flow into another.

// Tree is the cluster as it is drawn.
type Tree struct {
	Node  string     `json:"node"` // who gathered it
	Time  time.Time  `json:"time"`
	Nodes []TreeNode `json:"nodes"` // by name
	Flows []Flow     `json:"flows"`
	Gone  []Gone     `json:"gone"`  // who went lately, as far as Node saw it; the latest first
	Total int        `json:"total"` // of nodes alive; more than Nodes where there are too many to ask
	// More is how many flows are left out, as there are too many.
	More int `json:"more,omitempty"`
}

// TreeNode is a node with what it says of itself.
type TreeNode struct {
	ClusterNode
	Version string            `json:"version,omitempty"`
	Viewers map[string]int    `json:"viewers"` // by transport
	Hop     *Hop              `json:"hop,omitempty"`
	Drops   map[string]uint64 `json:"drops"`
	// Trouble says why nothing is known of the node but what gossip tells. Empty where it answered.
	Trouble string `json:"trouble,omitempty"`
	// Troubles are sentences of the node's about what is set wrong there or around it, though it works.
	Troubles []string `json:"troubles,omitempty"`
}

// Flow is a track on its way into a node: from its parent, or, where it was born there, from nowhere.
type Flow struct {
	TrackAccount
	Child string `json:"child"`
}

const (
	mostAsked   = 200             // nodes; in a larger cluster edges are left out first
	atOnce      = 32              // of them
	mostAccount = 512 << 10       // bytes of an answer
	mostFlows   = 20_000          // in all
	askTime     = time.Second     // for all of them together
	freshTime   = time.Second / 2 // for which an answer serves others who ask
	peerTTL     = time.Minute     // of the tokens between nodes
)

// gatherer puts trees together, one at a time, however many want to see one.
type gatherer struct {
	api    *api
	client *http.Client
	turn   chan struct{} // capacity 1: held by who gathers
	last   *Tree         // owned by who has the turn; does not change once it is here
}

func newGatherer(a *api) *gatherer {
	return &gatherer{api: a, turn: make(chan struct{}, 1), client: &http.Client{
		Transport: &http.Transport{
			Proxy: nil, // nodes reach each other
			// Connections are kept between two askings of a page, and no longer.
			MaxIdleConnsPerHost: 1, IdleConnTimeout: 5 * time.Second, ResponseHeaderTimeout: askTime,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       askTime,
	}}
}

func (a *api) tree(w http.ResponseWriter, r *http.Request) {
	t, err := a.gatherer.tree(r.Context())
	if err != nil {
		return // the client has gone
	}
	reply(w, http.StatusOK, t)
}

// tree returns one that is fresh.
func (g *gatherer) tree(ctx context.Context) (*Tree, error) {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if g.last != nil && time.Since(g.last.Time) < freshTime {
		return g.last, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime) // others wait for it, too
	defer cancel()
	g.last = g.gather(ctx)
	return g.last, nil
}

// gather asks every node and merges what they say.
func (g *gatherer) gather(ctx context.Context) *Tree {
	nodes, gone := []ClusterNode{g.api.alone()}, []Gone{}
	if g.api.Cluster != nil {
		cluster := g.api.Cluster()
		nodes, gone = cluster.Nodes, append(gone, cluster.Gone...)
	}
	t := &Tree{Node: g.api.Node.Name, Time: time.Now().UTC(), Total: len(nodes), Flows: []Flow{}, Gone: gone}
	nodes = chosen(nodes, g.api.Node.Name)
	accounts, troubles := g.askAll(ctx, nodes)
	for i, n := range nodes {
		node, flows := told(n, accounts[i], troubles[i])
		t.Nodes = append(t.Nodes, node)
		room := min(len(flows), mostFlows-len(t.Flows))
		t.Flows = append(t.Flows, flows[:room]...)
		t.More += len(flows) - room
		if accounts[i] != nil {
			t.More += accounts[i].More
		}
	}
	return t
}

// alone is a node that is not in a cluster.
func (a *api) alone() ClusterNode {
	node := ClusterNode{Name: a.Node.Name, Region: a.Node.Region, Roles: a.Node.Roles}
	if a.Load != nil {
		node.Load, node.Encoding = a.Load()
	}
	return node
}

// chosen are the nodes to ask, by name: in a large cluster, this one, then those of the upper tiers.
func chosen(nodes []ClusterNode, self string) []ClusterNode {
	rank := func(n ClusterNode) int {
		switch {
		case n.Name == self:
			return 0
		case slices.Contains(n.Roles, "ingest") || slices.Contains(n.Roles, "transcoder"):
			return 1
		case slices.Contains(n.Roles, "relay"):
			return 2
		}
		return 3
	}
	nodes = slices.Clone(nodes)
	if len(nodes) > mostAsked {
		slices.SortStableFunc(nodes, func(a, b ClusterNode) int { return cmp.Compare(rank(a), rank(b)) })
		nodes = nodes[:mostAsked]
	}
	slices.SortFunc(nodes, func(a, b ClusterNode) int { return strings.Compare(a.Name, b.Name) })
	return nodes
}

// askAll asks nodes side by side. For each there is an account or a reason why there is none.
func (g *gatherer) askAll(ctx context.Context, nodes []ClusterNode) ([]*Account, []error) {
	accounts, troubles := make([]*Account, len(nodes)), make([]error, len(nodes))
	slots := make(chan struct{}, atOnce)
	var asking sync.WaitGroup
	for i, n := range nodes {
		slots <- struct{}{}
		asking.Go(func() {
			defer func() { <-slots }()
			if n.Name == g.api.Node.Name {
				own := g.api.account()
				accounts[i] = &own
				return
			}
			accounts[i], troubles[i] = g.ask(ctx, n)
		})
	}
	asking.Wait()
	return accounts, troubles
}

// Why a node gave no account of itself, as it is told to who looks at the tree.
var (
	errNoAddress = errors.New("it does not say where it is reached by HTTP: set http.url there")
	errSilent    = fmt.Errorf("it did not answer within %v at the address that it tells (http.url)", askTime)
	errUnlinked  = fmt.Errorf("it did not answer within %v over its link (link.addr, UDP), nor by HTTP", askTime)
	errRefused   = errors.New("it does not take this node's word: is it another version, or are their clocks apart?")
	errGarbled   = errors.New("its answer cannot be read: is something else at the address that it tells (http.url)?")
)

// byLink is how much of askTime a node has to answer over its link; the rest is for asking it by HTTP.
const byLink = askTime * 6 / 10

// ask gets a node's account: over its link, which ends at that node and nowhere else, or by HTTP from one that is of an older
// version or not reached by link. The address that viewers have may be shared by several nodes.
func (g *gatherer) ask(ctx context.Context, n ClusterNode) (*Account, error) {
	if g.api.Ask == nil {
		return g.askByHTTP(ctx, n)
	}
	short, cancel := context.WithTimeout(ctx, byLink)
	body, err := g.api.Ask(short, n.Name)
	cancel()
	if err == nil {
		return readAccount(bytes.NewReader(body), n.Name)
	}
	g.api.Log.Debug("a node gives no account of itself over its link", "peer", n.Name, "cause", err)
	account, trouble := g.askByHTTP(ctx, n)
	if trouble != nil && !errors.Is(err, ErrOld) {
		trouble = errUnlinked
	}
	return account, trouble
}

// ErrOld is what Config.Ask returns of a node whose version cannot be asked over its link.
var ErrOld = errors.New("the node cannot be asked over its link")

// askByHTTP asks at the address that viewers have. The token lets its holder ask that one node for just this, for a minute, and is made
// with a secret of its own: what goes over a line in the clear opens nothing else.
func (g *gatherer) askByHTTP(ctx context.Context, n ClusterNode) (*Account, error) {
	if n.URL == "" || g.api.Peers == nil {
		return nil, errNoAddress
	}
	token, err := g.api.Peers.Mint(auth.Grant{User: n.Name, API: true, TTL: peerTTL})
	if err != nil {
		return nil, errRefused
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(n.URL, "/")+"/api/v1/cluster/self", nil)
	if err != nil {
		return nil, errNoAddress
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := g.client.Do(request)
	if err != nil {
		g.api.Log.Debug("a node gives no account of itself", "peer", n.Name, "cause", err)
		return nil, errSilent
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, errRefused
	default:
		return nil, errGarbled
	}
	return readAccount(response.Body, n.Name)
}

// readAccount reads what the node of the given name says, which another machine wrote.
func readAccount(r io.Reader, node string) (*Account, error) {
	var a Account
	if err := json.NewDecoder(io.LimitReader(r, mostAccount)).Decode(&a); err != nil || a.Name != node {
		return nil, errGarbled
	}
	known := len(a.Tracks)
	a.Tracks = slices.DeleteFunc(a.Tracks, func(t TrackAccount) bool { return !t.sound() })
	a.Tracks = a.Tracks[:min(len(a.Tracks), mostTracks)]
	a.More = min(max(a.More, 0), mostMore) + known - len(a.Tracks)
	maps.DeleteFunc(a.Viewers, func(_ string, n int) bool { return n < 0 })
	a.Drops, a.Viewers = few(a.Drops), few(a.Viewers)
	if a.Hop != nil && (a.Hop.P50MS < 0 || a.Hop.P99MS < 0) {
		a.Hop = nil
	}
	if len(a.Version) > mostWord {
		a.Version = ""
	}
	a.Troubles = slices.DeleteFunc(a.Troubles, func(s string) bool { return len(s) > mostSentence })
	a.Troubles = a.Troubles[:min(len(a.Troubles), mostTroubles)]
	return &a, nil
}

// sound tells whether t can be shown.
func (t *TrackAccount) sound() bool {
	_, badName := media.ParseName(string(t.Stream))
	_, badFormat := media.ParseFormat(string(t.Format))
	t.Drops = few(t.Drops)
	return badName == nil && badFormat == nil && (t.Kind == "video" || t.Kind == "audio") &&
		len(t.Codec) <= mostWord && len(t.Parent) <= mostWord && t.Bitrate >= 0 && t.Readers >= 0 && t.Height >= 0
}

// mostMore bounds how many tracks a node may say that it leaves out, so that those of all nodes can be added up.
const mostMore = 1_000_000

// mostWord bounds what a node may call something.
const mostWord = 64

// mostSentence and mostTroubles bound what a node may say is wrong.
const (
	mostSentence = 500
	mostTroubles = 16
)

// few bounds a map from outside.
func few[V any](m map[string]V) map[string]V {
	const most = 16
	if m == nil {
		return map[string]V{}
	}
	maps.DeleteFunc(m, func(word string, _ V) bool { return len(word) > mostWord })
	for word := range m {
		if len(m) <= most {
			break
		}
		delete(m, word)
	}
	return m
}

// told is a node and what flows into it, as far as it says.
func told(n ClusterNode, a *Account, trouble error) (TreeNode, []Flow) {
	node := TreeNode{ClusterNode: n, Viewers: map[string]int{}, Drops: map[string]uint64{}}
	if trouble != nil {
		node.Trouble = trouble.Error()
	}
	if a == nil {
		return node, nil
	}
	node.Version, node.Viewers, node.Hop, node.Drops, node.Troubles = a.Version, a.Viewers, a.Hop, a.Drops, a.Troubles
	flows := make([]Flow, len(a.Tracks))
	for i, t := range a.Tracks {
		flows[i] = Flow{TrackAccount: t, Child: n.Name}
	}
	return node, flows
}
