package rtsp

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"
)

// ending is why a session ends, where we end it: of several reasons the first.
type ending struct {
	mu    sync.Mutex
	cause error // nil while nobody has a reason
}

// because notes a reason.
func (e *ending) because(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cause == nil {
		e.cause = cause
	}
}

// explain says in plain words why the session of a connection ended, of which gortsplib has told cause. It knows
// sessions and not connections, so what it says of a peer that went is "not in use", and of all that we ended "terminated".
func (e *ending) explain(c *boundedConn, silence time.Duration, cause error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var tornDown liberrors.ErrServerSessionTornDown
	var silent liberrors.ErrServerSessionTimedOut
	var unused liberrors.ErrServerSessionNotInUse
	var terminated liberrors.ErrServerTerminated
	switch {
	case e.cause != nil:
		return e.cause
	case errors.As(cause, &tornDown):
		return errors.New("the peer ended it")
	case errors.As(cause, &silent):
		return fmt.Errorf("no packet came for %v", silence)
	case errors.As(cause, &unused), errors.As(cause, &terminated):
		if gone := c.gone(); gone != nil {
			if !c.flowing.Load() {
				silence = time.Duration(c.timeout.Load())
			}
			return lost(gone, silence)
		}
		return errors.New("this server closed the connection")
	}
	return cause
}

// lost puts into words how a connection ended without TEARDOWN.
func lost(err error, silence time.Duration) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the connection ended without TEARDOWN: the peer was killed, or the network cut it off")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("the connection was reset without TEARDOWN: the peer was killed, or the network cut it off")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing came for %v: the peer or the network hangs", silence)
	case errors.Is(err, net.ErrClosed):
		return errors.New("this server closed the connection")
	}
	return fmt.Errorf("the connection failed: %w", err)
}
