package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"banyan/relay/media"
)

// The wire format. It is laid out here and nowhere else.
//
// Two nodes share one QUIC connection (TLS 1.3, ALPN "banyan-link"). The child dials. It opens the one
// bidirectional stream of the connection, for control. The parent opens a unidirectional stream per group, and one
// for each answer to what it is asked. Neither opens any other stream.
//
//	uvarint   unsigned LEB128, at most 10 bytes (encoding/binary)
//	varint    the same, zigzag
//	string    uvarint length, bytes
//	strings   uvarint count, count × string
//
// # Control stream: a sequence of frames
//
//	byte      type
//	uvarint   length of the body, at most 64 KiB
//	bytes     body
//
// A type with the critical bit (0x80) has to be understood; who does not, ends the connection. Other unknown
// types are skipped, and so is what stands in a body behind the fields that are known. That is how neighbours
// that are one version apart talk to each other: each version may add frames and append fields. A field may be missing
// only at the end of a body, where the sender does not know it: whoever knows it writes it, so that the next one stands
// where it is looked for.
//
//	0x81 HELLO        both, first       uvarint least version, uvarint newest version, string node
//	0x82 SUBSCRIBE    child to parent   uvarint sub, string stream, string format, byte kind, uvarint from,
//	                                    strings below; since version 2, and then always: uvarint flags (1 whole);
//	                                    since version 3, and then always: uvarint after
//	0x83 UNSUBSCRIBE  child to parent   uvarint sub
//	0x84 ACCEPTED     parent to child   uvarint sub, uvarint head, strings path
//	0x85 REFUSED      parent to child   uvarint sub, uvarint code, string text
//	0x86 END          parent to child   uvarint sub, uvarint code, string text, uvarint groups
//	0x01 HEARTBEAT    both              nothing
//	0x02 KEYFRAME     child to parent   uvarint sub
//	0x03 PATH         parent to child   uvarint sub, strings path
//	0x04 GOING_AWAY   parent to child   nothing
//	0x05 ASK          child to parent   uvarint question; since version 4
//
// sub is chosen by the child, counts up from 1, and is never used again on the connection. from is the first
// offset that the child lacks, 0 for "where a new reader begins". whole tells that the child has nothing before it: it
// is to get the track from a keyframe some time before, so that others can begin there, too. after is the media time,
// in nanoseconds, up to which the child, or who is below it, has the track, 0 where nobody has anything: a maker who only begins
// goes on there, and a child whose from is 0 gets the keyframe before that. below are the nodes that
// will get the track through the child, without the child itself, nearest first. path are the nodes that the track came
// through, its birthplace first, the parent last; none where the parent itself has nobody to take it from. groups is the number of groups that the parent began.
//
// question is chosen by the child, and counts up from 1. It asks the parent how it is, and is answered by a stream. A child
// that asks too much, or before it was told, is not answered.
//
// # Answer stream
//
//	byte      type: 0x83 STATE
//	uvarint   question
//	bytes     what the parent tells of itself, at most 512 KiB, until the stream ends. The link does not read it
//
// # Group stream: one group of pictures, or one second of audio, of one epoch
//
//	byte      type: 0x81 GROUP, 0x82 REPAIR. Streams of other types are left unread, whatever their bits
//	uvarint   length of the header that follows, at most 64 KiB
//	  uvarint sub
//	  uvarint number of the group within the subscription, from 0
//	  uvarint first offset
//	  varint  ticks that the first packet counts from
//	  uvarint sent: microseconds of the parent's link clock that the first packet counts from
//	  params  (below)
//	packets, until the stream ends:
//	  uvarint offset, less the offset after the packet before (or less the first offset); at most 65535
//	  varint  ticks, less those of the packet before
//	  byte    flags of media.Packet
//	  uvarint age: microseconds since Banyan got the packet, plus one; 0 where nobody knows
//	  uvarint sent, less that of the packet before
//	  uvarint length of the payload, at most 65535
//	  bytes   payload
//
// A REPAIR looks like a group, but has no number (it is 0) and no turn: it brings packets of earlier groups that came
// late to the parent itself.
//
// The parameters stand in each group, so that a group can be read whatever became of the control stream and of
// the groups before it: that costs a hundred bytes a second, and saves a wait.
//
//	params    uvarint epoch, string codec, uvarint clock rate, uvarint width, uvarint height, 8 bytes FPS (IEEE 754,
//	          big endian), byte flags (1 reordered, 2 aligned), uvarint channels, uvarint sample rate,
//	          uvarint bitrate, strings sets, uvarint number of the stream's newest break, varint its media time;
//	          the last two may be missing
//
// A stream that is reset with the code STALE was given up because the line was too slow and a newer keyframe had
// come: the group ends where it was cut.
const (
	protocolName = "banyan-link"
	leastVersion = 1
	lastVersion  = 4
	askVersion   = 4 // the first in which a child may ask

	critical = 0x80

	frameHello       = 0x81
	frameSubscribe   = 0x82
	frameUnsubscribe = 0x83
	frameAccepted    = 0x84
	frameRefused     = 0x85
	frameEnd         = 0x86
	frameHeartbeat   = 0x01
	frameKeyframe    = 0x02
	framePath        = 0x03
	frameGoingAway   = 0x04
	frameAsk         = 0x05

	flagWhole = 1 // of SUBSCRIBE

	streamGroup  = 0x81
	streamRepair = 0x82
	streamState  = 0x83
)

