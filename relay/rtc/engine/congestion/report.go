package congestion

import (
	"encoding/binary"
	"errors"
	"time"
)

// ErrFormat is returned for what is no transport-wide feedback.
var ErrFormat = errors.New("not transport-wide feedback")

// maxStatuses bounds the packets that a report tells of: some seconds of a fast stream. A few bytes may speak of 65,535,
// and to hear them all is work.
const maxStatuses = 1 << 12

// Parts of a report (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1): the header of RTCP feedback, then
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|     base sequence number      |      packet status count      |
//	+-----------------------------------------------+---------------+
//	|                reference time                 | fb pkt. count |
//	+-------------------------------+---------------+---------------+
//	|   status chunks, 16 bits each, then a delta per arrived packet
//
// The reference time is in 64 ms, signed; deltas are in 250 µs.
const (
	feedbackHeader = 12
	reportHeader   = feedbackHeader + 8

	referenceUnit = 64 * time.Millisecond
	deltaUnit     = 250 * time.Microsecond
)

// Statuses of a packet: the ones that arrived are followed by a delta of so many bytes.
const (
	statusSmall = 1
	statusLarge = 2
)

// Report is a packet of feedback that was found to be whole. Next takes it apart. Its bytes must not change meanwhile.
type Report struct {
	Base      uint16 // number of the first packet that it tells of
	Count     int    // packets that it tells of
	Reference int32  // time that the first delta is from, in 64 ms of the receiver's clock; 24 bits that wrap around
	Serial    uint8  // of the report, counts up

	chunks, deltas []byte
	chunk          uint16
	inChunk        int // statuses left in chunk
	told           int
	at             time.Duration // of the last arrival, since the reference time
}

// Arrival is what became of a packet.
type Arrival struct {
	Seq     uint16
	Arrived bool
	At      time.Duration // since the reference time; zero if it did not arrive
}

// ParseReport reads a packet of RTCP without its padding, whose type is known already. All that Next will want is there
// if it returns no error.
func ParseReport(b []byte) (Report, error) {
	if len(b) < reportHeader {
		return Report{}, ErrFormat
	}
	r := Report{
		Base: binary.BigEndian.Uint16(b[feedbackHeader:]), Count: int(binary.BigEndian.Uint16(b[feedbackHeader+2:])),
		Reference: int32(binary.BigEndian.Uint32(b[feedbackHeader+4:])) >> 8, Serial: b[feedbackHeader+7],
		chunks: b[reportHeader:],
	}
	if r.Count == 0 || r.Count > maxStatuses {
		return Report{}, ErrFormat
	}
	walk := r
	size := 0
	for range r.Count {
		status, ok := walk.status()
		if !ok || status > statusLarge { // 3 is reserved
			return Report{}, ErrFormat
		}
		size += status
	}
	if len(walk.chunks) < size {
		return Report{}, ErrFormat
	}
	r.deltas = walk.chunks
	return r, nil
}

// status is that of the next packet; false where the chunks are at an end.
func (r *Report) status() (int, bool) {
	if r.inChunk == 0 {
		if len(r.chunks) < 2 {
			return 0, false
		}
		r.chunk = binary.BigEndian.Uint16(r.chunks)
		r.chunks = r.chunks[2:]
		switch {
		case r.chunk&0x8000 == 0: // a run of one status
			r.inChunk = int(r.chunk & 0x1fff)
			if r.inChunk == 0 {
				return 0, false
			}
		case r.chunk&0x4000 == 0: // a bit each
			r.inChunk = 14
		default: // two bits each
			r.inChunk = 7
		}
	}
	r.inChunk--
	switch {
	case r.chunk&0x8000 == 0:
		return int(r.chunk >> 13 & 3), true
	case r.chunk&0x4000 == 0:
		return int(r.chunk >> r.inChunk & 1), true
	default:
		return int(r.chunk >> (2 * r.inChunk) & 3), true
	}
}

// Next is what became of the next packet, in the order of their numbers; false after the last one.
func (r *Report) Next() (a Arrival, ok bool) {
	if r.told == r.Count {
		return Arrival{}, false
	}
	a.Seq = r.Base + uint16(r.told)
	r.told++
	status, _ := r.status() // ParseReport has seen them all
	switch status {
	case 0:
		return a, true
	case statusSmall:
		r.at += time.Duration(r.deltas[0]) * deltaUnit
	case statusLarge:
		r.at += time.Duration(int16(binary.BigEndian.Uint16(r.deltas))) * deltaUnit
	}
	r.deltas = r.deltas[status:]
	a.Arrived, a.At = true, r.at
	return a, true
}
