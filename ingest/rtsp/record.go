package rtsp

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/bluenviron/gortsplib/v4"
)

// recording is a session that publishes. It begins with ANNOUNCE and claims the name at RECORD.
type recording struct {
	server  *Server
	lib     *gortsplib.ServerSession
	conn    *boundedConn
	grant   grant
	sources []*source
	logger  *slog.Logger
	lost    atomic.Uint64 // packets that never came

	ending    ending
	publisher *publisher    // nil before RECORD
	done      chan struct{} // closed by close
	watchers  sync.WaitGroup
}

// start claims the name and listens to the publisher's packets.
func (r *recording) start(c *client, transport gortsplib.Transport) error {
	publication, err := r.server.config.Hub.Publish(r.grant.name, "rtsp "+c.peer.String())
	if err != nil {
		return err
	}
	p := &publisher{
		publication: publication, logger: r.logger,
		paced: transport == gortsplib.TransportTCP,
		fail:  r.end,
	}
	if err := p.listen(r.lib, r.sources); err != nil {
		publication.Close()
		return fmt.Errorf("record: %w", err)
	}
	r.publisher, r.done = p, make(chan struct{})
	r.server.counters.publishers.Add(1)
	r.watchers.Go(r.watchName)
	r.watchers.Go(func() { r.grant.watch(r.done, r.end) })
	return nil
}

// end ends the session from our side.
func (r *recording) end(cause error) {
	r.ending.because(cause)
	r.lib.Close()
}

// watchName ends the session when it no longer holds its name.
func (r *recording) watchName() {
	select {
	case <-r.done:
	case <-r.publisher.publication.Ended():
		r.end(r.publisher.publication.Cause())
	}
}

func (r *recording) close(cause error) {
	if r.publisher == nil {
		return
	}
	close(r.done)
	r.watchers.Wait()
	r.publisher.publication.Close()
	r.server.counters.publishers.Add(-1)
	r.server.counters.undecodable.Add(r.publisher.undecodable.Load())
	r.logger.Info("RTSP session ended", "cause", r.ending.explain(r.conn, r.server.config.Silence, cause), "lost_packets", r.lost.Load(),
		"undecodable_packets", r.publisher.undecodable.Load())
}
