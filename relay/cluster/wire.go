package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"strings"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// What nodes tell each other inside memberlist's messages. Integers are unsigned varints (encoding/binary) unless a
// width is given, and then big-endian; str is a varint length and that many bytes; block is the same, but its reader
// passes over bytes at its end that it does not know. So a later version adds fields at the end of a block, and
// neighbours one version apart understand each other; only a change that breaks the layout takes a new version byte.
//
//	meta, in memberlist's alive messages, at most 512 bytes:
//	  version u8 = 1 | boot i64 | flags u8 (1 draining) | load u8 (steps of 1/32) | capacity f32
//	  | link: port u16, str of 0, 4 or 16 bytes of address | region str | HTTP str
//	  | count, roles str… | count, formats str…
//	  | since loads are told apart: line u8, encoders u8 (steps of 1/32) | anything later
//	load is the greater of line and encoders, as nodes told that know of no other; where it stands alone, it is taken for both.
//
//	news, a user message of memberlist, one packet at most:
//	  version u8 = 1 | node str | boot i64 | record; an empty one is the node's goodbye
//
//	state, the user part of memberlist's push/pull:
//	  version u8 = 1 | count, and for each node: node str | boot i64 | complete varint | count, records…
//
//	record, a block: version varint | flags u8 (1 withdrawn, 2 source, 4 params, 8 waits) | kind u8 | stream str | format str
//	  | since i64 | params, if flagged
//
//	params, a block: epoch | codec str | clock rate | width | height | FPS f64 | flags u8 (1 reordered, 2 aligned)
//	  | channels | sample rate | bit rate | count, sets str… | number of the stream's newest break | its time i64
const wireVersion = 1

// Bounds of what is believed. They hold for what is sent, too.
const (
	maxMeta    = 512 // memberlist.MetaMaxSize
	maxLabel   = 64  // bytes of a node's name or region
	maxURL     = 200
	maxRoles   = 16
	maxFormats = 32
	maxSets    = 16
	maxSetsSum = 512 // bytes of all parameter sets of a track; with more, the track travels without

	// maxNews leaves room for memberlist's own framing in a packet (see maxPayload).
	maxNews = 1100

	maxNodes      = 20_000 // that a node knows of
	maxNodeTracks = 10_000 // that one node announces, withdrawn ones that are still remembered included
	maxTracks     = 50_000 // that a node knows of
	maxState      = 16 << 20
)

// loadSteps is how finely load is told. Coarser steps mean less gossip.
const loadSteps = 32

const (
	flagDraining = 1

	flagGone   = 1
	flagSource = 2
	flagParams = 4
	flagWaits  = 8

	flagReordered = 1
	flagAligned   = 2
)

// record is what a node says of one of its tracks.
type record struct {
	Version uint64 // counts the changes of its node's tracks; the greater is the newer
	Gone    bool   // it was withdrawn; only its ID and Version count
	Track   tree.Track
}

// announcement is a node's ledger as it travels in a state.
type announcement struct {
	Node     string
	Boot     int64
	Complete uint64 // Records lack nothing that was announced up to this version
	Records  []record
}

// encodeMeta lays out what a node is. An error says what is too long.
func encodeMeta(n *tree.Node) ([]byte, error) {
	b := []byte{wireVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(n.Boot))
	b = append(b, bit(n.Draining, flagDraining), loadByte(max(n.Load, n.Encoding)))
	b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(n.Capacity)))
	b = binary.BigEndian.AppendUint16(b, n.Link.Port())
	b = appendString(b, n.Link.Addr().Unmap().AsSlice())
	b = appendString(b, n.Region)
	b = appendString(b, n.HTTP)
	b = binary.AppendUvarint(b, uint64(len(n.Roles)))
	for _, role := range n.Roles {
		b = appendString(b, role)
	}
	b = binary.AppendUvarint(b, uint64(len(n.Formats)))
	for _, f := range n.Formats {
		b = appendString(b, f)
	}
	b = append(b, loadByte(n.Load), loadByte(n.Encoding))
	if len(b) > maxMeta {
		return nil, fmt.Errorf("what node %q has to tell of itself takes %d bytes, and %d fit: list fewer formats or shorten its public URL", n.Name, len(b), maxMeta)
	}
	return b, nil
}