// Bounds of what a peer may say.
const (
	maxFrame    = 64 << 10
	maxHeader   = 64 << 10
	maxPayload  = 1<<16 - 1
	maxGap      = 1<<16 - 1 // offsets missing between two packets of a group: no log holds more
	maxNode     = 64        // bytes of a node's name, as the configuration has it; also what a certificate holds
	maxText     = 300       // bytes of a sentence
	maxNodes    = 32        // in a path; far above maxDepth, so that a deeper cluster of a next version can be read
	maxSets     = 32
	maxSetBytes = 16 << 10
	maxOffset   = 1 << 62
	maxSide     = 1 << 16   // pixels
	maxRate     = 1_000_000 // Hz, what media time is exact for
	maxSeconds  = 1 << 33   // of media time: to the year 2242, before nanoseconds overflow
	maxStamp    = 1 << 53   // microseconds
)

// Codes of streams that are given up, and of connections that are closed.
const (
	streamStale    = 1 // the parent skipped to a newer keyframe
	streamUnwanted = 2 // the child does not want it any more, or the subscription ended
	streamUnknown  = 3 // a type of stream that the reader does not know

	closeNormal    = 0
	closeViolation = 1
	closeSilent    = 2
	closeVersion   = 3
	closeRefused   = 4
)

// errMalformed is the root of everything that is wrong with received bytes.
var errMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

type hello struct {
	least, newest uint64
	node          string
}

type subscribe struct {
	sub   uint64
	id    media.TrackID
	from  int64
	below []string
	whole bool
	after media.Time
}

type accepted struct {
	sub  uint64
	head int64
	path []string
}

// verdict is the body of REFUSED, and of END with the number of groups.
type verdict struct {
	sub    uint64
	code   code
	text   string
	groups uint64
}

type pathChange struct {
	sub  uint64
	path []string
}

// header begins a group.
type header struct {
	sub, number uint64
	first       int64
	ticks       int64
	sent        int64
	params      media.Params
}

