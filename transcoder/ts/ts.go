// Package ts reads the MPEG transport stream (ISO/IEC 13818-1) that FFmpeg writes to a pipe: one programme with one
// stream, whole and in order. It does what that takes and no more: nothing can be missing in a pipe, so that there are no
// checks of continuity and no search for a lost beginning, and each packet is looked at once.
//
//	packet, 188 bytes: 0x47 | 3 flags, PID 13 bits | 2 scrambling, 2 adaptation, 4 continuity
//	  | adaptation field, if bit 5: length, that many bytes | payload, if bit 4
//	PAT, PID 0: names the PID of the PMT. PMT: names PID and type of the stream. Each fits one packet
//	PES packet, over any number of packets: 00 00 01, stream id | length u16, 0 for "until the next"
//	  | 2 bytes of flags | length of the rest of the header u8 | times, … | payload
package ts

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Type is what a stream is (ISO/IEC 13818-1 table 2-34).
type Type byte

// The types that FFmpeg gives to what is encoded here.
const (
	AAC     Type = 0x0f // in ADTS
	H264    Type = 0x1b // in Annex B
	H265    Type = 0x24 // in Annex B
	Private Type = 0x06 // Opus, with its descriptor
)

// MaxUnit is the largest PES packet in bytes that a Reader takes.
const MaxUnit = 16 << 20

const (
	packetBytes = 188
	syncByte    = 0x47
	patPID      = 0
	noPID       = -1
)

// ErrFormat tells that what was read is not what FFmpeg writes.
var ErrFormat = errors.New("not a transport stream of one programme with one stream")

// Unit is the payload of a PES packet: a picture, or some frames of sound.
type Unit struct {
	PTS     int64  // presentation time in ticks of 90 kHz, 33 bits
	Payload []byte // of nobody else
}

// Reader reads units. It is owned by one goroutine.
type Reader struct {
	r      *bufio.Reader
	packet [packetBytes]byte
	pmt    int // PID of the PMT; noPID before the PAT
	pid    int // of the stream; noPID before the PMT
	kind   Type

	open bool   // a PES packet has begun
	pes  []byte // what there is of it
	size int    // of the one before, a guess at the size of the next
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	const packets = 64 // at once
	return &Reader{r: bufio.NewReaderSize(r, packets*packetBytes), pmt: noPID, pid: noPID}
}

// Type is that of the stream, zero before the first unit.
func (r *Reader) Type() Type { return r.kind }

// Read gives the next unit as soon as it is whole. It returns io.EOF at the end of r, and an error that wraps ErrFormat
// where nothing can be read on.
func (r *Reader) Read() (Unit, error) {
	for {
		if _, err := io.ReadFull(r.r, r.packet[:]); err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return Unit{}, err
			}
			if whole := r.finish(true); whole != nil {
				return parseUnit(whole)
			}
			return Unit{}, io.EOF
		}
		whole, err := r.take()
		if err != nil {
			return Unit{}, err
		}
		if whole != nil {
			return parseUnit(whole)
		}
	}
}

// take looks at a packet, and gives the PES packet that it completes or follows.
func (r *Reader) take() (whole []byte, err error) {
	if r.packet[0] != syncByte {
		return nil, fmt.Errorf("%w: a packet begins with %#x", ErrFormat, r.packet[0])
	}
	starts := r.packet[1]&0x40 != 0
	pid := int(binary.BigEndian.Uint16(r.packet[1:]) & 0x1fff)
	payload := payloadOf(r.packet[:])
	switch {
	case len(payload) == 0:
	case pid == patPID && r.pmt == noPID:
		r.pmt, err = parsePAT(payload)
	case pid == r.pmt && r.pid == noPID:
		r.pid, r.kind, err = parsePMT(payload)
	case pid == r.pid:
		whole, err = r.add(payload, starts)
	}
	return whole, err
}

// payloadOf is what stands behind the header and the adaptation field of a packet.
func payloadOf(packet []byte) []byte {
	at := 4
	if packet[3]&0x20 != 0 {
		at += 1 + int(packet[4])
	}
	if packet[3]&0x10 == 0 || at > len(packet) {
		return nil
	}
	return packet[at:]
}

