package hls

import (
	"encoding/binary"
	"errors"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// The muxer writes one parameter set of each kind into an init section. A track with more of them gets its decoder
// configuration record (ISO/IEC 14496-15, sections 5.3.3.1 and 8.3.3.1) from here:
//
//	moov > trak > mdia > minf > stbl > stsd > avc1 > avcC
//	moov > trak > mdia > minf > stbl > stsd > hvc1 > hvcC
var (
	pathAVC  = []string{"moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1", "avcC"}
	pathHEVC = []string{"moov", "trak", "mdia", "minf", "stbl", "stsd", "hvc1", "hvcC"}
)

var errBoxes = errors.New("the init section is not made of the boxes that it should have")

// withAllSets puts all parameter sets of p into an init section of one track.
func withAllSets(section []byte, p *media.Params) ([]byte, error) {
	sets := frame.SetsOf(p)
	if len(sets.VPS) <= 1 && len(sets.SPS) <= 1 && len(sets.PPS) <= 1 {
		return section, nil
	}
	switch p.Codec {
	case media.H264:
		return replaceBox(section, pathAVC, func(record []byte) ([]byte, error) { return listAVC(record, &sets) })
	case media.H265:
		return replaceBox(section, pathHEVC, func(record []byte) ([]byte, error) { return listHEVC(record, &sets) })
	}
	return section, nil
}

// listAVC lists sets in an AVCDecoderConfigurationRecord: SPS with a count of five bits, PPS with one of eight.
func listAVC(record []byte, sets *frame.Sets) ([]byte, error) {
	const fixed, maxSPS, maxPPS, reserved = 5, 1<<5 - 1, 1<<8 - 1, 0b111 << 5
	if len(record) < fixed {
		return nil, errBoxes
	}
	sequence, picture := sets.SPS[:min(len(sets.SPS), maxSPS)], sets.PPS[:min(len(sets.PPS), maxPPS)]
	out := append([]byte(nil), record[:fixed]...)
	out = appendSets(append(out, reserved|byte(len(sequence))), sequence)
	return appendSets(append(out, byte(len(picture))), picture), nil
}

// listHEVC lists sets in an HEVCDecoderConfigurationRecord: an array for each kind, with a count of sixteen bits.
func listHEVC(record []byte, sets *frame.Sets) ([]byte, error) {
	const fixed, arrays, complete, vps, sps, pps = 22, 3, 1 << 7, 32, 33, 34
	if len(record) < fixed {
		return nil, errBoxes
	}
	out := append([]byte(nil), record[:fixed]...)
	out = append(out, arrays)
	for _, array := range []struct {
		kind byte
		sets [][]byte
	}{{vps, sets.VPS}, {sps, sets.SPS}, {pps, sets.PPS}} {
		out = append(out, complete|array.kind)
		out = appendSets(binary.BigEndian.AppendUint16(out, uint16(len(array.sets))), array.sets)
	}
	return out, nil
}

func appendSets(out []byte, sets [][]byte) []byte {
	for _, set := range sets {
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(set))), set...)
	}
	return out
}

// replaceBox changes the content of the box at a path of types, and the sizes of those around it.
func replaceBox(boxes []byte, path []string, change func([]byte) ([]byte, error)) ([]byte, error) {
	const header = 8 // size and type
	for at := 0; at+header <= len(boxes); {
		size := int(binary.BigEndian.Uint32(boxes[at:]))
		if size < header || size > len(boxes)-at {
			return nil, errBoxes
		}
		end := at + size
		if string(boxes[at+4:at+header]) != path[0] {
			at = end
			continue
		}
		content, err := replaceIn(boxes[at+header:end], path, change)
		if err != nil {
			return nil, err
		}
		out := append([]byte(nil), boxes[:at]...)
		out = binary.BigEndian.AppendUint32(out, uint32(header+len(content)))
		out = append(append(out, path[0]...), content...)
		return append(out, boxes[end:]...), nil
	}
	return nil, errBoxes
}

// replaceIn is replaceBox for the content of the box path[0]; some have fields in front of the boxes in them.
func replaceIn(content []byte, path []string, change func([]byte) ([]byte, error)) ([]byte, error) {
	if len(path) == 1 {
		return change(content)
	}
	fields := map[string]int{"stsd": 8, "avc1": 78, "hvc1": 78}[path[0]]
	if len(content) < fields {
		return nil, errBoxes
	}
	inner, err := replaceBox(content[fields:], path[1:], change)
	return append(append([]byte(nil), content[:fields]...), inner...), err
}
