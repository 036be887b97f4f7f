// Package link replicates the logs of tracks between nodes. It knows nothing of who should be whose parent: package
// tree decides that, and whoever assembles a node tells a Node which Source it serves from and which Peer it follows.
//
// A Node is this process on the links, on one UDP socket. Others dial it, and are its children; it dials others
// (Node.Peer), and they are its parents. Peer.Follow takes one track from a parent and writes it to a Sink, a log
// with the same offsets; the parent finds the track in its Source. One QUIC connection carries all tracks between a
// child and a parent.
//
//	parent's log -> cursor -> a QUIC stream per group of pictures -> in their order -> child's log
//
// # What a link promises
//
// Nothing lost, nothing doubled: the child says from which offset it wants a track, and gets the same offsets, times,
// flags, payloads and epochs. To change parents it ends one Follow and begins another at ResumeOffset.
//
// A slow line loses whole groups, never pieces of many: each group has its stream, and when the line does not keep up
// and a newer keyframe is there, the parent resets the stream and goes on with that (Limits.Stale). A slow child costs
// its parent a goroutine, a cursor and a buffer of 20 kB, whatever the track.
//
// A dead peer is noticed in Limits.Silence: both sides speak each Limits.Heartbeat, and that decides, not QUIC's own
// time-out. A node that is about to stop says so (Node.GoAway) and serves until its children have left.
//
// No circles: a child tells who is below it, and a parent that finds itself there refuses; a parent tells the way that
// the track came, and a child that finds itself there lets go; and no way is longer than MaxDepth.
//
// A node may also ask another how it is (Peer.Ask): whoever draws the cluster reaches each node where its links end, and by
// its certificate knows that it is the one, whatever viewers reach it by.
//
// Clocks need not agree. Packets carry how long ago Banyan got them; each node subtracts that, and the time under
// way, from its own clock, so Packet.Arrived means everywhere when Banyan got the packet. The time under way is
// estimated without comparing clocks (hop), and is the metric of per-hop delay.
//
// # Whom a link trusts
//
// Nodes of one cluster share a key, from which an authority is derived that signs a fresh certificate for each process
// (Identity). TLS 1.3 on both sides, no resumption: keys of a hop are never used twice. Who has no such certificate
// does not get beyond the handshake, and many handshakes at once have to prove their addresses first.
//
// A peer that has one may still be broken. Whatever it sends is parsed with bounds, and what breaks the protocol ends
// its connection and nothing else. Memory that it can claim is bounded by the windows of flow control (32 MiB a
// connection), by Limits.Subscriptions and by Limits.Children. Of the streams that a parent opens a few for each track are
// read at once, and none longer than its subscription lasts.
//
// The wire format stands in wire.go. Versions are negotiated; what a next version adds is skipped by this one.
package link
