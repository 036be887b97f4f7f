// Package hls serves streams as low-latency HLS (draft-pantos-hls-rfc8216bis-22) from the logs of this
// node. It imports relay and no role.
//
// # Addresses
//
//	/hls/{stream}/index.m3u8                           multivariant playlist
//	/hls/{stream}/{format}-video/index.m3u8            media playlist of a rendition of the picture
//	/hls/{stream}/{codec}-audio/index.m3u8             media playlist of the sound
//	…/init-{format}-{epoch}.mp4                        init section of an epoch of a track
//	…/{msn}.mp4 and …/{msn}.{part}.mp4                 segment, and part of a segment (fragmented MP4)
//
// Segment k covers the media time [k·S, (k+1)·S), counted from the Unix epoch; S is Config.Segment. Parts
// are numbered by their place in the segment. So every address means the same on every node, in every
// format and after a restart, no matter when a node began to read, and a file never changes.
//
// # From frame to part
//
// A Server starts the packagers of all renditions of a stream when the stream is first asked for, which is what
// starts formats that nobody else reads; they end together when nobody has asked for any of them for a while, and
// one of an earlier publisher when it is not asked for itself (ladder.go). A packager reads frames from the oldest
// keyframe of the log's window, so that the first playlist has a history; where there is none its first segment
// begins with gaps. Its cutter (cut.go) gives each frame its place by media time: equal parts for video on a
// regular grid, whole multiples of the part length for audio (grid.go). A part is built once, when its last frame
// is there: on a regular grid that is known without the frame after. Where pictures come unevenly, or some are lost, decode
// time goes on evenly and presentation is true (decode.go). The window (window.go) keeps what is listed
// and, as the RFC demands, as much again.
//
// Segments that never came are gaps (EXT-X-GAP), so that numbers and time agree always, and so is one that
// broke off: a publisher that leaves and returns leaves gaps and nothing else, and its frames are shown from
// the beginning of a segment on. Where a decoder must be set up anew, the new epoch waits for the next
// segment, as a segment has one init section (EXT-X-MAP), and begins it with a discontinuity. All
// renditions of a stream, on all nodes, show their discontinuities before the same segments and with the same numbers
// (timeline.go), and between them each has the same length.
//
// # Waiting
//
// Each publication is a new immutable state, with a channel that closes when the next one is there.
// Requests that wait (blocking reloads, the hinted part) wait on that in their own goroutine, bounded in
// number and time; playlists are written and compressed once for each state, whatever the number of
// players.
//
// # What can be a rendition
//
// Video whose Params are Aligned, as the transcoder makes it; a source that makes no such promise if its
// frames in the window show a regular rate and keyframes on the grid (cadence.go); no video with reordered
// frames. H.264, H.265, AV1 and VP9. Audio in AAC, or Opus where there is no AAC: one for all variants.
//
// Players can change neither the codec of sound nor its rendition in mid-play. So that rendition is named by its
// codec and not by its track: it is made of the publisher's own sound where that has the codec, else of what
// is made of it, and moves from one to the other, with a discontinuity, when the publisher returns with
// another codec (renditions.go). Where the sound ends and the picture goes on, it has silence
// (hush.go), and so has the beginning of the segment in which a node began to read it (cut.go).
//
// # Limits
//
// EXT-X-DISCONTINUITY-SEQUENCE is counted where the stream is published and the same on every node (media.Break,
// timeline.go). It counts the changes of the publisher's own parameters, seen in this rendition or not; a format that
// changes by itself, as by another encoder, has another EXT-X-MAP only. After a new start of the publisher's node it goes
// on above what it was, unless the stream changed more than six times an hour: then, and only if nobody in the cluster
// knew the stream, it falls back. An edge that hears of a break later than another rendition has shown
// its segment puts the mark before the next one, which another edge may not do, and of several at once before as many
// segments; of more than missedMost it shows one, and its sequence number rises by the others at once.
// Media time that goes back by more than a playlist starts the numbers over.
// There is no encryption, no EXT-X-DATERANGE, and no push of parts ahead of requests.
package hls
