package transcoder

import (
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// silentSound is the rate, in bits per second, up to which a source is taken to be silent: less than Opus needs for a
// voice (RFC 6716, section 2.1.1).
const silentSound = 6000

// maxListened bounds the packets that are looked at: four minutes of Opus, where windows are of seconds.
const maxListened = 12000

// soundRate is the bit rate of a track of sound, given what its log measured over all of its window. Where that is so
// little that there may be silence in it, the second of the window counts that has most; zero is returned where all of
// it is silence, which says nothing about the source.
func soundRate(l *log.Log, measured float64, channels int) float64 {
	if measured == 0 || measured >= float64(plainSound*max(channels, 1)) {
		return measured
	}
	var second media.Time
	bytes, most := 0, 0
	head := l.Head()
	for at := max(l.Tail(), head-maxListened); at < head; at++ {
		p := l.Get(at)
		if p == nil {
			continue
		}
		if in := p.Time().Floor(time.Second); in != second {
			second, bytes = in, 0
		}
		bytes += len(p.Payload)
		most = max(most, bytes)
	}
	if rate := max(measured, float64(8*most)); rate > silentSound {
		return rate
	}
	return 0
}
