// Package director decides which edge is for whom, and sends viewers there.
//
// Any node of a cluster takes viewers at its door: one without the role edge, one that drains, one that is full and one in
// another region than the viewer send them on to a better one. A viewer goes from one node to at most one other:
//
//		          region of the viewer            edges that are good             what the viewer sees
//		header of a trusted proxy, else     tree.Plan.Edges: reachable,     WHEP: 307 to the better edge
//		GeoIP file and edge.regions,   ->   not draining, carrying the  ->  HLS: 307 for the multivariant playlist, and
//		else the page's own probes,         format, with room, near         content steering once it plays
//		else unknown                                                        page: the list, asked for and kept
//
//	  - Locator says in which region a viewer is. GeoIP is the file of addresses that it may look into, Rule what turns a
//	    country or continent into a region.
//	  - Director chooses: Serve says whether a viewer stays where it asked, and where it goes otherwise; Edges lists what a
//	    viewer may turn to by itself, best first; Probes are edges of different regions that it may measure the way to. All
//	    depend on the view and on the question alone, and among viewers of one address whose edge is loaded on the lot.
//	  - WHEP, HLS and List are those answers over HTTP.
//
// A request that was redirected carries a mark in its query (via=1) and is served where it arrives if that node can, so
// that two nodes which see the cluster differently never send a viewer to and fro.
//
// # Full
//
// An edge that is full (tree.Gate) sends new viewers to one with room, wherever that is. Where nobody has room they
// are asked to come back: 503 with Retry-After, spread so that they do not come all at once. Whoever plays already stays, also a
// player of HLS that loads its multivariant playlist again. An edge that was filled since its load was last told refuses those
// who were redirected to it, too.
//
// Who asks need not be known: a token is looked at by the node that serves. Browsers and most programs leave the
// Authorization header away where a redirect crosses origins (Fetch standard, section "HTTP-redirect fetch"). Viewers with
// a token therefore ask for the list first and turn to the edge itself, as our page does.
//
// # Probes
//
// A viewer in no known region begins where it is. With the list it gets a few edges of different regions; our page
// measures round trips to them while it plays already, and says in ?region= of later questions which was nearest. If that
// is another region's, it goes there without a break. Nothing is remembered here.
//
// # Drain
//
// Who asks an edge that drains for the list is told to leave, as long as another edge takes viewers: our page then opens
// the stream there, and closes it here when it plays. Players of HLS hear of it by the steering manifest. Elsewhere tells
// the node whether there is anything to wait for.
//
// # Content steering
//
// The multivariant playlist names a steering manifest (draft-pantos-hls-rfc8216bis section 7) that lists a pathway for each
// good edge. The variants of the playlist are on the default pathway ".", which is the edge that wrote it; every other edge is
// a clone of it with another host name (and the same port, as a manifest cannot name one), as segment numbers and paths
// are the same on all. A player that cannot reach its edge turns to the next pathway by itself; one that plays stays until
// its edge drains, or until it dies. The manifest is to be reloaded from an edge that the viewer does not play from, so that the two rarely die together.
//
// What it does not do: remember viewers, or move one by WHEP alone, which has no word for it.
package director
