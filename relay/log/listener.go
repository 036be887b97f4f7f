package log

import "slices"

// listener is who is told of each packet, where a Cursor that waits would be woken for it.
type listener struct{ told func(frameEnd bool) }

// Listen has told called with each new packet, which is there to be read then, and when the log is closed; frameEnd says
// that the packet ends its frame, or the log. What fills a hole is not told of: readers have passed that by.
//
// It is for the few who serve many readers. told is called in the writer's goroutine, one call at a time, and must
// neither wait nor use the log's Writer. It is not called any more when stop has returned.
func (l *Log) Listen(told func(frameEnd bool)) (stop func()) {
	one := &listener{told}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, one)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.listeners = slices.DeleteFunc(l.listeners, func(other *listener) bool { return other == one })
	}
}

// tell tells all who listen. The caller holds mu.
func (l *Log) tell(frameEnd bool) {
	for _, one := range l.listeners {
		one.told(frameEnd)
	}
}
