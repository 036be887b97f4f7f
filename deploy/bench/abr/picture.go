package abr

import (
	"bytes"
	"slices"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/pion/rtp/codecs"

	"banyan/relay/media"
)

// Picture is one that could be decoded.
type Picture struct {
	At        time.Time // when it was whole, and so were those before it
	Timestamp uint32
	Width     int // of its group, in pixels
}

// Pictures are what the player could show so far: those that are whole, as far as nothing is missing before them since
// their keyframe.
func (p *Player) Pictures() (list []Picture) {
	packets := p.arrived()
	slices.SortStableFunc(packets, func(a, b arrival) int { return int(int16(a.SequenceNumber - b.SequenceNumber)) })
	packets = slices.CompactFunc(packets, func(a, b arrival) bool { return a.SequenceNumber == b.SequenceNumber })
	var unit []byte
	var at time.Time
	whole, decodable, width := true, false, 0
	depacketizer := &codecs.H264Packet{}
	for i, packet := range packets {
		if i > 0 && packet.SequenceNumber != packets[i-1].SequenceNumber+1 {
			whole, unit = false, nil
			depacketizer = &codecs.H264Packet{}
		}
		if packet.at.After(at) {
			at = packet.at
		}
		part, err := depacketizer.Unmarshal(packet.Payload)
		if err != nil {
			whole = false
		}
		unit = append(unit, part...)
		if !packet.Marker {
			continue
		}
		if w := widthOf(unit); w > 0 { // a keyframe has its sets before it
			decodable = whole || i > 0
			width, whole = w, true
		}
		decodable = decodable && whole
		if decodable {
			list = append(list, Picture{at, packet.Timestamp, width})
		} else {
			at = time.Time{}
		}
		whole, unit = true, nil
	}
	return list
}

// widthOf is the width that the parameter sets in an access unit tell; zero where it has none.
func widthOf(unit []byte) int {
	for _, part := range bytes.Split(unit, []byte{0, 0, 0, 1}) {
		if len(part) == 0 || part[0]&0x1f != byte(h264.NALUTypeSPS) {
			continue
		}
		var sps h264.SPS
		if sps.Unmarshal(part) == nil {
			return sps.Width()
		}
	}
	return 0
}

// Between are the pictures from one instant to another.
func Between(list []Picture, from, to time.Time) []Picture {
	return slices.DeleteFunc(slices.Clone(list), func(f Picture) bool { return f.At.Before(from) || !f.At.Before(to) })
}

// lateness is how late each picture came, but for a constant.
func lateness(list []Picture) (late []time.Duration) {
	for _, f := range list {
		late = append(late, f.At.Sub(list[0].due(f)))
	}
	return late
}

// due is when f is to be shown if the picture is shown when it is there.
func (p Picture) due(f Picture) time.Time {
	return p.At.Add(time.Duration(int32(f.Timestamp-p.Timestamp)) * time.Second / media.VideoClockRate)
}

// Frozen is for how long pictures stood still in a player that is so far behind the middle one of them: each is shown at
// its time, or when it is there.
func Frozen(list []Picture, buffer time.Duration) (total, longest time.Duration) {
	const still = 200 * time.Millisecond
	late := lateness(list)
	slices.Sort(late)
	var last time.Time
	for _, f := range list {
		shown := list[0].due(f).Add(late[len(late)/2] + buffer)
		if f.At.After(shown) {
			shown = f.At
		}
		if shown.Before(last) {
			shown = last
		}
		if gap := shown.Sub(last); !last.IsZero() {
			longest = max(longest, gap)
			if gap > still {
				total += gap
			}
		}
		last = shown
	}
	return total, longest
}
