package wish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestBounds(t *testing.T) {
	post := func(d *testServer) *http.Response {
		r, _ := d.do("POST", "/whip/s", d.offer, "Content-Type", isSDP)
		return r
	}
	t.Run("in all", func(t *testing.T) {
		d := newTestServer(t, Config{MaxSessions: 2})
		d.open()
		location, _ := d.open()
		if r := post(d); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
			t.Errorf("one too many: %s, want 503 with Retry-After (W31)", r.Status)
		}
		d.do("DELETE", location, "")
		deadline := time.Now().Add(10 * time.Second)
		for d.server.Sessions() == 2 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		d.open()
	})
	t.Run("in all, a hundred times", func(t *testing.T) {
		d := newTestServer(t, Config{MaxSessions: 20, PostRate: 1000})
		counts := map[int]int{}
		for range 2000 {
			r := post(d)
			counts[r.StatusCode]++
			if r.StatusCode != 201 && r.Header.Get("Retry-After") == "" {
				t.Fatalf("%s without Retry-After (W31)", r.Status)
			}
		}
		if counts[201] != 20 || counts[503] != 1980 || d.server.Sessions() != 20 {
			t.Errorf("the answers are %v and %d sessions are left, want 20 and 503 for all others", counts, d.server.Sessions())
		}
	})
	t.Run("by client", func(t *testing.T) {
		d := newTestServer(t, Config{MaxPerClient: 1})
		d.open()
		if r := post(d); r.StatusCode != 429 {
			t.Errorf("one too many: %s, want 429", r.Status)
		}
	})
	t.Run("too busy to set up in time", func(t *testing.T) {
		d := newTestServer(t, Config{})
		d.refuse = fmt.Errorf("connect: %w", context.DeadlineExceeded)
		if r := post(d); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
			t.Errorf("a session that took too long: %s, want 503 with Retry-After", r.Status)
		}
	})
	t.Run("refusals take no place", func(t *testing.T) {
		d := newTestServer(t, Config{MaxSessions: 1})
		d.refuse = &Refusal{Status: 409, Detail: "Not live.", Header: http.Header{"Retry-After": {"2"}}}
		for range 3 {
			if r := post(d); r.StatusCode != 409 || r.Header.Get("Retry-After") != "2" {
				t.Errorf("refused: %s", r.Status)
			}
		}
		d.refuse = errors.New("secret path /etc")
		if r, body := d.do("POST", "/whip/s", d.offer, "Content-Type", isSDP); r.StatusCode != 500 || strings.Contains(body, "secret") {
			t.Errorf("our own fault: %s %s, want 500 without internals", r.Status, body)
		}
		d.refuse = nil
		d.open()
	})
	t.Run("rate", func(t *testing.T) {
		d := newTestServer(t, Config{PostRate: 0.2, PatchRate: 0.2}) // one, and the next after five seconds
		location, _ := d.open()
		if r := post(d); r.StatusCode != 429 || r.Header.Get("Retry-After") == "" {
			t.Errorf("POST too often: %s, want 429 with Retry-After (W32)", r.Status)
		}
		d.do("GET", location, "")
		if r, _ := d.do("DELETE", location, ""); r.StatusCode != 429 {
			t.Errorf("DELETE too often: %s, want 429", r.Status)
		}
	})
	t.Run("draining", func(t *testing.T) {
		d := newTestServer(t, Config{})
		location, tag := d.open()
		d.server.Drain()
		if r := post(d); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
			t.Errorf("POST while draining: %s, want 503 with Retry-After", r.Status)
		}
		if r, _ := d.do("PATCH", location, trickled, "If-Match", tag, "Content-Type", isFragment); r.StatusCode != 204 {
			t.Errorf("PATCH while draining: %s, want 204", r.Status)
		}
	})
	t.Run("closing", func(t *testing.T) {
		d := newTestServer(t, Config{})
		d.open()
		first := d.last
		d.server.Close()
		select {
		case <-first.done:
		default:
			t.Error("Close returned with a session left")
		}
		if r := post(d); r.StatusCode != 503 {
			t.Errorf("POST after Close: %s, want 503", r.Status)
		}
	})
	t.Run("sessions that end by themselves", func(t *testing.T) {
		d := newTestServer(t, Config{})
		location, _ := d.open()
		d.last.Close()
		deadline := time.Now().Add(10 * time.Second)
		for d.server.Sessions() > 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if r, _ := d.do("DELETE", location, ""); r.StatusCode != 404 || d.server.Sessions() != 0 {
			t.Errorf("DELETE of a reaped session: %s, want 404", r.Status)
		}
	})
}

func TestLimiter(t *testing.T) {
	l := newLimiter(2)
	now := time.Unix(1_800_000_000, 0)
	client := host(netip.MustParseAddr("2001:db8::1"))
	if other := host(netip.MustParseAddr("2001:db8::ffff")); other != client {
		t.Error("two addresses of one IPv6 network count as two clients")
	}
	for i := range 10 {
		if !l.allow(client, now) {
			t.Fatalf("request %d of a burst is refused", i)
		}
	}
	if l.allow(client, now) {
		t.Error("the burst has no end")
	}
	if !l.allow(host(netip.MustParseAddr("192.0.2.1")), now) {
		t.Error("one client uses up the rate of another")
	}
	if !l.allow(client, now.Add(time.Second)) {
		t.Error("a client that waited is refused")
	}
	for i := range 3 * maxClients {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l.allow(addr, now)
	}
	if n := len(l.clients); n > maxClients+1 {
		t.Errorf("%d clients are remembered, want at most %d", n, maxClients+1)
	}
}

// TestBodies are the bodies of class A that no ordinary client can send.
func TestBodies(t *testing.T) {
	d := newTestServer(t, Config{BodyTimeout: 100 * time.Millisecond})
	head := "POST /whip/s HTTP/1.1\r\nHost: x\r\nAuthorization: " + token + "\r\nContent-Type: " + isSDP + "\r\n"
	for _, c := range []struct{ why, request, want string }{
		{"slower than the server's patience", head + "Content-Length: 1000\r\n\r\nv=0", "408"},
		{"longer than it says", head + "Content-Length: 3\r\n\r\nv=0\r\no=-", "400"},
		{"negative length", head + "Content-Length: -1\r\n\r\n", "400"},
		{"two lengths", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nv", "400"},
		{"chunks without end", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("4000\r\n"+strings.Repeat("x", 0x4000)+"\r\n", 20), "413"},
		{"broken chunks", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "408"},
		{"500 headers", strings.TrimSuffix(head, "\r\n") + "\r\n" + strings.Repeat("X-Y: z\r\n", 500) + "Content-Length: 1\r\n\r\nv", "400"},
	} {
		conn, err := net.Dial("tcp", d.http.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = io.WriteString(conn, c.request)
		status := make([]byte, len("HTTP/1.1 400"))
		_, err = io.ReadFull(conn, status)
		if err != nil || !strings.HasSuffix(string(status), c.want) {
			t.Errorf("%s: %q, %v; want %s", c.why, status, err, c.want)
		}
		_ = conn.Close()
	}
	if n := d.server.Sessions(); n != 0 {
		t.Errorf("%d sessions came of it", n)
	}
}

// TestRecorderNeedsNoDeadline: a handler that is tested without a connection works.
func TestRecorderNeedsNoDeadline(t *testing.T) {
	d := newTestServer(t, Config{})
	r := httptest.NewRequest("POST", "/whip/s", bytes.NewReader([]byte(d.offer)))
	r.Header.Set("Content-Type", isSDP)
	r.Header.Set("Authorization", token)
	w := httptest.NewRecorder()
	d.http.Config.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
