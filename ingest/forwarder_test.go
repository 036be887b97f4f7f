package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
	"pgregory.net/rapid"

	"banyan/relay/log"
	"banyan/relay/media"
)

func TestForwardsWhatTheCameraSends(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	for _, c := range []struct {
		name string
		film []picture
	}{{"sets with each keyframe", film}, {"sets only once", withoutSets(film)}} {
		t.Run(c.name, func(t *testing.T) {
			cam := newCamera(t, h264Params)
			cam.film(c.film)
			got := cam.wantFilm(t, film)
			if d := got[0].Time().Wall().Sub(noon); d < 0 || d > time.Millisecond {
				t.Errorf("the first frame is at %v from its arrival, want that very moment", d)
			}
			if p := cam.log.Params(); p.Width != 320 || p.Height != 180 || p.Reordered {
				t.Errorf("learnt %+v, want 320x180 in order of display", p)
			}
			if cam.announced != 1 || slices.Contains(cam.packets(), nil) {
				t.Errorf("announced %d times, want once and no holes", cam.announced)
			}
		})
	}
}

func TestPaddingIsClosedUp(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	cam := newCamera(t, h264Params)
	for i, f := range film {
		cam.push(cam.send(f.ticks, f.units...)...)
		for range i % 3 {
			cam.push(cam.packet(uint32(f.ticks), false, nil))
		}
		other := cam.packet(uint32(f.ticks), false, []byte{1, 2, 3})
		other.PayloadType = 111
		cam.push(other)
	}
	cam.wantFilm(t, film)
	st := cam.forwarder.Stats()
	if slices.Contains(cam.packets(), nil) || st.Dropped[DropPadding] != 30 || st.Dropped[DropPayloadType] != 30 {
		t.Errorf("stats %+v; want 30 packets of padding and 30 strangers left out without a hole", st)
	}
}

func TestBeginsWithAKeyframe(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	cam := newCamera(t, h264Params)
	cam.film(film[3:])
	got := cam.frames()
	if len(got) != 15 || !got[0].Keyframe || !got[0].Discontinuity {
		t.Fatalf("read %d frames, want the 15 from the second keyframe on", len(got))
	}
	if cam.asked == 0 || cam.forwarder.Stats().Dropped[DropKeyframe] == 0 {
		t.Error("the publisher was not asked for a keyframe")
	}
	if first := cam.packets()[0]; first == nil || first.Offset != log.FirstOffset(noon) {
		t.Error("what came before left a hole at the beginning")
	}
}

func TestLossLeavesAHoleThatALatePacketFills(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	cam := newCamera(t, h264Params)
	var missing *rtp.Packet
	for i, f := range film {
		packets := cam.send(f.ticks, f.units...)
		if i == 5 {
			missing, packets = packets[0], packets[1:]
		}
		cam.push(packets...)
		cam.now = cam.now.Add(time.Second / 15)
		if err := cam.forwarder.Expire(cam.now); err != nil {
			t.Fatal(err)
		}
		if i == 8 {
			if cam.asked == 0 {
				t.Error("the loss was given up, yet nobody asked for a keyframe")
			}
			break
		}
	}
	hole := slices.Index(cam.packets(), nil)
	if hole < 0 || cam.log.Stats().Holes != 1 {
		t.Fatalf("the log has %d holes, want one", cam.log.Stats().Holes)
	}
	cam.push(missing)
	p := cam.packets()[hole]
	if p == nil || !bytes.Equal(p.Payload, missing.Payload) {
		t.Fatal("the late packet did not fill its hole")
	}
	cam.push(missing)
	if st := cam.forwarder.Stats(); st.Filled != 1 || st.Reorder.Lost != 1 || st.Reorder.Duplicates != 1 {
		t.Errorf("stats %+v; want one lost, one filled, one duplicate", st)
	}
	cam.wantFilm(t, film[:9])
}

func TestVeryLatePacketsAreDropped(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	cam := newCamera(t, h264Params)
	var missing *rtp.Packet
	for i, f := range film {
		packets := cam.send(f.ticks, f.units...)
		if i == 5 {
			missing, packets = packets[0], packets[1:]
		}
		cam.push(packets...)
		cam.now = cam.now.Add(time.Second / 15)
	}
	cam.push(missing) // its timestamp would leap back
	if st := cam.forwarder.Stats(); st.Dropped[DropLate] != 1 || st.Filled != 0 {
		t.Errorf("stats %+v; want the packet dropped", st)
	}
	cam.now = cam.now.Add(time.Second / 15)
	cam.film(film)
	if cam.announced != 2 { // the second film's timestamps leap; the late packet's did not
		t.Errorf("%d epochs, want 2", cam.announced)
	}
}

