// Package whep lets viewers watch over WebRTC: WHEP, draft-ietf-wish-whep-03.
//
//	POST /whep/{stream}                offer, recvonly → 201, answer, sendonly
//	POST /whep/{stream}?format=720p    the same, in this format instead of the one that fits best
//	POST /sessions/{id}/layer          {"format":"360p"} or {"format":"auto"}: change without renegotiation
//
// A stream that is not live is answered 409 with Retry-After. What package wish says of the HTTP side holds here.
//
// # Counter-offers
//
// A viewer whose offer has no codec in which the stream can be had gets 406 and an offer of what there is, sendonly,
// made as if it took everything that is carried. It answers by PATCH of the session within 30 s, from a new peer
// connection or one whose own offer was rolled back, and may refuse m-lines and codecs in that answer. The formats that
// were offered are subscribed to in the meantime, so they are running when the answer comes. What no answer could help,
// a format that the stream lacks or B-frames, is 422 and a sentence.
//
// # What a viewer gets
//
// A plan (plan.go) is made from the offer and the tracks of the stream. Video is the source as it was published if
// the peer can decode it, that is: its codec and profile are in the offer, and its frames are sent in the order of
// display, as WebRTC knows no other. Else it is the best of the formats on offer. Audio is the source if that is Opus or
// G.711, else the format opus. Subscribing starts formats that are made on demand.
//
// # How it gets it
//
// One goroutine per viewer (feed.go) reads the tracks' logs by cursors and writes to the viewer's connection. Video
// starts at the last keyframe in the log, at once; what lies between it and the live edge goes out in a burst that
// the player runs through quickly (rtc.Timeline). Sound begins at the live edge: a backlog of it, which a process puts out
// when it starts, is passed over, as a player would keep all of it and be late for a minute (pace.go). A viewer that
// falls more than MaxLag behind skips to the newest keyframe; nobody waits for it.
//
// # What its network carries
//
// Where the fan-out engine knows what a viewer's network carries, the viewer gets that (fit.go): video at a pace that
// spreads keyframes and bursts, behind sound, and a format whose rate fits, if the viewer leaves the choice to us. Down it
// goes at once: what is left of the better format is dropped. Up it goes at a keyframe that both formats have, after padding
// has shown that the better one fits. Who asks for a format by ?format= keeps it.
//
// # What stays
//
// The session belongs to the name, not to a publisher. While there is no publisher, nothing is sent and the
// connection stays up; when one returns, video goes on. When a track turns into something that this peer cannot
// decode, or ends, the plan is made anew and the feed changes over to another format at its first keyframe; it comes
// back the same way.
//
// A peer's request for a keyframe is passed to whoever writes the log, at most once in KeyframeInterval for all viewers of
// it together.
package whep
