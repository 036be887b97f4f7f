// Package transcoder makes the formats of a stream out of its source, each with an FFmpeg child
// process of its own, while somebody reads them. It is a relay.Supplier.
//
// # What is made
//
// Each stream has a ladder: names of formats such as 720p, 1080p60, 480p-vp8, opus, aac (Target).
// Ladder turns these and what is known of the source into the formats worth offering, by rules that
// are arithmetic: never larger than the source, no two alike, none where the source itself would do.
//
// # How media time survives
//
// Every frame that comes out has the media time of what it shows, exactly, so that formats can be
// switched at a keyframe and cut into the same segments on every node. A run of FFmpeg counts time
// from a base, a whole multiple of the segment duration shortly before its first frame; output time
// is base plus what FFmpeg says.
//
//   - Video comes out on a regular grid: its rate is one of a few whole numbers, frames fall on whole
//     multiples of its inverse, so that a frame lies on every segment's start, and it is a keyframe.
//     There are no others but the first of a run. No B-frames; parameter sets in front of each keyframe.
//   - Audio comes out in frames that begin on whole multiples of their own length since the Unix epoch.
//     FFmpeg fills gaps with silence and drops overlaps, so that counting samples is keeping time; the
//     encoders' delay is taken off.
//   - Where the source's sound stops and its picture goes on, sound is made up with silence as time goes
//     by, 300 ms behind the picture (filler), as players wait for both. A source that is passed through
//     has no process that could: its sound stops. Of a picture that stops there is nothing to make up:
//     formats of a source with a frame in ten seconds come ten seconds late.
//
// # How a process is kept
//
// Supply runs a job for each format. A job finds a frame to start with, plans a run (plan), starts
// FFmpeg with an argument vector that is a pure function of the plan (args), feeds it (input: IVF,
// MPEG-TS or plain samples over stdin), and writes what comes back (readOutput) into the format's log.
//
//	source log ── frame.Reader ── feed ──▶ stdin  FFmpeg  stdout ──▶ collect ── frame.Writer ── log
//	                                         ▲ watch: kills it when it is fed and shows nothing
//
// Nothing queues between the log and the pipe. A slow process leaves its input in the log, and its
// reader skips to a keyframe when it lags too far. When the source's parameters change or its time
// leaps, the process drains and another takes over; when it crashes or hangs, another continues after
// the last frame written, with a keyframe and without repeating any. Between crashes the wait grows,
// and five in a minute suspend the format for half a minute (breaker); other formats go on. How many
// processes run at once is bounded, and how much processor they may take by estimate: where that is too little, the
// formats whose viewers lose least wait, until there is room or more read them (slots, tree.Keep). One that waits for
// long is offered as such, so that another worker may take it over (tree.Worker).
//
// # What a process may do
//
// Its arguments are numbers and words of our own; nothing that a user named is among them. It gets
// pipes only, no network protocols, no files to write, a bounded address space, few threads and a
// lower claim on the processor than the relay, and it dies with us.
//
// It runs as the user that we run as: give the server one of its own. We do not change to another user
// for it where we are root, as that costs more than it gives: without CAP_SYS_RESOURCE, which
// containers lack by default, root may not bound the memory of another user's process, and hardware
// encoders open for the groups of the user that the operator chose. We say so once, at the start.
package transcoder
