// Package tree decides who takes what from whom: which node a track is born on, which relay passes it on,
// which edge hangs below which relay, which worker makes which format, and which edges are good for a viewer.
// It is pure: functions of a View, without socket, clock or goroutine, so that every node which sees the same
// cluster decides alike, and a simulation of thousands of nodes runs the very same code (deploy/sim).
//
// A Plan is made of a View once and answers for all tracks; the functions of the same names are for those who
// ask one thing. What a plan answers depends on nothing but the view: the order of a map never shows, and what
// it remembers is only to be quick.
//
// # Three tiers
//
// Tier 1 is a track's birthplace (Birthplace): the node that the publisher came to last, or the worker that makes the
// format. Tier 2 are the relays that carry the format. Tier 3 are edges, which carry it too. Parents lists for a node
// whom to take a track from: the parent, the warm second, then others to try.
//
//   - A relay hangs below the birthplace. Its second is another relay, above it in an order of the relays that each
//     track has of its own, with those that drain at its end.
//   - An edge hangs below a relay: of its own region, else of the nearest one that has any, else below the birthplace.
//     Regions are near when their names begin with the same words: eu-west and eu-north share one.
//   - Anybody else who asks wants to make something of the track (a worker, a mixer; or an edge or a relay that does
//     not carry the format). It hangs below the birthplace: there are few of them, and all that they make would wait for
//     one more hop. Nobody hangs below them.
//
// Every entry of a list is above the node that it is for: birthplace, relays in order, all others. So no choice among
// entries, by any number of nodes, makes a loop. Nor does it make the tree deep: a relay may hang only below the first
// quarter of those above it, or the first three, so that a thousand relays make at most seven hops, if all of them
// have lost the birthplace. Nodes with different views might still make a loop for a moment; package link
// refuses it by the path that comes with each track.
//
// A relay that drains is nobody's choice while there is another way, and one that is full comes after all with room,
// wherever these are. The birthplace stays first for relays whatever its state: nobody else has the track.
//
// # Spread
//
// Rendezvous hashing (each child ranks all relays by a hash of both names, weighted by capacity) spreads children so
// that the loss of a relay moves its own children and no others. Chance alone would give some relays a third more than
// others, so a relay takes at most a given share above the mean (Slack) and the rest go to their next choice. The names of
// streams and formats are no part of the hash: an edge has the same parent and second for all that the same relays carry,
// hence two connections and not two per track.
//
// Full means that the node's own word says so (Load). The words of nodes come late, and children that all leave a full
// relay at once would fill the next one; Stay says for a child that is well where it is whether to remain there.
//
// # Workers
//
// Worker says who makes a format. The formats of a stream are placed each by itself and so spread over the workers. Kept
// together they would share one copy of the source, a few megabits; spread, the end of a worker costs one format and not the
// ladder, and capacity is given away in small pieces. Whoever announces a format keeps it: free capacity changes
// by the very placing of jobs, and a format that moved with it would stop and start. If two announce it, all nodes agree
// who stays. Keep says which formats a worker runs that is short of capacity.
package tree