// add puts payload to the PES packet that is open, or begins another.
func (r *Reader) add(payload []byte, starts bool) (whole []byte, err error) {
	if starts {
		whole = r.finish(true)
		r.open, r.pes = true, make([]byte, 0, max(r.size+packetBytes, len(payload)))
	}
	if !r.open {
		return whole, nil
	}
	if len(r.pes)+len(payload) > MaxUnit {
		return nil, fmt.Errorf("%w: a PES packet has more than %d bytes", ErrFormat, MaxUnit)
	}
	r.pes = append(r.pes, payload...)
	if whole == nil {
		whole = r.finish(false)
	}
	return whole, nil
}

const pesPrefix = 6 // start code, stream id and length

// finish closes the open PES packet if it is whole. One that does not tell its length is so where over is true.
func (r *Reader) finish(over bool) []byte {
	if !r.open || len(r.pes) < pesPrefix {
		return nil
	}
	want := int(binary.BigEndian.Uint16(r.pes[4:]))
	switch {
	case want == 0 && !over, want > 0 && len(r.pes) < pesPrefix+want:
		return nil
	case want == 0:
		want = len(r.pes) - pesPrefix
	}
	whole := r.pes[:pesPrefix+want]
	r.open, r.pes, r.size = false, nil, len(whole)
	return whole
}

// section is the body of the PSI section of a table that begins in a packet, without its CRC.
func section(payload []byte, table byte) ([]byte, error) {
	const header, crc = 3, 4
	at := 1 + int(payload[0])
	if at+header > len(payload) || payload[at] != table {
		return nil, fmt.Errorf("%w: there is no table %d where it should be", ErrFormat, table)
	}
	length := int(binary.BigEndian.Uint16(payload[at+1:]) & 0xfff)
	body := payload[at+header:]
	if length < crc || length > len(body) {
		return nil, fmt.Errorf("%w: table %d is cut short", ErrFormat, table)
	}
	return body[:length-crc], nil
}

// parsePAT gives the PID of the first programme.
func parsePAT(payload []byte) (pmt int, err error) {
	const header, entry = 5, 4
	body, err := section(payload, 0)
	if err != nil {
		return noPID, err
	}
	for at := header; at+entry <= len(body); at += entry {
		if number := binary.BigEndian.Uint16(body[at:]); number != 0 { // zero names the network's table
			return int(binary.BigEndian.Uint16(body[at+2:]) & 0x1fff), nil
		}
	}
	return noPID, fmt.Errorf("%w: it has no programme", ErrFormat)
}

// parsePMT gives PID and type of the one stream.
func parsePMT(payload []byte) (pid int, kind Type, err error) {
	const header, entry = 9, 5
	body, err := section(payload, 2)
	if err != nil {
		return noPID, 0, err
	}
	if len(body) < header {
		return noPID, 0, fmt.Errorf("%w: the programme's table is cut short", ErrFormat)
	}
	at := header + int(binary.BigEndian.Uint16(body[header-2:])&0xfff)
	if at+entry > len(body) {
		return noPID, 0, fmt.Errorf("%w: the programme has no stream", ErrFormat)
	}
	kind = Type(body[at])
	pid = int(binary.BigEndian.Uint16(body[at+1:]) & 0x1fff)
	if next := at + entry + int(binary.BigEndian.Uint16(body[at+3:])&0xfff); next != len(body) {
		return noPID, 0, fmt.Errorf("%w: the programme has several streams", ErrFormat)
	}
	return pid, kind, nil
}

// parseUnit takes the header of a whole PES packet off.
func parseUnit(pes []byte) (Unit, error) {
	const fixed, times = 9, 5
	if pes[0] != 0 || pes[1] != 0 || pes[2] != 1 || len(pes) < fixed {
		return Unit{}, fmt.Errorf("%w: a PES packet without a header", ErrFormat)
	}
	rest := int(pes[8])
	if pes[7]&0x80 == 0 || rest < times || fixed+rest > len(pes) {
		return Unit{}, fmt.Errorf("%w: a PES packet without a time", ErrFormat)
	}
	t := pes[fixed:]
	pts := int64(t[0]>>1&7)<<30 | int64(t[1])<<22 | int64(t[2]>>1)<<15 | int64(t[3])<<7 | int64(t[4]>>1)
	return Unit{PTS: pts, Payload: pes[fixed+rest:]}, nil
}
