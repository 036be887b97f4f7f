// Package engine sends tracks to many WebRTC viewers at a fraction of what a connection of its own costs each. It is
// the fan-out of an edge: one UDP socket, a few goroutines that seal packets from the tracks' logs straight into what
// the kernel is given, and no copy, queue, lock, clock reading or wake-up per packet and viewer. Publishers, who are
// few, stay on the plain path of package rtc; it is also the reference that this package is tested against.
//
// # The parts
//
// An Engine owns the socket, the certificate and the viewers. A Viewer is a session whose peer receives: its
// description (answer.go), its life (viewer.go), its keys (handshake.go) and one Track per kind (track.go). A Feed says
// what a viewer gets; whoever made the viewer brings it. A shard is one goroutine that serves its share of all viewers.
// Below are packages without a goroutine of their own:
//
//	stun        reads connectivity checks and writes the answers (RFC 8445, the lite half)
//	seal        SRTP from exported keys, in place (RFC 3711, RFC 7714)
//	batch       many datagrams for one system call: sendmmsg and UDP segmentation on Linux, one by one elsewhere
//	feedback    reads RTCP of viewers without allocating
//	congestion  finds out what a viewer's network carries (estimate.go)
//
// # The life of a packet on its way out
//
// A writer appends a packet to a track's log. That tells the watch of each shard that has readers of it (watch.go), which
// wakes its shard at the end of the frame, or where that takes longer than frameWait. The shard's turn (shard.go)
// goes viewer by viewer, as each has its own keys, which are warm in the cache for all packets of a frame: the viewer's
// Feed reads its cursors and calls Track.Send; that maps the packet to the viewer's sequence numbers and timestamps
// (rtc.Timeline), writes the header into the arena of the shard's batch, and encrypts the payload from the log to right
// behind it. Packets of a viewer that follow each other and are of one size become one system-call entry, cut apart by
// the kernel or the network card. The batch goes out when it is full and at the end of the turn.
//
// # What comes back
//
// One goroutine reads the socket (receive.go) and tells three things apart by their first byte (RFC 7983): checks, which
// it answers at once; DTLS, for the viewer's handshake; and RTCP, which it decrypts and hears (hear.go). Only an
// address that has proved with a check that it knows the viewer's password is listened to otherwise. A check that
// nominates moves the viewer to its address; nothing else does. What belongs to no viewer here goes to the
// connections of package rtc, so that all sessions share one port (rest.go). Viewers whose network blocks UDP come by TCP
// on the same port (stream.go), each with a bounded queue and a goroutine that writes it.
//
// # Repair
//
// The logs are the only store for retransmission. A viewer's history (history.go) is which numbers stand for which
// offsets: as a run of packets keeps the difference, a few words per run serve thousands of packets. What is lost comes
// again as RTX (RFC 4588), under an SSRC and numbers of its own; to peers that did not negotiate that, as the very same
// packet. Never do two different packets share SSRC and number: under AES-GCM that would give away the key that
// authenticates (RFC 7714 section 8.4).
//
// # Bounds
//
// A viewer whose handshake is not done within Config.ConnectTimeout ends; so does one from which no authenticated
// check came for Config.ConsentTimeout (RFC 7675), whose TCP connection has ended without another, or which says goodbye by DTLS. Everything that waits is bounded, and
// what is dropped is counted by its reason (counters.go).
package engine