func TestNewSizeBeginsAnEpoch(t *testing.T) {
	small, large := encodeFilm(t, "320x180", "-bf", "0"), encodeFilm(t, "480x270", "-bf", "0")
	cam := newCamera(t, h264Params)
	cam.film(small)
	cam.film(large) // the same timestamps again: they leap back by two seconds
	got := cam.frames()
	if len(got) != 60 || !got[30].Discontinuity || got[30].Params.Width != 480 || got[29].Params.Width != 320 {
		t.Fatalf("read %d frames; want 60 with a new epoch of 480 pixels at the 30th", len(got))
	}
	if cam.announced != 2 || got[30].Params.Epoch != got[29].Params.Epoch+1 {
		t.Errorf("announced %d times, epochs %d and %d", cam.announced, got[29].Params.Epoch, got[30].Params.Epoch)
	}
	if got[30].Ticks <= got[29].Ticks {
		t.Error("media time went back at the new epoch")
	}
}

func TestTimestamps(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	for _, c := range []struct {
		name   string
		leap   int64 // at the 20th frame
		epochs int
	}{
		{"wrap", 0, 1}, {"half the range", 1 << 31, 2}, {"an hour ahead", 3600 * media.VideoClockRate, 2},
		{"an hour back", -3600 * media.VideoClockRate, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cam := newCamera(t, h264Params)
			start := cam.now
			for i, f := range film {
				stamp := f.ticks + 1<<32 - 90000 // wraps after a second
				if i >= 20 {
					stamp += c.leap
				}
				cam.now = start.Add(media.DurationOf(f.ticks, media.VideoClockRate))
				cam.push(cam.send(stamp, f.units...)...)
			}
			got := cam.frames()
			if len(got) != 30 || cam.announced != c.epochs {
				t.Fatalf("read %d frames in %d epochs, want 30 in %d", len(got), cam.announced, c.epochs)
			}
			for i, f := range got {
				if d := media.DurationOf(f.Ticks-got[0].Ticks-film[i].ticks, media.VideoClockRate); d.Abs() > 5*time.Millisecond {
					t.Fatalf("frame %d is off its time by %v", i, d)
				}
			}
		})
	}
}

func TestReorderedFramesAreMarked(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "2")
	cam := newCamera(t, h264Params)
	cam.film(film)
	if p := cam.log.Params(); !p.Reordered || cam.announced != 1 {
		t.Fatalf("reordered %v after %d epochs; want it known from the parameter sets at once", p.Reordered, cam.announced)
	}
	if len(cam.frames()) != 30 {
		t.Fatalf("read %d frames, want all 30", len(cam.frames()))
	}

	// A publisher whose parameter sets do not say so is found out by its timestamps.
	silent := newCamera(t, media.Params{Codec: media.VP8, ClockRate: media.VideoClockRate})
	for i, ticks := range []int64{0, 9000, 3000, 6000, 18000} {
		silent.push(silent.packet(uint32(ticks), true, vp8(i == 0)))
	}
	if p := silent.log.Params(); !p.Reordered || silent.announced != 2 {
		t.Fatalf("reordered %v after %d epochs; want it found out in a second one", p.Reordered, silent.announced)
	}
}

// vp8 is the beginning of a frame of 16x16 pixels behind its payload descriptor.
func vp8(key bool) []byte {
	if !key {
		return []byte{0x10, 0x01, 0, 0, 1}
	}
	return []byte{0x10, 0x00, 0, 0, 0x9d, 0x01, 0x2a, 16, 0, 16, 0, 1, 2}
}