// record is what a packet looks like on the wire, with its deltas added up.
type record struct {
	packet media.Packet
	age    int64 // microseconds since Banyan got it; -1 where nobody knows
	sent   int64 // microseconds of the parent's link clock
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

func appendFrame(b []byte, kind byte, body []byte) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

func (h hello) append(b []byte) []byte {
	b = binary.AppendUvarint(b, h.least)
	b = binary.AppendUvarint(b, h.newest)
	return appendString(b, h.node)
}

func (s subscribe) append(b []byte) []byte {
	b = binary.AppendUvarint(b, s.sub)
	b = appendString(b, string(s.id.Stream))
	b = appendString(b, string(s.id.Format))
	b = append(b, byte(s.id.Kind))
	b = binary.AppendUvarint(b, uint64(s.from))
	b = appendStrings(b, s.below)
	var flags uint64 // stand there even if there are none: what a next version appends comes behind them
	if s.whole {
		flags |= flagWhole
	}
	b = binary.AppendUvarint(b, flags)
	return binary.AppendUvarint(b, uint64(max(s.after, 0)))
}

func (a accepted) append(b []byte) []byte {
	b = binary.AppendUvarint(b, a.sub)
	b = binary.AppendUvarint(b, uint64(a.head))
	return appendStrings(b, a.path)
}

func (v verdict) append(b []byte) []byte {
	b = binary.AppendUvarint(b, v.sub)
	b = binary.AppendUvarint(b, uint64(v.code))
	b = appendString(b, v.text)
	return binary.AppendUvarint(b, v.groups)
}

func (p pathChange) append(b []byte) []byte {
	return appendStrings(binary.AppendUvarint(b, p.sub), p.path)
}

func (h *header) append(b []byte) []byte {
	b = binary.AppendUvarint(b, h.sub)
	b = binary.AppendUvarint(b, h.number)
	b = binary.AppendUvarint(b, uint64(h.first))
	b = binary.AppendVarint(b, h.ticks)
	b = binary.AppendUvarint(b, uint64(h.sent))
	return appendParams(b, &h.params)
}

func appendParams(b []byte, p *media.Params) []byte {
	b = binary.AppendUvarint(b, uint64(p.Epoch))
	b = appendString(b, string(p.Codec))
	b = binary.AppendUvarint(b, uint64(p.ClockRate))
	b = binary.AppendUvarint(b, uint64(p.Width))
	b = binary.AppendUvarint(b, uint64(p.Height))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.FPS))
	var flags byte
	if p.Reordered {
		flags |= 1
	}
	if p.Aligned {
		flags |= 2
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(p.Channels))
	b = binary.AppendUvarint(b, uint64(p.SampleRate))
	b = binary.AppendUvarint(b, uint64(p.Bitrate))
	b = binary.AppendUvarint(b, uint64(len(p.Sets)))
	for _, set := range p.Sets {
		b = binary.AppendUvarint(b, uint64(len(set)))
		b = append(b, set...)
	}
	b = binary.AppendUvarint(b, uint64(p.Break.Number))
	return binary.AppendVarint(b, int64(p.Break.At))
}

// groupState is what both ends of a group count on from packet to packet.
type groupState struct {
	next  int64 // offset after the packet before
	ticks int64
	sent  int64
	rate  int
}

func newGroupState(h *header) groupState {
	return groupState{next: h.first, ticks: h.ticks, sent: h.sent, rate: h.params.ClockRate}
}

// appendRecord writes r, whose offset must be at most maxGap above the one before it.
func (g *groupState) appendRecord(b []byte, r *record) []byte {
	p := &r.packet
	b = binary.AppendUvarint(b, uint64(p.Offset-g.next))
	b = binary.AppendVarint(b, p.Ticks-g.ticks)
	b = append(b, byte(p.Flags))
	b = binary.AppendUvarint(b, uint64(r.age+1))
	b = binary.AppendUvarint(b, uint64(r.sent-g.sent))
	b = binary.AppendUvarint(b, uint64(len(p.Payload)))
	b = append(b, p.Payload...)
	g.next, g.ticks, g.sent = p.Offset+1, p.Ticks, r.sent
	return b
}

// byteReader is what frames and groups are read from.
type byteReader interface {
	io.Reader
	io.ByteReader
}

// readRecord reads the next packet. Its payload lies in scratch, until the next call. It returns io.EOF where the
// group ended between two packets.
func (g *groupState) readRecord(r byteReader, scratch *[]byte) (record, error) {
	gap, err := readUvarint(r)
	if err != nil {
		return record{}, err
	}
	zigzag, err := readUvarint(r)
	if err != nil {
		return record{}, unexpected(err)
	}
	step := unzigzag(zigzag)
	flags, err := r.ReadByte()
	if err != nil {
		return record{}, unexpected(err)
	}
	var rest [3]uint64 // age, sent, length
	for i := range rest {
		if rest[i], err = readUvarint(r); err != nil {
			return record{}, unexpected(err)
		}
	}
	age, later, length := rest[0], rest[1], rest[2]
	switch {
	case gap > maxGap || g.next+int64(gap) >= maxOffset:
		return record{}, malformed("a packet leaves %d offsets out", gap)
	case length > maxPayload:
		return record{}, malformed("a payload of %d bytes", length)
	case age > maxStamp || later > maxStamp || g.sent+int64(later) > maxStamp:
		return record{}, malformed("a time beyond bounds")
	case step > maxSeconds*maxRate || step < -maxSeconds*maxRate || !ticksInRange(g.ticks+step, g.rate):
		return record{}, malformed("media time beyond bounds")
	}
	payload, err := readBytes(r, int(length), scratch)
	if err != nil {
		return record{}, err
	}
	offset := g.next + int64(gap)
	g.next, g.ticks, g.sent = offset+1, g.ticks+step, g.sent+int64(later)
	return record{
		packet: media.Packet{Offset: offset, Ticks: g.ticks, Flags: media.Flags(flags), Payload: payload},
		age:    int64(age) - 1, sent: g.sent,
	}, nil
}

