package hls

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"banyan/relay/frame"
	"banyan/relay/media"
)

var opusParams = &media.Params{Epoch: 1, Codec: media.Opus, ClockRate: 48000, SampleRate: 48000, Channels: 2}

// opusPackets are the first bytes of a packet of each length that there is, in ticks: RFC 6716, section 3.1.
var opusPackets = map[int64][]byte{
	120: {28 << 3}, 240: {29 << 3}, 480: {30 << 3}, 960: {31 << 3}, 1920: {10 << 3}, 2880: {11 << 3},
	3840: {10<<3 | 1}, 4800: {31<<3 | 3, 5}, 5760: {11<<3 | 1}, 1440: {30<<3 | 3, 3},
}

// opusSound are packets of a length from one time to another.
func opusSound(from, to, length int64) (list []*frame.Frame) {
	packet := opusPackets[length]
	for at := from; at < to; at += length {
		list = append(list, &frame.Frame{Ticks: at, Params: opusParams, Keyframe: true, Units: [][]byte{append(packet, 1, 2, 3)}})
	}
	return list
}

// However long the packets of a source are, and wherever they begin, each is decoded when it is presented and where the one
// before it ends, the parts of a segment are no longer than their target and, but for its last, no shorter than 85 % of it
// (RFC 8216bis section 4.4.3.7).
func TestOpusPacketsOfAnyLength(t *testing.T) {
	for length, packet := range opusPackets {
		if got := frame.SoundLength(&frame.Frame{Params: opusParams, Units: [][]byte{packet}}, 0); got != length {
			t.Fatalf("packet %x lasts %d ticks, want %d", packet, got, length)
		}
		t.Run(fmt.Sprintf("%g ms", float64(length)/48), func(t *testing.T) {
			for _, off := range []int64{0, 1, 777, length / 2, 48013, 95999} {
				from := media.TicksOf(second(0), 48000) + off
				w, parts := packaged(opusSound(from, from+5*48000, length))
				checkSound(t, parts)
				for i, s := range w.segments {
					if off := s.length - testGrid.segment; s != w.open && off.Abs() > media.DurationOf(length, 48000) {
						t.Fatalf("segment %d lasts %v", s.msn, s.length)
					}
					if i > lead && s.target != w.target {
						t.Fatalf("the target of segment %d is %v, and was %v", s.msn, s.target, w.target)
					}
				}
				for i, c := range parts[:len(parts)-1] {
					d := media.DurationOf(c.ticks(), 48000)
					if inner := i > 0 && parts[i+1].msn == c.msn && parts[0].msn != c.msn; inner && d < c.plan.target*85/100 {
						t.Fatalf("part %d.%d lasts %v, below 85 %% of %v", c.msn, c.index, d, c.plan.target)
					}
				}
				if w.target > 250*time.Millisecond { // of packets of 120 ms
					t.Fatalf("parts last %v", w.target)
				}
			}
		})
	}
}

// checkSound checks that all sound is decoded when it is presented, without holes, and within the targets of its parts.
func checkSound(t failer, parts []cut) {
	end := int64(0)
	for i := range parts {
		c := &parts[i]
		file, err := fragment(c, 1)
		if err != nil {
			t.Fatalf("%v", err)
		}
		for j, s := range samplesOf(t, file) {
			if s.decoded != s.shown || s.shown != c.frames[j].Ticks || end != 0 && s.decoded != end {
				t.Fatalf("packet %d of part %d.%d, of %d, is decoded at %d and shown at %d, after one that ended at %d", j, c.msn, c.index,
					c.frames[j].Ticks, s.decoded, s.shown, end)
			}
			end = s.decoded + s.length
		}
		if d := media.DurationOf(c.ticks(), 48000); d > c.plan.target {
			t.Fatalf("part %d.%d lasts %v, over the target %v", c.msn, c.index, d, c.plan.target)
		}
	}
}

// A source may change the length of its packets on its way, from each to the next (RFC 6716, section 2.1.4).
func TestOpusPacketsOfChangingLength(t *testing.T) {
	lengths := []int64{120, 240, 480, 960, 1440, 1920, 2880, 3840, 4800, 5760}
	rapid.Check(t, func(t *rapid.T) {
		at := media.TicksOf(second(0), 48000)
		var frames []*frame.Frame
		for end := at + 8*48000; at < end; {
			length := rapid.SampledFrom(lengths).Draw(t, "length")
			n := rapid.Int64Range(1, 40).Draw(t, "packets")
			frames = append(frames, opusSound(at, at+n*length, length)...)
			at += n * length
		}
		_, parts := packaged(frames)
		checkSound(t, parts)
		got := 0
		for _, c := range parts {
			got += len(c.frames)
		}
		if waiting := len(frames) - got; waiting > 240 {
			t.Fatalf("%d of %d packets are in no part", waiting, len(frames))
		}
	})
}

// FFmpeg plays Opus of all lengths that it makes, each packet where the one before it ends.
func TestOpusIsPlayed(t *testing.T) {
	for _, ms := range []string{"2.5", "5", "10", "20", "40", "60", "80", "100", "120"} {
		t.Run(ms, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, nil)
			studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), videoOnly)
			track := studio.writer(media.Audio, media.Params{Codec: media.Opus, ClockRate: 48000, SampleRate: 48000, Channels: 1})
			ticks := media.TicksOf(second(0), 48000)
			packets := encodeOpus(t, ms)
			for _, packet := range packets {
				f := frame.Frame{Ticks: ticks, Params: opusParams, Units: [][]byte{packet}}
				if err := track.Write(f); err != nil {
					t.Fatal(err)
				}
				ticks += frame.SoundLength(&f, 0)
			}
			studio.play(second(0), second(8.5))
			s.listing("cup/cam1/opus-audio/", at(3)+".4.mp4")
			s.hub.Close()
			out := run(t, "ffprobe", "-v", "error", "-show_packets", "-show_entries", "packet=pts", "-of", "csv=p=0",
				s.url+"cup/cam1/opus-audio/index.m3u8")
			ms, _ := strconv.ParseFloat(ms, 64)
			length := int64(ms * 48)
			lines := strings.Fields(out)
			for i := range lines[min(1, len(lines)):] {
				before, _ := strconv.ParseInt(lines[i], 10, 64)
				if want := fmt.Sprint(before + length); lines[i+1] != want {
					t.Fatalf("packet %d is at %s, want %s: %s", i+1, lines[i+1], want, out)
				}
			}
			if want := int(5000 / ms); len(lines) < want {
				t.Errorf("FFmpeg reads %d packets, want %d", len(lines), want)
			}
		})
	}
}

// encodeOpus makes eight and a half seconds of a tone, in packets of a length in milliseconds.
func encodeOpus(t *testing.T, ms string) (packets [][]byte) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "tone.opus")
	run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=8.5", "-c:a", "libopus", "-b:a", "32k",
		"-frame_duration", ms, "-f", "ogg", name)
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var packet []byte
	for {
		page := make([]byte, 27) // RFC 3533, section 6
		if _, err := io.ReadFull(file, page); err != nil {
			return packets[2:] // the first two are of the mapping: RFC 7845, section 3
		}
		lacing := make([]byte, page[26])
		if _, err := io.ReadFull(file, lacing); err != nil {
			t.Fatal(err)
		}
		for _, n := range lacing {
			piece := make([]byte, n)
			if _, err := io.ReadFull(file, piece); err != nil {
				t.Fatal(err)
			}
			if packet = append(packet, piece...); n < 255 {
				packets = append(packets, packet)
				packet = nil
			}
		}
	}
}