func TestPublisherThatBeginsAnew(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	for _, c := range []struct {
		name string
		anew func(*camera)
	}{
		{"another SSRC", func(c *camera) { c.ssrc, c.sequence = 99, 12345 }},
		{"sequence numbers jump by 30,000", func(c *camera) { c.sequence += 30000 }},
		{"sequence numbers jump back", func(c *camera) { c.sequence -= 3100 }},
		{"comes back after a while", func(c *camera) {
			c.forwarder = c.join(h264Params)
			c.now = c.now.Add(10 * time.Second)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cam := newCamera(t, h264Params)
			cam.film(film)
			head := cam.log.Head()
			c.anew(cam)
			cam.film(film)
			got := cam.frames()
			if len(got) < 60 && cam.log.Get(head) == nil {
				t.Fatalf("read %d frames, and nothing stands at the offset after the first film", len(got))
			}
			if p := cam.log.Get(head); !p.Has(media.Keyframe | media.Discontinuity) {
				t.Fatalf("the first packet of the new numbering has flags %b, want a keyframe that begins an epoch", p.Flags)
			}
			last := got[len(got)-30:]
			for i, f := range last {
				if !bytes.Equal(coded(f.Units), coded(film[i].units)) {
					t.Fatalf("frame %d of the second film came through changed", i)
				}
			}
		})
	}
}

func TestTakeoverEndsTheForwarder(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	cam := newCamera(t, h264Params)
	cam.film(film[:15])
	old := cam.forwarder
	cam.forwarder = cam.join(h264Params)
	if err := old.Push(cam.send(film[16].ticks, film[16].units...)[0], cam.now); !errors.Is(err, log.ErrReplaced) {
		t.Fatalf("got %v, want log.ErrReplaced", err)
	}
}

func TestAudioGoesThrough(t *testing.T) {
	cam := newCamera(t, opusParams)
	for i := range 50 {
		cam.now = noon.Add(time.Duration(i) * 20 * time.Millisecond)
		cam.push(cam.packet(uint32(i*960), i == 0, []byte{0xfc, byte(i)}))
	}
	packets := cam.packets()
	if len(packets) != 50 || cam.asked != 0 {
		t.Fatalf("forwarded %d packets, asked %d times for a keyframe; want 50 and never", len(packets), cam.asked)
	}
	for i, p := range packets {
		if !p.Has(media.Keyframe|media.FrameEnd) || p.Ticks != packets[0].Ticks+int64(i)*960 {
			t.Fatalf("packet %d: flags %b, ticks %d", i, p.Flags, p.Ticks-packets[0].Ticks)
		}
	}
	if p := packets[0].Params; p.Channels != 2 || p.SampleRate != 48000 {
		t.Errorf("params %+v", p)
	}
}

func TestMalformedPayloads(t *testing.T) {
	film := encodeFilm(t, "320x180", "-bf", "0")
	for _, c := range []struct {
		name    string
		payload []byte
	}{
		{"STAP-A with a NAL unit of zero length", []byte{24, 0, 0}},
		{"STAP-A that is cut", []byte{24, 0, 9, 1, 2}},
		{"STAP-A with half a length", []byte{24, 0}},
		{"FU-A without header", []byte{28}},
		{"FU-A without data", []byte{28, 0x85}},
		{"FU-B", []byte{29, 0x85, 1, 2, 3}},
		{"MTAP16", []byte{26, 1, 2, 3, 4}},
		{"reserved", []byte{31, 1, 2}},
		{"type zero", []byte{0, 1, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cam := newCamera(t, h264Params)
			for i, f := range film {
				cam.push(cam.send(f.ticks, f.units...)...)
				if i == 20 {
					cam.push(cam.packet(uint32(film[21].ticks), false, c.payload))
				}
			}
			if got := cam.frames(); len(got) != 30 || !got[21].Lost {
				t.Errorf("read %d frames; want all 30, the one with the bad packet marked as damaged", len(got))
			}
			if st := cam.forwarder.Stats(); st.Dropped[DropMalformed] != 1 || cam.asked < 1 {
				t.Errorf("stats %+v; want one malformed packet, and a keyframe asked for", st)
			}
		})
	}
}

