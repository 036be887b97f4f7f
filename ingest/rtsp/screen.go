package rtsp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/headers"
	"github.com/bluenviron/gortsplib/v4/pkg/sdp"
)

// A request that makes no sense is refused before gortsplib sees it, which would answer with a bare status, end the
// connection with the session over the smallest slip, and read what strangers send before they have shown who they are.

// verdict is the answer to a request that gortsplib is not to see. The error, where there is one, ends the connection.
type verdict struct {
	res *base.Response
	err error
}

// divert puts in the place of a refused request one that gortsplib asks us to answer, with OnGetParameter.
func divert(req *base.Request) {
	*req = base.Request{Method: base.GetParameter, URL: &base.URL{Scheme: "rtsp", Path: "/"},
		Header: base.Header{"CSeq": base.HeaderValue{"0"}}} // OnResponse puts the right one into the answer
}

// OnGetParameter answers those who ask whether we are there, within a session and without one, and those whose request
// has been refused.
func (h *handler) OnGetParameter(ctx *gortsplib.ServerHandlerOnGetParameterCtx) (*base.Response, error) {
	if v := clientOf(ctx.Conn).verdict; v != nil {
		return v.res, v.err
	}
	return ok(), nil
}

// screen refuses a request, or gives nil where gortsplib may see it.
func (h *handler) screen(c *client, req *base.Request) *verdict {
	res, err := h.judge(c, req)
	if res == nil {
		return nil
	}
	return &verdict{res, err}
}

// Why requests are refused, whatever they ask for.
var (
	errOneCSeq   = errors.New("give the request one CSeq header")
	errNoURL     = errors.New("this method needs a URL: rtsp://host/stream")
	errNoSession = errors.New("the Session header is missing: SETUP has told its value")
	errOtherID   = errors.New("there is no such session on this connection: begin with SETUP, without a Session header")
)

// judge gives the answer to a request that is to be refused, and nil for another.
func (h *handler) judge(c *client, req *base.Request) (res *base.Response, err error) {
	defer h.contain(c, &res, &err)
	switch {
	case len(req.Header["CSeq"]) != 1:
		return h.reject(c, pathOf(req), base.StatusBadRequest, errOneCSeq), nil
	case req.URL == nil && req.Method != base.Options:
		return h.reject(c, "", base.StatusBadRequest, errNoURL), nil
	}
	if err := c.checkSession(req); err != nil {
		return h.reject(c, pathOf(req), base.StatusSessionNotFound, err), nil
	}
	if !c.phase.allows(req.Method) {
		return h.reject(c, pathOf(req), base.StatusMethodNotValidInThisState, errors.New(prerequisites[req.Method])), nil
	}
	if c.goesOn(req.Method) {
		res := ok()
		res.Header["Session"] = base.HeaderValue{c.id}
		return res, nil
	}
	switch req.Method {
	case base.Announce:
		return h.judgeAnnounce(c, req)
	case base.Setup:
		return h.judgeSetup(c, req)
	case base.Play, base.Record:
		return h.judgeStart(c, req), nil
	}
	return nil, nil
}

// goesOn tells whether a request is a publisher's PAUSE, or the RECORD that ends its pause. GStreamer sends PAUSE before
// TEARDOWN. Nothing changes by them: the name stays the publisher's, for as long as it may send nothing. gortsplib
// would forget how to receive its packets.
func (c *client) goesOn(m base.Method) bool {
	return c.phase == recordingMedia && (m == base.Pause || m == base.Record)
}

func pathOf(req *base.Request) string {
	if req.URL == nil {
		return ""
	}
	return req.URL.Path
}

// prerequisites say what to do where a method makes no sense in the phase of a connection.
var prerequisites = map[base.Method]string{
	base.Announce: "this connection has a session: send TEARDOWN first, or use another connection",
	base.Setup:    "media flows already: send TEARDOWN first, or PAUSE to a player's session",
	base.Record:   "send ANNOUNCE and SETUP first",
	base.Play:     "send SETUP first",
	base.Pause:    "nothing flows: send SETUP and PLAY first, or ANNOUNCE, SETUP and RECORD",
	base.Teardown: "there is no session to end",
}

