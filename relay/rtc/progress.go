package rtc

import (
	"net"
	"sync/atomic"
	"time"

	"banyan/relay/media"
)

// A viewer that no longer reads costs buffers and encryption for nothing. Who is silent altogether loses its consent
// (RFC 7675) and ends by FailTimeout. Who still sends and does not read is found out in two ways, within
// Config.StallTimeout each: by its receiver reports, which stand still while packets are sent, and, where it never sent
// one, by its TCP connection, which takes nothing any more.

// progress finds out by receiver reports that nothing arrives. It has no clock; its methods are owned by the goroutine
// that sends, but for heard.
type progress struct {
	reported atomic.Uint64 // sum of the highest sequence numbers in the last reports of all tracks; zero before

	seen  uint64     // of reported, at the last look
	sent  uint32     // packets, at the last look
	since media.Time // of the last look at which all was well
}

// stuck tells whether the peer, which has reported before, has got nothing for longer than patience although packets
// were sent all the time. sent counts them.
func (p *progress) stuck(sent uint32, now media.Time, patience time.Duration) bool {
	reported := p.reported.Load()
	well := reported == 0 || reported != p.seen || sent == p.sent
	p.seen, p.sent = reported, sent
	if well || p.since == 0 {
		p.since = now
		return false
	}
	return now.Sub(p.since) > patience
}

// stallListener cuts TCP connections that take nothing for longer than patience. The stack would go on filling and
// dropping its buffer for them.
type stallListener struct {
	net.Listener
	patience time.Duration
}

func (l *stallListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &stallConn{Conn: c, patience: l.patience}, nil
}

type stallConn struct {
	net.Conn
	patience time.Duration
}

// Write closes the connection when it fails: half a packet may be on the way, after which nothing makes sense.
func (c *stallConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.patience)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}
