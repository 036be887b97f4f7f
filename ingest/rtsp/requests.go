package rtsp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// The bounds of a request (CHECKLISTS R19).
const (
	maxHead    = 8 << 10 // the request line and all headers, in bytes
	maxHeaders = 64
	maxBody    = 128 << 10 // bytes
)

// methods are those that are answered with more than 501, the ones that OPTIONS tells. SET_PARAMETER is none: there is
// nothing here that a client could set.
var methods = []base.Method{
	base.Announce, base.Describe, base.GetParameter, base.Options, base.Pause,
	base.Play, base.Record, base.Setup, base.Teardown,
}

// refusal is the answer to a request that gortsplib is not to see.
type refusal struct {
	status base.StatusCode
	reason string
	line   string // of the request; empty where there is none
	cseq   base.HeaderValue
	final  bool // the connection ends, as it is not known where the next request begins
}

var errRefused = errors.New("what came is no request that can be answered")

// requestReader reads what a peer sends to a server: requests, and interleaved frames (RFC 2326, section 10.12)
// between them, cut into pieces anywhere. It passes on the heads of requests only whole, and only those of RTSP/1.0,
// within the bounds, and with a method that is known here. The others it has refused itself: gortsplib skips what it
// cannot read until it finds something that it can, and closes without a word where it finds nothing.
//
// What it takes for a head, a body and a frame is what gortsplib takes for it, so that nothing hides in one of them.
type requestReader struct {
	from    io.Reader
	flowing func() bool // media comes: what stands between its frames is no reason to end it
	refuse  func(refusal) error

	space   []byte // for held
	held    []byte // read, not passed on yet; a part of space
	pass    int    // bytes that are passed on as they come: the rest of a request or of a frame
	drop    int    // bytes that are thrown away: the body of a request that was refused, a frame that cannot be opened
	refused atomic.Uint64
	cseq    atomic.Pointer[base.HeaderValue] // of the newest request that was passed on

	late    atomic.Bool // frames may come that were sent before the answer to PAUSE or TEARDOWN: they are thrown away
	dropped func()      // told of each of those; not called if nil

	encrypted atomic.Pointer[map[byte]channel] // those whose frames are opened here; nil where none are
	plain     []byte                           // space for what was opened
	unopened  atomic.Uint64                    // frames that were forged, repeated or too long
}

func newRequestReader(from io.Reader, flowing func() bool, refuse func(refusal) error) *requestReader {
	return &requestReader{from: from, flowing: flowing, refuse: refuse, space: make([]byte, maxHead)}
}

