// Package congestion finds out how much a viewer's network carries, and says what to send accordingly. It knows no
// socket and no clock: what was sent, what the viewer reports and the time come in as arguments, so that a link can be
// simulated in a test. Nothing here allocates per packet, and nothing is safe for concurrent use: a viewer's shard owns it.
//
// # The parts
//
//	Report     reads transport-wide feedback: which packets arrived, and when (report.go)
//	Estimator  numbers what is sent, hears reports, and knows the rate that the network carries (estimator.go)
//	Pacer      spreads what there is to send over a shard's turns, audio first (pacer.go)
//	Chooser    picks a format for that rate: down at once, up after a probe that held (chooser.go)
//
// # The estimate
//
// Two bounds are kept, after draft-ietf-rmcat-gcc-02, and the lower one counts. The bound by delay (delay.go) watches
// whether packets take ever longer. Packets that a turn sends together are a burst, one sample: the trend of a line
// through the last bursts' delays is compared with a threshold that adapts to the line's noise. A rising trend is a queue
// that builds up, and the bound drops below what the link carries; else it grows, up to half as much again as
// arrives. The bound by loss (loss.go) drops when more is lost than repairs can make good.
//
// It departs from the draft where a server of ready-made formats differs from an encoder whose rate bends:
//
//   - A burst is timed by its first packet that arrived. A frame that leaves at once is spread by the slowest link on
//     the way; timed by its last packet, each keyframe would look like a queue.
//   - How long packets wait beyond the shortest delay seen lately is kept too, and a wait that is long and
//     grows counts as a rising trend without a line through twenty bursts: at a sudden drop of the link, each
//     frame more at the old rate is a queue of a quarter second.
//   - Loss of up to 15 % does not lower the bound by itself (the draft: 10 %, with no regard to how few packets that may
//     be). Random loss is repaired, at a cost in proportion; loss by congestion comes with a queue or is far more. And
//     what arrived, with less loss than that, raises the bound again at once: it was carried.
//   - At a queue, the bound drops below what arrived while packets waited, which is what the link carries (the draft: below
//     what arrived of late, which here may be little because little was sent).
//
// # Up and down
//
// What arrives proves no more than was sent, so a rate above that has to be tried. The Chooser asks for a probe: padding
// beside the media, growing by half each step, until the best format's rate held or delay or loss speak against it.
// The best format below what held is taken, in one go. A probe that brought nothing is repeated after twice the pause,
// up to a bound that keeps the way back short.
package congestion
