package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var errShort = errors.New("it ends too early")

// reader takes foreign bytes apart. After an error it yields zeros only.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) u8() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// number reads what fits an int and is sensible for a count of pixels, samples or bits.
func (r *reader) number() int {
	v := r.uvarint()
	if v > 1<<40 {
		r.fail(fmt.Errorf("the number %d is too great", v))
		return 0
	}
	return int(v)
}

// count reads how many things of at least size bytes follow, at most limit.
func (r *reader) count(limit, size int) int {
	v := r.uvarint()
	if v > uint64(limit) || v > uint64(len(r.b)/size) {
		r.fail(fmt.Errorf("it lists %d entries, more than fit", v))
		return 0
	}
	return int(v)
}

func (r *reader) str(limit int) string { return string(r.block(limit)) }

func (r *reader) block(limit int) []byte {
	v := r.uvarint()
	if v > uint64(limit) {
		r.fail(fmt.Errorf("an entry of %d bytes is longer than %d", v, limit))
		return nil
	}
	return r.take(int(v))
}

func (r *reader) version() {
	if v := r.u8(); r.err == nil && v != wireVersion {
		r.fail(fmt.Errorf("it is of version %d, and only version %d is understood: upgrade the older node", v, wireVersion))
	}
}

func (r *reader) label() string {
	s := r.str(maxLabel)
	if r.err == nil {
		if err := checkLabel(s); err != nil {
			r.fail(err)
		}
	}
	return s
}
