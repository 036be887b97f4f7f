package link

import (
	"time"

	"banyan/relay/log"
)

// resumeSpan is how far back ResumeOffset looks for holes. A group that was held up on a line is mended within that
// time, or never.
const resumeSpan = 2 * time.Second

// ResumeOffset is where a replica goes on with another parent: the first offset that it lacks since the keyframe
// before its last two seconds, as groups under way may have been cut, else the one after its newest. Zero for an
// empty log. What it has already comes again and is dropped.
func ResumeOffset(l *log.Log) int64 {
	head := l.Head()
	if empty(l) {
		return 0
	}
	start := l.Cursor(log.KeyframeBefore(l.NewestTime().Add(-resumeSpan))).Offset()
	for offset := start; offset < head; offset++ {
		if l.Get(offset) == nil {
			return offset
		}
	}
	return head
}

func empty(l *log.Log) bool { return l.Head() == l.Tail() }
