//go:build linux

// Package server is what fanout measures where it is not given another server: an edge of ours with a source of its own,
// in one of the ways that it can send (Ways), alone in a process whose CPU time is then that of sending. It neither
// receives nor encodes anything: play (source.go) writes what an encoder would have made straight into the logs.
package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/deploy/bench/fanout"
	"banyan/edge/whep"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/engine/batch"
	"banyan/relay/rtc/wish"
)

// The ways to send.
const (
	Native   = "native"   // the fan-out engine
	Plain    = "plain"    // our connections of the WebRTC stack, which is what rtc.engine: pion chooses
	Pion     = "pion"     // what one builds first with that stack (reference.go)
	Sendmmsg = "sendmmsg" // the engine, without segmentation offload
	OneByOne = "one-by-one"
)

// Ways lists them.
var Ways = []string{Native, Plain, Pion, Sendmmsg, OneByOne}

// Options say how to serve.
type Options struct {
	Way    string
	Rate   float64 // of the video, bit/s
	Mute   bool    // no sound beside it, which is half of all messages to the kernel and a thirtieth of the bytes
	Logger *slog.Logger
	// Source publishes the stream "bench" of a hub, until it is stopped. If nil, it is ours, which goes on by itself.
	Source func(ctx context.Context, hub *relay.Hub) (stop func(), err error)
	// Estimate has the engine find out what viewers' networks carry.
	Estimate bool
}

// Serve is a node with a source of its own and WHEP, on loopback, until ctx ends. ready is told the URL to watch.
func Serve(ctx context.Context, o Options, ready func(url string)) error {
	if !slices.Contains(Ways, o.Way) {
		return fmt.Errorf("there is no way to send called %q: choose from %s", o.Way, strings.Join(Ways, ", "))
	}
	logger := o.Logger
	hub := relay.New(relay.Config{Logger: logger})
	defer hub.Close()
	if o.Way == Pion {
		return serveReference(ctx, hub, o, ready)
	}
	network, err := rtc.New(rtc.Config{Addr: "127.0.0.1:0", Logger: logger})
	if err != nil {
		return err
	}
	defer func() { _ = network.Close() }() // all of it is going away
	signal, err := wish.New(wish.Config{Logger: logger, PostRate: 10000, MaxPerClient: 10000})
	if err != nil {
		return err
	}
	defer signal.Close()
	metrics := prometheus.NewRegistry()
	config := whep.Config{
		Hub: hub, Network: network, Signal: signal, Logger: logger, Metrics: metrics,
		Authorize: func(*http.Request, media.Name) (auth.Claims, error) { return auth.Claims{User: "bench"}, nil },
	}
	if o.Way != Plain {
		config.Engine, err = engine.New(engine.Config{
			Addr: "127.0.0.1:0", Logger: logger, Estimate: o.Estimate, Socket: batch.Options{Single: o.Way == Sendmmsg, Plain: o.Way == OneByOne},
		})
		if err != nil {
			return err
		}
		defer func() { _ = config.Engine.Close() }()
	}
	server, err := whep.New(config)
	if err != nil {
		return err
	}
	defer server.Close()
	mux := http.NewServeMux()
	mux.Handle("/whep/", server.Handler())
	mux.Handle("/sessions/", signal)
	mux.Handle(delaysPath, delays{metrics})
	url, closeDoor, err := open(mux)
	if err != nil {
		return err
	}
	defer closeDoor()
	if o.Source != nil {
		stop, err := o.Source(ctx, hub)
		if err != nil {
			return err
		}
		defer stop()
		ready(url)
		<-ctx.Done()
		return nil
	}
	stopped, err := play(ctx, hub, o.Rate, o.Mute)
	if err != nil {
		return err
	}
	ready(url)
	<-stopped
	return nil
}

// delays answers with what WHEP accounts of its own delay, for fanout.Options.Delays.
type delays struct{ metrics *prometheus.Registry }

func (d delays) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	families, err := d.metrics.Gather()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	list := fanout.Delays{}
	for _, f := range families {
		if f.GetName() == "banyan_whep_delay_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			for _, b := range h.GetBucket() {
				list = append(list, fanout.Bucket{Most: b.GetUpperBound(), Count: b.GetCumulativeCount()})
			}
			list = append(list, fanout.Bucket{Most: time.Minute.Seconds(), Count: h.GetSampleCount()})
		}
	}
	_ = json.NewEncoder(w).Encode(list) // whoever reads it notices
}

const (
	watchPath  = "/whep/bench"
	delaysPath = "/delays"
)

// DelaysOf is where the server that has such a URL to watch tells of its own delay; "" where it does not.
func DelaysOf(way, url string) string {
	if way == Pion {
		return ""
	}
	return strings.TrimSuffix(url, watchPath) + delaysPath
}

// open serves HTTP on loopback, until it is closed, and tells where to watch.
func open(handler http.Handler) (url string, closed func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	door := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = door.Serve(listener) // it ends when the door is closed
	}()
	return "http://" + listener.Addr().String() + watchPath, func() {
		_ = door.Close() // all of it is going away
		<-done
	}, nil
}
