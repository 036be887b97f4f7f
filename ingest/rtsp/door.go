package rtsp

import (
	"errors"
	"net"
	"net/netip"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// maxRequestBytes bounds what a peer may send without completing a request; gortsplib's own limits
// allow a body of 128 KiB.
const maxRequestBytes = 160 << 10

// crowd counts the connections of all doors, and bounds them in total and per address.
type crowd struct {
	config  Config
	refused *atomic.Uint64

	mu    sync.Mutex // guards those below
	total int
	perIP map[netip.Addr]int
}

func newCrowd(config Config, refused *atomic.Uint64) *crowd {
	return &crowd{config: config, refused: refused, perIP: map[netip.Addr]int{}}
}

// door is a listener that admits who is within the bounds.
type door struct {
	net.Listener
	*crowd
	secure bool // what comes in is TLS
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
			g := &guest{Conn: c, secure: d.secure, timeout: d.config.RequestTimeout, leave: sync.OnceFunc(func() { d.leave(ip) })}
			g.completed()
			return g, nil
		}
		d.refused.Add(1)
		c.Close()
	}
}

func (d *crowd) enter(ip netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total >= d.config.MaxConns || d.perIP[ip] >= d.config.MaxConnsPerIP {
		return false
	}
	d.total++
	d.perIP[ip]++
	return true
}

func (d *crowd) leave(ip netip.Addr) {
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
	secure  bool // the bytes are TLS records
	timeout time.Duration
	leave   func()

	flowing atomic.Bool
	ended   atomic.Bool  // the peer closed, or its time ran out
	version atomic.Bool  // a request of another version of RTSP came
	since   atomic.Int64 // when the last request was complete, Unix nanoseconds
	bytes   atomic.Int64 // read since
}

var errTooMuch = errors.New("too many bytes came without a whole request among them")

// completed notes that a request has come in whole.
func (g *guest) completed() {
	g.since.Store(time.Now().UnixNano())
	g.bytes.Store(0)
}

// flow lifts the bounds on requests, and the deadline of the last one: media comes now, and over UDP another
// request may never come. It is called while a request is answered, when nobody reads.
func (g *guest) flow() {
	g.flowing.Store(true)
	_ = g.Conn.SetReadDeadline(time.Time{}) // it fails on a connection that has ended, which the next read tells
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
	if err != nil {
		g.ended.Store(true)
	}
	if otherVersion.Match(p[:n]) {
		g.version.Store(true)
	}
	if g.bytes.Add(int64(n)) > maxRequestBytes && !g.flowing.Load() {
		return 0, errTooMuch
	}
	return n, err
}

// otherVersion matches the end of a request line of anything but RTSP 1.0. One that arrives in pieces is
// missed, and then counts as garbage.
var otherVersion = regexp.MustCompile(` RTSP/(?:[^1\r\n][^\r\n]*|1\.[^0\r\n][^\r\n]*)\r\n`)

// SetReadDeadline is gortsplib's, for publishers and for players who are never in a hurry.
func (g *guest) SetReadDeadline(t time.Time) error {
	if !g.flowing.Load() {
		return nil
	}
	return g.Conn.SetReadDeadline(t)
}

// Close makes room for another connection. gortsplib closes without a word when it cannot parse a request,
// of which the bytes since the last whole request tell; the peer is told (RFC 2326, section 7.1.1).
func (g *guest) Close() error {
	g.leave()
	if g.bytes.Load() > 0 && !g.flowing.Load() && !g.ended.Load() && !g.secure {
		g.complain()
	}
	return g.Conn.Close()
}

// complain says why the connection ends, if the peer still listens.
func (g *guest) complain() {
	res := answer(base.StatusBadRequest, "This is no RTSP request: send RTSP/1.0 (RFC 2326).")
	if g.version.Load() {
		res = answer(base.StatusRTSPVersionNotSupported, "Send RTSP/1.0 (RFC 2326).")
	}
	res.Header["Connection"] = base.HeaderValue{"close"}
	text, err := res.Marshal()
	if err != nil || g.SetWriteDeadline(time.Now().Add(time.Second)) != nil {
		return
	}
	_, _ = g.Write(text) // the connection closes either way
}
