package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"banyan/deploy/banyan/doctor"
	"banyan/deploy/config"
	"banyan/relay/auth"
	"banyan/relay/problem"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// allRoles are what a node can be asked to do, in the order in which media passes them; laterRoles are those that the
// design has and this version has no parts for.
var (
	allRoles   = []string{"ingest", "transcoder", "relay", "edge"}
	laterRoles = []string{"mixer", "conference"}
)

// checkRoles tells whether this version can do all that is asked of a node.
func checkRoles(roles []string) error {
	for _, role := range roles {
		switch {
		case slices.Contains(allRoles, role):
		case slices.Contains(laterRoles, role):
			return fmt.Errorf("--roles: there is no %s in this version yet: choose some of %s", role, strings.Join(allRoles, ","))
		default:
			return fmt.Errorf("--roles: %q is no role: choose some of %s", role, strings.Join(allRoles, ","))
		}
	}
	if len(roles) == 0 {
		return fmt.Errorf("--roles: a node needs one at least: choose some of %s", strings.Join(allRoles, ","))
	}
	return nil
}

// options are what serve takes besides the configuration.
type options struct {
	Roles []string
	Demo  bool
	Out   io.Writer // for people: where to look

	TokenCommand string // that makes tokens which this server takes
}

// node is the process while it serves: what its parts are built from.
type node struct {
	cfg     config.Config
	opt     options
	log     *slog.Logger
	guard   *auth.Guard
	revoked *auth.Revocations
	metrics *prometheus.Registry

	public *http.ServeMux // the outside contract, on http.addr and http.tls.addr
	admin  *http.ServeMux // for operators, on admin.addr

	parts parts

	ready atomic.Bool // what /readyz says
	alone gauge       // its load; stays zero in a cluster
}

// serve runs a node until ctx ends or a part fails, and returns when all it has started has ended.
func serve(ctx context.Context, cfg config.Config, opt options, log *slog.Logger) (err error) {
	n := &node{
		cfg: cfg, opt: opt, log: log.With("node", cfg.Node.Name),
		metrics: newMetrics(),
		public:  http.NewServeMux(), admin: http.NewServeMux(),
	}
	defer func() { err = n.explainBusy(err) }()
	if n.guard, n.revoked, err = newGuard(cfg); err != nil {
		return err
	}
	n.routeHealth()
	n.routeAdmin()
	err = n.build()
	ran := false
	defer func() {
		err = errors.Join(err, n.parts.close())
		if ran {
			n.log.Info("stopped") // the last line: all that have something to say of their end have ended
		}
	}()
	if err != nil {
		return err
	}

	// All doors open before anything runs behind them: a port that is taken must stop the start, not a running node.
	doors, err := n.openDoors()
	if err != nil {
		return err
	}
	ran = true
	return n.run(ctx, doors)
}

// run starts what was built and ends it in an order that viewers feel least:
//
//  1. /readyz turns to 503 and WHIP, WHEP and RTSP take no new sessions; the cluster is told, and other nodes take over
//     what they have from this one, for at most handOverTime; viewers turn to other edges, for at most edge.drain; and
//     after node.drain, in which balancers notice and publishers may end,
//  2. RTSP and HLS end, which answers the requests that wait for media; the demo cameras stop;
//  3. the public doors stop accepting, and requests that run may finish within drainTime; what is left is cut;
//  4. the admin door goes, so that all of this can be watched;
//  5. WebRTC sessions get their farewell and everything else is closed, see parts.close.
func (n *node) run(ctx context.Context, doors doors) error {
	// The admin door outlives ctx until the public ones are shut.
	adminCtx, closeAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer closeAdmin()
	var admin, parts errgroup.Group
	partsCtx, endParts := context.WithCancel(context.WithoutCancel(ctx)) // ended below, after the drain
	defer endParts()
	parts.Go(func() error {
		defer endParts()
		return n.serveParts(partsCtx)
	})
	for _, door := range doors {
		group, until := &parts, partsCtx
		if door.name == adminDoor {
			group, until = &admin, adminCtx
		}
		group.Go(func() error {
			defer endParts() // a node without one of its doors is no node
			return door.serve(until)
		})
	}
	n.awaitRTSP(ctx, partsCtx)
	if partsCtx.Err() == nil {
		n.printPages(doors)
		if n.opt.Demo {
			n.startDemo(partsCtx, &parts, doors)
		}
		n.ready.Store(true)
		n.log.Info("ready", "version", versionText(), "roles", n.opt.Roles)
	}
	select {
	case <-partsCtx.Done(): // a part failed
	case <-ctx.Done():
		n.drain(partsCtx)
		endParts()
	}
	n.log.Info("stopping", "within", (drainTime + cutTime).String())
	err := parts.Wait()
	closeAdmin()
	return errors.Join(err, admin.Wait())
}

// awaitRTSP waits until the RTSP doors are open, if the node has any: a port that is taken must stop the start.
func (n *node) awaitRTSP(stop, parts context.Context) {
	if n.parts.rtsp == nil {
		return
	}
	select {
	case <-n.parts.rtsp.Listening():
	case <-stop.Done():
	case <-parts.Done():
	}
}

// handOverTime bounds how long other nodes may take to find another parent. What follows has to fit into a minute with
// it, after which supervisors kill.
const handOverTime = 50 * time.Second

