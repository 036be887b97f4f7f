package e2e

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// PartWatch notes how long a server goes without a new part of a rendition of HLS: what its viewers can see at best,
// whatever time this machine has for their browsers.
type PartWatch struct {
	ended   chan struct{}
	stop    func()
	longest time.Duration // owned by follow until ended is closed
}

// WatchParts begins to follow a media playlist, such as /hls/cup/cam1/360p-video/index.m3u8.
func (n *Node) WatchParts(t testing.TB, playlist string) *PartWatch {
	t.Helper()
	stopped := make(chan struct{})
	w := &PartWatch{ended: make(chan struct{}), stop: sync.OnceFunc(func() { close(stopped) })}
	go w.follow(n, playlist, stopped)
	t.Cleanup(func() { w.stop(); <-w.ended })
	return w
}

func (w *PartWatch) follow(n *Node, playlist string, stopped <-chan struct{}) {
	const look = 50 * time.Millisecond // a quarter of a part
	defer close(w.ended)
	tick := time.NewTicker(look)
	defer tick.Stop()
	for last, since := "", time.Now(); ; {
		select {
		case <-stopped:
			return
		case <-tick.C:
		}
		text, _ := n.Get(playlist) // one that cannot be had has no new part
		_, hint, _ := strings.Cut(string(text), "#EXT-X-PRELOAD-HINT:TYPE=PART,")
		hint, _, _ = strings.Cut(hint, "\n")
		w.longest = max(w.longest, time.Since(since))
		if hint != "" && hint != last {
			last, since = hint, time.Now()
		}
	}
}

// Longest ends the watch, and is the longest time without a part, that before the first included and the one that lasts.
func (w *PartWatch) Longest() time.Duration {
	w.stop()
	<-w.ended
	return w.longest
}
