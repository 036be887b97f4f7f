package sim

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// rung is a format of the made-up programmes.
type rung struct {
	format media.Format
	kind   media.Kind
	rate   float64 // bits per second
	share  float64 // of the viewers, relative to other formats of its kind
}

// ladder has the formats in the order in which Config.Formats takes them; the default ladder first.
var ladder = []rung{
	{media.Source, media.Video, 6e6, 0.3}, {"720p", media.Video, 2.5e6, 0.4}, {"360p", media.Video, 0.8e6, 0.3},
	{"opus", media.Audio, 128e3, 0.6}, {"aac", media.Audio, 128e3, 0.4},
	{"480p", media.Video, 1.4e6, 0.3}, {"1080p", media.Video, 4.5e6, 0.3}, {"240p", media.Video, 0.4e6, 0.1},
	{"540p", media.Video, 1.8e6, 0.2}, {"144p", media.Video, 0.2e6, 0.05},
}

// track is one of the made-up tracks.
type track struct {
	id    media.TrackID
	rate  float64
	birth int32 // node
}

// world is the cluster and what happens in it. Nodes and tracks are numbered; a node that dies keeps its number.
type world struct {
	config Config
	nodes  []tree.Node
	number map[string]int32
	tracks []track
	dead   []bool // by node

	view *tree.View // what all nodes see, where all see the same
	plan *tree.Plan

	gates []tree.Gate // of edges, by node
	shut  []bool      // edges that turn new viewers away, by their last look at their load

	room []float64 // bits per second that a node can send, by node
	used []float64 // bits per second that a node sends, by node

	watched [][]int32 // viewers, by node and track
	viewers []int32   // the edge of each viewer; nobody where it was refused everywhere
	refused int       // viewers

	parent   [][]int32 // whom a node takes a track from, by node and track; nobody where it does not
	orphans  int       // tracks that a node found no parent for, as all were full
	children [][]int32 // nodes that take a track from a node, by node and track: how many
}

const nobody = -1

// The share of its capacity that a node needs while all is well: what operators plan for who expect a third of their machines
// to fail.
const planned = 0.5

func newWorld(config Config) *world {
	w := &world{config: config, number: map[string]int32{}}
	w.build()
	n := len(w.nodes)
	w.gates, w.shut = make([]tree.Gate, n), make([]bool, n)
	w.dead, w.room, w.used = make([]bool, n), make([]float64, n), make([]float64, n)
	w.refresh(nil)
	w.place()
	t := len(w.tracks)
	w.watched, w.parent, w.children = table(n, t, 0), table(n, t, nobody), table(n, t, 0)
	return w
}

func table(rows, columns int, value int32) [][]int32 {
	t := make([][]int32, rows)
	for i := range t {
		t[i] = slices.Repeat([]int32{value}, columns)
	}
	return t
}

// build makes the nodes, each on a host of its own.
func (w *world) build() {
	total := 0.0
	for _, r := range w.config.Regions {
		total += r.Share
	}
	for _, r := range w.config.Regions {
		edges := max(1, int(math.Round(float64(w.config.Edges)*r.Share/total)))
		relays := max(3, (edges+79)/80)
		if w.config.Relays > 0 {
			relays = max(1, int(math.Round(float64(w.config.Relays)*r.Share/total)))
		}
		workers := max(2, w.config.Programmes*w.config.Formats/jobsPerWorker/len(w.config.Regions)+1)
		w.add(r.Name, tree.Ingest, 1)
		w.add(r.Name, tree.Transcoder, workers)
		w.add(r.Name, tree.Relay, relays)
		w.add(r.Name, tree.Edge, edges)
	}
}

func (w *world) add(region string, role tree.Role, n int) {
	for i := range n {
		number := int32(len(w.nodes))
		node := tree.Node{
			Name: fmt.Sprintf("%s-%s-%d", role, region, i), Region: region, Roles: []tree.Role{role}, Capacity: 1,
			Link: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(number >> 16), byte(number >> 8), byte(number)}), 7947),
		}
		if role == tree.Edge {
			node.HTTP = "https://" + node.Name + ".example.org"
		}
		if i%4 == 3 && role != tree.Ingest { // every fourth machine is a larger one
			node.Capacity = 2
		}
		w.nodes = append(w.nodes, node)
		w.number[node.Name] = number
	}
}

