package api

import (
	"net/http"
	"time"

	"banyan/relay/media"
	"banyan/relay/problem"
)

// Cluster is what a node knows of its cluster, itself included.
type Cluster struct {
	Nodes []ClusterNode `json:"nodes"`
	// Replicas are the tracks of other nodes that this one follows.
	Replicas []Replica `json:"replicas"`
	// Troubles are sentences about what is set wrong at this node or around it, though it works.
	Troubles []string `json:"troubles,omitempty"`
	// Gone are the nodes that went in the last minutes, as far as this one saw it; the latest first.
	Gone []Gone `json:"gone,omitempty"`
}

// Gone is a node that went.
type Gone struct {
	Name   string    `json:"name"`
	Region string    `json:"region,omitempty"`
	Roles  []string  `json:"roles"`
	At     time.Time `json:"at"`
	// Left is whether it said goodbye. If not, it died, or the network between cut it off.
	Left bool `json:"left"`
}

// ClusterNode is a node that is alive.
type ClusterNode struct {
	Name     string         `json:"name"`
	Region   string         `json:"region,omitempty"`
	Roles    []string       `json:"roles"`
	URL      string         `json:"url,omitempty"` // where viewers reach it
	Link     string         `json:"link"`
	Formats  []media.Format `json:"formats,omitempty"`  // empty: all
	Load     float64        `json:"load"`               // of its line: 1 has no room for viewers
	Encoding float64        `json:"encoding,omitempty"` // load of its encoders
	Draining bool           `json:"draining"`
	Tracks   int            `json:"tracks"` // that it makes, or would if asked
}

// Replica is a track that a node has from another.
type Replica struct {
	Stream  media.Name   `json:"stream"`
	Format  media.Format `json:"format"`
	Kind    media.Kind   `json:"kind"`
	Parent  string       `json:"parent,omitempty"` // empty while it looks for one
	Path    []string     `json:"path"`             // from the birthplace to this node
	Readers int          `json:"readers"`
}

func (a *api) cluster(w http.ResponseWriter, _ *http.Request) {
	if a.Cluster == nil {
		problem.NotFound(w, "This node stands alone. Set cluster.key and cluster.join to make it one of several.")
		return
	}
	reply(w, http.StatusOK, a.Cluster())
}
