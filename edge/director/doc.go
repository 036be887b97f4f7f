// Package director decides which edge is for whom, and sends viewers there.
//
// Any node of a cluster takes viewers at its door: one without the role edge, one that drains, one that is full and one in
// another region than the viewer send them on to a better one. A viewer goes from one node to at most one other:
//
//		          region of the viewer            edges that are good             what the viewer sees
//		header of a trusted proxy, else     tree.Plan.Edges: reachable,     WHEP: 307 to the better edge
//		GeoIP file and edge.regions,   ->   not draining, carrying the  ->  HLS: 307 for the multivariant playlist, and
//		else unknown                        format, with room, near         content steering once it plays
//		                                                                    page: the list, asked for and kept
//
//	  - Locator says in which region a viewer is. GeoIP is the file of addresses that it may look into, Rule what turns a
//	    country or continent into a region.
//	  - Director chooses: Serve says whether a viewer stays where it asked, and where it goes otherwise; Edges lists what a
//	    viewer may turn to by itself, best first. Both depend on the view and on the question alone.
//	  - WHEP, HLS, Steering and List are those answers over HTTP.
//
// A request that was redirected carries a mark in its query (via=1) and is served where it arrives if that node can, so
// that two nodes which see the cluster differently never send a viewer to and fro.
//
// Who asks need not be known: a token is looked at by the node that serves. Browsers and most programs leave the
// Authorization header away where a redirect crosses origins (Fetch standard, section "HTTP-redirect fetch"). Viewers with
// a token therefore ask for the list first and turn to the edge itself, as our page does.
//
// # Content steering
//
// The multivariant playlist names a steering manifest (draft-pantos-hls-rfc8216bis section 7) that lists a pathway for each
// good edge. The variants of the playlist are on the default pathway ".", which is the edge that wrote it; every other edge is
// a clone of it with another host name (and the same port, as a manifest cannot name one), as segment numbers and paths are the same on all. A player that cannot reach its edge
// turns to the next pathway by itself; one that plays stays until its edge drains, or until it dies. The
// manifest is to be reloaded from an edge that the viewer does not play from, so that the two rarely die together.
//
// What it does not do: probe round trips, remember viewers, or move a viewer that plays well.
package director
