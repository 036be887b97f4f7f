package hls

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/grafov/m3u8"

	"banyan/relay/media"
)

// entry is a rendition as the multivariant playlist lists it.
type entry struct {
	rendition
	peak, mean int // bits per second; zero while unknown
}

const audioGroup = "audio"

// renderMultivariant writes the playlist of all renditions: a variant for each video, with the audio as
// a rendition of its own that all of them share, or the audio alone.
func renderMultivariant(entries []entry) []byte {
	p := m3u8.NewMasterPlaylist()
	p.SetVersion(9)
	p.SetIndependentSegments(true)
	audio := slices.IndexFunc(entries, func(e entry) bool { return e.id.kind == media.Audio })
	videos := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.id.kind != media.Video })
	if len(videos) == 0 && audio >= 0 {
		p.Append(uriOf(entries[audio]), nil, variant(entries[audio], nil))
	}
	for _, v := range startOrder(videos) {
		if audio >= 0 {
			p.Append(uriOf(v), nil, variant(v, &entries[audio]))
		} else {
			p.Append(uriOf(v), nil, variant(v, nil))
		}
	}
	// The library writes an attribute that RFC 8216 has taken out.
	return bytes.ReplaceAll(bytes.Clone(p.Encode().Bytes()), []byte("PROGRAM-ID=0,"), nil)
}

// insertLines puts lines below the first one of a playlist, which is EXTM3U.
func insertLines(playlist []byte, lines []string) []byte {
	if len(lines) == 0 {
		return playlist
	}
	first, rest, _ := bytes.Cut(playlist, []byte("\n"))
	added := []byte(strings.Join(lines, "\n"))
	return bytes.Join([][]byte{first, added, rest}, []byte("\n"))
}

func uriOf(e entry) string { return e.id.String() + "/" + indexFile }

// variant describes e, which plays together with audio if that is not nil.
func variant(e entry, audio *entry) m3u8.VariantParams {
	peak, mean := e.bandwidth()
	v := m3u8.VariantParams{Codecs: codecString(e.params)}
	if p := e.params; p.Width > 0 && p.Height > 0 {
		v.Resolution = fmt.Sprintf("%dx%d", p.Width, p.Height)
	}
	if e.id.kind == media.Video {
		v.FrameRate = e.params.FPS
		v.Captions = "NONE" // a player need not look for them inside the video
	}
	if audio != nil {
		audioPeak, audioMean := audio.bandwidth()
		peak, mean = peak+audioPeak, mean+audioMean
		v.Codecs += "," + codecString(audio.params)
		v.Audio = audioGroup
		v.Alternatives = []*m3u8.Alternative{{GroupId: audioGroup, Type: "AUDIO", Name: string(audio.id.format),
			Default: true, Autoselect: "YES", URI: uriOf(*audio)}}
	}
	v.Bandwidth, v.AverageBandwidth = uint32(peak), uint32(mean)
	return v
}

// bandwidth is what was measured, at least what the track is meant to have, and a guess from its size
// where neither is known.
func (e entry) bandwidth() (peak, mean int) {
	const bitsPerPixel, audioBitrate, burst = 0.1, 128_000, 1.25
	expected := e.params.Bitrate
	if expected <= 0 && e.mean == 0 {
		expected = audioBitrate
		if e.id.kind == media.Video {
			expected = max(300_000, int(float64(e.params.Width*e.params.Height)*max(e.params.FPS, 25)*bitsPerPixel))
		}
	}
	mean = max(expected, e.mean)
	return max(int(float64(mean)*burst), e.peak), mean
}

// startOrder puts first what a player should begin with: the middle one of those that run already, as
// it need not be started first and suits most lines. The others follow by falling bit rate.
func startOrder(videos []entry) []entry {
	byRate := slices.Clone(videos)
	slices.SortStableFunc(byRate, func(a, b entry) int {
		peakA, _ := a.bandwidth()
		peakB, _ := b.bandwidth()
		return cmp.Compare(peakB, peakA)
	})
	candidates := slices.DeleteFunc(slices.Clone(byRate), func(e entry) bool { return !e.running })
	if len(candidates) == 0 {
		candidates = byRate
	}
	if len(candidates) == 0 {
		return nil
	}
	first := candidates[len(candidates)/2]
	rest := slices.DeleteFunc(byRate, func(e entry) bool { return e.id == first.id })
	return append([]entry{first}, rest...)
}
