package engine

import (
	"context"
	"time"

	"github.com/pion/dtls/v3"

	"banyan/relay/rtc"
)

// conversation is a session's DTLS. It has something to say at the beginning, when it makes the keys for media, and at the
// end. A connection takes four goroutines and 50 KiB all the time, so in between it is kept as its state alone, and
// made again of that when the peer says something, or when we do. Viewer.mu guards it.
//
// A state must have one heir only, and the connection that it was taken from must not send any more, or a nonce would
// stand for two records: before the state is taken, the pipe of the connection is hushed for good.
type conversation struct {
	pipe  *pipe       // nil while silent
	conn  *dtls.Conn  // nil before the handshake begins, and while silent
	state *dtls.State // while silent
	last  time.Time   // when the peer said something
}

// silence is how long a peer that is connected says nothing before its connection is let go: had it not got the last
// flight of the handshake, it would have asked again several times.
const silence = 5 * time.Second

// begin starts the handshake, when the peer has proved where it is.
func (v *Viewer) begin() {
	v.mu.Lock()
	pipe := v.words.pipe
	v.mu.Unlock()
	conn, err := prepare(pipe, v.certificate, v.peer)
	if err != nil {
		v.end(err)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause != nil {
		_ = conn.Close() // nothing was sent on it
		return
	}
	v.words.conn = conn
	v.talks.Go(func() { v.talk(conn) })
}

// talk does the handshake and then listens for the peer's goodbye.
func (v *Viewer) talk(conn *dtls.Conn) {
	// Closing the connection ends a handshake, and so does the session's end, which does that.
	session, err := shake(context.Background(), conn, v.peer.passive)
	if err != nil {
		v.end(err)
		return
	}
	v.media = session
	close(v.connected)
	v.engine.config.Logger.Info("session connected", v.attributes("after", time.Since(v.begun).Round(time.Millisecond))...)
	v.awaitGoodbye(conn)
}

// awaitGoodbye reads until the peer says goodbye, or the connection is let go.
func (v *Viewer) awaitGoodbye(conn *dtls.Conn) {
	for {
		var nothing [64]byte // is what a peer has to say here
		if _, err := conn.Read(nothing[:]); err != nil {
			break
		}
	}
	v.mu.Lock()
	left := v.words.conn == conn
	v.mu.Unlock()
	if left {
		v.end(rtc.ErrLeft)
	}
}

// say takes a record of the peer's, and tells whether there was room.
func (v *Viewer) say(packet []byte, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cause != nil {
		return false
	}
	v.words.last = now
	if v.words.state != nil {
		conn, err := v.resume()
		if err != nil {
			return false
		}
		v.talks.Go(func() { v.awaitGoodbye(conn) })
	}
	return v.words.pipe.put(packet)
}

// resume makes the connection of its state again. The caller holds mu.
func (v *Viewer) resume() (*dtls.Conn, error) {
	pipe := newPipe(v.engine.socket.LocalAddr(), v.write)
	conn, err := revive(v.words.state, pipe, v.certificate)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = conn.HandshakeContext(ctx) // which is over already: it takes the state, and waits for nothing
	}
	if err != nil {
		_ = pipe.Close() // it cannot fail
		return nil, err
	}
	v.words.pipe, v.words.conn, v.words.state = pipe, conn, nil
	return conn, nil
}

// fallSilent lets the connection go when nothing was said for long.
func (v *Viewer) fallSilent(now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := &v.words
	if v.cause != nil || w.conn == nil || now.Sub(w.last) < silence {
		return
	}
	conn := w.conn
	w.pipe.hush()
	state, ok := conn.ConnectionState()
	if !ok {
		v.endLocked(errState)
		return
	}
	*w = conversation{state: &state, last: w.last}
	v.talks.Go(func() { _ = conn.Close() }) // says nothing any more
}

// sayGoodbye tells the peer of the end. That it may not hear is no concern of ours.
func (v *Viewer) sayGoodbye() {
	v.mu.Lock()
	w := &v.words
	if w.state != nil {
		_, _ = v.resume() // without it, the peer learns of the end as its checks go unanswered
	}
	conn, pipe := w.conn, w.pipe
	v.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	if pipe != nil {
		_ = pipe.Close() // it cannot fail
	}
}
