package whep_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"banyan/relay/rtc"
)

// TestDeadViewers: viewers who connect and then neither read nor answer cost a bounded amount of memory until they are
// cut, and nothing after that. Whoever else watches goes on. What they do to others' delay is BenchmarkFanOut's to tell.
func TestDeadViewers(t *testing.T) {
	const viewers, most = 50, 4 << 20 // bytes each
	// The limit counts for those who connect, too, so that none may take so long; and all must have come before the first
	// is cut, or there are fewer than viewers to measure.
	const limit = 8 * time.Second
	w, o := patientScene(t, rtc.Config{DisconnectTimeout: limit / 2, FailTimeout: limit})
	memory := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	goroutines, before := w.goroutines()+1, memory()
	var peak int64
	t.Run("watch", func(t *testing.T) { // so that the test's own part of them is gone behind it
		const atOnce = 2 // more would only wait for each other's handshakes, and lose flights of them
		var coming sync.WaitGroup
		for range atOnce {
			coming.Go(func() {
				for range viewers / atOnce {
					w.intrude(t).Handshake().Vanish()
				}
			})
		}
		coming.Wait()
		w.within(limit+soon, "all to be cut but the onlooker", func() bool {
			peak = max(peak, memory()-before) // of their own ends, too
			return w.connections() == 1 && w.signal.Sessions() == 1
		})
	})
	w.eventually("the end of their goroutines", func() bool { return w.goroutines() <= goroutines })
	if peak > viewers*most {
		t.Errorf("%d dead viewers take %d MiB, want at most %d", viewers, peak>>20, viewers*most>>20)
	}
	t.Logf("%d KiB each at most", peak>>10/viewers)
	o.goesOn()
}
