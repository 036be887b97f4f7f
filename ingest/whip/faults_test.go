package whip

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"banyan/deploy/e2e/impair"
	"banyan/ingest/whip/push"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
)

// detour is a front for the node whose answers send media through a bad network: the server's candidates
// become the proxy's address, and the publisher's own are kept from the server, or they would find a way
// around it.
func (n *node) detour(up, down impair.Faults) (url string, proxy *impair.Proxy) {
	n.Helper()
	proxy, err := impair.Listen(n.net.Addr(), up, down, 1)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(proxy.Close)
	candidate := regexp.MustCompile(`(?m)^a=candidate:.*\r?\n`)
	udp := regexp.MustCompile(`(?m)^(a=candidate:\S+ [12] udp \d+) \S+ \d+ (typ host.*)$`)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		inner := r.Clone(r.Context())
		inner.Body = io.NopCloser(strings.NewReader(candidate.ReplaceAllString(string(body), "")))
		recorder := httptest.NewRecorder()
		n.http.Config.Handler.ServeHTTP(recorder, inner)
		answer := recorder.Body.String()
		if r.Method == http.MethodPost {
			answer = udp.ReplaceAllString(answer, fmt.Sprintf("$1 127.0.0.1 %d $2", proxy.Addr().Port()))
		}
		for key, values := range recorder.Header() {
			w.Header()[key] = values
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		w.WriteHeader(recorder.Code)
		_, _ = io.WriteString(w, answer)
	}))
	n.Cleanup(front.Close)
	return front.URL + "/whip/" + string(camera), proxy
}

// TestBadNetworks publishes through loss, disorder and delay (CHECKLISTS F18).
func TestBadNetworks(t *testing.T) {
	const delay = 10 * time.Millisecond // each way
	for _, c := range []struct {
		name     string
		up, down impair.Faults
		lossy    bool
	}{
		{"5 % loss", impair.Faults{Loss: 0.05, Delay: delay}, impair.Faults{Loss: 0.05, Delay: delay}, true},
		{"10 % loss in bursts", impair.Faults{Loss: 0.1, Burst: 3, Delay: delay}, impair.Faults{Loss: 0.1, Delay: delay}, true},
		{"disorder and duplicates", impair.Faults{Reorder: 0.2, ReorderBy: 40 * time.Millisecond, Duplicate: 0.2, Delay: delay}, impair.Faults{Delay: delay}, false},
		{"100 ms of jitter", impair.Faults{Delay: delay, Jitter: 100 * time.Millisecond}, impair.Faults{Delay: delay}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			url, proxy := n.detour(impair.Faults{}, impair.Faults{})
			n.publish(push.Config{URL: url}, film("60")...)
			video := n.track(media.Video)
			reader := frame.NewReader(video.Cursor(log.LastKeyframe()))
			n.frames(reader, 5)
			proxy.Set(c.up, c.down)
			const count = 75 // five seconds
			damaged := 0
			frames := n.frames(reader, count)
			for i, f := range frames[1:] {
				if f.Ticks <= frames[i].Ticks {
					t.Errorf("frame %d does not come after the one before", i+1)
				}
				if f.Lost {
					damaged++
				}
			}
			up, _ := proxy.Stats()
			if up.Sent == 0 {
				t.Fatal("nothing went through the bad network: the test proves nothing")
			}
			st := video.Stats()
			t.Logf("%d packets, %d lost and %d doubled on the way; %d holes, %d filled; %d of %d frames damaged; late %v mended %v duplicate %v",
				up.Sent, up.Lost, up.Doubled, st.Holes, st.Filled, damaged, count,
				n.metric("banyan_whip_packets_total", "late"), n.metric("banyan_whip_packets_total", "mended"), n.metric("banyan_whip_packets_total", "duplicate"))
			n.poll("accounts", func() bool { return n.metric("banyan_whip_packets_total", "mended") > 0 || c.up.Jitter > 0 })
			if c.lossy && up.Lost == 0 {
				t.Fatal("nothing was lost: the test proves nothing")
			}
			if most := count / 15; damaged > most {
				t.Errorf("%d frames of %d are damaged, want at most %d", damaged, count, most)
			}
			if !c.lossy && st.Holes > st.Filled {
				t.Errorf("%d holes, %d filled, though nothing was lost", st.Holes, st.Filled)
			}
		})
	}
}

// TestRecovery publishes through a network that turns bad and good again: the session lasts, the log's readers go on
// all the while, and pictures are whole again soon after (CHECKLISTS F18).
func TestRecovery(t *testing.T) {
	const delay = 10 * time.Millisecond // each way
	for _, c := range []struct {
		name          string
		before, worse impair.Faults
	}{
		{"20 % loss", impair.Faults{Delay: delay}, impair.Faults{Delay: delay, Loss: 0.2}},
		{"a rate of 4, then 0.5 Mb/s", impair.Faults{Delay: delay, Rate: 4e6}, impair.Faults{Delay: delay, Rate: 5e5}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			url, proxy := n.detour(impair.Faults{}, impair.Faults{})
			n.publish(push.Config{URL: url}, film("120", "-b:v", "1200k", "-minrate", "1200k", "-maxrate", "1200k", "-bufsize", "600k", "-nal-hrd", "cbr")...)
			video, audio := n.track(media.Video), n.track(media.Audio)
			reader := frame.NewReader(video.Cursor(log.LastKeyframe()))
			proxy.Set(c.before, impair.Faults{Delay: delay})
			n.frames(reader, 15)

			proxy.Set(c.worse, impair.Faults{Delay: delay, Loss: c.worse.Loss})
			lost := func() uint64 { up, _ := proxy.Stats(); return up.Lost }
			start, head, heard := lost(), video.Head(), audio.Head()
			until := video.NewestTime().Add(4 * time.Second)
			n.poll("video goes on", func() bool { return video.NewestTime() > until })
			if lost() == start {
				t.Fatal("nothing was lost: the test proves nothing")
			}
			t.Logf("%d packets lost, %d of video and %d of audio came through", lost()-start, video.Head()-head, audio.Head()-heard)

			proxy.Set(c.before, impair.Faults{Delay: delay})
			cursor := frame.NewReader(video.Cursor(log.Live()))
			began := video.NewestTime()
			// A second without damage, that begins with a keyframe.
			for whole := 0; whole < 15; {
				f := n.frames(cursor, 1)[0]
				if f.Lost {
					whole = 0
				}
				if whole > 0 || f.Keyframe {
					whole++
				}
				if f.Time().Sub(began) > 15*time.Second {
					t.Fatal("no second of video is whole 15 s after the network is good again")
				}
			}
			t.Logf("whole again %v after the network", video.NewestTime().Sub(began)-time.Second)
			if ended := n.metric("banyan_whip_sessions_ended_total"); ended != 0 {
				t.Errorf("%v sessions have ended, want that one to last", ended)
			}
		})
	}
}
