// Package cluster finds the other nodes and tells them what this one is: a gossip (hashicorp/memberlist) that spreads
// nodes and tracks, and gives every node a view of the whole (tree.View), from which package tree decides who takes
// what from whom. It elects nobody and decides nothing itself.
//
//	c, err := cluster.New(cluster.Config{Self: node, Addr: ":7946", Join: seeds, Keys: [][]byte{key}})
//	go c.Run(ctx)                        // says goodbye when ctx ends
//	c.Announce(tracks)                   // all that this node has; cheap when nothing changed
//	c.Update(func(n *tree.Node) { n.Load = 0.5 })
//	for {
//		changed := c.Changed()           // first, so that no change is missed
//		act(c.View())
//		<-changed
//	}
//
// # What is spread
//
// What a node is (its roles, region, formats, link address, load, whether it drains) travels in memberlist's own
// messages, as up to 512 bytes of meta data. Its tracks travel as records, one for each track, which every node that
// hears a new one passes on to a few others; what got lost is healed by exchanges of all that two nodes know, every
// ten seconds and whenever their digests stay different (digest.go). The layouts are in wire.go, the rules for records
// in ledger.go.
//
// A node is known by its name and its Boot, which tells its lives apart. Each life writes a ledger of its own and
// numbers the changes in it, so that late, doubled or recorded words change nothing, and a node that restarts is
// believed at once. The tracks of a node are in the view while it is alive.
//
// # Who is dead
//
// A node is checked by somebody about every 200 ms. One that does not answer, nor through others, is suspected, may
// object for 400 ms (more in a cluster beyond ten nodes), and is dead then: about a second after it went. One that
// leaves says goodbye and is gone from the views in a tenth of a second. Nodes that died are looked for at their last
// address for an hour, and the addresses of Config.Join for ever, so that a partition heals from either side.
//
// # Whom it trusts
//
// Whoever has the cluster key. Without one, gossip stays on loopback addresses. Everything is sealed with keys that are
// derived from it: packets so that each counts once and only for the process that it was made for (packets.go),
// streams by TLS 1.3 (keys.go). memberlist sees what came through that. No clock takes part in it.
//
// A node that has the key can still say what is not so; it cannot make others hold more than a bounded number of
// nodes, tracks and bytes, nor crash them. What is refused is counted by reason.
//
// Two nodes with one name are an error of the operator's, which both log; the younger one leaves (name.go).
package cluster
