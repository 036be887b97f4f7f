package rtsp

import (
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/base"

	"banyan/relay/auth"
)

// maxRequestBytes bounds what a peer may send without completing a request: a head, a body, and something of
// what follows.
const maxRequestBytes = 160 << 10

// quota counts the connections of all listeners, and bounds them in total and per address.
type quota struct {
	config  Config
	refused *atomic.Uint64

	mu    sync.Mutex // guards those below
	total int
	perIP map[netip.Addr]int
}

func newQuota(config Config, refused *atomic.Uint64) *quota {
	return &quota{config: config, refused: refused, perIP: map[netip.Addr]int{}}
}

func (q *quota) enter(ip netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total >= q.config.MaxConns || q.perIP[ip] >= q.config.MaxConnsPerIP {
		return false
	}
	q.total++
	q.perIP[ip]++
	return true
}

func (q *quota) leave(ip netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total--
	if q.perIP[ip]--; q.perIP[ip] == 0 {
		delete(q.perIP, ip)
	}
}

// listener admits connections within the quota. TLS ends here and not in gortsplib, so that what is checked of a
// connection is the same with TLS and without.
type listener struct {
	net.Listener
	*quota
	tls *tls.Config // nil for plain RTSP

	refusals *auth.RefusalLog
}

// Accept waits for a connection within the bounds; others are closed at once.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		ip := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		if !l.enter(ip) {
			l.refused.Add(1)
			c.Close()
			continue
		}
		if l.tls != nil {
			c = tls.Server(c, l.tls) // the first read shakes hands, within the time of a request
		}
		s := newServerConn(c, l.tls != nil, l.config.RequestTimeout, func() { l.leave(ip) })
		s.refusals = l.refusals
		return s, nil
	}
}

// boundedConn is a connection that, while no media flows, must complete messages in time and in few bytes, however
// slowly or quickly they trickle in.
type boundedConn struct {
	net.Conn
	timeout atomic.Int64 // for a message, in nanoseconds

	flowing atomic.Bool
	ended   atomic.Bool  // the peer closed, or its time ran out
	since   atomic.Int64 // when the last message was complete, Unix nanoseconds
	bytes   atomic.Int64 // read since

	failed atomic.Pointer[error] // the first of reading
}

func newBoundedConn(conn net.Conn, timeout time.Duration) *boundedConn {
	c := &boundedConn{Conn: conn}
	c.timeout.Store(int64(timeout))
	c.completed()
	return c
}

var errTooMuch = errors.New("too many bytes came without a whole request among them")

// completed notes that a message has come in whole.
func (c *boundedConn) completed() {
	c.since.Store(time.Now().UnixNano())
	c.bytes.Store(0)
}

// flow lifts the bounds on requests, and the deadline of the last one: media comes now, and over UDP another
// request may never come. It is called while a request is answered, when nobody reads.
func (c *boundedConn) flow() {
	c.flowing.Store(true)
	_ = c.Conn.SetReadDeadline(time.Time{}) // it fails on a connection that has ended, which the next read tells
}

// hold puts the bounds on requests back, with another time for the next: no media flows now. It is called while a
// request is answered.
func (c *boundedConn) hold(timeout time.Duration) {
	c.timeout.Store(int64(timeout))
	c.flowing.Store(false)
}

// Read keeps to the deadline of the request, which gortsplib knows nothing of.
func (c *boundedConn) Read(p []byte) (int, error) {
	if c.flowing.Load() {
		n, err := c.Conn.Read(p)
		c.fails(err)
		return n, err
	}
	if err := c.Conn.SetReadDeadline(time.Unix(0, c.since.Load()).Add(time.Duration(c.timeout.Load()))); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		c.ended.Store(true)
		c.fails(err)
	}
	if c.bytes.Add(int64(n)) > maxRequestBytes && !c.flowing.Load() {
		return 0, errTooMuch
	}
	return n, err
}

// fails notes how reading ended.
func (c *boundedConn) fails(err error) {
	if err != nil {
		c.failed.CompareAndSwap(nil, &err)
	}
}

// gone is how reading ended; nil while it has not.
func (c *boundedConn) gone() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// SetReadDeadline is gortsplib's, for publishers and for players who are never in a hurry.
func (c *boundedConn) SetReadDeadline(t time.Time) error {
	if !c.flowing.Load() {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

// serverConn is a connection to our server. What it reads are requests that can be answered, and frames.
type serverConn struct {
	*boundedConn
	requests *requestReader
	secure   bool   // it is TLS
	leave    func() // gives its place back
	refusals *auth.RefusalLog
}

func newServerConn(conn net.Conn, secure bool, timeout time.Duration, leave func()) *serverConn {
	c := &serverConn{boundedConn: newBoundedConn(conn, timeout), secure: secure, leave: sync.OnceFunc(leave)}
	c.requests = newRequestReader(c.boundedConn, c.flowing.Load, c.refuse)
	c.requests.dropped = c.completed
	return c
}

// Read gives gortsplib what the peer sent and it can understand.
func (c *serverConn) Read(p []byte) (int, error) { return c.requests.Read(p) }

// decrypt takes SRTP off the frames of a track: those of RTP on the channel first, those of RTCP on the next.
func (c *serverConn) decrypt(first int, keys *mediaKeys) {
	channels := map[byte]channel{}
	if before := c.requests.encrypted.Load(); before != nil {
		channels = maps.Clone(*before)
	}
	channels[byte(first)] = channel{keys: keys}
	channels[byte(first+1)] = channel{keys: keys, rtcp: true}
	c.requests.encrypted.Store(&channels)
}

// Close makes room for another connection. gortsplib closes without a word when it cannot parse a request, of which
// the bytes since the last whole request tell; the peer is told (RFC 2326, section 7.1.1).
func (c *serverConn) Close() error {
	c.leave()
	if c.bytes.Load() > 0 && !c.flowing.Load() && !c.ended.Load() && c.requests.refused.Load() == 0 {
		r := refusal{status: base.StatusBadRequest, reason: noRequest, final: true}
		if cseq := c.requests.cseq.Load(); cseq != nil {
			r.cseq = *cseq
		}
		_ = c.refuse(r)
	}
	return c.Conn.Close()
}

// refuse answers what gortsplib is not to see, if the peer still listens.
func (c *serverConn) refuse(r refusal) error {
	if r.final { // others are questions that a client may ask again and again
		c.refusals.Write(time.Now(), "RTSP request refused", "stream", streamOf(r.line), "peer", c.RemoteAddr().String(),
			"cause", r.reason)
	}
	res := answer(r.status, r.reason)
	if len(r.cseq) > 0 {
		res.Header["CSeq"] = r.cseq
	}
	if r.final {
		res.Header["Connection"] = base.HeaderValue{"close"}
	}
	text, err := res.Marshal()
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(refusalTime)); err != nil {
		return err
	}
	_, err = c.Write(text)
	return err
}

// streamOf is the path in a request line that may be broken in any way: without the query, and without the user and the
// password that may stand before the host.
func streamOf(line string) string {
	_, rest, _ := strings.Cut(line, "://")
	rest, _, _ = strings.Cut(rest, "?")
	rest = strings.TrimSuffix(rest, " RTSP/1.0")
	_, path, _ := strings.Cut(rest[strings.LastIndexByte(rest, '@')+1:], "/")
	return printable(path)
}

// refusalTime is how long a peer may take for a refusal.
const refusalTime = time.Second
