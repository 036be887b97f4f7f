package log

import (
	"slices"

	"banyan/relay/media"
)

// Prepend publishes packets from before the window, for a replica that began too late for one of its readers. They
// are in order of offsets; payloads are copied. What is not of the epoch of the window's oldest packet is left out, and
// so is what does not fit into the window's bounds, oldest first. Cursors that exist notice nothing.
func (w *Writer) Prepend(packets []*media.Packet) error {
	l := w.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writer != w {
		return ErrReplaced
	}
	oldest := l.oldest()
	if oldest == nil {
		return nil // nothing to come before
	}
	packets = l.fitting(packets, oldest)
	if len(packets) == 0 {
		return nil
	}
	first, key := packets[0].Offset, int64(noOffset)
	l.grow(int(l.head.Load() - first))
	for _, p := range packets {
		before := *p
		before.Params = oldest.Params
		e := l.window.entry(before)
		e.prevKey = noOffset
		if p.Has(media.Keyframe) {
			e.prevKey, key = key, p.Offset
		}
		l.window.count(e, 1)
		l.table.Load().slot(p.Offset).Store(e)
		l.counters.packets.Add(1)
		l.counters.bytes.Add(uint64(len(p.Payload)))
	}
	l.joinTo(oldest, key)
	l.tail.Store(first) // last, so that readers find what lies above it
	return nil
}

// fitting are those of packets that can stand before the oldest.
func (l *Log) fitting(packets []*media.Packet, oldest *entry) []*media.Packet {
	room := l.config.MaxBytes - l.window.bytes
	lowest := l.head.Load() - int64(l.config.MaxPackets)
	for i, p := range slices.Backward(packets) {
		room -= len(p.Payload) + packetOverhead
		switch {
		case p.Offset >= l.tail.Load():
			return l.fitting(packets[:i], oldest)
		case room < 0 || p.Offset < lowest || p.Params.Epoch != oldest.Params.Epoch:
			return packets[i+1:]
		}
	}
	return packets
}

// joinTo tells the packet that was the oldest, and the keyframe that was, what stands before them now. Readers hold
// entries without a lock, so that each is replaced and not changed.
func (l *Log) joinTo(oldest *entry, key int64) {
	begins := *oldest
	begins.Flags &^= media.Discontinuity // its epoch began earlier
	l.table.Load().slot(oldest.Offset).Store(&begins)
	lowest := (*entry)(nil)
	for offset := l.lastKey.Load(); offset != noOffset; {
		e := l.lookup(offset)
		if e == nil {
			break
		}
		lowest, offset = e, e.prevKey
	}
	if lowest == nil { // the window had none
		l.lastKey.Store(key)
		return
	}
	follows := *lowest
	follows.prevKey = key
	l.table.Load().slot(lowest.Offset).Store(&follows)
}
