// Package replica makes the tracks of other nodes readable on this one, and this node's on others. It joins
// what the fabric is made of: the view of the cluster (package cluster) says who makes which track, package tree
// from whom to take it, package link carries it, and the hub gives it to readers by name.
//
// # What a node says
//
// Node.Run tells the cluster which tracks are made here: those that publishers send, and those that suppliers
// (the transcoder) would make if asked. Nothing of what is only replicated is told: a track has one birthplace, and
// who passes it on follows from the view alone.
//
// # What a node has
//
// A stream that is published elsewhere is adopted by the hub (relay.Hub.Adopt), so that it is found by its name; its
// tracks are on offer, and cost nothing until somebody reads one. The first reader starts a replica: it follows the
// track at the first parent that package tree names, from the newest keyframe on, and keeps a connection to the
// second warm. When the parent dies or refuses, it goes on at the next one from the first offset that it lacks:
// offsets are the same everywhere, so readers below notice nothing but the pause. Who has failed is put off for a
// while, whatever the view says of it. A replica stays with a parent that serves it well, also when the view names a
// better one, until that parent is named no more.
//
// A format whose worker has withdrawn it, or died, stays on offer until another one takes it up, or nobody has for a while
// (lapses): whoever comes meanwhile gets the whole ladder.
//
// # How it moves
//
// A replica whose parent still serves (it drains, or the view sends its children elsewhere) follows the next parent
// beside it, into the same log, and leaves only when the next one has delivered what comes next and everything before.
// What comes twice is dropped by the log. So nothing pauses, and a next parent that fails costs nothing.
//
// Where the next parent has another log, as when a transcoder's job has moved to another node, offsets jump. Both logs
// tell one media time, and have keyframes at the same instants: the replica goes over at one of these (see sink). Where
// the transcoder has died, its children tell the next one up to which media time they have the track (link.Wish.After). It begins
// right behind that, if the source's window still has it: what was not encoded comes late, and is not lost.
//
// A parent that lives, and whose own line up is broken, says that it has no way to the birthplace. Its children move as they
// do from one that drains, if somebody else delivers, and stay otherwise. Silence alone moves nobody whose link is well: a
// publisher may pause (see way.go).
//
// # How a node leaves
//
// A node that drains says so in gossip (tree.Node.Draining) and over its links (link.Node.GoAway). Node.Drain refuses
// new children of tracks that others have as well, goes on serving those that are there, and returns when they have
// left.
//
// # What a node passes on
//
// A child on another node is a reader like any other: Node.Open subscribes for it, which starts the replica where
// there is none, from where the child needs the track on: children who have lost their parent come to one that may not
// have had it before. Where a new reader has started the replica later than that, it takes what is missing from its
// parent in turn (Node.reach). So demand travels up the tree, and a track crosses a link once, however many are below
// it.
//
// A node that is full (tree.Full) refuses those who come new, unless the track is born on it, and serves on who is there. They
// go to the next parent that package tree names, and in the end to the birthplace.
//
// # One publisher for a name
//
// A name may be published on two nodes, when a broadcaster reconnects and gets to another one. The later publisher
// has it, as on one node. Clocks need not agree about which is later: a node whose publisher was there first sees the
// other's announcement appear, and ends its own. Only where two nodes were cut off from each other, and both see the
// other's appear with its node, do stamps decide.
package replica
