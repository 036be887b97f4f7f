package rtc

import (
	"testing"

	"banyan/relay/media"
)

// TestTimelineCountsSamples: where the publisher's clock is followed, media time is a sample short for each second packet.
// The timestamps are not, and reports tell the difference.
func TestTimelineCountsSamples(t *testing.T) {
	const length = 960 // 20 ms
	params := &media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2}
	packet := func(ticks int64) *media.Packet {
		return &media.Packet{Ticks: ticks, Params: params, Flags: media.Keyframe | media.FrameEnd, Payload: []byte{0xf8, 0xff, 0xfe}}
	}
	tl := NewTimeline(48000, 0, 77)
	ticks := int64(1_800_000_000 * 48000)
	_, first := tl.Next(packet(ticks), 0)
	for n := int64(1); n <= 3000; n++ { // a minute
		ticks += length - n%2
		if _, ts := tl.Next(packet(ticks), 0); ts-first != n*length {
			t.Fatalf("packet %d is %d samples after the first, want %d", n, ts-first, n*length)
		}
	}
	if got, want := tl.At(media.TimeAt(ticks, 48000)), uint32(first+3000*length); got != want {
		t.Errorf("a report at the last packet's media time says %d, want its timestamp %d", got, want)
	}
	if _, ts := tl.Next(packet(ticks+48000), 0); ts-first != 3000*length+48000 {
		t.Errorf("a pause of a second is %d samples long", ts-first-3000*length)
	}
	if _, ts := tl.Next(packet(ticks+48000+3*length-1), 2); ts-first != 3003*length+48000-1 {
		t.Errorf("after a loss the timestamp is %d, want media time", ts-first)
	}
}