// jobsPerWorker is how many formats a transcoder of capacity one makes at most.
const jobsPerWorker = 8

// place gives each programme a birthplace and each of its formats a worker, one after the other, so that each sees what the ones
// before it have taken.
func (w *world) place() {
	var ingests []int32
	for i := range w.nodes {
		if w.nodes[i].Has(tree.Ingest) {
			ingests = append(ingests, int32(i))
		}
	}
	for p := range w.config.Programmes {
		stream := media.Name(fmt.Sprintf("show/%d", p))
		for _, r := range ladder[:w.config.Formats] {
			t := track{id: media.TrackID{Stream: stream, Format: r.format, Kind: r.kind}, rate: r.rate, birth: nobody}
			if r.format == media.Source {
				t.birth = ingests[w.lot("ingest", uint64(p))%uint64(len(ingests))]
			}
			w.tracks = append(w.tracks, t)
			if t.birth == nobody {
				w.hire(len(w.tracks) - 1)
			}
			w.refresh(nil)
		}
	}
}

// hire gives a track the worker that the tree names, and has the worker say that it is busier now.
func (w *world) hire(t int) {
	name, found := w.plan.Worker(w.tracks[t].id.Stream, w.tracks[t].id.Format)
	if !found {
		return // it stays without a birthplace
	}
	worker := w.number[name]
	w.tracks[t].birth = worker
	n := &w.nodes[worker]
	n.Encoding = min(1, n.Encoding+1/(jobsPerWorker*n.Capacity))
}

// refresh makes the view that all nodes come to have: those that live, with the loads of relays and edges where they are given.
func (w *world) refresh(load func(node int32) float64) {
	var nodes []tree.Node
	for i := range w.nodes {
		n := &w.nodes[i]
		if load != nil && (n.Has(tree.Relay) || n.Has(tree.Edge)) {
			n.Load = load(int32(i))
			w.shut[i] = w.gates[i].Shut(n.Load)
		}
		if !w.dead[i] {
			nodes = append(nodes, *n)
		}
	}
	var tracks []tree.Track
	for _, t := range w.tracks {
		if t.birth != nobody && !w.dead[t.birth] {
			tracks = append(tracks, tree.Track{ID: t.id, Node: w.nodes[t.birth].Name, Source: t.id.Format == media.Source})
		}
	}
	w.view = tree.NewView(nodes, tracks)
	w.plan = tree.NewPlan(w.view)
}

// coarse is a node's load as it tells it: in steps, as every change of it is gossiped.
func (w *world) coarse(node int32) float64 {
	if w.room[node] == 0 {
		return 0
	}
	const steps = 32
	return math.Round(min(w.used[node]/w.room[node], 1)*steps) / steps
}

// lot draws a number that depends on the seed and on what it is for, and on nothing that was drawn before.
func (w *world) lot(purpose string, n uint64) uint64 {
	h := w.config.Seed ^ 0x9e3779b97f4a7c15*(n+1)
	for i := range len(purpose) {
		h = scramble(h ^ uint64(purpose[i])<<(i%8*8))
	}
	return scramble(h)
}

// chance is a lot from 0 to 1.
func (w *world) chance(purpose string, n uint64) float64 {
	return float64(w.lot(purpose, n)>>11) / (1 << 53)
}

func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// roundTrip is the same for two nodes at all times: half to all of what the configuration has for their distance.
func (w *world) roundTrip(a, b int32) time.Duration {
	if a > b {
		a, b = b, a
	}
	most := w.config.Far
	if w.nodes[a].Region == w.nodes[b].Region {
		most = w.config.Near
	}
	return time.Duration((0.5 + w.chance("rtt", uint64(a)<<32|uint64(b))/2) * float64(most))
}
