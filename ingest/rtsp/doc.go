// Package rtsp is the door for cameras and encoders that speak RTSP 1.0 (RFC 2326): they push to
// rtsp://host:8554/{stream} with ANNOUNCE and RECORD, or a Puller fetches them from their own URL. The
// same address lets RTSP players watch any stream with DESCRIBE and PLAY.
//
// # Publishing
//
// The protocol, RTP and RTCP are gortsplib's; it stays inside this package. What happens to media is
// ours: choose picks one video and one audio track of what is announced (others are named in the log
// and ignored), a track depacketises them to frames, an ingest.Timeline gives them media time, and a
// frame.Writer writes them to the logs of a relay.Publication. So B-frames, packets of any size,
// parameter sets in the description or in the stream are all dealt with in one way, whether the peer
// pushes or is pulled.
//
// The first packets of a track wait 200 ms, and up to a second while they come unsteadily, so that a
// publisher that begins with a burst of what it encoded meanwhile is not taken to be ahead of the clock
// (leadIn).
//
// A session ends when the peer tears it down, closes its connection, or is silent for ten seconds; when
// somebody else publishes under the name; and when its token is no longer valid. The logs go on: their
// readers wait for the next publisher. A TCP peer that sends faster than real time is made to wait.
//
// Over RTSPS all of it is the same, but for UDP, which that listener does not have: media is interleaved into
// the TLS connection, as SRTP (RFC 4567) where the peer wants it that way.
//
// # Playing
//
// DESCRIBE lists the source of the stream, or what ?format= asks for. Each player reads the logs by
// cursors of its own, so it starts at the last keyframe at once, and one that is slow skips to a newer
// keyframe without anybody else noticing. RTP timestamps are those of the log; sender reports every few
// seconds tie them to media time. A player stays while the publisher is away, and is told BYE only
// when the stream is forgotten or comes back with another codec.
//
// # Pulling
//
// A Pull names a camera's URL. Each attempt connects by an ingest.URLGuard, which also sees every
// redirect; a camera's password never goes to another host, nor into a log. Attempts follow each other
// with growing, jittered pauses, for ever, and "auto" takes turns with UDP and TCP. Who pushes under the
// name goes before what is pulled: the pull waits until they leave.
//
// # Who may
//
// RTSP has no bearer tokens, so there are three ways to show who one is:
//
//   - Basic, with a token as the password and any user. It is accepted on plain RTSP although the token
//     can be read on the way: use it on networks that are trusted, as with every RTSP camera;
//   - a token as ?token= in the URL, for FFmpeg, which keeps only 127 bytes of user and password;
//   - Digest (MD5 or SHA-256) for static users of the configuration, as their passwords are known here.
//     Digest with a token cannot be verified, for a hash of it is all that would come.
//
// Digest is offered only where users are configured. Every request that reveals or changes something
// is checked; a connection that has proven itself for a stream need not do so again, and a failed
// attempt costs the connection. Where publishing or playing is open to all, nobody is asked.
//
// # Bounds
//
// Connections are bounded in total and per address; a connection must complete a request every 20
// seconds until media flows; requests are bounded by gortsplib (64 byte method, 2 KiB URL, 255 headers
// of 2 KiB, 128 KiB body) and to 160 KiB together. One session per connection, which ends with it, and
// which no other connection can use, whatever ids it knows. UDP goes only to the address that asked, and
// to no well-known port. A panic over a packet or a request ends its session.
//
// Not done: multicast, HTTP tunnels, back channels. What is no RTSP/1.0 at all is answered 400 or 505 and
// closes the connection; over TLS it closes without an answer.
package rtsp