// decodeMeta reads and checks what a node of the given name says that it is.
func decodeMeta(name string, b []byte) (tree.Node, error) {
	n := tree.Node{Name: name}
	if len(b) > maxMeta {
		return n, fmt.Errorf("it has %d bytes, more than %d", len(b), maxMeta)
	}
	r := reader{b: b}
	r.version()
	n.Boot = int64(r.u64())
	n.Draining = r.u8()&flagDraining != 0
	n.Load = r.load()
	n.Encoding = n.Load
	n.Capacity = float64(math.Float32frombits(r.u32()))
	port := r.u16()
	if a, ok := netip.AddrFromSlice([]byte(r.str(16))); ok {
		n.Link = netip.AddrPortFrom(a, port)
	}
	n.Region = r.str(maxLabel)
	n.HTTP = r.str(maxURL)
	for range r.count(maxRoles, 1) {
		n.Roles = append(n.Roles, tree.Role(r.str(maxLabel)))
	}
	for range r.count(maxFormats, 1) {
		n.Formats = append(n.Formats, media.Format(r.str(maxLabel)))
	}
	if r.err == nil && len(r.b) > 0 {
		n.Load, n.Encoding = r.load(), r.load()
	}
	if r.err != nil {
		return n, r.err
	}
	return n, checkNode(&n)
}

// checkNode holds of every node that gets into a view, our own included.
func checkNode(n *tree.Node) error {
	if err := checkLabel(n.Name); err != nil {
		return fmt.Errorf("node.name: %w", err)
	}
	if n.Region != "" {
		if err := checkLabel(n.Region); err != nil {
			return fmt.Errorf("node.region: %w", err)
		}
	}
	for _, load := range []float64{n.Load, n.Encoding} {
		if load < 0 || load > 1 || math.IsNaN(load) {
			return fmt.Errorf("a load of %v is not between 0 and 1", load)
		}
	}
	if n.Capacity < 0 || n.Capacity > 1e6 || math.IsNaN(n.Capacity) {
		return fmt.Errorf("a capacity of %v is not between 0 and 1,000,000", n.Capacity)
	}
	for _, role := range n.Roles {
		if err := checkLabel(string(role)); err != nil {
			return fmt.Errorf("role: %w", err)
		}
	}
	for _, f := range n.Formats {
		if _, err := media.ParseFormat(string(f)); err != nil {
			return err
		}
	}
	return checkURL(n.HTTP)
}

func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("public URL %.*q: give one such as \"https://edge1.example.org\" of at most %d characters, without user or query", maxURL, s, maxURL)
	}
	return nil
}

