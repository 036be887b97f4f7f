package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"banyan/deploy/api"
	"banyan/edge/director"
	"banyan/edge/hls"
	"banyan/edge/web"
	"banyan/edge/whep"
	"banyan/ingest/rtsp"
	"banyan/ingest/whip"
	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/log"
	"banyan/relay/media"
	"banyan/relay/rtc"
	"banyan/relay/rtc/engine"
	"banyan/relay/rtc/wish"
	"banyan/transcoder"
)

// parts are what a node with the given roles is made of. Parts of roles that it does not have are nil.
type parts struct {
	hub     *relay.Hub
	fabric  *fabric        // to other nodes
	engine  *engine.Engine // for WHEP; nil where plain connections serve viewers. It shares its port with network
	network *rtc.Network   // for WHIP, and for WHEP where engine does not serve
	signal  *wish.Server   // their sessions

	whip *whip.Server
	rtsp *rtsp.Server

	transcoder *transcoder.Transcoder

	director *director.Director // sends viewers to the best edge
	geoIP    *director.GeoIP    // nil where there is no such file
	whep     *whep.Server
	hls      *hls.Server
}

// has tells whether the node has a role.
func (n *node) has(role string) bool { return slices.Contains(n.opt.Roles, role) }

// addrs are the addresses that the node opens, as configured, by key.
func (n *node) addrs() map[string]string {
	c := &n.cfg
	addrs := map[string]string{"http.addr": c.HTTP.Addr, "http.tls.addr": c.HTTP.TLS.Addr, "admin.addr": c.Admin.Addr}
	if n.parts.network != nil {
		addrs["rtc.addr"] = c.RTC.Addr
	}
	if n.parts.rtsp != nil {
		addrs["rtsp.addr"], addrs["rtsp.tls.addr"], addrs["rtsp.udp_addr"] = c.RTSP.Addr, c.RTSP.TLS.Addr, c.RTSP.UDPAddr
	}
	maps.DeleteFunc(addrs, func(_, addr string) bool { return addr == "" })
	return addrs
}

// build makes the parts in the order in which media passes them, and routes what they serve. After an error, close
// what there is.
func (n *node) build() error {
	n.parts.hub = relay.New(relay.Config{
		Log:     log.Config{Window: n.cfg.Ring.Seconds, MaxBytes: int(n.cfg.Ring.Bytes)},
		Segment: n.cfg.HLS.Segment,
		Logger:  n.log,
	})
	if err := n.buildDirector(); err != nil {
		return err
	}
	for _, part := range []struct {
		roles []string
		build func() error
	}{
		{[]string{"ingest", "edge"}, n.buildRTC},
		{[]string{"ingest"}, n.buildIngest},
		{[]string{"transcoder"}, n.buildTranscoder},
		{[]string{"edge"}, n.buildEdge},
		{allRoles, n.buildPages},
	} {
		if !slices.ContainsFunc(part.roles, n.has) {
			continue
		}
		if err := part.build(); err != nil {
			return err
		}
	}
	if n.cfg.Clustered() {
		if err := n.buildFabric(); err != nil {
			return err
		}
	} else if !slices.ContainsFunc([]string{"ingest", "transcoder", "edge"}, n.has) {
		n.log.Warn("alone this node has nothing to do: set cluster.key and cluster.join, or give it other roles", "roles", n.opt.Roles)
	}
	for _, key := range n.cfg.Unused() {
		n.log.Warn("nothing uses this key yet", "key", key)
	}
	if err := n.routeAPI(); err != nil {
		return err
	}
	return n.metrics.Register(&collector{hub: n.parts.hub, rtsp: n.parts.rtsp})
}

func (n *node) buildRTC() (err error) {
	public := make([]netip.Addr, len(n.cfg.RTC.PublicIPs))
	for i, text := range n.cfg.RTC.PublicIPs {
		if public[i], err = netip.ParseAddr(text); err != nil {
			return fmt.Errorf("rtc.public_ips: %w", err)
		}
	}
	config := rtc.Config{Addr: n.cfg.RTC.Addr, PublicIPs: public, Loopback: n.cfg.RTC.Loopback, Logger: n.log}
	if n.has("edge") && fansOut(n.cfg.RTC.Engine) {
		n.parts.engine, err = engine.New(engine.Config{
			Addr: config.Addr, PublicIPs: public, Loopback: config.Loopback, Estimate: true, Metrics: n.metrics, Logger: n.log,
		})
		if err != nil {
			return err
		}
		config.Port = n.parts.engine.Rest()
	}
	if n.parts.network, err = rtc.New(config); err != nil {
		return err
	}
	n.parts.signal, err = wish.New(wish.Config{ICEServers: iceServers(n.cfg.RTC.ICEServers, time.Now), Metrics: n.metrics, Logger: n.log})
	if err != nil {
		return err
	}
	n.public.Handle("/sessions/", n.parts.signal)
	return nil
}

