package rtsp

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/media"
)

// handler is what gortsplib calls, for one of the listeners. The calls of one connection and its session come one at a time, as
// the connection waits for the answer to each request.
type handler struct {
	*Server
	lib *gortsplib.Server
}

// client is what is known of a connection. It hangs on it as user data.
type client struct {
	conn   *serverConn
	peer   netip.AddrPort
	nonce  nonce   // of Digest
	grants []grant // what it has proven

	unproven media.Name // the stream for which credentials were last asked; empty where they never were
	failures int        // wrong credentials
	refusals int        // all requests that were refused

	phase   phase
	request *base.Request // being answered
	session session       // nil before ANNOUNCE or SETUP, and after its end
	own     *gortsplib.ServerSession
	id      string // of own; empty before its first SETUP
	// The first of the two interleaved channels of each track.
	channels []int

	verdict *verdict // on the request that is being answered; nil where gortsplib answers it
	target  target   // what a SETUP that is being answered asks for
	grant   grant    // by which an ANNOUNCE or SETUP that is being answered may do so

	described *base.URL // what the newest DESCRIBE was about; nil before the first

	srtp bool       // the SETUP that is being answered asks for SRTP
	keys *mediaKeys // what it is answered with
}

// phase is how far a connection has come with its session (RFC 2326, appendix A).
type phase uint8

const (
	idle      phase = iota
	announced       // ANNOUNCE, perhaps some SETUP
	recordingMedia
	ready // SETUP to play
	playing
)

// session is what a connection does: *recording or *player. It hangs on the session as user data.
type session interface {
	// close lets go of everything and waits for what it started.
	close(cause error)
}

func clientOf(c *gortsplib.ServerConn) *client { return c.UserData().(*client) }

// OnConnOpen greets a connection.
func (h *handler) OnConnOpen(ctx *gortsplib.ServerHandlerOnConnOpenCtx) {
	c := &client{conn: ctx.Conn.NetConn().(*serverConn)}
	c.peer, _ = netip.ParseAddrPort(c.conn.RemoteAddr().String())
	c.nonce = newNonce()
	ctx.Conn.SetUserData(c)
}

// OnConnClose ends the session of the connection, also one over UDP: who has gone cannot stop it.
func (h *handler) OnConnClose(ctx *gortsplib.ServerHandlerOnConnCloseCtx) {
	c := clientOf(ctx.Conn)
	if c.own != nil {
		c.own.Close()
	}
	h.counters.undecodable.Add(c.conn.requests.unopened.Load())
	if c.unproven != "" && len(c.grants) == 0 && c.failures == 0 {
		h.config.Logger.Warn("RTSP client left without showing credentials", "stream", c.unproven, "peer", c.peer)
	}
}

// OnSessionClose ends what the session did.
func (h *handler) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	if s, ok := ctx.Session.UserData().(session); ok {
		s.close(ctx.Error)
	}
}

// OnRequest notes what is being answered, and keeps from gortsplib what is to be refused.
func (h *handler) OnRequest(conn *gortsplib.ServerConn, req *base.Request) {
	c := clientOf(conn)
	c.conn.completed()
	if transport := req.Header["Transport"]; len(transport) > 0 {
		req.Header["Transport"] = withoutSource(transport, "")
	}
	c.srtp, c.keys = c.wantsSRTP(req), nil
	switch {
	case req.Method == base.Describe:
		c.described = req.URL
	case req.Method == base.Setup && c.phase != announced && c.described != nil:
		req.URL = restoreQuery(req.URL, c.described)
	}
	asked := *req
	c.request = &asked
	if c.verdict = h.screen(c, req); c.verdict != nil {
		divert(req)
	}
}

// OnResponse completes what gortsplib answers, and lets media flow once the answer to PLAY is known.
func (h *handler) OnResponse(conn *gortsplib.ServerConn, res *base.Response) {
	c := clientOf(conn)
	res.Header["Server"] = base.HeaderValue{"banyan"}
	if cseq := c.request.Header["CSeq"]; len(cseq) == 1 {
		res.Header["CSeq"] = cseq
	} else {
		delete(res.Header, "CSeq")
	}
	if c.own == nil {
		delete(res.Header, "Session") // gortsplib has made one for a SETUP that was refused
	}
	switch {
	case c.verdict != nil:
	case res.StatusCode != base.StatusOK:
		h.explain(c, res)
	case c.request.Method == base.Setup:
		h.completeSetup(c, res)
	case c.request.Method == base.Play:
		if p, ok := c.session.(*player); ok {
			p.start(res, c.request.URL)
		}
	case c.request.Method == base.Teardown:
		c.phase, c.session, c.own, c.id, c.channels = idle, nil, nil, "", nil
		c.conn.hold(h.config.RequestTimeout)
		c.conn.requests.late.Store(true)
		c.conn.requests.encrypted.Store(nil)
	}
}

