// Package feedback is the RTCP between a viewer and the engine: it reads what a receiver says without allocating, and
// writes the reports of a sender (RFC 3550 section 6, RFC 4585, RFC 5104). Packets are compound ones that have been
// opened already, so their sender is known; what they say may still be anything.
package feedback

import (
	"encoding/binary"
	"errors"
	"time"
)

// Types and formats of packets.
const (
	typeSenderReport   = 200
	typeReceiverReport = 201
	typeDescription    = 202
	typeTransport      = 205 // transport-layer feedback
	typePayload        = 206 // payload-specific feedback

	formatNack = 1
	formatPLI  = 1
	formatFIR  = 4
	formatTWCC = 15
)

const (
	headerSize     = 4
	reportSize     = 24
	senderInfoSize = 20
	cname          = 1
	// maxPackets bounds the packets of one compound: a viewer has two tracks to speak of.
	maxPackets = 32
)

// ErrFormat is returned for what is no RTCP.
var ErrFormat = errors.New("not a compound packet of RTCP")

// Report is what a receiver says of a stream (RFC 3550 section 6.4.1).
type Report struct {
	SSRC     uint32
	Lost     uint8  // since the last report, in 256ths
	Highest  uint32 // sequence number, extended
	Jitter   uint32 // in ticks
	LastSR   uint32 // middle bits of the time in the last sender report that arrived; zero before the first
	DelaySR  uint32 // since then, in 65536ths of a second
	TotalOut int32  // packets lost in all; negative where some came twice
}

// RoundTrip is the time to the peer and back, where the report came at now, in the 64-bit format of NTP; zero where
// the report does not tell.
func (r *Report) RoundTrip(now uint64) time.Duration {
	if r.LastSR == 0 {
		return 0
	}
	trip := uint32(now>>16) - r.LastSR - r.DelaySR
	if trip > 1<<31 { // a clock was set, or the peer makes it up
		return 0
	}
	return time.Duration(trip) * time.Second >> 16
}

// Listener is told what a packet says, in its order.
type Listener interface {
	Reported(r Report)
	// Lost is a negative acknowledgement of number seq of a stream.
	Lost(ssrc uint32, seq uint16)
	// WantsKeyframe is a request for a keyframe of a stream, PLI or FIR.
	WantsKeyframe(ssrc uint32)
	// Arrived is transport-wide feedback, the whole packet: package congestion reads on.
	Arrived(packet []byte)
}

// Read tells l what a compound packet says, up to what cannot be read, which is an error. Packets of types that say
// nothing here are passed over, goodbyes among them: a viewer leaves by DTLS, and nobody speaks for another.
func Read(b []byte, l Listener) error {
	for range maxPackets {
		if len(b) == 0 {
			return nil
		}
		if len(b) < headerSize || b[0]>>6 != 2 {
			return ErrFormat
		}
		size := headerSize + 4*int(binary.BigEndian.Uint16(b[2:]))
		if size > len(b) {
			return ErrFormat
		}
		if err := readPacket(b[:size], l); err != nil {
			return err
		}
		b = b[size:]
	}
	return ErrFormat
}

func readPacket(b []byte, l Listener) error {
	b, err := unpadded(b)
	if err != nil {
		return err
	}
	count := int(b[0] & 31) // or format
	switch b[1] {
	case typeReceiverReport:
		return readReports(b, headerSize+4, count, l)
	case typeSenderReport:
		return readReports(b, headerSize+4+senderInfoSize, count, l)
	case typeTransport:
		return readTransport(b, count, l)
	case typePayload:
		return readPayload(b, count, l)
	}
	return nil
}

// unpadded is a packet without padding, of which its last byte tells the length.
func unpadded(b []byte) ([]byte, error) {
	if b[0]&0x20 == 0 {
		return b, nil
	}
	n := int(b[len(b)-1])
	if n == 0 || n > len(b)-headerSize {
		return nil, ErrFormat
	}
	return b[:len(b)-n], nil
}

func readReports(b []byte, from, count int, l Listener) error {
	if len(b) < from+count*reportSize {
		return ErrFormat
	}
	for i := range count {
		r := b[from+i*reportSize:][:reportSize]
		l.Reported(Report{
			SSRC: binary.BigEndian.Uint32(r), Lost: r[4], TotalOut: int32(binary.BigEndian.Uint32(r[4:])<<8) >> 8,
			Highest: binary.BigEndian.Uint32(r[8:]), Jitter: binary.BigEndian.Uint32(r[12:]),
			LastSR: binary.BigEndian.Uint32(r[16:]), DelaySR: binary.BigEndian.Uint32(r[20:]),
		})
	}
	return nil
}

const feedbackHeader = headerSize + 8 // SSRC of the sender and of the media

func readTransport(b []byte, format int, l Listener) error {
	if len(b) < feedbackHeader {
		return ErrFormat
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	switch format {
	case formatNack: // RFC 4585 section 6.2.1
		for b = b[feedbackHeader:]; len(b) >= 4; b = b[4:] {
			seq, more := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
			l.Lost(ssrc, seq)
			for i := uint16(1); more != 0; i, more = i+1, more>>1 {
				if more&1 != 0 {
					l.Lost(ssrc, seq+i)
				}
			}
		}
	case formatTWCC:
		l.Arrived(b)
	}
	return nil
}

func readPayload(b []byte, format int, l Listener) error {
	if len(b) < feedbackHeader {
		return ErrFormat
	}
	switch format {
	case formatPLI: // RFC 4585 section 6.3.1
		l.WantsKeyframe(binary.BigEndian.Uint32(b[8:]))
	case formatFIR: // RFC 5104 section 4.3.1: the streams are in the entries
		const entry = 8
		for b = b[feedbackHeader:]; len(b) >= entry; b = b[entry:] {
			l.WantsKeyframe(binary.BigEndian.Uint32(b))
		}
	}
	return nil
}

// SenderReport says what was sent on a stream so far, and which timestamp stands for which instant.
type SenderReport struct {
	SSRC            uint32
	NTP             uint64 // 64-bit format: seconds since 1900 and a binary fraction
	RTP             uint32 // timestamp that stands for NTP
	Packets, Octets uint32
	Name            string // CNAME (RFC 3550 section 6.5.1), the same for streams to be played in step; at most 255 bytes
}

// AppendTo appends the report and a description with the name, a compound packet.
func (r *SenderReport) AppendTo(dst []byte) []byte {
	dst = append(dst, 2<<6, typeSenderReport, 0, (headerSize+4+senderInfoSize)/4-1)
	dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
	dst = binary.BigEndian.AppendUint64(dst, r.NTP)
	dst = binary.BigEndian.AppendUint32(dst, r.RTP)
	dst = binary.BigEndian.AppendUint32(dst, r.Packets)
	dst = binary.BigEndian.AppendUint32(dst, r.Octets)

	name := r.Name[:min(len(r.Name), 255)]
	chunk := (4 + 2 + len(name) + 1 + 3) &^ 3 // the list of items ends with at least one zero
	end := len(dst) + headerSize + chunk
	dst = append(dst, 2<<6|1, typeDescription, byte(chunk/4>>8), byte(chunk/4))
	dst = binary.BigEndian.AppendUint32(dst, r.SSRC)
	dst = append(dst, cname, byte(len(name)))
	dst = append(dst, name...)
	for len(dst) < end {
		dst = append(dst, 0)
	}
	return dst
}

// SenderReportSize is how long a report with a name of n bytes is at most.
func SenderReportSize(n int) int { return headerSize + 4 + senderInfoSize + headerSize + 4 + 2 + n + 4 }
