// Package rtc is the WebRTC ground that every role stands on: one UDP port and one TCP port for all sessions, and
// peer connections of two kinds on it. It imports no role and knows no HTTP.
//
// A Network owns the two sockets, the certificate and the settings that all sessions share. NewPublisher answers the
// offer of a peer that sends; NewViewer answers one that receives. Both return when the answer is complete, with all
// candidates in it (Peer.Answer), and both are a Peer: candidates can trickle in, ICE can restart, Done is closed
// when the session is over for whatever reason, Close ends it and waits. A Peer that is not connected within
// Config.ConnectTimeout, or whose consent expires (RFC 7675), ends by itself. Offers are those of package sdp, which
// has checked them.
//
// What a Viewer sends is given to it packet by packet: a Switcher reads one track's logs, one after another, as if
// they were one; a Timeline maps the packets to sequence numbers and timestamps that never jump back; a Track writes
// them and reports the mapping to the peer, so that audio and video stay in step.
//
// Settings that differ from those of the WebRTC stack, and why: SRTP prefers AES-128-GCM, which costs a seventh of
// AES-CM with SHA-1 on every server CPU of the last decade. Replay protection is on (RFC 3711 section 3.3.2). Names
// in candidates are never resolved. One certificate serves all sessions for half of its life; media keys are fresh
// per session all the same, as every DTLS handshake has its own ephemeral exchange. Publishers get the interceptors
// that repair and report what we receive; viewers none: what they lost is sent again from the tracks' logs (repair.go).
//
// This is the plain path on pion/webrtc. A Viewer hides that, so that an engine that shares the work of many viewers
// can stand in for it.
package rtc