// explain puts a sentence into a refusal of gortsplib's own. It closes the connection over what it refuses.
func (h *handler) explain(c *client, res *base.Response) {
	if len(res.Body) > 0 {
		return
	}
	explained := h.reject(c, pathOf(c.request), res.StatusCode, errors.New("the request does not fit the session"))
	res.StatusMessage, res.Body = explained.StatusMessage, explained.Body
	res.Header["Content-Type"] = explained.Header["Content-Type"]
}

// completeSetup notes what the session is called and which channels it has, says how long it may be silent, and puts
// in the keys of SRTP.
func (h *handler) completeSetup(c *client, res *base.Response) {
	var session headers.Session
	var transport headers.Transport
	if err := errors.Join(session.Unmarshal(res.Header["Session"]), transport.Unmarshal(res.Header["Transport"])); err != nil {
		h.config.Logger.Error("the answer to SETUP cannot be read", "peer", c.peer, "cause", err)
		return
	}
	c.id = session.Session
	c.conn.hold(h.config.SessionTimeout)
	timeout := uint(max(h.config.SessionTimeout/time.Second, 1))
	session.Timeout = &timeout
	res.Header["Session"] = session.Marshal()
	if transport.InterleavedIDs != nil {
		c.channels = append(c.channels, transport.InterleavedIDs[0])
	}
	if c.keys != nil {
		if err := c.answerSRTP(res, transport); err != nil {
			*res = *h.reject(c, c.request.URL.Path, base.StatusKeyManagementError, err)
			res.Header["CSeq"] = c.request.Header["CSeq"]
		}
	}
}

// allows tells whether a method makes sense in a phase; of those that always do it says yes.
func (p phase) allows(m base.Method) bool {
	switch m {
	case base.Announce:
		return p == idle
	case base.Setup:
		return p == idle || p == announced || p == ready
	case base.Record:
		return p == announced || p == recordingMedia
	case base.Play:
		return p == ready || p == playing
	case base.Pause:
		return p != idle && p != announced
	case base.Teardown:
		return p != idle
	}
	return true
}

// target is what a URL of ours asks for.
type target struct {
	name   media.Name
	format media.Format // empty where none is asked for
}

// parseTarget reads "/{stream}" and "?format=". What it refuses is answered 404, whatever is wrong with it: FFmpeg shows
// the sentence of any refusal but a 400.
func parseTarget(path, query string) (target, error) {
	name, err := media.ParseName(strings.TrimPrefix(path, "/"))
	if err != nil {
		return target{}, err
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return target{}, errors.New("the query of the URL cannot be read: use ?format=… or none")
	}
	t := target{name: name}
	if f := values.Get("format"); f != "" {
		if t.format, err = media.ParseFormat(f); err != nil {
			return target{}, err
		}
	}
	return t, nil
}

// restoreQuery gives a SETUP's URL the query of what was described, where the client has resolved the name of
// the track against that as RFC 3986 (section 5.3) says, which loses the query and the last segment: GStreamer
// asks for /cup/trackID=0 when it was told of trackID=0 in /cup/ana?format=360p.
func restoreQuery(u, described *base.URL) *base.URL {
	if u == nil || described.RawQuery == "" || u.RawQuery != "" {
		return u
	}
	folder, track, found := strings.Cut(u.Path, "trackID=")
	path := strings.TrimSuffix(described.Path, "/")
	if !found || folder != path[:strings.LastIndexByte(path, '/')+1] && folder != path+"/" {
		return u
	}
	restored := described.Clone()
	restored.RawQuery += "/trackID=" + track
	return restored
}

// splitControl parts a URL from the "/trackID=1" that players append to it, or to its query.
func splitControl(u *base.URL) (path, query string) {
	path, _, _ = strings.Cut(u.Path, "/trackID=")
	query, _, _ = strings.Cut(u.RawQuery, "/trackID=")
	return strings.TrimSuffix(path, "/"), strings.TrimSuffix(query, "/")
}

// OnAnnounce takes a publisher's description.
func (h *handler) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (res *base.Response, err error) {
	c := clientOf(ctx.Conn)
	defer h.contain(c, &res, &err)
	if res := h.whileDraining(); res != nil {
		return res, nil
	}
	sources, ignored, err := choose(ctx.Description)
	if err != nil {
		return h.reject(c, ctx.Path, base.StatusUnsupportedMediaType, err), nil
	}
	r := &recording{server: h.Server, lib: ctx.Session, conn: c.conn.boundedConn, grant: c.grant, sources: sources,
		logger: h.config.Logger.With("stream", c.grant.name, "peer", c.peer)}
	if len(ignored) > 0 {
		r.logger.Warn("tracks are ignored", "tracks", ignored)
	}
	c.phase, c.session, c.own = announced, r, ctx.Session
	ctx.Session.SetUserData(r)
	return ok(), nil
}

