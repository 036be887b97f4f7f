package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"

	"banyan/relay/media"
)

// Info is what an Inspector found in one payload.
type Info struct {
	// Keyframe tells that a random access frame starts with this payload, or, where Insert is set,
	// with Insert.
	Keyframe bool
	// Changed tells that the parameters are new: begin an epoch with Params before writing.
	Changed bool
	// Drop tells to leave the payload out, closing up the numbering: it holds parameter sets and no
	// picture data. The sets are inserted in front of every keyframe anyway, and with them messages (SEI)
	// that shared a packet with them.
	Drop bool
	// Insert are payloads of parameter sets to write first, with the same timestamp; most often one, or none.
	Insert [][]byte
}

// Inspector looks into the payloads of one video track that are forwarded as they are. It brings the
// parameter sets of H.264 and H.265 into one form: all of them in aggregation packets in front of each keyframe,
// however rarely and in whatever packets the publisher sends them. It is owned by one goroutine.
type Inspector struct {
	description
	keyAt  uint32
	keyed  bool // a keyframe was reported with timestamp keyAt
	insert [][]byte

	messages  [][]byte // of dropped payloads, to be inserted with the sets
	messageAt uint32   // their timestamp

	look  func(unit []byte) // adds to found; made once: a closure per packet would be an allocation each
	found survey
}

// NewInspector makes an inspector for a track with parameters p, of which Codec and ClockRate must be
// set and Sets may be (from SDP).
func NewInspector(p media.Params) *Inspector {
	i := &Inspector{description: newDescription(p)}
	i.look = func(unit []byte) { i.see(unit, &i.found) }
	return i
}

// Params are the parameters of the track, as far as they are known.
func (i *Inspector) Params() media.Params { return i.params }

// errShort is returned for payloads that end before their own structure does.
var errShort = errors.New("the RTP payload ends before its structure does")

// Inspect looks at a payload, to be called in order of sequence numbers. timestamp is that of its RTP
// packet. An error means that the payload is malformed and better dropped.
func (i *Inspector) Inspect(payload []byte, timestamp uint32) (Info, error) {
	switch i.params.Codec {
	case media.H264:
		return i.nalUnits(payload, timestamp, h264Units)
	case media.H265:
		return i.nalUnits(payload, timestamp, h265Units)
	case media.AV1:
		return i.av1(payload, timestamp)
	case media.VP8:
		return i.vpx(payload, timestamp, vp8Start)
	case media.VP9:
		return i.vpx(payload, timestamp, vp9Start)
	}
	changed, _ := i.update(&i.found) // audio: each packet stands alone
	return Info{Keyframe: true, Changed: changed}, nil
}

// first tells whether no keyframe with this timestamp was reported before, and notes it.
func (i *Inspector) first(timestamp uint32) bool {
	if i.keyed && i.keyAt == timestamp {
		return false
	}
	i.keyed, i.keyAt = true, timestamp
	return true
}

// nalUnits handles H.264 and H.265. visit calls back for each NAL unit that begins in the payload; of
// a fragmented one, if it is a slice, it passes a rebuilt header and the bytes after it.
func (i *Inspector) nalUnits(payload []byte, timestamp uint32, visit func([]byte, func([]byte)) error) (Info, error) {
	i.found = survey{sets: i.found.sets[:0], messages: i.found.messages[:0]}
	if err := visit(payload, i.look); err != nil {
		return Info{}, err
	}
	if i.found.setsAlone() {
		i.keepMessages(timestamp)
		return Info{Drop: true}, nil
	}
	if !i.found.keyframe || !i.first(timestamp) {
		return Info{}, nil
	}
	changed, ok := i.update(&i.found)
	if !ok {
		i.keyed = false
		return Info{}, nil
	}
	info := Info{Keyframe: true, Changed: changed}
	if changed {
		i.insert = aggregates(i.params.Codec, i.params.Sets)
	}
	switch {
	case len(i.messages) > 0 && i.messageAt == timestamp:
		info.Insert = aggregates(i.params.Codec, append(slices.Clone(i.params.Sets), i.messages...))
	case i.lacksSets(&i.found):
		info.Insert = i.insert
	}
	i.messages = nil
	return info, nil
}

