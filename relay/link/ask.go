package link

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// A node may ask another how it is (Peer.Ask). What it is told the link does not read: bytes, bounded by mostState.

// ErrOld tells that a peer speaks a version of the protocol that lacks what it is asked for.
var ErrOld = errors.New("the node is of an older version")

const (
	// mostState is the most that a node tells of itself. It fits the window of a stream, so nobody waits to be read.
	mostState = streamWindow
	// How often one child is answered. What it asks beyond that, or before it has been told, is not answered.
	askRate, askBurst = 4, 8
	// stateTime is the longest that telling may take.
	stateTime = 5 * time.Second
)

// questions are those of a child that are not answered yet. The zero value is ready to use.
type questions struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]chan []byte // of capacity 1
}

func (q *questions) add() (number uint64, answer chan []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.open == nil {
		q.open = map[uint64]chan []byte{}
	}
	q.last++
	answer = make(chan []byte, 1)
	q.open[q.last] = answer
	return q.last, answer
}

func (q *questions) drop(number uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, number)
}

// take is where an answer goes; nil for one that nobody waits for any more, and an error where it was never asked for.
func (q *questions) take(number uint64) (chan []byte, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if number == 0 || number > q.last {
		return nil, malformed("it answers question %d, and %d were asked", number, q.last)
	}
	answer := q.open[number]
	delete(q.open, number)
	return answer, nil
}

// Ask asks the peer how it is, and returns what its Config.State says. It waits for the connection, until ctx ends. ErrOld
// means that the peer cannot be asked this way.
func (p *Peer) Ask(ctx context.Context) ([]byte, error) {
	if err := p.Wait(ctx); err != nil {
		return nil, asSilent(err)
	}
	link := p.current()
	if link == nil {
		return nil, ErrSilent
	}
	return link.ask(ctx)
}

func (u *uplink) ask(ctx context.Context) ([]byte, error) {
	if u.version < askVersion {
		return nil, ErrOld
	}
	number, answer := u.questions.add()
	defer u.questions.drop(number)
	if err := u.send(frameAsk, appendNumber(number)); err != nil {
		return nil, err
	}
	select {
	case state := <-answer:
		return state, nil
	case <-u.quic.Context().Done():
		return nil, asSilent(u.reason(context.Cause(u.quic.Context())))
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrSilent, ctx.Err())
	}
}

// readState reads what the parent tells of itself, behind the type of the stream. Its errors end the link.
func (u *uplink) readState(stream *quic.ReceiveStream, r *bufio.Reader) error {
	_ = stream.SetReadDeadline(time.Now().Add(stateTime))
	number, err := readUvarint(r)
	if err != nil {
		stream.CancelRead(streamUnwanted)
		return u.cut(err)
	}
	answer, err := u.questions.take(number)
	if err != nil {
		return err
	}
	if answer == nil {
		stream.CancelRead(streamUnwanted)
		return nil
	}
	state, err := io.ReadAll(io.LimitReader(r, mostState+1))
	switch {
	case err != nil:
		stream.CancelRead(streamUnwanted)
		return u.cut(err)
	case len(state) > mostState:
		stream.CancelRead(streamUnwanted)
		return malformed("it tells more than %d bytes of itself", mostState)
	}
	answer <- state
	return nil
}

// tell answers a question of the child, unless it asks too much. One is answered at a time.
func (d *downlink) tell(ctx context.Context, number uint64) {
	if d.node.config.State == nil || !d.curious.Allow() || !d.telling.CompareAndSwap(false, true) {
		return
	}
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		defer d.telling.Store(false)
		if err := d.writeState(ctx, number); err != nil {
			d.node.config.Logger.Debug("a node could not be told of this one", "child", d.peer, "cause", err)
		}
	}()
}

func (d *downlink) writeState(ctx context.Context, number uint64) (err error) {
	defer d.node.survive(&err, "telling a node of this one")
	ctx, cancel := context.WithTimeout(ctx, stateTime)
	defer cancel()
	state := d.node.config.State()
	if len(state) > mostState {
		return fmt.Errorf("it has %d bytes, more than %d", len(state), mostState)
	}
	stream, err := d.quic.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	_ = stream.SetWriteDeadline(time.Now().Add(stateTime))
	head := binary.AppendUvarint([]byte{streamState}, number)
	if _, err := stream.Write(append(head, state...)); err != nil {
		stream.CancelWrite(streamUnwanted)
		return err
	}
	return stream.Close()
}
