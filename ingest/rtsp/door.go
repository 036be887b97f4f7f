package rtsp

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// maxRequestBytes bounds what a peer may send without completing a request; gortsplib's own limits
// allow a body of 128 KiB.
const maxRequestBytes = 160 << 10

// door is a listener that admits a bounded number of connections, in total and per address.
type door struct {
	net.Listener
	config  Config
	refused *atomic.Uint64

	mu    sync.Mutex // guards those below
	total int
	perIP map[netip.Addr]int
}

func newDoor(l net.Listener, config Config, refused *atomic.Uint64) *door {
	return &door{Listener: l, config: config, refused: refused, perIP: map[netip.Addr]int{}}
}

// Accept waits for a connection within the bounds; others are closed at once.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if d.enter(ip) {
			g := &guest{Conn: c, timeout: d.config.RequestTimeout, leave: sync.OnceFunc(func() { d.leave(ip) })}
			g.completed()
			return g, nil
		}
		d.refused.Add(1)
		c.Close()
	}
}

func (d *door) enter(ip netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.config.MaxConns || d.perIP[ip] >= d.config.MaxConnsPerIP {
		return false
	}
	d.total++
	d.perIP[ip]++
	return true
}

func (d *door) leave(ip netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.perIP[ip]--; d.perIP[ip] == 0 {
		delete(d.perIP, ip)
	}
}

// guest is an admitted connection. Until media flows it must complete requests in time and in few
// bytes, however slowly or quickly they trickle in.
type guest struct {
	net.Conn
	timeout time.Duration
	leave   func()

	flowing atomic.Bool
	since   atomic.Int64 // when the last request was complete, Unix nanoseconds
	bytes   atomic.Int64 // read since
}

var errTooMuch = errors.New("too many bytes came without a whole request among them")

// completed notes that a request has come in whole.
func (g *guest) completed() {
	g.since.Store(time.Now().UnixNano())
	g.bytes.Store(0)
}

// Read keeps to the deadline of the request, which gortsplib knows nothing of.
func (g *guest) Read(p []byte) (int, error) {
	if g.flowing.Load() {
		return g.Conn.Read(p)
	}
	if err := g.Conn.SetReadDeadline(time.Unix(0, g.since.Load()).Add(g.timeout)); err != nil {
		return 0, err
	}
	n, err := g.Conn.Read(p)
	if g.bytes.Add(int64(n)) > maxRequestBytes && !g.flowing.Load() {
		return 0, errTooMuch
	}
	return n, err
}

// SetReadDeadline is gortsplib's, for publishers and for players who are never in a hurry.
func (g *guest) SetReadDeadline(t time.Time) error {
	if !g.flowing.Load() {
		return nil
	}
	return g.Conn.SetReadDeadline(t)
}

// Close makes room for another connection.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}