// keepMessages keeps what else there is in a payload that is dropped, for its keyframe, as long as it would
// fit into one packet. Of a frame that is no keyframe it is lost.
func (i *Inspector) keepMessages(timestamp uint32) {
	if i.messageAt != timestamp {
		i.messages, i.messageAt = nil, timestamp
	}
	size := len(aggregate(i.params.Codec, i.messages))
	for _, m := range i.found.messages {
		if size += 2 + len(m); size > MaxPayload {
			return
		}
		i.messages = append(i.messages, bytes.Clone(m))
	}
}

// h264Units visits the NAL units that begin in a payload (RFC 6184, section 5).
func h264Units(payload []byte, visit func([]byte)) error {
	const stapA, fuA, lastSingle = 24, 28, 23
	if len(payload) == 0 {
		return errShort
	}
	switch t := payload[0] & 0x1f; {
	case t >= 1 && t <= lastSingle:
		visit(payload)
		return nil
	case t == stapA:
		return aggregated(payload[1:], visit)
	case t == fuA:
		if len(payload) < 3 {
			return errShort
		}
		header := payload[0]&0xe0 | payload[1]&0x1f
		if start := payload[1]&0x80 != 0; start && h264Kind(h264.NALUType(header&0x1f)).slice() {
			visit(append(append(make([]byte, 0, sliceStart), header), payload[2:min(len(payload), 1+sliceStart)]...))
		}
		return nil
	}
	return errors.New("H.264 payload type is not of packetization-mode 1")
}

// h265Units visits the NAL units that begin in a payload (RFC 7798, section 4.4).
func h265Units(payload []byte, visit func([]byte)) error {
	const ap, fu = 48, 49
	if len(payload) < 3 {
		return errShort
	}
	switch t := payload[0] >> 1 & 0x3f; {
	case t < ap:
		visit(payload)
		return nil
	case t == ap:
		return aggregated(payload[2:], visit)
	case t == fu:
		if start := payload[2]&0x80 != 0; start && h265Kind(h265.NALUType(payload[2]&0x3f)).slice() {
			if len(payload) < 4 {
				return errShort
			}
			header := append(make([]byte, 0, sliceStart), payload[0]&0x81|payload[2]&0x3f<<1, payload[1])
			visit(append(header, payload[3:min(len(payload), 1+sliceStart)]...))
		}
		return nil
	}
	return errors.New("H.265 payload type is reserved")
}

// aggregated visits units that stand behind 16-bit sizes.
func aggregated(rest []byte, visit func([]byte)) error {
	for len(rest) > 0 {
		if len(rest) < 2 {
			return errShort
		}
		size := int(binary.BigEndian.Uint16(rest))
		if rest = rest[2:]; size == 0 || size > len(rest) {
			return errShort
		}
		visit(rest[:size])
		rest = rest[size:]
	}
	return nil
}

// aggregates puts units into as few payloads as their order allows, none longer than MaxPayload but for a unit that is.
func aggregates(codec media.Codec, units [][]byte) (payloads [][]byte) {
	const header, size = 2, 2
	for len(units) > 0 {
		n, total := 0, header
		for n < len(units) && (n == 0 || total+size+len(units[n]) <= MaxPayload) {
			total += size + len(units[n])
			n++
		}
		payload := units[0]
		if n > 1 {
			payload = aggregate(codec, units[:n])
		}
		payloads, units = append(payloads, payload), units[n:]
	}
	return payloads
}

// aggregate makes one payload of parameter sets: STAP-A for H.264, AP for H.265.
func aggregate(codec media.Codec, units [][]byte) []byte {
	out := []byte{0x78} // STAP-A with the highest importance of its NAL units
	if codec == media.H265 {
		out = []byte{48 << 1, 1}
	}
	for _, unit := range units {
		out = binary.BigEndian.AppendUint16(out, uint16(len(unit)))
		out = append(out, unit...)
	}
	return out
}

// av1 handles the aggregation header (AV1 RTP specification, section 4.4): N marks the first packet of
// a coded video sequence, whose first OBU element is then its sequence header.
func (i *Inspector) av1(payload []byte, timestamp uint32) (Info, error) {
	const fromBefore, newSequence = 0x80, 0x08
	if len(payload) < 2 {
		return Info{}, errShort
	}
	if payload[0]&newSequence == 0 || payload[0]&fromBefore != 0 || !i.first(timestamp) {
		return Info{}, nil
	}
	header, err := firstOBU(payload)
	if err != nil {
		return Info{}, err
	}
	i.found = survey{}
	i.see(header, &i.found)
	if !i.found.keyframe {
		return Info{}, nil
	}
	changed, ok := i.update(&i.found)
	return Info{Keyframe: ok, Changed: changed}, nil
}