// drain turns new clients away, and waits until other nodes have taken over what they have from this one and until
// balancers have been given their time to notice, unless a part fails meanwhile.
func (n *node) drain(parts context.Context) {
	n.ready.Store(false)
	if n.parts.signal != nil {
		n.parts.signal.Drain()
	}
	if n.parts.rtsp != nil {
		n.parts.rtsp.Drain()
	}
	began := time.Now()
	if n.parts.fabric != nil {
		n.handOver(parts)
	}
	if left := n.cfg.Node.Drain - time.Since(began); left > 0 {
		n.log.Info("draining", "for", left.Round(time.Millisecond).String())
		select {
		case <-time.After(left):
		case <-parts.Done():
		}
	}
}

// handOver waits until other nodes have from others what they have from this one, and viewers have gone to other edges.
func (n *node) handOver(parts context.Context) {
	n.log.Info("draining", "until", "other nodes have taken over", "within", handOverTime.String())
	ctx, cancel := context.WithTimeout(parts, handOverTime)
	defer cancel()
	var viewers sync.WaitGroup
	viewers.Go(func() { n.seeOff(ctx) })
	n.parts.fabric.drain(ctx)
	if ctx.Err() != nil && parts.Err() == nil {
		n.log.Warn("other nodes still read what they could have elsewhere", "after", handOverTime.String())
	}
	viewers.Wait()
}

// seeOff waits until this edge's viewers have gone to others, for at most edge.drain. Our page and players of HLS go by
// themselves once they hear that this node drains (see director); viewers by plain WHEP cannot be told, and stay.
func (n *node) seeOff(ctx context.Context) {
	const look = 200 * time.Millisecond
	bound := time.Now().Add(n.cfg.Edge.Drain)
	count := func() int {
		if n.parts.whep == nil {
			return 0
		}
		return n.parts.whep.Viewers() + n.parts.hls.Players()
	}
	if count() > 0 && n.parts.director.Elsewhere() {
		n.log.Info("draining", "until", "viewers have gone to other edges", "viewers", count(), "within", n.cfg.Edge.Drain.String())
	}
	for count() > 0 && n.parts.director.Elsewhere() {
		if !time.Now().Before(bound) {
			n.log.Info("some viewers have not gone to other edges", "viewers", count(), "after", n.cfg.Edge.Drain.String())
			return
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return
		}
	}
}

// startDemo starts the demo cameras. The doors that they push to are open.
func (n *node) startDemo(ctx context.Context, group *errgroup.Group, doors doors) {
	d := demo{
		ffmpeg: n.cfg.Transcoder.FFmpeg, guard: n.guard, hub: n.parts.hub, log: n.log,
		rtsp: n.parts.rtsp.Addr(), http: doors.find(httpDoor).listener.Addr(),
	}
	group.Go(func() error { return d.run(ctx) })
}

// openDoors opens every listener that the configuration asks for, or none.
func (n *node) openDoors() (opened doors, err error) {
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	public := realClient(n.cfg.HTTP.TrustedProxies, publicHandler(n.log, n.public))
	for _, want := range []struct {
		name, key, addr string
		handler         http.Handler
	}{
		{httpDoor, "http.addr", n.cfg.HTTP.Addr, public},
		{httpsDoor, "http.tls.addr", n.cfg.HTTP.TLS.Addr, public},
		{adminDoor, "admin.addr", n.cfg.Admin.Addr, problem.Recover(n.log, problem.Mux(n.admin))},
	} {
		if want.addr == "" {
			continue
		}
		door, err := openDoor(want.name, want.key, want.addr, want.handler, n.log)
		if err != nil {
			return opened, err
		}
		opened = append(opened, door)
		if want.name == httpsDoor {
			if door.server.TLSConfig, err = newTLS(n.cfg.HTTP.TLS.Cert, n.cfg.HTTP.TLS.Key, n.log); err != nil {
				return opened, err
			}
		}
		if want.name == adminDoor && !door.isLoopback() {
			n.log.Warn("admin.addr can be reached from other machines and asks for no token: keep strangers off by a firewall",
				"addr", door.listener.Addr().String())
		}
	}
	return opened, nil
}

// routeHealth adds what balancers and supervisors ask.
func (n *node) routeHealth() {
	for _, mux := range []*http.ServeMux{n.public, n.admin} {
		mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeOK(w) })
		mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
			if !n.ready.Load() {
				problem.Unavailable(w, "This node is starting or stopping. Use another one, or try again.", drainTime)
				return
			}
			writeOK(w)
		})
	}
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte("ok\n"))
}

// routeAdmin adds metrics, profiles and what `banyan doctor` asks. /debug/pprof/cmdline is left out: arguments may hold
// secrets.
func (n *node) routeAdmin() {
	n.admin.HandleFunc("GET "+doctor.NodePath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(doctor.Node{Product: doctor.Product, Version: versionText(), Addrs: n.addrs()})
	})
	n.admin.Handle("GET /metrics", promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{Registry: n.metrics}))
	n.admin.HandleFunc("GET /debug/pprof/", pprof.Index)
	n.admin.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	n.admin.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	n.admin.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// newMetrics makes the registry of the process, with what Go and the system tell about it.
func newMetrics() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "banyan_build_info", Help: "1, with the version as a label.",
	}, []string{"version"})
	build.WithLabelValues(versionText()).Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}
