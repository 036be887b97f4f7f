// Package whip takes in publishers that speak WHIP (RFC 9725): browsers, OBS, and the publisher of
// package push.
//
// The HTTP side is package wish, the WebRTC side package rtc. Between them stands a session, which turns
// what the peer sends into tracks of a stream:
//
//	POST /whip/{stream} -> Authorize (may this token publish that name?) -> rtc.Publisher (the answer)
//	connected           -> relay.Hub.Publish: the name is claimed now, not before, so that somebody who
//	                       cannot connect never takes a stream away from its publisher, and with it the
//	                       negotiated tracks, so that edges can wait for sound that comes after the picture
//	each track          -> read -> ingest.Forwarder -> the log of the source track
//	sender reports      -> ingest.Timeline, which keeps audio and video in step
//	keyframe requests, losses that NACK did not mend -> PLI to the publisher, at most one each 500 ms
//	DELETE, DTLS close, silence, or another publisher of the same name -> the session ends, and the name is
//	                       free; those who watch stay
//
// A session has at most one video and one audio track (more are refused with 422), and the publisher may
// change the codec of a track among those that were negotiated. Simulcast is answered as one layer.
//
// What a publisher sends is foreign: each packet is parsed with bounds, whatever is wrong with it is
// counted by reason and dropped, and a panic ends that one session.
package whip
