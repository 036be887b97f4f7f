package rtsp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/liberrors"

	"banyan/ingest"
	"banyan/relay/auth"
	"banyan/relay/media"
)

// Pull is a camera whose stream is fetched.
type Pull struct {
	Stream string
	// URL is rtsp:// or rtsps://, with the user and password of the camera if it wants them.
	URL string
	// Transport is "udp", "tcp" or "auto", which tries UDP first and takes turns. If empty, "auto".
	Transport string
	// Public allows only addresses of the public internet: for URLs that do not come from the
	// operator's configuration.
	Public bool
}

// The bounds of pulling.
const (
	retryFirst, retryMost = 500 * time.Millisecond, 5 * time.Second
	// A pull that delivered this long is retried at once, as if it were new.
	wellAfter = 10 * time.Second
	// Connections per attempt: the first and some redirects.
	maxDials = 4
)

// pullGuard allows the ports of RTSP, RTSPS and of those cameras that speak RTSP on their HTTP ports.
func pullGuard(private bool) *ingest.URLGuard {
	return &ingest.URLGuard{
		Schemes: map[string]uint16{"rtsp": 554, "rtsps": 322},
		Private: private, Ports: []uint16{80, 322, 443, 554},
	}
}

// puller fetches one camera again and again.
type puller struct {
	server    *Server
	name      media.Name
	url       *url.URL
	transport string
	guard     *ingest.URLGuard
	logger    *slog.Logger
	turn      int                                     // counts attempts; auto takes TCP at the odd ones
	random    func(below time.Duration) time.Duration // rand.N, but in tests
}

// Check tells what makes p one that can never work, as far as that can be told without asking anybody. The error names
// the field, and does not quote the URL, which may hold a password.
func (p Pull) Check() error {
	if _, err := media.ParseName(p.Stream); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if _, err := pullGuard(!p.Public).Check(p.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	switch p.Transport {
	case "", "auto", "udp", "tcp":
		return nil
	}
	return fmt.Errorf("transport: %.20q is not known: use auto, udp or tcp", p.Transport)
}

// newPull checks p, so that a mistake is told before anything starts.
func (s *Server) newPull(p Pull) (*puller, error) {
	name, guard := media.Name(p.Stream), pullGuard(!p.Public)
	if err := p.Check(); err != nil {
		return nil, fmt.Errorf("pull %.80q: %w", p.Stream, err)
	}
	u, err := guard.Check(p.URL)
	if err != nil {
		return nil, err
	}
	p.Transport = cmp.Or(p.Transport, "auto")
	return &puller{
		server: s, name: name, url: u, transport: p.Transport, guard: guard,
		logger: s.config.Logger.With("stream", name, "camera", u.Host), random: rand.N[time.Duration],
	}, nil
}

// Pull fetches p until ctx ends, whatever fails on the way. It returns an error at once for a Pull
// that can never work, else nil.
func (s *Server) Pull(ctx context.Context, p Pull) error {
	one, err := s.newPull(p)
	if err != nil {
		return err
	}
	one.run(ctx)
	return nil
}

// run tries again with growing pauses, with jitter so that many cameras behind one switch do not come
// back in step. A line is logged when the trouble changes, not for each attempt.
func (p *puller) run(ctx context.Context) {
	pause, trouble := retryFirst, ""
	for ctx.Err() == nil {
		if !p.free(ctx) {
			return
		}
		started := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		p.server.counters.pullFailures.Add(1)
		if time.Since(started) > wellAfter {
			pause, trouble = retryFirst, ""
		} else {
			p.turn++
		}
		if text := p.scrub(err); text != trouble {
			trouble = text
			p.logger.Warn("the camera does not deliver: trying again until it does", "cause", text)
		}
		if !sleep(ctx, p.jittered(pause)) {
			return
		}
		pause = longer(pause)
	}
}

// jittered is a pause and up to half as much again.
func (p *puller) jittered(pause time.Duration) time.Duration { return pause + p.random(pause/2) }

// longer is the pause after the next failure: with jitter at most retryMost.
func longer(pause time.Duration) time.Duration { return min(2*pause, retryMost*2/3) }

// free waits until nobody else publishes under the name: who pushes goes before what is pulled.
func (p *puller) free(ctx context.Context) bool {
	for {
		stream, err := p.server.config.Hub.Stream(p.name)
		if err != nil {
			return true
		}
		changed := stream.Changed()
		if !stream.Live() {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// once connects, publishes, and returns why it ended.
func (p *puller) once(ctx context.Context) error {
	a := &attempt{puller: p}
	defer a.close()
	u, err := base.ParseURL(p.url.String())
	if err != nil {
		return errors.New("the URL cannot be parsed")
	}
	client, err := a.client(u)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, client.Close)
	defer stop()
	defer client.Close()
	session, _, err := client.Describe(u)
	if err != nil {
		return p.explain(fmt.Errorf("describe: %w", err))
	}
	sources, ignored, err := choose(session)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if _, err := client.Setup(session.BaseURL, s.media, 0, 0); err != nil {
			return p.explain(fmt.Errorf("set up %s: %w", s.params.Codec, err))
		}
	}
	return a.play(ctx, client, sources, ignored)
}

// explain puts what the operator can do in front of an error that comes of missing or wrong credentials.
func (p *puller) explain(err error) error {
	var answered liberrors.ErrClientBadStatusCode
	if !errors.As(err, &answered) || answered.Code != base.StatusUnauthorized {
		return err
	}
	if p.url.User == nil && !p.url.Query().Has("token") {
		return fmt.Errorf("the camera wants to know who asks: put user:password@ (or ?token=, for a Banyan) into its url in rtsp.pull: %w", err)
	}
	return fmt.Errorf("the camera does not take the user and password (or the token) of its url in rtsp.pull: correct them there: %w", err)
}

// attempt is one connection to a camera, with its redirects.
type attempt struct {
	puller *puller
	dials  int
	lost   atomic.Uint64

	mu    sync.Mutex
	conns []*boundedConn // all that were dialled
}

func (a *attempt) client(u *base.URL) (*gortsplib.Client, error) {
	p := a.puller
	transport := gortsplib.TransportTCP
	if p.transport == "udp" || p.transport == "auto" && p.turn%2 == 0 {
		transport = gortsplib.TransportUDP
	}
	c := &gortsplib.Client{
		Scheme: u.Scheme, Host: u.Host, UserAgent: "banyan",
		Transport:         &transport, // never its own choice: it would switch with our callbacks half set
		ReadTimeout:       p.server.config.Silence,
		DialContext:       a.dial,
		OnResponse:        a.check,
		OnDecodeError:     func(error) { p.server.counters.undecodable.Add(1) },
		OnPacketsLost:     func(n uint64) { a.lost.Add(n) },
		OnTransportSwitch: func(error) {},
	}
	return c, c.Start2()
}

// dial is where every connection passes, also those of redirects and of a Content-Base elsewhere.
func (a *attempt) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p := a.puller
	if a.dials++; a.dials > maxDials {
		return nil, errors.New("the camera redirects again and again")
	}
	if p.url.User != nil && !strings.EqualFold(address, p.guard.Address(p.url)) {
		return nil, errors.New("the camera redirects to another host, which must not get its password: " +
			"write that host's URL into the configuration")
	}
	conn, err := p.guard.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := newBoundedConn(conn, p.server.config.RequestTimeout)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conns = append(a.conns, c)
	return c, nil
}

// check takes a foreign "source=" out of answers: our packets would go there.
func (a *attempt) check(res *base.Response) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.conns) == 0 {
		return
	}
	host, _, _ := net.SplitHostPort(a.conns[len(a.conns)-1].RemoteAddr().String())
	res.Header["Transport"] = withoutSource(res.Header["Transport"], host)
	if len(res.Header["Transport"]) == 0 {
		delete(res.Header, "Transport")
	}
}

