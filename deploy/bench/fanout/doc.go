// Package fanout measures what a viewer costs a WebRTC server: any server that speaks WHEP, seen from outside.
//
// Viewers are as cheap as they can be, so that many fit beside the server on one machine: each is a socket that has been
// through ICE, DTLS and SRTP (viewer.go) and then only counts what came, read in turns by a goroutine that never waits
// for any of them. So nobody is woken per packet, which the sender's CPU would be charged for on loopback. A few of them,
// the sample, decrypt everything, and check numbers and payloads. The server's CPU and memory are read from the kernel
// (process.go).
//
// What is delivered counts as RTP, header and payload, without SRTP's tag and what is below; CPU-seconds per gigabit of
// that are the figure to compare. Delays are those of the sample, where the payload tells when it was sent.
package fanout
