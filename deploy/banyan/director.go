package main

import (
	"cmp"
	"fmt"
	"net"
	"net/http"

	"banyan/edge/director"
	"banyan/relay/media"
	"banyan/relay/tree"
)

// buildDirector prepares who sends viewers to the best edge. On a node without the role edge it answers for all that viewers
// ask; buildEdge puts it before what the node serves itself.
func (n *node) buildDirector() (err error) {
	c := &n.cfg
	locator := &director.Locator{Header: c.Edge.RegionHeader, Trusted: fromTrustedProxy}
	for _, region := range c.Edge.Regions {
		locator.Rules = append(locator.Rules, director.Rule{Region: region.Region, Countries: region.Countries, Continents: region.Continents})
	}
	if c.Edge.GeoIP != "" {
		if locator.GeoIP, err = director.OpenGeoIP(c.Edge.GeoIP); err != nil {
			return fmt.Errorf("edge.geoip: %w", err)
		}
	}
	n.parts.geoIP = locator.GeoIP
	config := director.Config{
		Self: c.Node.Name, Locator: locator, Metrics: n.metrics,
		Allow: func(r *http.Request, stream media.Name) error {
			_, err := n.authorizePlay(r, stream)
			return err
		},
	}
	if c.Clustered() {
		config.View = func() *tree.View { return n.parts.fabric.cluster.View() } // there before any door opens
	}
	if !c.Clustered() && c.Node.Line > 0 { // alone, a line that nobody vouches for turns nobody away
		config.Load = n.alone.line
	}
	if n.has("edge") {
		config.Plays = func(r *http.Request, stream media.Name) bool { return n.parts.hls.Plays(r, stream) } // there before any door opens
	}
	if n.parts.director, err = director.New(config); err != nil {
		return err
	}
	if c.Clustered() && !n.has("edge") {
		n.public.Handle("/whep/", n.parts.director.WHEP(nil))
		n.public.Handle("/hls/", n.parts.director.HLS(nil))
	}
	return nil
}

// baseURL is where viewers reach this node, for other nodes to tell. Where only the port is known, its host is 0.0.0.0, and the
// address that nodes reach this one by stands for it.
func (n *node) baseURL() string {
	c := &n.cfg
	if c.HTTP.URL != "" {
		return c.HTTP.URL
	}
	host, port, err := net.SplitHostPort(c.HTTP.Addr)
	if err != nil || port == "0" { // known only once the door is open
		return ""
	}
	if c.Cluster.Advertise != "" && (host == "" || host == "0.0.0.0" || host == "::") {
		host = c.Cluster.Advertise
	}
	return "http://" + net.JoinHostPort(cmp.Or(host, "0.0.0.0"), port)
}