// firstOBU is the first OBU element of a payload that is not a temporal delimiter; W in the
// aggregation header says whether the last element goes without its size.
func firstOBU(payload []byte) ([]byte, error) {
	count := int(payload[0] >> 4 & 3)
	rest := payload[1:]
	for n := 1; len(rest) > 0; n++ {
		element := rest
		if n != count {
			size, used := binary.Uvarint(rest)
			if used <= 0 || size > uint64(len(rest)-used) {
				return nil, errShort
			}
			element, rest = rest[used:used+int(size)], rest[used+int(size):]
		} else {
			rest = nil
		}
		if kindOf(media.AV1, element) != unitDelimiter {
			return element, nil
		}
	}
	return nil, errShort
}

// vpx handles VP8 and VP9. start returns the beginning of the frame when the payload has it.
func (i *Inspector) vpx(payload []byte, timestamp uint32, start func([]byte) ([]byte, error)) (Info, error) {
	frame, err := start(payload)
	if err != nil || frame == nil {
		return Info{}, err
	}
	i.found = survey{}
	i.see(frame, &i.found)
	if !i.found.keyframe || !i.first(timestamp) {
		return Info{}, nil
	}
	changed, _ := i.update(&i.found)
	return Info{Keyframe: true, Changed: changed}, nil
}

// vp8Start skips the payload descriptor of RFC 7741, section 4.2.
func vp8Start(payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return nil, errShort
	}
	begins := payload[0]&0x10 != 0 && payload[0]&0x07 == 0 // S set, first partition
	n := 1
	if payload[0]&0x80 != 0 { // X
		if len(payload) < 2 {
			return nil, errShort
		}
		extension := payload[1]
		n++
		if extension&0x80 != 0 { // I: picture ID of one or two bytes
			if len(payload) <= n {
				return nil, errShort
			}
			n += 1 + int(payload[n]>>7)
		}
		if extension&0x40 != 0 { // L
			n++
		}
		if extension&0x30 != 0 { // T or K
			n++
		}
	}
	if len(payload) <= n {
		return nil, errShort
	}
	if !begins {
		return nil, nil
	}
	return payload[n:], nil
}

// vp9Start skips the payload descriptor of RFC 9628, section 4.2.
func vp9Start(payload []byte) ([]byte, error) {
	if len(payload) == 0 {
		return nil, errShort
	}
	b := payload[0]
	pictureID, inter, layers, flexible, begins, structure :=
		b&0x80 != 0, b&0x40 != 0, b&0x20 != 0, b&0x10 != 0, b&0x08 != 0, b&0x02 != 0
	d := descriptor{rest: payload[1:]}
	if pictureID && d.byte()&0x80 != 0 {
		d.byte()
	}
	if layers {
		layer := d.byte()
		if !flexible {
			d.byte()
		}
		begins = begins && layer>>1&0x07 == 0 // the base spatial layer starts the picture
	}
	if flexible && inter {
		for n := 0; n < 3 && d.byte()&0x01 != 0; n++ {
		}
	}
	if structure {
		d.scalability()
	}
	if d.short || len(d.rest) == 0 {
		return nil, errShort
	}
	if !begins || inter {
		return nil, nil
	}
	return d.rest, nil
}

// descriptor reads bytes of a payload descriptor and remembers when they ran out.
type descriptor struct {
	rest  []byte
	short bool
}

func (d *descriptor) byte() byte {
	if len(d.rest) == 0 {
		d.short = true
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

// scalability skips the scalability structure.
func (d *descriptor) scalability() {
	b := d.byte()
	spatial, sizes, groups := int(b>>5)+1, b&0x10 != 0, b&0x08 != 0
	if sizes {
		for range 4 * spatial {
			d.byte()
		}
	}
	if groups {
		for range int(d.byte()) {
			references := int(d.byte() >> 2 & 0x03)
			for range references {
				d.byte()
			}
		}
	}
}
