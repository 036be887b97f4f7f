package hls

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

const sound = "cup/cam1/aac-audio/"

// soundMaker offers AAC made of a source that is none, as the transcoder does, and supplies a clip's from a
// time on.
type soundMaker struct {
	clip     *clip
	from, to media.Time
}

func (m *soundMaker) params() media.Params {
	return media.Params{Codec: media.AAC, ClockRate: soundRate, SampleRate: soundRate, Channels: 1, Sets: [][]byte{m.clip.config}}
}

// Offers is called with each look at the tracks.
func (m *soundMaker) Offers(s *relay.Stream) (offers []relay.Offer) {
	for _, t := range s.Published() {
		if t.ID.Kind == media.Audio && t.Params != nil && t.Params.Codec != media.AAC {
			offers = append(offers, relay.Offer{Format: "aac", Kind: media.Audio, Params: m.params()})
		}
	}
	return offers
}

// Supply writes all at once.
func (m *soundMaker) Supply(ctx context.Context, _ *relay.Stream, _ relay.Offer, w *log.Writer) error {
	out, err := frame.NewWriter(w, m.params())
	if err != nil {
		return err
	}
	for n := ceilTicks(m.from, soundRate, media.AACFrame); media.TimeAt(n*media.AACFrame, soundRate) < m.to; n++ {
		if err := out.Write(frame.Frame{Ticks: n * media.AACFrame, Units: [][]byte{m.clip.sounds[n%int64(len(m.clip.sounds))]}}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// returnInOpus is a publisher with Opus, and a picture to come.
func (s *stage) returnInOpus(from, to media.Time) *studio {
	s.t.Helper()
	studio := newStudio(s.t, s.hub, "cup/cam1", record(s.t, "320x180"), videoOnly)
	opus := studio.writer(media.Audio, media.Params{Codec: media.Opus, ClockRate: soundRate, SampleRate: soundRate, Channels: 2})
	for n := ceilTicks(from, soundRate, media.OpusFrame); media.TimeAt(n*media.OpusFrame, soundRate) < to; n++ {
		if err := opus.Write(frame.Frame{Ticks: n * media.OpusFrame, Units: [][]byte{{0xf8, 0xff, 0xfe}}}); err != nil {
			s.t.Fatal(err)
		}
	}
	return studio
}

// H3: players are held back by the longest parts of all renditions, here of sound whose frames are so long that its parts
// are twice as long as was wished.
func TestHoldBackIsThatOfTheLongestParts(t *testing.T) {
	s := newStage(t, nil)
	studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), videoOnly)
	const rate = 16000
	config, err := mpeg4audio.AudioSpecificConfig{Type: mpeg4audio.ObjectTypeAACLC, SampleRate: rate, ChannelConfig: 1}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	slow := studio.writer(media.Audio, media.Params{Codec: media.AAC, ClockRate: rate, SampleRate: rate, Channels: 1, Sets: [][]byte{config}})
	for n := ceilTicks(second(0), rate, media.AACFrame); media.TimeAt(n*media.AACFrame, rate) < second(9); n++ {
		if err := slow.Write(frame.Frame{Ticks: n * media.AACFrame, Units: [][]byte{studio.clip.sounds[0]}}); err != nil {
			t.Fatal(err)
		}
	}
	studio.play(second(0), second(9))
	s.want(200, video+"index.m3u8")
	target := parse(t, s.listing(sound, at(4)+".1.mp4")).PartInf.PartTarget
	if target < 300*time.Millisecond {
		t.Fatalf("parts of the sound have the target %v, which is not long", target)
	}
	studio.play(second(9), second(9.5))
	for _, rendition := range []string{video, sound} {
		text := s.want(200, rendition+"index.m3u8").body
		if rendition == video {
			text = s.listing(video, at(4)+".6.mp4")
		}
		if got := *parse(t, text).ServerControl.PartHoldBack; got < 3*target {
			t.Errorf("%s: PART-HOLD-BACK is %v, want three times %v", rendition, got, target)
		}
	}
}

// A publisher who returns with another codec of sound changes nothing for players: the rendition is made of
// what is made of it, in the codec that they began with, and of the publisher's own again when that comes back.
func TestSoundKeepsItsCodec(t *testing.T) {
	s, first := live(t, 5.5, nil)
	s.hub.AddSupplier(&soundMaker{clip: record(t, "320x180"), from: second(7), to: second(14.5)})
	if text := s.want(200, "cup/cam1/index.m3u8").body; !strings.Contains(text, `URI="aac-audio/index.m3u8"`) {
		t.Fatalf("the sound is not named by what it is: %s", text)
	}
	s.listing(video, at(2)+".1.mp4")
	s.listing(sound, at(2)+".1.mp4")
	s.want(200, "cup/cam1/source-audio/index.m3u8") // an older name, while it means something
	first.publication.Close()
	opus := s.returnInOpus(second(6), second(14.5))
	opus.play(second(6), second(6.2))
	if text := s.want(200, "cup/cam1/index.m3u8").body; !strings.Contains(text, `URI="aac-audio/index.m3u8"`) || strings.Contains(text, "opus") {
		t.Errorf("who comes now is given another sound: %s", text)
	}
	made := s.listing(sound, at(7)+".1.mp4")
	opus.publication.Close()
	newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), audioOnly).play(second(16), second(21))
	text := s.listing(sound, at(10)+".1.mp4")

	maps := tagged(text, "#EXT-X-MAP")
	if len(maps) != 3 {
		t.Fatalf("init sections %v, want three: %s", maps, text)
	}
	for i, c := range []struct {
		track   string
		segment int
	}{{"source", 1}, {"aac", 5}, {"source", 9}} {
		name := strings.Trim(strings.TrimPrefix(maps[i], "#EXT-X-MAP:URI="), `"`)
		if !strings.HasPrefix(name, "init-"+c.track+"-") {
			t.Errorf("init section %d is %s, want one of %s", i, name, c.track)
		}
		n, _ := decode(t, s.want(200, sound+name).body+s.want(200, sound+at(c.segment)+".mp4").body)
		if n < 93 || n > 95 {
			t.Errorf("%d frames of AAC can be decoded from segment %d, want 94", n, c.segment)
		}
	}
	if m := parse(t, made); m.MediaSequence != parse(t, text).MediaSequence {
		t.Error("segments count anew")
	}
}