// checkLabel is the grammar of node names and regions: what a host name may have, since that is the usual name.
func checkLabel(s string) error {
	ok := s != "" && len(s) <= maxLabel
	for i := 0; ok && i < len(s); i++ {
		b := s[i]
		ok = 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-_.", b) >= 0
	}
	if !ok {
		return fmt.Errorf("%.*q: use 1 to %d characters of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"", maxLabel, s, maxLabel)
	}
	return nil
}

func encodeNews(node string, boot int64, r record) []byte {
	b := []byte{wireVersion}
	b = appendString(b, node)
	b = binary.BigEndian.AppendUint64(b, uint64(boot))
	return appendRecord(b, r)
}

// encodeGoodbye says that a life of a node ends on purpose.
func encodeGoodbye(node string, boot int64) []byte {
	b := appendString([]byte{wireVersion}, node)
	return append(binary.BigEndian.AppendUint64(b, uint64(boot)), 0)
}

// decodeNews reads a record of a node, or its goodbye, which is a record of version zero.
func decodeNews(b []byte) (node string, boot int64, rec record, err error) {
	if len(b) > maxNews {
		return "", 0, rec, fmt.Errorf("it has %d bytes, more than %d", len(b), maxNews)
	}
	r := reader{b: b}
	r.version()
	node = r.label()
	boot = int64(r.u64())
	if len(r.b) > 0 && r.b[0] == 0 {
		return node, boot, record{}, r.err
	}
	rec = r.record(node)
	if r.err == nil && rec.Version == 0 {
		r.fail(errors.New("changes are counted from one"))
	}
	return node, boot, rec, r.err
}

// encodeState lays out as many announcements as fit, whole ones only: what is left out comes with another exchange.
func encodeState(all []announcement) []byte {
	var body []byte
	count := 0
	for _, a := range all {
		before := len(body)
		body = appendString(body, a.Node)
		body = binary.BigEndian.AppendUint64(body, uint64(a.Boot))
		body = binary.AppendUvarint(body, a.Complete)
		body = binary.AppendUvarint(body, uint64(len(a.Records)))
		for _, rec := range a.Records {
			body = appendRecord(body, rec)
		}
		if len(body) > maxState-16 {
			body = body[:before]
			continue
		}
		count++
	}
	return append(binary.AppendUvarint([]byte{wireVersion}, uint64(count)), body...)
}

// decodeState reads a state into yield, announcement by announcement, so that a long one costs no more memory than its
// longest announcement. It stops at the first error; what was read until then is sound.
func decodeState(b []byte, yield func(announcement)) error {
	if len(b) > maxState {
		return fmt.Errorf("it has %d bytes, more than %d", len(b), maxState)
	}
	r := reader{b: b}
	r.version()
	left := maxTracks + maxNodeTracks // those of the sender come on top
	for range r.count(maxNodes, 12) {
		a := announcement{Node: r.label(), Boot: int64(r.u64()), Complete: r.uvarint()}
		n := r.count(min(maxNodeTracks, left), 14)
		left -= n
		if n > 0 {
			a.Records = make([]record, 0, n)
		}
		for range n {
			if rec := r.record(a.Node); r.err == nil {
				a.Records = append(a.Records, rec)
			}
		}
		if r.err != nil {
			return r.err
		}
		yield(a)
	}
	return r.err
}

func appendRecord(b []byte, r record) []byte {
	t := &r.Track
	flags := bit(r.Gone, flagGone) | bit(t.Source, flagSource) | bit(t.Waits, flagWaits)
	params := t.Params
	if r.Gone {
		params = nil
	}
	flags |= bit(params != nil, flagParams)
	body := binary.AppendUvarint(make([]byte, 0, 256), r.Version)
	body = append(body, flags, byte(t.ID.Kind))
	body = appendString(body, t.ID.Stream)
	body = appendString(body, t.ID.Format)
	body = binary.BigEndian.AppendUint64(body, uint64(t.Since))
	if params != nil {
		body = appendString(body, encodeParams(params))
	}
	return appendString(b, body)
}

func encodeParams(p *media.Params) []byte {
	b := binary.AppendUvarint(make([]byte, 0, 128), uint64(p.Epoch))
	b = appendString(b, p.Codec)
	for _, n := range []int{p.ClockRate, p.Width, p.Height} {
		b = appendInt(b, n)
	}
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.FPS))
	b = append(b, bit(p.Reordered, flagReordered)|bit(p.Aligned, flagAligned))
	for _, n := range []int{p.Channels, p.SampleRate, p.Bitrate} {
		b = appendInt(b, n)
	}
	sets := p.Sets
	if len(sets) > maxSets || total(sets) > maxSetsSum {
		sets = nil // whoever takes the track learns them from its parent; before that they only help to describe it
	}
	b = binary.AppendUvarint(b, uint64(len(sets)))
	for _, set := range sets {
		b = appendString(b, set)
	}
	b = binary.AppendUvarint(b, uint64(p.Break.Number))
	return binary.BigEndian.AppendUint64(b, uint64(p.Break.At))
}