// OnSetup agrees on the transport of a track.
func (h *handler) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (res *base.Response, stream *gortsplib.ServerStream, err error) {
	c := clientOf(ctx.Conn)
	defer h.contain(c, &res, &err)
	if c.srtp {
		if c.keys, err = newMediaKeys(ctx.Request.Header["KeyMgmt"], time.Now()); err != nil {
			return h.reject(c, ctx.Path, base.StatusKeyManagementError, err), nil, nil
		}
	}
	switch s := c.session.(type) {
	case *recording:
		return h.answerSetup(c, announcedTrack(ctx.Session, ctx.Request.URL), ctx.Session.SetuppedMedias()), nil, nil
	case *player:
		return h.answerSetup(c, playedTrack(s.stream.Desc.Medias, ctx.Request.URL), ctx.Session.SetuppedMedias()), s.stream, nil
	}
	if res := h.whileDraining(); res != nil {
		return res, nil, nil
	}
	p, res := h.newPlayer(c, ctx.Session, ctx.Request.URL)
	if res != nil {
		return res, nil, nil
	}
	c.phase, c.session, c.own = ready, p, ctx.Session
	ctx.Session.SetUserData(p)
	return ok(), p.stream, nil
}

// OnRecord lets a publisher in.
func (h *handler) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (res *base.Response, err error) {
	c := clientOf(ctx.Conn)
	defer h.contain(c, &res, &err)
	r, is := c.session.(*recording)
	if !is {
		return answer(base.StatusMethodNotValidInThisState, "Send ANNOUNCE and SETUP first."), nil
	}
	if _, err := h.prove(c, ctx.Request, publish, r.grant.name); err != nil {
		return h.refuse(c, publish, r.grant.name, err)
	}
	if err := r.start(c, *ctx.Session.SetuppedTransport()); err != nil {
		return h.reject(c, ctx.Path, statusOf(err), err), nil
	}
	c.phase = recordingMedia
	c.conn.requests.late.Store(false)
	c.conn.flow()
	return ok(), nil
}

// OnPlay checks a player once more; OnResponse starts it.
func (h *handler) OnPlay(ctx *gortsplib.ServerHandlerOnPlayCtx) (res *base.Response, err error) {
	c := clientOf(ctx.Conn)
	defer h.contain(c, &res, &err)
	p, is := c.session.(*player)
	if !is {
		return answer(base.StatusMethodNotValidInThisState, "Send SETUP first."), nil
	}
	if _, err := h.prove(c, ctx.Request, play, p.grant.name); err != nil {
		return h.refuse(c, play, p.grant.name, err)
	}
	c.phase = playing
	c.conn.requests.late.Store(false)
	c.conn.flow()
	res = ok()
	res.Header["Range"] = base.HeaderValue{"npt=now-"}
	return res, nil
}

// OnPause holds a player. What it missed is not sent later: it is live. Publishers never come here, see goesOn.
func (h *handler) OnPause(ctx *gortsplib.ServerHandlerOnPauseCtx) (*base.Response, error) {
	c := clientOf(ctx.Conn)
	p, is := c.session.(*player)
	if !is {
		return answer(base.StatusMethodNotValidInThisState, "Send SETUP first."), nil
	}
	p.stop()
	if c.phase == playing {
		c.phase = ready
		c.conn.hold(h.config.SessionTimeout)
		c.conn.requests.late.Store(true)
	}
	return ok(), nil
}

// OnDecodeError counts what gortsplib could not read; the session goes on.
func (h *handler) OnDecodeError(*gortsplib.ServerHandlerOnDecodeErrorCtx) {
	h.counters.undecodable.Add(1)
}

// OnPacketsLost is told by the log line at the end of the session.
func (h *handler) OnPacketsLost(ctx *gortsplib.ServerHandlerOnPacketsLostCtx) {
	if r, ok := ctx.Session.UserData().(*recording); ok {
		r.lost.Add(ctx.Lost)
	}
}

// OnStreamWriteError is not called, as packets are written to sessions one by one.
func (h *handler) OnStreamWriteError(*gortsplib.ServerHandlerOnStreamWriteErrorCtx) {}

// contain turns a panic of a handler into an answer, and the end of that connection alone.
func (h *handler) contain(c *client, res **base.Response, err *error) {
	if broken := recover(); broken != nil {
		h.config.Logger.Error("a request broke its handler", "peer", c.peer, "method", c.request.Method,
			"cause", broken, "stack", string(debug.Stack()))
		*res = answer(base.StatusInternalServerError, "The request broke the server; the operator's log has more.")
		*err = fmt.Errorf("%s broke its handler: %v", c.request.Method, broken)
	}
}

func ok() *base.Response {
	return &base.Response{StatusCode: base.StatusOK, Header: base.Header{}}
}

// statusOf says in RTSP what an error of the hub means.
func statusOf(err error) base.StatusCode {
	switch {
	case errors.Is(err, relay.ErrNoStream), errors.Is(err, relay.ErrNoTrack):
		return base.StatusNotFound
	case errors.Is(err, relay.ErrFull), errors.Is(err, relay.ErrClosed):
		return base.StatusServiceUnavailable
	}
	return base.StatusBadRequest
}

// watch ends a session when what its connection has proven no longer holds.
func (g grant) watch(done <-chan struct{}, end func(cause error)) {
	if err := auth.Watch(done, g.expires, g.check); err != nil {
		end(fmt.Errorf("the token has run out: %w", err))
	}
}
