// Package frame turns the packets of a track into frames and back: depacketising, packetising, and
// looking into RTP payloads for keyframes and parameter sets.
//
// A Reader reads whole frames from a log, for whoever needs frames: the transcoder, the HLS packager,
// the recorder. A Writer packetises frames into a log, for whoever makes them: the transcoder, RTSP
// publishers. It keeps all parameter sets, by kind and id, in front of every keyframe and begins a new
// epoch when they change. An Inspector looks at payloads that are forwarded as they are (WHIP), without taking them
// apart.
//
// The payload formats themselves are those of github.com/bluenviron/gortsplib, which are fuzzed there;
// what is parsed here (NAL unit types in aggregation packets, ids of parameter sets, VP8/VP9/AV1 descriptors) is fuzzed here.
package frame