func total(sets [][]byte) (n int) {
	for _, set := range sets {
		n += len(set)
	}
	return n
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// load reads what loadByte wrote.
func (r *reader) load() float64 {
	steps := r.u8()
	if steps > loadSteps && r.err == nil {
		r.fail(fmt.Errorf("a load of %d, where %d is all", steps, loadSteps))
	}
	return float64(steps) / loadSteps
}

// loadByte is a load as it is told.
func loadByte(load float64) byte { return byte(math.Round(clamp(load) * loadSteps)) }

func clamp(f float64) float64 {
	if !(f > 0) { // NaN included
		return 0
	}
	return min(f, 1)
}

func appendString[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendInt writes what cannot be negative; what is so nevertheless counts as unknown.
func appendInt(b []byte, n int) []byte { return binary.AppendUvarint(b, uint64(max(n, 0))) }

func (r *reader) record(node string) record {
	in := reader{b: r.block(maxNews), err: r.err}
	rec := record{Version: in.uvarint()}
	flags := in.u8()
	rec.Gone = flags&flagGone != 0
	t := &rec.Track
	t.Node = node
	t.ID.Kind = media.Kind(in.u8())
	stream, format := in.str(maxNews), in.str(maxLabel)
	t.Since = int64(in.u64())
	t.Source, t.Waits = flags&flagSource != 0, flags&flagWaits != 0
	if flags&flagParams != 0 {
		t.Params = in.params()
	}
	if in.err == nil {
		in.err = in.identify(&t.ID, stream, format)
	}
	if in.err == nil && t.Params != nil && t.Params.Codec.Kind() != t.ID.Kind {
		in.err = fmt.Errorf("codec %.16q does not suit a track of %s", t.Params.Codec, t.ID.Kind)
	}
	if in.err != nil {
		r.fail(in.err)
		return record{}
	}
	return rec
}

func (r *reader) identify(id *media.TrackID, stream, format string) (err error) {
	if id.Kind != media.Video && id.Kind != media.Audio {
		return fmt.Errorf("kind %d is unknown", id.Kind)
	}
	if id.Stream, err = media.ParseName(stream); err != nil {
		return err
	}
	id.Format, err = media.ParseFormat(format)
	return err
}

func (r *reader) params() *media.Params {
	in := reader{b: r.block(maxNews), err: r.err}
	p := &media.Params{}
	epoch := in.uvarint()
	p.Epoch = uint32(epoch)
	p.Codec = media.Codec(in.str(maxLabel))
	p.ClockRate, p.Width, p.Height = in.number(), in.number(), in.number()
	p.FPS = math.Float64frombits(in.u64())
	flags := in.u8()
	p.Reordered, p.Aligned = flags&flagReordered != 0, flags&flagAligned != 0
	p.Channels, p.SampleRate, p.Bitrate = in.number(), in.number(), in.number()
	for range in.count(maxSets, 1) {
		p.Sets = append(p.Sets, append([]byte(nil), in.block(maxSetsSum)...))
	}
	var number uint64
	if in.err == nil && len(in.b) > 0 {
		number = in.uvarint()
		p.Break = media.Break{Number: uint32(number), At: media.Time(in.u64())}
	}
	// A clock of no ticks would divide by zero wherever media time is computed.
	if in.err == nil && (epoch > math.MaxUint32 || number > math.MaxUint32 || p.ClockRate < 1 || p.ClockRate > 1e6 || !(p.FPS >= 0 && p.FPS <= 1000) || p.Channels > 8 || total(p.Sets) > maxSetsSum) {
		in.fail(errors.New("its parameters are out of range"))
	}
	if in.err != nil {
		r.fail(in.err)
		return nil
	}
	return p
}