func ticksInRange(ticks int64, rate int) bool {
	most := maxSeconds * int64(rate)
	return -most <= ticks && ticks <= most
}

func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // io.EOF comes bare from readers, and wrapped it would mean something else
		return io.ErrUnexpectedEOF
	}
	return err
}

// readFrame reads a frame of the control stream. The body lies in scratch, until the next call.
func readFrame(r byteReader, scratch *[]byte) (kind byte, body []byte, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	body, err = readBlock(r, maxFrame, scratch)
	return kind, body, err
}

// readBlock reads a length and so many bytes.
func readBlock(r byteReader, most uint64, scratch *[]byte) ([]byte, error) {
	n, err := readUvarint(r)
	if err != nil {
		return nil, unexpected(err)
	}
	if n > most {
		return nil, malformed("a length of %d bytes, where %d are allowed", n, most)
	}
	return readBytes(r, int(n), scratch)
}

// readBytes reads n bytes. They lie in scratch, until the next call, which grows with what comes: that a peer tells of many
// costs nothing.
func readBytes(r io.Reader, n int, scratch *[]byte) ([]byte, error) {
	const least = 2048 // bytes; all packets but jumbo frames'
	if cap(*scratch) < min(n, least) {
		*scratch = make([]byte, least)
	}
	for have := 0; have < n; {
		if have == cap(*scratch) {
			*scratch = append(make([]byte, 0, min(n, 2*have)), (*scratch)[:have]...)
		}
		until := min(n, cap(*scratch))
		if _, err := io.ReadFull(r, (*scratch)[have:until]); err != nil {
			return nil, unexpected(err)
		}
		have = until
	}
	return (*scratch)[:n], nil
}

// readHeader reads the header of a group, behind the type of the stream.
func readHeader(r byteReader) (header, error) {
	var scratch []byte
	block, err := readBlock(r, maxHeader, &scratch)
	if err != nil {
		return header{}, err
	}
	d := decoder{rest: block}
	h := header{sub: d.uvarint(), number: d.uvarint(), first: d.offset()}
	h.ticks = d.varint()
	h.sent = int64(d.uint(maxStamp))
	h.params = d.params()
	if d.err == nil && !ticksInRange(h.ticks, h.params.ClockRate) {
		d.fail("media time beyond bounds")
	}
	return h, d.err
}

func decodeHello(body []byte) (hello, error) {
	d := decoder{rest: body}
	h := hello{least: d.uvarint(), newest: d.uvarint(), node: d.node()}
	return h, d.err
}

func decodeSubscribe(body []byte) (subscribe, error) {
	d := decoder{rest: body}
	s := subscribe{sub: d.uvarint(), id: d.track(), from: d.offset(), below: d.nodes()}
	if len(d.rest) > 0 { // since version 2
		s.whole = d.uvarint()&flagWhole != 0
	}
	if len(d.rest) > 0 { // since version 3
		s.after = d.time()
	}
	return s, d.err
}

func decodeAccepted(body []byte) (accepted, error) {
	d := decoder{rest: body}
	a := accepted{sub: d.uvarint(), head: d.offset(), path: d.nodes()}
	return a, d.err
}

func decodeRefused(body []byte) (verdict, error) {
	d := decoder{rest: body}
	v := verdict{sub: d.uvarint(), code: code(d.uvarint()), text: d.string(maxText)}
	return v, d.err
}

func decodeEnd(body []byte) (verdict, error) {
	d := decoder{rest: body}
	v := verdict{sub: d.uvarint(), code: code(d.uvarint()), text: d.string(maxText), groups: d.uvarint()}
	return v, d.err
}

func decodePath(body []byte) (pathChange, error) {
	d := decoder{rest: body}
	p := pathChange{sub: d.uvarint(), path: d.nodes()}
	return p, d.err
}

func decodeNumber(body []byte) (uint64, error) {
	d := decoder{rest: body}
	return d.uvarint(), d.err
}

func appendNumber(n uint64) []byte { return binary.AppendUvarint(nil, n) }
