package whip

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/wish"
)

// flooded is a node that may have so many sessions at a time.
type flooded struct {
	*node
	most int
}

// flood makes many requests from one address, which is not that of other clients, and counts the answers by status. Each
// that asks for patience must say for how long.
func (n *flooded) flood(requests int, make func(i int) *http.Request) map[int]int {
	n.Helper()
	var mu sync.Mutex
	counts := map[int]int{}
	next := 0
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= requests {
					return
				}
				w := httptest.NewRecorder()
				n.http.Config.Handler.ServeHTTP(w, make(i)) // from 192.0.2.1, as httptest has it
				mu.Lock()
				counts[w.Code]++
				mu.Unlock()
				if there := n.signal.Sessions(); there > n.most {
					n.Errorf("%d sessions at a time, want at most %d", there, n.most)
				}
				if (w.Code == 429 || w.Code == 503) && w.Header().Get("Retry-After") == "" {
					n.Errorf("%d does not say when to come back (W31)", w.Code)
				}
			}
		})
	}
	all.Wait()
	return counts
}

// heap is how much memory is in use.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFloods sends a hundred times what the limits allow while somebody publishes, who does not notice (S3, class M). It
// does not run beside other tests, whose memory it would measure.
func TestFloods(t *testing.T) {
	const requests, most, burst = 2000, 10, 20
	// The publisher must be able to connect in time, on a busy machine too.
	limits := wish.Config{MaxPerClient: most, PostRate: burst / 5, PatchRate: burst / 5}
	n := flooded{newLimitedNode(t, rtc.Config{ConnectTimeout: 1500 * time.Millisecond}, limits), most + 1}
	s := n.connect(t)
	s.until("the stream", n.live)
	video := n.track(media.Video)
	token, good := n.token("eve", "cup/*"), offer(t)
	request := func(method, path, body, kind string) *http.Request {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", kind)
		r.Header.Set("If-Match", "*")
		return r
	}
	publish := func(i int) *http.Request { return request("POST", fmt.Sprintf("/whip/cup/flood%d", i), good, typeSDP) }
	goesOn := func(what string) {
		t.Helper()
		head := video.Head()
		s.until("the publisher goes on after "+what, func() bool { return video.Head() > head+5 })
	}
	reaped := func() {
		t.Helper()
		n.poll("all is reaped but the publisher", func() bool { return n.net.Sessions() == 1 && n.signal.Sessions() == 1 })
	}
	var memory []int64
	goroutines := runtime.NumGoroutine()
	for range 2 {
		counts := n.flood(requests, publish)
		if made := counts[201]; made == 0 || made > requests/10 || counts[429] != requests-made {
			t.Errorf("POST: the answers are %v, want few sessions made and the rest put off by 429", counts)
		}
		goesOn("POSTs without ICE")
		reaped()
		memory = append(memory, heap())
		n.poll("the sessions' goroutines are gone", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	}
	if grown := memory[1] - memory[0]; grown > 2<<20 {
		t.Errorf("the memory in use grows by %d KiB in a flood", grown>>10)
	}

	counts := n.flood(requests, func(i int) *http.Request {
		return request("DELETE", fmt.Sprintf("/sessions/ABCDEFGHIJKLMNOPQRSTUVW%03d", i), "", typeSDP)
	})
	if guessed := counts[404]; guessed == 0 || guessed > requests/10 || counts[429] != requests-guessed {
		t.Errorf("DELETE of guessed sessions: the answers are %v, want few 404 and else 429", counts)
	}
	goesOn("guesses")

	token = n.token("ana", "cup/*") // the publisher's own
	const candidate = "a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n"
	for what, body := range map[string]string{"candidates": strings.Repeat(candidate, 60), "broken fragments": "a=ice-ufrag:x\r\n"} {
		n.poll("some requests are allowed again", func() bool { // the rate is shared by all that touch sessions
			w := httptest.NewRecorder()
			n.http.Config.Handler.ServeHTTP(w, request("GET", s.session, "", ""))
			return w.Code == http.StatusNoContent
		})
		counts := n.flood(requests, func(int) *http.Request { return request("PATCH", s.session, body, typeFragment) })
		if taken := counts[204] + counts[400]; taken > requests/10 || counts[429] != requests-taken {
			t.Errorf("PATCH with %s: the answers are %v, want nearly all put off by 429", what, counts)
		}
		goesOn("PATCHes with " + what)
	}
	reaped()
	if grown := heap() - memory[0]; grown > 2<<20 {
		t.Errorf("the memory in use has grown by %d KiB", grown>>10)
	}
}