// fansOut tells whether the fan-out engine is to serve viewers.
func fansOut(engine string) bool {
	return engine == "native" || engine == "auto" && runtime.GOOS == "linux"
}

func (n *node) buildIngest() (err error) {
	n.parts.whip, err = whip.New(whip.Config{
		Hub: n.parts.hub, Network: n.parts.network, Signal: n.parts.signal, Guard: n.guard,
		Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.public.Handle("/whip/", n.parts.whip)
	return n.buildRTSP()
}

// ingest tells where streams are taken in.
func (n *node) ingest() api.Ingest {
	here := api.Ingest{WHIP: true, Token: n.cfg.Auth.Publish != auth.Open}
	select {
	case <-n.parts.rtsp.Listening():
		if addr, ok := n.parts.rtsp.Addr().(*net.TCPAddr); ok {
			here.RTSPPort = addr.Port
		}
	default: // it starts; who asks asks again
	}
	return here
}

func (n *node) buildRTSP() (err error) {
	c := &n.cfg.RTSP
	config := rtsp.Config{
		Hub: n.parts.hub, Guard: n.guard, Logger: n.log,
		Addr: cmp.Or(c.Addr, "off"), UDPAddr: cmp.Or(c.UDPAddr, "off"), TLSAddr: c.TLS.Addr,
	}
	if c.TLS.Addr != "" {
		if config.TLS, err = newTLS(n.cfg.HTTP.TLS.Cert, n.cfg.HTTP.TLS.Key, n.log); err != nil {
			return err
		}
	}
	for _, user := range c.Users {
		config.Users = append(config.Users, rtsp.User{
			Name: user.User, Password: user.Password, Publish: texts(user.Publish), Play: texts(user.Play),
		})
	}
	for _, pull := range c.Pull {
		config.Pull = append(config.Pull, rtsp.Pull{Stream: string(pull.Stream), URL: pull.URL, Transport: pull.Transport})
	}
	n.parts.rtsp, err = rtsp.New(config)
	return err
}

func (n *node) buildTranscoder() (err error) {
	var rules []transcoder.Rule
	for _, l := range n.cfg.Ladder.Streams {
		rules = append(rules, transcoder.Rule{Match: string(l.Match), Formats: texts(l.Formats), Always: l.Always})
	}
	rules = append(rules, transcoder.Rule{Match: "**", Formats: texts(n.cfg.Ladder.Default)})
	n.parts.transcoder, err = transcoder.New(transcoder.Config{
		FFmpeg: n.cfg.Transcoder.FFmpeg, Encoder: n.cfg.Transcoder.Encoder, Preset: n.cfg.Transcoder.Preset,
		Segment: n.cfg.HLS.Segment, Ladders: rules, Linger: n.cfg.Transcoder.Linger,
		MaxProcesses: n.cfg.Transcoder.Workers, Capacity: float64(n.cfg.Transcoder.Capacity) / 1000, Here: n.makes, Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.parts.hub.AddSupplier(n.parts.transcoder)
	return nil
}

func texts[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, item := range list {
		out[i] = string(item)
	}
	return out
}

func (n *node) buildEdge() (err error) {
	n.parts.whep, err = whep.New(whep.Config{
		Hub: n.parts.hub, Network: n.parts.network, Engine: n.parts.engine, Signal: n.parts.signal, Authorize: n.authorizePlay,
		Metrics: n.metrics, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.public.Handle("/whep/", n.parts.director.WHEP(n.parts.whep.Handler()))
	n.parts.hls, err = hls.New(hls.Config{
		Hub: n.parts.hub, Segment: n.cfg.HLS.Segment, Part: n.cfg.HLS.Part, Window: n.cfg.HLS.Window,
		Allow: func(r *http.Request, stream media.Name) error {
			_, err := n.authorizePlay(r, stream)
			return err
		},
		Steering:   n.parts.director.SteeringLines,
		Registerer: n.metrics, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.public.Handle("/hls/", n.parts.director.HLS(n.parts.hls))
	return nil
}

// buildPages serves the pages, on nodes of all roles: who comes to one that is no edge is sent to one by the page.
func (n *node) buildPages() error {
	pages, err := web.New(web.Config{CheckName: func(name string) error {
		_, err := media.ParseName(name)
		return err
	}, Edges: n.parts.director.Origins})
	if err != nil {
		return err
	}
	if !pages.Built() {
		n.log.Warn("the pages are not in this binary: build it with `make build`")
	}
	n.public.Handle("/", pages)
	return nil
}

// authorizePlay decides who may watch a stream over HTTP.
func (n *node) authorizePlay(r *http.Request, stream media.Name) (auth.Claims, error) {
	token, err := auth.Bearer(r)
	if err != nil {
		return auth.Claims{}, err
	}
	return n.guard.CheckPlay(token, stream)
}

func (n *node) routeAPI() (err error) {
	config := api.Config{
		Edges: n.parts.director.List(),
		Hub:   n.parts.hub, Guard: n.guard, Revoke: n.revoked.Revoke, Log: n.log,
		Node: api.Node{
			Name: n.cfg.Node.Name, Region: n.cfg.Node.Region, Version: versionText(), Roles: n.opt.Roles,
			Started: time.Now().UTC().Truncate(time.Second),
		},
	}
	if n.parts.whip != nil {
		config.Ingest = n.ingest
	}
	if n.parts.whep != nil {
		config.WithoutWebRTC, config.WithoutHLS = withoutWebRTC, n.parts.hls.Without
	}
	if n.parts.transcoder != nil {
		config.Workers, config.Thumbnail = n.workers, n.parts.transcoder.Thumbnail
	}
	if n.parts.fabric == nil {
		config.Load = func() (line, encoding float64) { l := n.alone.loads(); return l.line, l.encoding }
	}
	if n.parts.fabric != nil {
		config.Cluster, config.Ask = n.describe, n.parts.fabric.ask
		config.Links = (&hops{metrics: n.metrics}).links
		if config.Peers, err = newPeerGuard(n.cfg.ClusterKeys()); err != nil {
			return err
		}
	}
	own := api.Register(n.public, config)
	if n.parts.fabric != nil {
		n.parts.fabric.own = own
	}
	return nil
}

func (n *node) workers() []api.Worker {
	list := []api.Worker{}
	for _, w := range n.parts.transcoder.Workers() {
		list = append(list, api.Worker{
			Stream: w.Track.Stream, Format: w.Track.Format, Kind: w.Track.Kind, State: string(w.State), PID: w.PID,
			Since: w.Since, Encoder: w.Encoder, FramesIn: w.In, FramesOut: w.Out, Dropped: w.Dropped,
			Restarts: w.Restarts, LagMS: w.Lag.Milliseconds(), Trouble: w.Trouble,
		})
	}
	return list
}

// serveParts runs the parts that have a Run until ctx ends, also where there are none, or until one fails.
func (n *node) serveParts(ctx context.Context) error {
	p, log := &n.parts, n.log
	group, ctx := errgroup.WithContext(ctx)
	if p.rtsp != nil {
		group.Go(func() error { return p.rtsp.Run(ctx) })
	}
	if p.hls != nil {
		group.Go(func() error { return p.hls.Run(ctx) })
	}
	if p.fabric != nil {
		group.Go(func() error { return p.fabric.run(ctx) })
	} else {
		meter := n.newMeter()
		group.Go(func() error { return everyLook(ctx, func(now time.Time) { n.alone.set(n.measure(meter, now)) }) })
	}
	if p.geoIP != nil {
		group.Go(func() error { return p.geoIP.Run(ctx, log) })
	}
	<-ctx.Done()
	return group.Wait()
}

// close ends what serveParts does not, in the order in which peers feel it least: publishers and viewers get their
// farewell while the sockets are open, formats end when nobody reads them any more, then the sockets close.
func (p *parts) close() error {
	if p.whip != nil {
		p.whip.Close()
	}
	if p.whep != nil {
		p.whep.Close()
	}
	if p.signal != nil {
		p.signal.Close()
	}
	p.hub.Close()
	var err error
	if p.network != nil {
		err = ignoreClosed(p.network.Close())
	}
	if p.engine != nil { // last, as the port is its own
		err = errors.Join(err, p.engine.Close())
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, rtc.ErrClosed) {
		return nil
	}
	return err
}