// checkSession tells whether the Session header of a request is that of the connection's own session. One belongs to
// the connection that made it, and its id alone opens nothing: gortsplib would let any connection from the same address
// use it. A request that asks only whether we are there keeps the session alive also without the header.
func (c *client) checkSession(req *base.Request) error {
	given := req.Header["Session"]
	switch {
	case req.Method == base.Describe:
		return nil // gortsplib does not look
	case len(given) > 0:
		id, _, _ := strings.Cut(given[0], ";") // some send the time-out back
		if c.own == nil || len(given) > 1 || id != c.id {
			return errOtherID
		}
		req.Header["Session"] = base.HeaderValue{id}
	case c.id == "" || c.own == nil:
	case req.Method == base.Options, req.Method == base.GetParameter:
		req.Header["Session"] = base.HeaderValue{c.id}
	case req.Method != base.Setup && req.Method != base.Announce && c.phase.allows(req.Method):
		return errNoSession
	}
	return nil
}

// judgeAnnounce asks who the publisher is, and only then reads its description.
func (h *handler) judgeAnnounce(c *client, req *base.Request) (*base.Response, error) {
	to, err := parseTarget(req.URL.Path, req.URL.RawQuery)
	if err != nil {
		return h.reject(c, req.URL.Path, base.StatusNotFound, err), nil
	}
	if c.grant, err = h.prove(c, req, publish, to.name); err != nil {
		return h.refuse(c, publish, to.name, err)
	}
	if err := checkDescription(req); err != nil {
		return h.reject(c, req.URL.Path, base.StatusBadRequest, err), nil
	}
	return nil, nil
}

// checkDescription tells whether gortsplib can read what is announced.
func checkDescription(req *base.Request) error {
	if kind := req.Header["Content-Type"]; len(kind) != 1 || kind[0] != "application/sdp" {
		return errors.New("announce a description of Content-Type application/sdp")
	}
	var text sdp.SessionDescription
	if err := text.Unmarshal(req.Body); err != nil {
		return fmt.Errorf("the description cannot be read: %w", err)
	}
	var session description.Session
	if err := session.Unmarshal(&text); err != nil {
		return fmt.Errorf("the description cannot be read: %w", err)
	}
	if slices.ContainsFunc(session.Medias, func(m *description.Media) bool { return m.IsBackChannel }) {
		return errors.New("the description has a back channel: leave it out")
	}
	return nil
}

// judgeSetup asks who the peer is, and then looks at the transport it wants.
func (h *handler) judgeSetup(c *client, req *base.Request) (*base.Response, error) {
	verb, path := play, req.URL.Path
	var from target
	var query, track string // of a player
	if r, is := c.session.(*recording); is {
		verb, from = publish, target{name: r.grant.name}
	} else {
		var err error
		path, query, track = splitTrack(req.URL)
		if from, err = parseTarget(path, query); err != nil {
			return h.reject(c, req.URL.Path, base.StatusNotFound, err), nil
		}
	}
	var err error
	if c.grant, err = h.prove(c, req, verb, from.name); err != nil {
		return h.refuse(c, verb, from.name, err)
	}
	c.target = from
	if c.phase == ready && path != c.own.SetuppedPath() {
		return h.reject(c, req.URL.Path, base.StatusMethodNotValidInThisState,
			errors.New("a session plays one stream: use another connection for another one")), nil
	}
	if res := h.checkTransport(c, req); res != nil || verb == publish || track != "" {
		return res, nil
	}
	return h.answerSetup(c, nil, nil), nil
}

