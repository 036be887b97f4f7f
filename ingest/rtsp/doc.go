// Package rtsp takes in cameras and encoders that speak RTSP 1.0 (RFC 2326): they push to
// rtsp://host:8554/{stream} with ANNOUNCE and RECORD, or a Pull fetches them from their own URL. The
// same address lets RTSP players watch any stream with DESCRIBE and PLAY.
//
// # Connections
//
// A listener admits connections within the quota and ends their TLS. What a connection sends goes by a
// requestReader before gortsplib sees it: requests that can be answered and interleaved frames pass,
// others are answered there, with 501 for a method and 505 for a version that is not spoken. So all of
// it is the same with TLS and without. A request that does not fit its connection's session, or that
// gortsplib could not read, is refused with a sentence by the handler, which shows gortsplib another in
// its place; the connection goes on.
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
// Over RTSPS all of it is the same, but for UDP, which that listener does not have: media is interleaved
// into the TLS connection. A publisher may encrypt it once more as SRTP, with keys by MIKEY (RTP/SAVP,
// RFC 7826, appendix C.1), as gortsplib's clients do: AES_CM_128_HMAC_SHA1_80 is taken, other ciphers
// are answered 466. SRTP is answered 461 without TLS, where its key could be read, and to players, for
// whom TLS is enough. Cameras that are pulled over rtsps may use TLS alone or SRTP over UDP and TCP.
//
// A source that never sets the marker bit is shown one frame late: where its frames end is known only
// when the next one begins.
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
//   - a token as ?token= in the URL, which everybody can send, also FFmpeg, which keeps only 127 bytes
//     of user and password. It goes before what else a request carries;
//   - Basic, with a token as the password and any user, or with a user of the configuration: over TLS
//     alone, as everybody on the way could read it;
//   - Digest (MD5 or SHA-256, with or without qop=auth) for users of the configuration, as their passwords
//     are known here. Digest with a token cannot be verified, for a hash of it is all that would come.
//
// On networks that are not trusted, ?token= wants RTSPS as well.
//
// A nonce of Digest is good for one proof, or for one of each higher count; then the answer is 401 with
// stale=true and another nonce. Every request that reveals or changes something is checked; a connection
// that has proven itself for a stream need not do so again, and the second wrong attempt costs the
// connection. Where publishing or playing is open to all, nobody is asked. Why a request was refused stands
// in the status line of the answer, which FFmpeg and GStreamer print, and in the log with the stream's name.
//
// # Bounds
//
// Connections are bounded in total and per address; a connection must complete its handshake, and a
// request every 20 seconds until it has a session. Then SETUP tells the time-out, 60 s: a session in
// which no media flows, before PLAY or RECORD and after PAUSE, ends with its connection when for so
// long neither a request nor an interleaved frame came. Over UDP, a player's reports count while it
// plays, and not while it pauses. A request has at most 64 headers in 8 KiB, of 2 KiB each,
// and 128 KiB of body; one is answered at a time. A description has at most 16 tracks. One session per
// connection, which ends with it, and which no other connection can use, whatever ids it knows. UDP goes
// only to the address that asked, and to no well-known port, and is taken from the ports that were agreed
// on. A panic over a packet or a request ends its session.
//
// Not done: multicast, HTTP tunnels, back channels.
package rtsp