// TestLogMirrorsTheStream sends packets through a bad network and checks that the log has each packet that came,
// once, in order, with exactly the holes of those that did not.
func TestLogMirrorsTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cam := newCamera(t, opusParams)
		cam.sequence = rapid.Uint16().Draw(t, "first sequence number")
		arrivals, arrived := journey(t, 150, true)
		padding := map[int]bool{}
		packets := make([]*rtp.Packet, arrivals[len(arrivals)-1].n+400)
		for n := range packets {
			payload := binary.BigEndian.AppendUint32(nil, uint32(n))
			if n > 0 && rapid.IntRange(0, 9).Draw(t, "padding") == 0 {
				padding[n], payload = true, nil
			}
			packets[n] = cam.packet(uint32(n)*48, false, payload)
		}
		for _, a := range arrivals {
			cam.now = at(a.ms)
			for {
				deadline, ok := cam.forwarder.Deadline()
				if !ok || deadline.After(cam.now) {
					break
				}
				_ = cam.forwarder.Expire(deadline)
			}
			cam.push(packets[a.n])
		}
		_ = cam.forwarder.Flush()

		var want []int // packets that must be there, -1 where a hole must be
		highest := 0
		for n := range arrived {
			highest = max(highest, n)
		}
		for n := 0; n <= highest; n++ {
			switch {
			case !arrived[n]:
				want = append(want, -1)
			case !padding[n]:
				want = append(want, n)
			}
		}
		var got []int
		for _, p := range cam.packets() {
			if p == nil {
				got = append(got, -1)
				continue
			}
			got = append(got, int(binary.BigEndian.Uint32(p.Payload)))
		}
		// Padding that came late left the hole that it was given up with, and a hole at the end is not seen.
		late := int(cam.forwarder.Stats().Dropped[DropPadding])
		if len(got) > len(want)+late {
			t.Fatalf("log has %v, want %v and at most %d holes more", got, want, late)
		}
		present := func(s []int) []int { return slices.DeleteFunc(slices.Clone(s), func(n int) bool { return n < 0 }) }
		if !slices.Equal(present(got), present(want)) {
			t.Fatalf("log has %v, want %v", got, want)
		}
	})
}

func FuzzForwarder(f *testing.F) {
	film := encodeFilm(f, "320x180", "-bf", "0")
	seed := newCamera(f, h264Params)
	var stream []byte
	for _, p := range seed.send(0, film[0].units...) {
		raw, _ := p.Marshal()
		stream = append(binary.BigEndian.AppendUint16(stream, uint16(len(raw))), raw...)
	}
	for codec := range byte(6) {
		f.Add(codec, stream)
		f.Add(codec, []byte{0, 14, 0xb0, 0xe0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 1, 2})                               // padding longer than the payload
		f.Add(codec, []byte{0, 17, 0x90, 0x60, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0xbe, 0xde, 0xff, 0xff, 0})          // extension past the end
		f.Add(codec, []byte{0, 21, 0x90, 0x60, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0xbe, 0xde, 0, 1, 0xf0, 1, 2, 3, 4}) // one-byte extension id 15
	}
	codecs := []media.Codec{media.H264, media.H265, media.VP8, media.VP9, media.AV1, media.Opus}
	f.Fuzz(func(t *testing.T, codec byte, stream []byte) {
		params := media.Params{Codec: codecs[int(codec)%len(codecs)], ClockRate: media.VideoClockRate}
		cam := newCamera(t, params)
		for len(stream) >= 2 {
			n := min(int(binary.BigEndian.Uint16(stream)), len(stream)-2)
			var p rtp.Packet
			if p.Unmarshal(stream[2:2+n]) == nil {
				p.PayloadType = payloadType
				cam.now = cam.now.Add(time.Duration(n%40) * time.Millisecond)
				cam.push(&p)
			}
			stream = stream[2+n:]
		}
		if err := cam.forwarder.Flush(); err != nil {
			t.Fatal(err)
		}
		st := cam.forwarder.Stats()
		if cam.log.Stats().Packets != st.Forwarded+st.Inserted {
			t.Fatalf("the log has %d packets, the forwarder counts %+v", cam.log.Stats().Packets, st)
		}
	})
}

func BenchmarkForwarder(b *testing.B) {
	film := encodeFilm(b, "640x360", "-bf", "0")
	cam := newCamera(b, h264Params)
	var packets []*rtp.Packet
	for _, f := range film {
		packets = append(packets, cam.send(f.ticks, f.units...)...)
	}
	var sequence uint16
	var ticks uint32
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		p := packets[n%len(packets)]
		if p.Marker {
			ticks += 3000
			cam.now = cam.now.Add(time.Second / 30)
		}
		p.SequenceNumber, p.Timestamp = sequence, ticks
		sequence++
		cam.push(p)
	}
}
