// Package media is the vocabulary that every part of Banyan shares: what a stream, a format, a
// track and a packet are. It imports nothing of the module and knows no socket and no clock.
//
// A stream is a named live thing (Name). It exists in formats (Format), one of them what its
// publisher sent (Source). A Track is one stream in one format of one Kind; its packets form a log
// (package log). A Packet is one RTP payload of a track at an absolute offset, with absolute media
// time; Params say how to decode the packets of one epoch of the track.
//
// # Media time
//
// Media time is counted from the Unix epoch in the ticks of the track's clock (Packet.Ticks), so
// that audio stays sample-exact; Time is the same instant in nanoseconds. The RTP timestamp is the
// low 32 bits of Ticks, on every node and for every reader, so that any two replicas of a track, and
// any two formats of one stream, agree about it without talking.
package media
