package tree

import (
	"fmt"
	"slices"
	"testing"

	"banyan/relay/media"
)

// world has 10,000 edges and 100 relays in five regions, and 200 tracks.
func world() *View {
	var nodes []Node
	for _, region := range []string{"eu-west", "eu-north", "us-east", "us-west", "asia-east"} {
		nodes = slices.Concat(nodes, fleet(Relay, region, 20), fleet(Edge, region, 2000), fleet(Transcoder, region, 4), fleet(Ingest, region, 2))
	}
	var tracks []Track
	for i := range 200 {
		format := []media.Format{"1080p", "720p", "360p", "opus", "aac"}[i%5]
		tracks = append(tracks, Track{ID: media.TrackID{Stream: media.Name(fmt.Sprintf("cup/%d", i/5)), Format: format, Kind: media.Video}, Node: "eu-west-transcoder-1"})
	}
	return NewView(nodes, tracks)
}

// BenchmarkParents is what a node does when its view has changed: a new plan, and the parents of 200 tracks.
func BenchmarkParents(b *testing.B) {
	v := world()
	for _, self := range []string{"eu-west-edge-7", "eu-west-relay-7", "eu-west-ingest-0"} {
		b.Run(string(v.Node(self).Roles[0]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := NewPlan(v)
				for _, t := range v.Tracks {
					p.Parents(self, t.ID)
				}
			}
		})
	}
}

// BenchmarkEdges is what one viewer's question costs.
func BenchmarkEdges(b *testing.B) {
	p, n := NewPlan(world()), 0
	b.ReportAllocs()
	for b.Loop() {
		p.Edges("eu-west", fmt.Sprint(n), "720p", "opus")
		n++
	}
}

// BenchmarkEdgesOfStrangers is the same where each viewer makes up a region and a format.
func BenchmarkEdgesOfStrangers(b *testing.B) {
	p, n := NewPlan(world()), 0
	b.ReportAllocs()
	for b.Loop() {
		p.Edges(fmt.Sprint("x", n), "ana", media.Format(fmt.Sprint(n, "p")))
		n++
	}
}
