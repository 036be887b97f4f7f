package rtc

import (
	"testing"

	"pgregory.net/rapid"

	"banyan/relay/media"
)

// sound is a packet of Opus that lasts 20 ms.
func sound(ticks int64) *media.Packet {
	return &media.Packet{
		Ticks: ticks, Flags: media.Keyframe | media.FrameEnd, Payload: []byte{0xf8, 0xff, 0xfe},
		Params: &media.Params{Codec: media.Opus, ClockRate: 48000, Channels: 2},
	}
}

const (
	soundSpan = 960 // ticks in which a packet of sound is played
	today     = int64(1_800_000_000 * 48000)
)

// TestTimelineCountsSamples: where the publisher's clock is followed, media time jumps by up to half a packet. The
// timestamps do not, and reports tell the difference.
func TestTimelineCountsSamples(t *testing.T) {
	for _, step := range []int64{-480, -1, 1, 480} {
		tl := NewTimeline(48000, 0, 77)
		ticks := today
		_, first := tl.Next(sound(ticks), 0)
		for n := int64(1); n <= 3000; n++ { // a minute
			ticks += soundSpan
			if n%500 == 0 {
				ticks += step
			}
			if _, ts := tl.Next(sound(ticks), 0); ts-first != n*soundSpan {
				t.Fatalf("steps of %d: packet %d is %d samples after the first, want %d", step, n, ts-first, n*soundSpan)
			}
		}
		if got, want := tl.At(media.TimeAt(ticks, 48000)), uint32(first+3000*soundSpan); got != want {
			t.Errorf("steps of %d: a report at the last packet's media time says %d, want its timestamp %d", step, got, want)
		}
		if _, ts := tl.Next(sound(ticks+48000), 0); ts-first != 3000*soundSpan+48000 {
			t.Errorf("steps of %d: a pause of a second is %d samples long", step, ts-first-3000*soundSpan)
		}
		if _, ts := tl.Next(sound(ticks+48000+3*soundSpan-1), 2); ts-first != 3003*soundSpan+48000-1 {
			t.Errorf("steps of %d: after a loss the timestamp is %d, want media time", step, ts-first)
		}
	}
}

// A packet may claim more frames than Opus has in one (RFC 6716 section 3.2.5): media time is believed then.
func TestTimelineDoubtsLengths(t *testing.T) {
	tl := NewTimeline(48000, 0, 0)
	for n := range int64(100) {
		p := sound(today + n*soundSpan)
		p.Payload = []byte{0x1b, 63} // 63 frames of 60 ms
		if _, ts := tl.Next(p, 0); ts != p.Ticks {
			t.Fatalf("packet %d has timestamp %d, want its media time %d", n, ts, p.Ticks)
		}
	}
}

// TestTimelineOfSound has everything that happens to sound: steps after the publisher's clock, losses, silence that is not
// sent (DTX), and other publishers. Packets that follow each other are played without a seam, whatever else passes is as
// long as it was, and reports always tell where media time is.
func TestTimelineOfSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tl := NewTimeline(48000, uint16(rapid.IntRange(0, 1<<15-1).Draw(t, "seq")), rapid.Uint32().Draw(t, "timestamp"))
		ticks := today + rapid.Int64Range(0, 1<<33).Draw(t, "from") // so that 32 bits wrap in some
		seq, ts := tl.Next(sound(ticks), 0)
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			want, lost := int64(soundSpan), int64(0) // from the last packet
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0: // a step after the publisher's clock
				ticks += want + rapid.Int64Range(-soundSpan/2, soundSpan/2).Draw(t, "step")
			case 1: // packets that are lost
				lost = rapid.Int64Range(1, 40).Draw(t, "lost")
				want += lost * soundSpan
				ticks += want
			case 2: // silence
				want += soundSpan * rapid.Int64Range(1, 100).Draw(t, "silence")
				ticks += want
			case 3: // another publisher, after a while
				want += rapid.Int64Range(soundSpan, 48000*7200).Draw(t, "away")
				ticks += want
			default:
				ticks += want
			}
			s, out := tl.Next(sound(ticks), lost)
			if s-seq != 1+min(lost, largestGap) {
				t.Fatalf("after %d lost packets, sequence number %d follows %d", lost, s, seq)
			}
			if out-ts != want {
				t.Fatalf("timestamp %d follows %d, want it %d on", out, ts, want)
			}
			if got := tl.At(media.TimeAt(ticks, 48000)); got != uint32(out) {
				t.Fatalf("a report says %d for the media time of the packet with %d", got, uint32(out))
			}
			seq, ts = s, out
		}
	})
}