// splitTrack parts a player's URL from the track that it ends with, as gortsplib does: the first one where it ends
// with a slash, and none, "", where it names none.
func splitTrack(u *base.URL) (path, query, track string) {
	const sign = "/trackID="
	if i := strings.LastIndex(u.RawQuery, sign); i >= 0 {
		return u.Path, u.RawQuery[:i], u.RawQuery[i+len(sign):]
	}
	if i := strings.LastIndex(u.Path, sign); i >= 0 {
		return u.Path[:i], u.RawQuery, u.Path[i+len(sign):]
	}
	if query, is := strings.CutSuffix(u.RawQuery, "/"); is {
		return u.Path, query, "0"
	}
	if path, is := strings.CutSuffix(u.Path, "/"); is && path != "" {
		return path, u.RawQuery, "0"
	}
	return u.Path, u.RawQuery, ""
}

// checkTransport refuses transports that are not there, that do not fit the session, and to send media where it was
// not asked from. That a transport is not there is no mistake: the client is to ask for another.
func (h *handler) checkTransport(c *client, req *base.Request) *base.Response {
	header := req.Header["Transport"]
	if len(header) == 0 || strings.TrimSpace(header[0]) == "" {
		return h.reject(c, req.URL.Path, base.StatusBadRequest, errors.New("the Transport header is missing"))
	}
	offers := withoutForeign(header)
	if offers == "" {
		return answer(base.StatusUnsupportedTransport, h.transports())
	}
	header = base.HeaderValue{offers}
	req.Header["Transport"] = header
	var offered headers.Transports
	if err := offered.Unmarshal(header); err != nil {
		return h.reject(c, req.URL.Path, base.StatusBadRequest, errors.New("the Transport header cannot be read"))
	}
	for _, t := range offered {
		if sentence := checkAddress(&t, c.peer.Addr()); sentence != "" {
			return answer(base.StatusUnsupportedTransport, sentence)
		}
	}
	taken := slices.IndexFunc(offered, h.speaks)
	if taken < 0 {
		return answer(base.StatusUnsupportedTransport, h.transports())
	}
	if err := c.checkFit(&offered[taken]); err != nil {
		return h.reject(c, req.URL.Path, base.StatusBadRequest, err)
	}
	return nil
}

// profiles are the transports that gortsplib can read.
var profiles = []string{
	"RTP/AVP", "RTP/AVP/UDP", "RTP/AVP/TCP", "RTP/SAVP", "RTP/SAVP/UDP", "RTP/SAVP/TCP",
}

// withoutForeign leaves the transports out of a header that have another protocol or profile, as RAW/RAW/UDP and RTP/AVPF
// have, and makes one line of several. The client offers them besides others (RFC 2326, section 12.39); gortsplib would
// find the whole header broken. "" is a header without any that are left.
func withoutForeign(header base.HeaderValue) string {
	var kept []string
	for offer := range strings.SplitSeq(strings.Join(header, ","), ",") {
		profile, _, _ := strings.Cut(strings.TrimSpace(offer), ";")
		if !strings.Contains(profile, "/") || slices.Contains(profiles, profile) {
			kept = append(kept, offer)
		}
	}
	return strings.Join(kept, ",")
}

// transports says which ones there are.
func (h *handler) transports() string {
	if h.lib.UDPRTPAddress != "" {
		return "Choose RTP/AVP, unicast, over UDP or interleaved into this connection."
	}
	return "Choose RTP/AVP/TCP, interleaved into this connection."
}

// speaks tells whether gortsplib takes a transport. It takes the first that it can.
func (h *handler) speaks(t headers.Transport) bool {
	multicast := t.Delivery != nil && *t.Delivery == headers.TransportDeliveryMulticast
	return !t.Secure && (t.Protocol == headers.TransportProtocolTCP || !multicast && h.lib.UDPRTPAddress != "")
}

// checkAddress says what to choose instead of another host, a port that is somebody's service, or a channel that does
// not exist; nothing where media may be sent.
func checkAddress(t *headers.Transport, peer netip.Addr) string {
	if ports := t.ClientPorts; ports != nil && (ports[0] < 1024 || ports[1] != ports[0]+1 || ports[1] > 65535) {
		return "Choose two consecutive client ports between 1024 and 65535."
	}
	if ids := t.InterleavedIDs; ids != nil && (ids[0] < 0 || ids[1] > 255) {
		return "Choose interleaved channels between 0 and 255."
	}
	if d := t.Destination; d != nil && d.String() != peer.Unmap().WithZone("").String() {
		return "Media is sent only to the address that asks for it."
	}
	return ""
}

