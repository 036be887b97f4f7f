package whep_test

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/wish"
)

// byTCP is a player that cannot use UDP.
func byTCP(s *offerSettings) { s.network = webrtc.NetworkTypeTCP4 }

// hose is a way to a server by TCP. Once it is blocked, nothing comes out of it any more, while what the player says goes
// on: a player that never reads.
type hose struct {
	listener net.Listener
	blocked  atomic.Bool
}

// newHose leads to a server.
func newHose(t testing.TB, server string) *hose {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hose{listener: l}
	over := make(chan struct{})
	var ends sync.WaitGroup
	ends.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			_ = far.(*net.TCPConn).SetReadBuffer(4096) // so that it is full soon
			ends.Go(func() { <-over; _ = near.Close(); _ = far.Close() })
			ends.Go(func() { _, _ = io.Copy(far, near) })
			ends.Go(func() { h.down(near, far, over) })
		}
	})
	t.Cleanup(func() {
		close(over)
		_ = l.Close()
		ends.Wait()
	})
	return h
}

func (h *hose) down(near, far net.Conn, over <-chan struct{}) {
	buffer := make([]byte, 2048)
	for {
		n, err := far.Read(buffer)
		if err != nil {
			return
		}
		if h.blocked.Load() {
			<-over
			return
		}
		_, _ = near.Write(buffer[:n])
	}
}

// through makes a player's TCP go through the hose.
func (h *hose) through(p *player) {
	at := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return fmt.Sprintf(" 127.0.0.1 %s typ host tcptype passive", port)
	}
	p.way = func(answer string) string {
		return strings.ReplaceAll(answer, at(p.w.address()), at(h.listener.Addr().String()))
	}
}

// TestTCPNeverRead has viewers come by TCP who read nothing once they are connected. They are cut, have cost a bounded
// amount of memory until then, and whoever else watches goes on.
func TestTCPNeverRead(t *testing.T) {
	const viewers, most = 4, 4 << 20 // bytes each
	w := newLimitedWorld(t, rtc.Config{StallTimeout: 500 * time.Millisecond, DisconnectTimeout: 5 * time.Second, FailTimeout: 5 * time.Second},
		wish.Config{PostRate: 1000, MaxPerClient: 1000})
	t.Cleanup(w.gush("cup/cam1"))
	o := w.onlooker()
	var players []*player
	var hoses []*hose
	for range viewers {
		p, h := newPlayer(w, byTCP), newHose(t, w.address())
		h.through(p)
		p.watch("/whep/cup/cam1")
		players, hoses = append(players, p), append(hoses, h)
	}
	for _, p := range players {
		w.eventually("media by TCP", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return len(p.packets["video"]) > 0
		})
	}
	memory := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before, peak := memory(), int64(0)
	for _, h := range hoses {
		h.blocked.Store(true)
	}
	w.eventually("all to be cut but the onlooker", func() bool {
		peak = max(peak, memory()-before)
		return w.connections() == 1 && w.signal.Sessions() == 1
	})
	if peak > viewers*most {
		t.Errorf("%d viewers who read nothing take %d MiB, want at most %d", viewers, peak>>20, viewers*most>>20)
	}
	t.Logf("%d KiB each at most", peak>>10/viewers)
	o.goesOn()
}

// gush publishes 10 Mbit/s, of which nothing can be decoded, until the returned function is called.
func (w *world) gush(name media.Name) (stop func()) {
	w.Helper()
	publication, err := w.hub.Publish(name, "test")
	if err != nil {
		w.Fatal(err)
	}
	video, err := publication.Source(media.Video)
	if err != nil {
		w.Fatal(err)
	}
	if err := video.Begin(media.Params{
		Codec: media.H264, ClockRate: media.VideoClockRate, Width: 1280, Height: 720, Sets: [][]byte{{0x67, 66, 0xe0, 31}, {0x68, 1}},
	}); err != nil {
		w.Fatal(err)
	}
	publication.Announce()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case now := <-ticker.C:
				ticks := media.TicksOf(media.TimeOf(now), media.VideoClockRate)
				for i := range 22 {
					p := media.Packet{Offset: video.Next(), Ticks: ticks, Arrived: media.TimeOf(now), Payload: make([]byte, 1152)}
					p.Payload[0] = 0x61
					switch i {
					case 0:
						p.Flags = media.Keyframe
					case 21:
						p.Flags = media.FrameEnd
					}
					_ = video.Write(p) // this is the only writer
				}
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-stopped; publication.Close() })
}
