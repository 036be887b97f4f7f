// Package ivf reads and writes IVF, the simplest container there is for video. FFmpeg gets all video
// in it over pipes, and gives VP8, VP9 and AV1 in it, which MPEG-TS cannot carry.
//
// A file is one header and then frames, all numbers little-endian:
//
//	header, 32 bytes                        frame, 12 bytes and the payload
//	 0  "DKIF"                               0  size of the payload, 32 bits
//	 4  version, 16 bits, 0                  4  presentation time, 64 bits, in units of the header
//	 6  length of the header, 16 bits, 32   12  payload
//	 8  codec: "VP80", "VP90", "AV01"; to FFmpeg also "H264" and others
//	12  width, height, 16 bits each
//	16  rate, scale, 32 bits each: a unit of time is scale/rate seconds
//	24  number of frames, unused, 32 bits each
package ivf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Limits of what a Reader takes.
const (
	// MaxFrame is the largest payload of a frame in bytes.
	MaxFrame = 16 << 20
	// MaxRate bounds Header.Rate and Header.Scale, so that times can be converted without overflow.
	MaxRate = 1 << 30

	headerBytes = 32
	frameBytes  = 12
)

// ErrFormat tells that what was read is not IVF.
var ErrFormat = errors.New("not a valid IVF stream")

// Header describes the one track of a file.
type Header struct {
	Codec         [4]byte // such as "VP80"
	Width, Height int     // pixels, up to 65535
	Rate, Scale   int     // a unit of time is Scale/Rate seconds
}

// Frame is a frame of video.
type Frame struct {
	Time    int64 // presentation time in units of the header
	Payload []byte
}

// Writer writes IVF.
type Writer struct {
	w       io.Writer
	scratch []byte
}

// NewWriter writes the header.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	b := make([]byte, headerBytes)
	copy(b, "DKIF")
	binary.LittleEndian.PutUint16(b[6:], headerBytes)
	copy(b[8:12], h.Codec[:])
	binary.LittleEndian.PutUint16(b[12:], uint16(h.Width))
	binary.LittleEndian.PutUint16(b[14:], uint16(h.Height))
	binary.LittleEndian.PutUint32(b[16:], uint32(h.Rate))
	binary.LittleEndian.PutUint32(b[20:], uint32(h.Scale))
	if _, err := w.Write(b); err != nil {
		return nil, fmt.Errorf("write IVF header: %w", err)
	}
	return &Writer{w: w}, nil
}

// Write writes a frame, in one piece.
func (w *Writer) Write(f Frame) error {
	if len(f.Payload) > MaxFrame {
		return fmt.Errorf("an IVF frame of %d bytes is larger than the limit of %d", len(f.Payload), MaxFrame)
	}
	w.scratch = binary.LittleEndian.AppendUint32(w.scratch[:0], uint32(len(f.Payload)))
	w.scratch = binary.LittleEndian.AppendUint64(w.scratch, uint64(f.Time))
	w.scratch = append(w.scratch, f.Payload...)
	_, err := w.w.Write(w.scratch)
	return err
}

// Reader reads IVF.
type Reader struct {
	r      io.Reader
	header Header
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	var b [headerBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return nil, fmt.Errorf("read IVF header: %w", err)
	}
	h := Header{
		Width:  int(binary.LittleEndian.Uint16(b[12:])),
		Height: int(binary.LittleEndian.Uint16(b[14:])),
		Rate:   int(binary.LittleEndian.Uint32(b[16:])),
		Scale:  int(binary.LittleEndian.Uint32(b[20:])),
	}
	copy(h.Codec[:], b[8:12])
	length := int64(binary.LittleEndian.Uint16(b[6:]))
	switch {
	case string(b[:4]) != "DKIF" || binary.LittleEndian.Uint16(b[4:]) != 0 || length < headerBytes:
		return nil, fmt.Errorf("%w: the header is not one", ErrFormat)
	case h.Rate <= 0 || h.Scale <= 0 || h.Rate > MaxRate || h.Scale > MaxRate:
		return nil, fmt.Errorf("%w: a unit of time of %d/%d s", ErrFormat, h.Scale, h.Rate)
	}
	if _, err := io.CopyN(io.Discard, r, length-headerBytes); err != nil {
		return nil, fmt.Errorf("read IVF header: %w", err)
	}
	return &Reader{r: r, header: h}, nil
}

// Header is the header.
func (r *Reader) Header() Header { return r.header }

// Read reads a frame; its payload is the caller's. It returns io.EOF where the stream ends between
// frames, and io.ErrUnexpectedEOF within one.
func (r *Reader) Read() (Frame, error) {
	var b [frameBytes]byte
	if _, err := io.ReadFull(r.r, b[:]); err != nil {
		return Frame{}, err
	}
	size := binary.LittleEndian.Uint32(b[:])
	if size > MaxFrame {
		return Frame{}, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, size)
	}
	f := Frame{Time: int64(binary.LittleEndian.Uint64(b[4:]))}
	// Grow with what comes, so that a lie about the size costs nothing.
	var err error
	f.Payload, err = readUpTo(r.r, int(size))
	return f, err
}

func readUpTo(r io.Reader, size int) ([]byte, error) {
	const step = 64 << 10
	b := make([]byte, 0, min(size, step))
	for len(b) < size {
		n := min(size-len(b), max(step, len(b)))
		start := len(b)
		b = append(b, make([]byte, n)...)
		if _, err := io.ReadFull(r, b[start:]); err != nil {
			return nil, unexpected(err)
		}
	}
	return b, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
