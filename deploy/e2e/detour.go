package e2e

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"
)

// Detour is a TCP proxy that makes a server farther away: what passes through comes later, each way, and loses nothing.
type Detour struct {
	Addr string // host:port

	delay    time.Duration
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex // guards all below
	to     string
	conns  map[net.Conn]struct{}
	closed bool
}

// NewDetour opens a way that ends nowhere until Lead is called. It is closed with its test.
func NewDetour(t testing.TB, delay time.Duration) *Detour {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &Detour{Addr: listener.Addr().String(), delay: delay, listener: listener, conns: map[net.Conn]struct{}{}}
	d.wg.Go(d.accept)
	t.Cleanup(d.close)
	return d
}

// Lead says which server is at the end.
func (d *Detour) Lead(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = to
}

func (d *Detour) close() {
	d.mu.Lock()
	d.closed = true
	_ = d.listener.Close()
	for conn := range d.conns {
		_ = conn.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

func (d *Detour) accept() {
	for {
		front, err := d.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			d.wg.Go(func() { d.join(front) })
		}
	}
}

// join connects a client with the server until either has gone.
func (d *Detour) join(front net.Conn) {
	defer front.Close()
	d.mu.Lock()
	to := d.to
	d.mu.Unlock()
	back, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return
	}
	defer back.Close()
	if !d.keep(front, back) {
		return
	}
	defer d.forget(front, back)
	var ways sync.WaitGroup
	ways.Go(func() { d.carry(back, front) })
	ways.Go(func() { d.carry(front, back) })
	ways.Wait()
}

func (d *Detour) keep(conns ...net.Conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range conns {
		d.conns[conn] = struct{}{}
	}
	return !d.closed
}

func (d *Detour) forget(conns ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range conns {
		delete(d.conns, conn)
	}
}

// chunk is what was read at once.
type chunk struct {
	due  time.Time
	data []byte
}

// carry takes one way what comes, each chunk at its time. When it ends, so does the connection.
func (d *Detour) carry(to, from net.Conn) {
	const most = 1024 // chunks under way; beyond that the sender has to wait
	way := make(chan chunk, most)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer from.Close()
	defer to.Close()
	reader.Go(func() {
		defer close(way)
		for {
			buffer := make([]byte, 16<<10)
			n, err := from.Read(buffer)
			if n > 0 {
				way <- chunk{time.Now().Add(d.delay), buffer[:n]}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range way {
		time.Sleep(time.Until(c.due))
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close()
			for range way { // the reader sees that it is closed, and ends
			}
			return
		}
	}
}
