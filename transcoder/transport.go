package transcoder

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/asticode/go-astits"
)

// transport reads the PES packets of the one track in the transport stream that FFmpeg writes to a pipe (ISO/IEC
// 13818-1). go-astits takes tables and packets of 188 bytes apart. Joining them to PES packets it does for streams of
// any kind that may lose any packet, and copies all that it has of a frame with each packet, to look whether it is
// whole; from a pipe nothing gets lost, so that here each byte is looked at once.
type transport struct {
	demuxer *astits.Demuxer
	track   *astits.PMTElementaryStream

	open bool   // a PES packet has begun
	pes  []byte // what there is of it
	size int    // of the one before: a guess at the size of the next
}

const (
	tsPacketBytes = 188
	pesFixed      = 6        // bytes: start code, stream id and length
	maxPES        = 16 << 20 // bytes; no frame is larger
	pipeBytes     = 64 << 10 // what a pipe of Linux holds: one read takes all that there is
)

// errTransport tells that what was read is not what FFmpeg writes.
var errTransport = errors.New("FFmpeg's transport stream makes no sense")

// newTransport reads up to the table of tracks.
func newTransport(r io.Reader) (*transport, error) {
	t := &transport{demuxer: astits.NewDemuxer(context.Background(), bufio.NewReaderSize(r, pipeBytes),
		astits.DemuxerOptPacketSize(tsPacketBytes))}
	for {
		data, err := t.demuxer.NextData()
		switch {
		case errors.Is(err, astits.ErrNoMorePackets):
			return nil, io.EOF
		case err != nil:
			return nil, err
		case data.PMT == nil:
		case len(data.PMT.ElementaryStreams) != 1:
			return nil, errNoTrack
		default:
			t.track = data.PMT.ElementaryStreams[0]
			return t, nil
		}
	}
}

// read gives the payload of the next PES packet, which is the caller's, as soon as its last byte is there, with its
// presentation time in ticks of 90 kHz, of 33 bits. It returns io.EOF at the end.
func (t *transport) read() (pts int64, payload []byte, err error) {
	for {
		p, err := t.demuxer.NextPacket()
		var whole []byte
		switch {
		case errors.Is(err, astits.ErrNoMorePackets):
			if whole = t.finish(true); whole == nil {
				return 0, nil, io.EOF
			}
		case err != nil:
			return 0, nil, err
		case p.Header.PID != t.track.ElementaryPID:
			continue
		case len(t.pes)+len(p.Payload) > maxPES:
			return 0, nil, fmt.Errorf("%w: a frame has more than %d bytes", errTransport, maxPES)
		default:
			whole = t.add(p)
		}
		if whole != nil {
			return parsePES(whole)
		}
	}
}

// add puts a packet to the PES packet that is open, or begins another, and gives the one that is whole with it.
func (t *transport) add(p *astits.Packet) (whole []byte) {
	if p.Header.PayloadUnitStartIndicator {
		whole = t.finish(true)
		t.open, t.pes = true, make([]byte, 0, t.size+tsPacketBytes)
	}
	if t.open {
		t.pes = append(t.pes, p.Payload...)
	}
	if whole == nil {
		whole = t.finish(false)
	}
	return whole
}

// finish closes the open PES packet if it is whole. One that does not tell its length is so where over is true.
func (t *transport) finish(over bool) []byte {
	if !t.open || len(t.pes) < pesFixed {
		return nil
	}
	size := pesFixed + int(binary.BigEndian.Uint16(t.pes[pesFixed-2:]))
	switch {
	case size == pesFixed && over:
		size = len(t.pes)
	case size == pesFixed, len(t.pes) < size:
		return nil
	}
	whole := t.pes[:size:size]
	t.open, t.pes, t.size = false, nil, size
	return whole
}

// parsePES takes the header of a whole PES packet off (ISO/IEC 13818-1, section 2.4.3.6).
func parsePES(pes []byte) (pts int64, payload []byte, err error) {
	const flags, rest, fixed, time = 7, 8, 9, 5
	const hasTime = 0x80
	if len(pes) < fixed+time || pes[0] != 0 || pes[1] != 0 || pes[2] != 1 || pes[flags]&hasTime == 0 {
		return 0, nil, fmt.Errorf("%w: a frame without a time", errTransport)
	}
	begin := fixed + int(pes[rest])
	if begin < fixed+time || begin > len(pes) {
		return 0, nil, fmt.Errorf("%w: the header of a frame is cut short", errTransport)
	}
	b := pes[fixed:]
	pts = int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
	return pts, pes[begin:], nil
}
