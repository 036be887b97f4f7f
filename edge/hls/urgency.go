package hls

import (
	"cmp"
	"fmt"
	"slices"

	"banyan/relay"
	"banyan/relay/media"
)

// Every answer says how urgent it is (RFC 9218 section 8: the server's signal), for whatever puts answers in
// order between here and the player. Without playlists players know of nothing; without sound they stop. Of
// pictures the lower bit rate goes first: where a line cannot carry all, it is the one that can be played (H34).
const (
	urgencyPlaylist = 1
	urgencySound    = 2
	urgencyPicture  = 3 // of the lowest bit rate
	urgencyLeast    = 6 // 7 is for what nobody waits for
)

// priority is the value of the Priority header (RFC 9218 section 4.1). Nothing here is of use in pieces, so that
// none is incremental.
func priority(urgency int) string { return fmt.Sprintf("u=%d", urgency) }

// urgency is that of a rendition's media. A picture that has no place among the others yet comes last.
func (p *packager) urgency() int {
	switch place := int(p.place.Load()); {
	case p.id.kind == media.Audio:
		return urgencySound
	case place == 0:
		return urgencyLeast
	default:
		return min(urgencyPicture+place-1, urgencyLeast)
	}
}

// rank gives the pictures of a stream their places by bit rate, from 1 for the lowest.
func (s *Server) rank(stream *relay.Stream) {
	type picture struct {
		*packager
		entry
	}
	var pictures []picture
	for _, r := range s.renditions(stream) {
		if p := s.running(stream.Name(), r.id); p != nil && r.id.kind == media.Video {
			e := entry{rendition: r}
			e.peak, e.mean = p.bitrate()
			pictures = append(pictures, picture{p, e})
		}
	}
	slices.SortStableFunc(pictures, func(a, b picture) int {
		peakA, _ := a.bandwidth()
		peakB, _ := b.bandwidth()
		return cmp.Compare(peakA, peakB)
	})
	for i, p := range pictures {
		p.place.Store(int32(i + 1))
	}
}
