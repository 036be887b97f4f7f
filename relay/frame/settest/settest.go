// Package settest makes streams with several parameter sets of a kind for tests, as some cameras send them and no encoder
// at hand does: it gives other ids to the sets of an ordinary stream and to the slices that refer to them.
package settest

import (
	"bytes"
	"fmt"
	"math/bits"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"

	"banyan/relay/media"
)

// Second is an id whose code is a byte longer than that of id 0, so that what follows it in a slice stays aligned to
// bytes, as CABAC needs it.
const Second = 15

// Renumber gives a NAL unit of H.264 or H.265 other ids: a SPS the id sps, a PPS the id pps and the reference sps, a
// slice the reference pps. Other units stay as they are.
func Renumber(codec media.Codec, unit []byte, sps, pps int) []byte {
	size, layout := header(codec, unit)
	if layout == nil {
		return unit
	}
	in := reader{text: binary(h264.EmulationPreventionRemove(unit[size:]))}
	var out strings.Builder
	for _, field := range layout {
		switch field {
		case 's':
			in.number()
			out.WriteString(code(sps))
		case 'p':
			in.number()
			out.WriteString(code(pps))
		case 'n':
			out.WriteString(in.number())
		case 'b':
			out.WriteString(in.take(1))
		case 'B':
			out.WriteString(in.take(8))
		}
	}
	rest := in.text
	out.WriteString(rest[:strings.LastIndexByte(rest, '1')+1]) // with the stop bit
	return append(bytes.Clone(unit[:size]), escape(pack(out.String()))...)
}

// RenumberAll is Renumber for all units of a frame.
func RenumberAll(codec media.Codec, units [][]byte, sps, pps int) [][]byte {
	out := make([][]byte, len(units))
	for i, unit := range units {
		out[i] = Renumber(codec, unit, sps, pps)
	}
	return out
}

// header tells how long the header of a unit is, and what comes first behind it: s and p are ids, n another number of
// variable length, b a bit, B eight of them.
func header(codec media.Codec, unit []byte) (size int, layout []byte) {
	if codec == media.H264 {
		switch unit[0] & 0x1f {
		case 1, 5:
			return 1, []byte("nnp")
		case 7:
			return 1, []byte("BBBs")
		case 8:
			return 1, []byte("ps")
		}
		return 1, nil
	}
	const firstIRAP, lastIRAP, lastVCL, spsType, ppsType = 16, 23, 31, 33, 34
	switch t := unit[0] >> 1 & 0x3f; {
	case t >= firstIRAP && t <= lastIRAP:
		return 2, []byte("bbp")
	case t <= lastVCL:
		return 2, []byte("bp")
	case t == spsType:
		return 2, []byte("B" + strings.Repeat("B", 12) + "s") // a profile without temporal layers has 12 bytes
	case t == ppsType:
		return 2, []byte("ps")
	}
	return 2, nil
}

// reader takes bits, as text, from the front.
type reader struct{ text string }

func (r *reader) take(n int) string {
	taken := r.text[:n]
	r.text = r.text[n:]
	return taken
}

func (r *reader) number() string { return r.take(2*strings.IndexByte(r.text, '1') + 1) }

// code is n as ue(v), ITU-T H.264, section 9.1.
func code(n int) string {
	return strings.Repeat("0", bits.Len(uint(n+1))-1) + fmt.Sprintf("%b", n+1)
}

func binary(data []byte) string {
	var out strings.Builder
	for _, b := range data {
		fmt.Fprintf(&out, "%08b", b)
	}
	return out.String()
}

func pack(text string) []byte {
	out := make([]byte, (len(text)+7)/8)
	for i, c := range text {
		if c == '1' {
			out[i/8] |= 0x80 >> (i % 8)
		}
	}
	return out
}

// escape keeps start codes from appearing (ITU-T H.264, section 7.4.1).
func escape(data []byte) (out []byte) {
	zeros := 0
	for _, b := range data {
		if zeros == 2 && b <= 3 {
			out, zeros = append(out, 3), 0
		}
		out = append(out, b)
		zeros++
		if b != 0 {
			zeros = 0
		}
	}
	return out
}