var sourceOf = regexp.MustCompile(`(?i)(^|[;,])\s*source\s*=\s*([^;,]*)`)

// withoutSource drops the source of Transport headers unless it is host. Parsing one would make us
// look up whatever name it has.
func withoutSource(header base.HeaderValue, host string) base.HeaderValue {
	var out base.HeaderValue
	for _, value := range header {
		out = append(out, sourceOf.ReplaceAllStringFunc(value, func(found string) string {
			parts := sourceOf.FindStringSubmatch(found)
			if host != "" && strings.TrimSpace(parts[2]) == host {
				return found
			}
			return parts[1]
		}))
	}
	return out
}

// flow lifts the bounds on requests, as media comes now.
func (a *attempt) flow() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		c.flow()
	}
}

func (a *attempt) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.conns {
		c.Close()
	}
}

// play publishes until the camera stops, somebody else publishes, or ctx ends.
func (a *attempt) play(ctx context.Context, client *gortsplib.Client, sources []*source, ignored []string) error {
	p := a.puller
	publication, err := p.server.config.Hub.Publish(p.name, "rtsp pull "+p.url.Host)
	if err != nil {
		return err
	}
	defer publication.Close()
	broken := make(chan error, 1)
	pub := &publisher{publication: publication, logger: p.logger, paced: true, fail: func(err error) {
		select {
		case broken <- err:
		default:
		}
	}}
	if err := pub.listen(client, sources); err != nil {
		return err
	}
	a.flow() // before PLAY is sent: the first burst may come with its answer
	if _, err := client.Play(nil); err != nil {
		return p.explain(fmt.Errorf("play: %w", err))
	}
	p.logger.Info("pulling", "ignored_tracks", ignored)
	p.server.counters.publishers.Add(1)
	defer p.server.counters.publishers.Add(-1)
	ended := make(chan error, 1)
	var waiting sync.WaitGroup
	waiting.Go(func() { ended <- client.Wait() })
	select {
	case err = <-ended:
	case err = <-broken:
	case <-publication.Ended():
		err = publication.Cause()
	case <-ctx.Done():
		err = ctx.Err()
	}
	client.Close()
	waiting.Wait()
	p.logger.Info("the camera's stream ended", "cause", p.scrub(err), "lost_packets", a.lost.Load(),
		"undecodable_packets", pub.undecodable.Load())
	p.server.counters.undecodable.Add(pub.undecodable.Load())
	return err
}

// scrub makes text of an error, without the camera's user, password or token, and not endless.
func (p *puller) scrub(err error) string {
	text := auth.RedactText(err.Error())
	if p.url.User != nil {
		password, _ := p.url.User.Password()
		for _, secret := range []string{p.url.User.String(), password, url.QueryEscape(password), url.PathEscape(password)} {
			if secret != "" {
				text = strings.ReplaceAll(text, secret, "…")
			}
		}
	}
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "?")
}