// checkFit tells whether a transport fits the session and the tracks that are set up.
func (c *client) checkFit(t *headers.Transport) error {
	tcp := t.Protocol == headers.TransportProtocolTCP
	mode := headers.TransportModePlay
	if t.Mode != nil {
		mode = *t.Mode
	}
	if c.own != nil {
		if other := c.own.SetuppedTransport(); other != nil && (*other == gortsplib.TransportTCP) != tcp {
			return errors.New("choose the same transport for all tracks")
		}
	}
	switch ids := t.InterleavedIDs; {
	case !tcp && t.ClientPorts == nil:
		return errors.New("name the client_port for RTP over UDP")
	case tcp && ids != nil && ids[1] != ids[0]+1:
		return errors.New("choose two consecutive interleaved channels")
	case tcp && ids != nil && slices.ContainsFunc(c.channels, func(taken int) bool { return taken-1 <= ids[0] && ids[0] <= taken+1 }):
		return errors.New("choose other interleaved channels: another track has these")
	case c.phase == announced && mode != headers.TransportModeRecord:
		return errors.New("say mode=record, as this session is to publish")
	case c.phase != announced && mode != headers.TransportModePlay:
		return errors.New("mode=record needs an ANNOUNCE before it")
	}
	return nil
}

// judgeStart refuses to begin with a part of a session, which is not done here.
func (h *handler) judgeStart(c *client, req *base.Request) *base.Response {
	path := strings.TrimSuffix(req.URL.Path, "/")
	if strings.HasSuffix(req.URL.RawQuery, "/") { // FFmpeg puts it there
		path = req.URL.Path
	}
	switch {
	case c.phase != playing && path != c.own.SetuppedPath():
		return h.reject(c, req.URL.Path, base.StatusOnlyAggregateOperationAllowed,
			errors.New("use the URL of the stream: its tracks begin together"))
	case req.Method == base.Record && len(c.own.SetuppedMedias()) != len(c.own.AnnouncedDescription().Medias):
		return h.reject(c, req.URL.Path, base.StatusMethodNotValidInThisState,
			errors.New("send SETUP for every track that was announced first"))
	}
	return nil
}

// answerSetup answers the SETUP of a track, nil where the URL names none; done are those that have had one.
func (h *handler) answerSetup(c *client, track *description.Media, done []*description.Media) *base.Response {
	switch {
	case track == nil:
		return h.reject(c, c.request.URL.Path, base.StatusNotFound,
			errors.New("there is no such track: use the URLs of the description"))
	case slices.Contains(done, track): // RFC 2326, section 10.4
		return h.reject(c, c.request.URL.Path, base.StatusMethodNotValidInThisState,
			errors.New("this track has its transport, which cannot change: send TEARDOWN first"))
	}
	return ok()
}

// playedTrack finds the track that a player's URL names; nil where there is none.
func playedTrack(tracks []*description.Media, u *base.URL) *description.Media {
	_, _, track := splitTrack(u)
	i, err := strconv.ParseUint(track, 10, 31)
	if err != nil || i >= uint64(len(tracks)) {
		return nil
	}
	return tracks[i]
}

// announcedTrack finds the track that a publisher's URL names: its control attribute, or that appended to the URL that
// was announced, before the query as GStreamer does it or behind as FFmpeg; nil where there is none.
func announcedTrack(session *gortsplib.ServerSession, u *base.URL) *description.Media {
	whole := base.URL{Scheme: u.Scheme, Host: u.Host, Path: session.SetuppedPath(), RawQuery: session.SetuppedQuery()}
	for _, m := range session.AnnouncedDescription().Medias {
		before, behind := whole, whole
		before.Path += "/" + m.Control
		behind.RawQuery += "/" + m.Control
		switch u.String() {
		case m.Control, before.String():
			return m
		case behind.String():
			if whole.RawQuery != "" {
				return m
			}
		}
	}
	return nil
}
