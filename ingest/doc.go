// Package ingest is what the broadcaster's doors share. The doors themselves are the packages below it:
// whip and rtsp. Each turns a peer into a publisher of tracks, and each packet that it sends gets, here
// and once for all nodes, its place and its time:
//
//   - Timeline maps RTP timestamps to absolute media time, by arrival and by sender reports, so that the
//     tracks of one publisher are in step;
//   - Reorder puts packets in order, waits a bounded time for those that are missing, and knows
//     duplicates, late packets, and a sender that begins anew;
//   - Forwarder carries a track's packets into its log as they are: a lost packet leaves a hole, a late
//     one fills it, what is left out on purpose closes up. It marks keyframes, keeps parameter sets in
//     front of them, and begins an epoch where a decoder or a clock has to.
//
// All three are values without goroutine and socket; time comes in as an argument. What a peer sends is
// foreign: nothing in it makes them fail, and everything that is dropped is counted by reason.
package ingest