// Sound whose clock is slower than before is not older than before.
func TestSlowerClock(t *testing.T) {
	c := newCutter(testGrid)
	fast := &media.Params{Epoch: 1, Codec: media.AAC, ClockRate: 48000, SampleRate: 48000, Channels: 2, Sets: [][]byte{{0x11, 0x90}}}
	slow := &media.Params{Epoch: 2, Codec: media.AAC, ClockRate: 44100, SampleRate: 44100, Channels: 2, Sets: [][]byte{{0x12, 0x10}}}
	var last int64
	for _, f := range sounds(fast, second(0), second(3), 0, 0) {
		c.push(f)
	}
	from := media.TicksOf(second(3), 44100)
	for n := int64(0); n < 200; n++ {
		for _, part := range c.push(&frame.Frame{Ticks: from + n*media.AACFrame, Params: slow, Keyframe: true, Units: [][]byte{{1}}}) {
			last = part.msn
		}
	}
	if want := testGrid.at(second(7)); last != want {
		t.Errorf("the newest part is of segment %d, want %d; dropped %v", last, want, c.dropped)
	}
}

// Where a publisher's sound ends while the picture goes on, and where he returns without any, players who have
// begun with sound get silence: they would wait for ever. Those who come later are told of none.
func TestSilenceBesideThePicture(t *testing.T) {
	s, first := live(t, 5.5, nil)
	s.want(200, "cup/cam1/index.m3u8")
	s.listing(sound, at(2)+".1.mp4")
	s.listing(video, at(2)+".1.mp4")
	first.publication.Close()
	again := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), videoOnly)
	again.play(second(12), second(15.9))
	text := s.listing(sound, at(7)+".1.mp4")
	m := parse(t, text)
	for i, segment := range m.Segments {
		n := m.MediaSequence + i - 900000000
		if gap := n >= 2 && n < 6; segment.Gap != gap {
			t.Errorf("segment %d: gap %v, want %v: %s", n, segment.Gap, gap, text)
		}
	}
	if n, _ := decode(t, s.file(sound, 6)); n < 93 || n > 95 {
		t.Errorf("%d frames of silence, want 94", n)
	}
	if master := s.want(200, "cup/cam1/index.m3u8").body; strings.Contains(master, "AUDIO") {
		t.Errorf("sound is offered that there is not: %s", master)
	}
	stream, err := s.hub.Stream("cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	for _, track := range stream.Tracks() {
		want := ""
		if track.ID.Kind == media.Audio {
			want = "the publisher who is there now does not send it"
		}
		if got := s.server.Without(track); got != want {
			t.Errorf("Without(%v): %q, want %q", track.ID, got, want)
		}
	}
	again.audio = again.writer(media.Audio, media.Params{Codec: media.AAC, ClockRate: soundRate, SampleRate: soundRate,
		Channels: 1, Sets: [][]byte{again.clip.config}})
	again.play(second(15.9), second(19))
	text = s.listing(sound, at(9)+".1.mp4")
	for _, segment := range parse(t, text).Segments[6:] {
		if segment.Gap || segment.Duration < 1900*time.Millisecond {
			t.Errorf("a hole where sound returns: %s", text)
		}
	}
}
