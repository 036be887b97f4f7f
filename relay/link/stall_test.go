package link

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// TestParentThatStalls opens all the streams that it may, as groups or as nothing that can be told, gives each some bytes, and
// leaves it at that. Few of them are read at once, and none when the subscription has ended.
func TestParentThatStalls(t *testing.T) {
	for name, begin := range map[string]func(number uint64) []byte{
		"groups": func(n uint64) []byte {
			return groupBytes(goodHeader(n, birth+int64(n)*1000), packetAt(birth+int64(n)*1000))
		},
		"repairs":     func(n uint64) []byte { b := groupBytes(goodHeader(n, birth)); b[0] = streamRepair; return b },
		"half a head": func(uint64) []byte { return groupBytes(goodHeader(0, birth))[:9] },
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := node(t, "relay", nil, patient)
			opened := make(chan int, 1)
			parent := hostileParent(t, func(s *stranger) {
				s.beat()
				s.send(frameAccepted, accepted{1, birth, []string{"ingest"}}.append(nil))
				count := 0
				for ; count < maxStreams; count++ {
					stream, err := s.conn.OpenUniStream()
					if err != nil {
						break
					}
					// The beginning of a record, and never its end. It all fits the connection's window, or heartbeats would not
					// come through, and the link end by that.
					half := slices.Concat(begin(uint64(count)), []byte{0, 0, 1, 0, 0}, binary.AppendUvarint(nil, 4000), make([]byte, 200))
					if name == "half a head" {
						half = begin(0)
					}
					_ = stream.SetWriteDeadline(time.Now().Add(time.Millisecond))
					_, _ = stream.Write(half)
				}
				opened <- count
			})
			p := n.Peer("ingest", parent)
			defer p.Close()
			if err := p.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := runtime.NumGoroutine()
			var heap runtime.MemStats
			runtime.ReadMemStats(&heap)
			used := heap.HeapInuse
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = p.Follow(ctx, videoID, 0, nil, newReplica(videoID, 0))
			}()
			count := <-opened
			if count < maxStreams/2 {
				t.Fatalf("the parent could open %d streams only", count)
			}
			open := func() int {
				u := p.current()
				if u == nil {
					t.Fatalf("the link has ended: %v", p.cause)
				}
				u.mu.Lock()
				defer u.mu.Unlock()
				return u.open
			}
			const most = groupsSpare + groupsEach
			eventually(t, "as many are read as may be", func() bool { return open() == most })
			const besides = 16 // Follow, the heartbeats of the stranger and such
			if more := runtime.NumGoroutine() - before; more > most+besides {
				t.Errorf("%d streams of a parent take %d goroutines, want about %d", count, more, most)
			}
			runtime.ReadMemStats(&heap)
			if more := int64(heap.HeapInuse) - int64(used); more > connWindow+maxConnWindow {
				t.Errorf("%d streams take %d MB on both sides", count, more>>20)
			}
			cancel()
			<-ended
			if name == "half a head" {
				return // nobody knows whose these are: they end with the link, or by their deadline
			}
			eventually(t, "all streams end with the subscription", func() bool { return open() == 0 && runtime.NumGoroutine() <= before+besides })
		})
	}
}

// TestOldGroupsEnd has groups that stand still while newer ones come: they have some time left, and the newest has any.
func TestOldGroupsEnd(t *testing.T) {
	n, _ := node(t, "relay", nil, patient)
	begun := make(chan []*quic.SendStream, 1)
	p := n.Peer("ingest", hostileParent(t, func(s *stranger) {
		s.beat()
		s.send(frameAccepted, accepted{1, birth, []string{"ingest"}}.append(nil))
		var streams []*quic.SendStream
		for i := range uint64(5) {
			stream, err := s.conn.OpenUniStream()
			if err != nil {
				return
			}
			_, _ = stream.Write(groupBytes(goodHeader(i, birth+int64(i)), packetAt(birth+int64(i))))
			streams = append(streams, stream)
		}
		begun <- streams
	}))
	defer p.Close()
	copied := newReplica(videoID, 0)
	_, stop := follow(t, p, 0, nil, copied)
	eventually(t, "all groups have begun", func() bool { return copied.Log().Head() == birth+5 })
	eventually(t, "the older groups are given up", func() bool { return counted(t, n, "banyan_link_cut_groups_total") == 4 })
	// The parent is told, so that it does not fill the connection's window with what nobody reads.
	for i, stream := range (<-begun)[:4] {
		eventually(t, fmt.Sprintf("group %d is stopped", i), func() bool { return stream.Context().Err() != nil })
	}
	u := p.current()
	open := func() int {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.open
	}
	if n := open(); n != 1 {
		t.Errorf("%d groups are read, want the newest", n)
	}
	stop()
	eventually(t, "the newest ends with the subscription", func() bool { return open() == 0 })
}