// Read gives the next bytes of a request or a frame.
func (r *requestReader) Read(p []byte) (int, error) {
	for r.pass == 0 {
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	p = p[:min(len(p), r.pass)]
	var n int
	var err error
	if len(r.held) > 0 {
		n = copy(p, r.held)
		r.held = r.held[n:]
	} else {
		n, err = r.from.Read(p)
	}
	r.pass -= n
	return n, err
}

// next looks at what comes next, and reads more where that does not tell yet.
func (r *requestReader) next() error {
	r.skip()
	switch {
	case len(r.held) == 0:
		return r.fill()
	case r.held[0] == base.InterleavedFrameMagicByte:
		return r.frame()
	case !isText(r.held[0]):
		return r.turnAway(refusal{status: base.StatusBadRequest, reason: noRequest, final: true})
	}
	if end := bytes.Index(r.held, []byte("\r\n\r\n")); end >= 0 {
		return r.judge(end)
	}
	if len(r.held) == maxHead {
		_, headers, _ := strings.Cut(string(r.held), "\r\n")
		return r.turnAway(refusal{status: base.StatusBadRequest, final: true, cseq: cseqOf(headers),
			reason: fmt.Sprintf("The request line and the headers have more than %d bytes.", maxHead)})
	}
	return r.fill()
}

// channel tells how the frames of a channel are encrypted, if they are.
func (r *requestReader) channel(number byte) (channel, bool) {
	all := r.encrypted.Load()
	if all == nil {
		return channel{}, false
	}
	c, is := (*all)[number]
	return c, is
}

// frameHead is the length of what stands before an interleaved packet: "$", the channel, and the packet's length.
const frameHead = 4

// frame passes an interleaved frame on, opened where it is encrypted. One that cannot be opened is as if lost.
func (r *requestReader) frame() error {
	if len(r.held) < frameHead {
		return r.fill()
	}
	size := frameHead + int(binary.BigEndian.Uint16(r.held[2:]))
	if r.late.Load() {
		r.drop = size
		if r.dropped != nil {
			r.dropped()
		}
		return nil
	}
	c, encrypted := r.channel(r.held[1])
	if !encrypted {
		r.pass = size
		return nil
	}
	if size > len(r.space) {
		r.unopened.Add(1)
		r.drop = size
		return nil
	}
	if len(r.held) < size {
		return r.fill()
	}
	plain, opened := c.open(r.plain, r.held[frameHead:size])
	if !opened || len(plain) > size-frameHead {
		r.unopened.Add(1)
		r.drop = size
		return nil
	}
	r.plain = plain
	number := r.held[1]
	r.held = r.held[size-frameHead-len(plain):] // it has become shorter, and ends where it ended
	r.pass = frameHead + copy(r.held[frameHead:], plain)
	r.held[0], r.held[1] = base.InterleavedFrameMagicByte, number
	binary.BigEndian.PutUint16(r.held[2:], uint16(len(plain)))
	return nil
}

const noRequest = "This is no RTSP request: send RTSP/1.0 (RFC 2326)."

// isText tells whether b may begin what was meant to be a request, so that its CSeq may be found.
func isText(b byte) bool { return '!' <= b && b <= '~' }

func beginsMethod(b byte) bool { return 'A' <= b && b <= 'Z' }

// skip throws away what stands before the next request or frame.
func (r *requestReader) skip() {
	dropped := min(r.drop, len(r.held))
	r.drop -= dropped
	r.held = r.held[dropped:]
	if r.drop > 0 {
		return
	}
	r.held = bytes.TrimLeft(r.held, "\r\n") // RFC 2326, section 4.1, allows empty lines
	for r.flowing() && len(r.held) > 0 && r.held[0] != base.InterleavedFrameMagicByte && !beginsMethod(r.held[0]) {
		r.held = r.held[1:]
	}
}

// fill reads more.
func (r *requestReader) fill() error {
	n := copy(r.space, r.held)
	more, err := r.from.Read(r.space[n:])
	r.held = r.space[:n+more]
	if more > 0 {
		return nil // an error comes again
	}
	return err
}

// judge passes a request on or refuses it. Its head ends at held[end].
func (r *requestReader) judge(end int) error {
	h, refused := parseHead(string(r.held[:end]))
	whole := end + len("\r\n\r\n")
	if refused == nil {
		r.pass = whole + h.body
		r.cseq.Store(&h.cseq)
		return nil
	}
	if !refused.final {
		r.drop = whole + h.body
	}
	return r.turnAway(*refused)
}

// turnAway refuses a request; it fails where the connection is to end.
func (r *requestReader) turnAway(refused refusal) error {
	r.refused.Add(1)
	if err := r.refuse(refused); err != nil {
		return err
	}
	if refused.final {
		return errRefused
	}
	return nil
}

// head is what matters of a request's head here.
type head struct {
	method base.Method
	body   int // its length in bytes
	cseq   base.HeaderValue
}

// parseHead reads the head of a request, without the empty line at its end.
func parseHead(text string) (h head, refused *refusal) {
	line, rest, _ := strings.Cut(text, "\r\n")
	no := func(status base.StatusCode, final bool, reason string) *refusal {
		return &refusal{status: status, reason: reason, line: line, cseq: cseqOf(rest), final: final}
	}
	words := strings.Split(line, " ")
	switch version := words[len(words)-1]; {
	case len(words) > 3 && slices.Contains(methods, base.Method(words[0])) && version == "RTSP/1.0":
		return h, no(base.StatusNotFound, true, "The address has a space: the name of a stream has none.")
	case len(words) != 3 || words[0] == "" || !beginsMethod(words[0][0]) || !strings.HasPrefix(version, "RTSP/"):
		return h, no(base.StatusBadRequest, true, noRequest)
	case version != "RTSP/1.0":
		return h, no(base.StatusRTSPVersionNotSupported, true, "Send RTSP/1.0 (RFC 2326).")
	}
	length, err := bodyLength(rest)
	switch {
	case errors.Is(err, errBodyTooLong):
		return h, no(base.StatusRequestEntityTooLarge, true, err.Error())
	case err != nil:
		return h, no(base.StatusBadRequest, true, err.Error())
	}
	h = head{method: base.Method(words[0]), body: length, cseq: cseqOf(rest)}
	if !slices.Contains(methods, h.method) {
		return h, no(base.StatusNotImplemented, false, "This method is not known here: OPTIONS tells which are.")
	}
	return h, nil
}

var errBodyTooLong = fmt.Errorf("the body has more than %d bytes", maxBody)

// bodyLength reads the headers of a request for the length of its body, in bytes.
func bodyLength(headers string) (int, error) {
	length, given := 0, false
	for count := 1; headers != ""; count++ {
		var line string
		line, headers, _ = strings.Cut(headers, "\r\n")
		key, value, is := strings.Cut(line, ":")
		switch {
		case count > maxHeaders:
			return 0, fmt.Errorf("the request has more than %d headers", maxHeaders)
		case !is || key == "":
			return 0, errors.New("a header has no name, or no colon after it")
		case !strings.EqualFold(key, "Content-Length"):
			continue
		case given:
			return 0, errors.New("the request has several headers Content-Length")
		}
		n, err := strconv.ParseUint(strings.TrimLeft(value, " "), 10, 63)
		if err != nil {
			return 0, errors.New("the header Content-Length is no number of bytes")
		}
		if n > maxBody {
			return 0, errBodyTooLong
		}
		length, given = int(n), true
	}
	return length, nil
}

// cseqOf is the number of a request, to be repeated in its answer.
func cseqOf(headers string) base.HeaderValue {
	for line := range strings.SplitSeq(headers, "\r\n") {
		if key, value, _ := strings.Cut(line, ":"); strings.EqualFold(key, "CSeq") {
			return base.HeaderValue{strings.TrimLeft(value, " ")}
		}
	}
	return nil
}
