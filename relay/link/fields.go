package link

import (
	"encoding/binary"
	"io"
	"math"

	"banyan/relay/media"
)

// decoder takes fields from the front of a body. After the first error it returns zeros.
type decoder struct {
	rest []byte
	err  error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err, d.rest = malformed(format, args...), nil
	}
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 {
		d.fail("a number is cut short or too long")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.rest)
	if n <= 0 {
		d.fail("a number is cut short or too long")
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

// uint is a uvarint of at most most.
func (d *decoder) uint(most uint64) uint64 {
	v := d.uvarint()
	if v > most {
		d.fail("a number is %d, where at most %d is allowed", v, most)
		return 0
	}
	return v
}

func (d *decoder) offset() int64 { return int64(d.uint(maxOffset)) }

// time is a media time in nanoseconds.
func (d *decoder) time() media.Time { return media.Time(d.uint(maxSeconds * 1e9)) }

func (d *decoder) byte() byte {
	b := d.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.rest) {
		d.fail("a field is cut short")
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) string(most uint64) string { return string(d.bytes(int(d.uint(most)))) }

func (d *decoder) node() string {
	s := d.string(maxNode)
	if d.err == nil {
		if err := checkNode(s); err != nil {
			d.fail("%v", err)
		}
	}
	return s
}

func (d *decoder) nodes() []string {
	list := make([]string, 0, 4)
	for n := d.uint(maxNodes); n > 0 && d.err == nil; n-- {
		list = append(list, d.node())
	}
	return list
}

func (d *decoder) track() media.TrackID {
	stream, format, kind := d.string(512), d.string(64), media.Kind(d.byte())
	if d.err != nil {
		return media.TrackID{}
	}
	name, err := media.ParseName(stream)
	if err != nil {
		d.fail("%v", err)
	}
	f, err := media.ParseFormat(format)
	if err != nil {
		d.fail("%v", err)
	}
	if kind != media.Video && kind != media.Audio {
		d.fail("a track of kind %d", kind)
	}
	return media.TrackID{Stream: name, Format: f, Kind: kind}
}

func (d *decoder) params() media.Params {
	p := media.Params{
		Epoch: uint32(d.uint(math.MaxUint32)), Codec: media.Codec(d.string(32)), ClockRate: int(d.uint(maxRate)),
		Width: int(d.uint(maxSide)), Height: int(d.uint(maxSide)),
	}
	if b := d.bytes(8); d.err == nil {
		p.FPS = math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	flags := d.byte()
	p.Reordered, p.Aligned = flags&1 != 0, flags&2 != 0
	p.Channels, p.SampleRate, p.Bitrate = int(d.uint(255)), int(d.uint(maxRate)), int(d.uint(1<<40))
	for n := d.uint(maxSets); n > 0 && d.err == nil; n-- {
		p.Sets = append(p.Sets, append([]byte(nil), d.bytes(int(d.uint(maxSetBytes)))...))
	}
	if len(d.rest) > 0 {
		p.Break = media.Break{Number: uint32(d.uint(math.MaxUint32)), At: media.Time(d.varint())}
	}
	if d.err == nil && (p.Epoch == 0 || p.ClockRate == 0) {
		d.fail("parameters without an epoch or a clock rate")
	}
	if d.err == nil && (math.IsNaN(p.FPS) || p.FPS < 0 || p.FPS > 10_000) {
		d.fail("%v frames per second", p.FPS)
	}
	return p
}

// checkNode tells whether a name can be that of a node. The grammar is that of the configuration, so that a name is
// safe in a log line, a certificate and a metric label.
func checkNode(name string) error {
	if name == "" || len(name) > maxNode {
		return malformed("a node's name has %d bytes: use 1 to %d", len(name), maxNode)
	}
	for i := range len(name) {
		b := name[i]
		if !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_' || b == '.') {
			return malformed("a node's name has the byte %#x: use A-Z, a-z, 0-9, \"-\", \"_\" and \".\"", b)
		}
	}
	return nil
}

// readUvarint is binary.ReadUvarint with its overflow told apart from an error of the stream.
func readUvarint(r io.ByteReader) (uint64, error) {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			if shift > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
		if shift == 63 && b > 1 {
			break
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
	return 0, malformed("a number has more than 64 bits")
}

func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
