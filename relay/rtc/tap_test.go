package rtc

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// tap is a wire between one client and the network that a test can cut and listen to.
type tap struct {
	t      testing.TB
	near   *net.UDPConn // where the client sends to
	far    *net.UDPConn // from where the network hears
	mu     sync.Mutex   // guards all below
	client *net.UDPAddr
	broken bool
	drop   func([]byte) bool // picks what the client shall not get; nil for nothing
	heard  [][]byte          // what the client sent
}

func newTap(t testing.TB, server string) *tap {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{t: t}
	if w.near, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	if w.far, err = net.DialUDP("udp", nil, to); err != nil {
		t.Fatal(err)
	}
	var pumps sync.WaitGroup
	pumps.Go(w.up)
	pumps.Go(w.down)
	t.Cleanup(func() {
		_ = w.near.Close()
		_ = w.far.Close()
		pumps.Wait()
	})
	return w
}

func (w *tap) up() {
	buffer := make([]byte, 2048)
	for {
		n, from, err := w.near.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.client = from
		if !w.broken {
			w.heard = append(w.heard, bytes.Clone(buffer[:n]))
			_, _ = w.far.Write(buffer[:n])
		}
		w.mu.Unlock()
	}
}

func (w *tap) down() {
	buffer := make([]byte, 2048)
	for {
		n, err := w.far.Read(buffer)
		if err != nil {
			return
		}
		w.mu.Lock()
		if w.client != nil && !w.broken && (w.drop == nil || !w.drop(buffer[:n])) {
			_, _ = w.near.WriteToUDP(buffer[:n], w.client)
		}
		w.mu.Unlock()
	}
}

// lose drops what pick picks of what is sent to the client.
func (w *tap) lose(pick func([]byte) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop = pick
}

func (w *tap) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
}

// replay sends again what the client sent and match picks, and tells how many.
func (w *tap) replay(match func([]byte) bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, packet := range w.heard {
		if match(packet) {
			_, _ = w.far.Write(packet)
			n++
		}
	}
	return n
}

// redirect makes an answer lead through the tap.
func (w *tap) redirect(answer string) string {
	port := w.near.LocalAddr().(*net.UDPAddr).Port
	text := withoutCandidates(answer)
	return strings.Replace(text, "a=end-of-candidates\r\n", "", 1) +
		fmt.Sprintf("a=candidate:1 1 udp 2130706431 127.0.0.1 %d typ host\r\na=end-of-candidates\r\n", port)
}

func withoutCandidates(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "a=candidate:") {
			out.WriteString(line)
		}
	}
	return out.String()
}
