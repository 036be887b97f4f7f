package whep

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"banyan/relay"
	"banyan/relay/media"
	"banyan/relay/rtc/sdp"
)

// auto is what a viewer wants that leaves the choice of format to us.
const auto media.Format = ""

// errors of choose.
var (
	errNothing    = errors.New("the stream has no track of this kind")
	errUnknown    = errors.New("the parameters of the stream are not known yet")
	errNoFormat   = errors.New("the stream has no such format")
	errUndecoded  = errors.New("the peer offers nothing that can decode this")
	errOutOfOrder = errors.New("the frames are not sent in the order of display")
)

// parseFormat reads what a viewer wants: a format, or "auto" or nothing.
func parseFormat(s string) (media.Format, error) {
	if s == "" || s == "auto" {
		return auto, nil
	}
	return media.ParseFormat(s)
}

// tracksOf lists the tracks of a stream, as Stream.Tracks does. What is made of a track that nobody writes is not live
// either: to start an encoder because a publisher has left would bring its viewers nothing but a change of format.
func tracksOf(stream *relay.Stream) []relay.Track {
	idle := map[media.Kind]bool{}
	published := map[media.TrackID]bool{}
	for _, t := range stream.Published() {
		published[t.ID] = true
		idle[t.ID.Kind] = idle[t.ID.Kind] || t.ID.Format == media.Source && !t.Live
	}
	tracks := stream.Tracks()
	for i := range tracks {
		t := &tracks[i]
		t.Live = t.Live && (published[t.ID] || !idle[t.ID.Kind])
	}
	return tracks
}

// choose picks the format of a kind that a peer with these codecs gets. wanted pins it, if the kind has that format.
func choose(tracks []relay.Track, kind media.Kind, codecs []sdp.Codec, wanted media.Format) (media.Format, error) {
	tracks = slices.DeleteFunc(slices.Clone(tracks), func(t relay.Track) bool { return t.ID.Kind != kind })
	if len(tracks) == 0 {
		return auto, errNothing
	}
	if i := slices.IndexFunc(tracks, func(t relay.Track) bool { return t.ID.Format == wanted }); i >= 0 {
		if err := playable(tracks[i], codecs); err != nil {
			return auto, err
		}
		return wanted, nil
	}
	var why error
	best, worth := auto, refused
	for _, t := range tracks { // the source, then the others by falling height
		if err := playable(t, codecs); err != nil {
			why = cmp.Or(why, err)
			continue
		}
		if rank := rank(t, codecs); rank > worth {
			best, worth = t.ID.Format, rank
		}
	}
	if worth == refused {
		return auto, why
	}
	return best, nil
}

// fitness ranks tracks; among equals the first one wins.
type fitness uint8

const (
	refused  fitness = iota
	possible         // the peer did not promise to decode this profile
	stale            // nobody writes it, or what it is made of, any more, but it may go on
	good
)

func rank(t relay.Track, codecs []sdp.Codec) fitness {
	takes := slices.ContainsFunc(codecs, func(c sdp.Codec) bool { return c.Takes(t.Params) })
	switch {
	case takes && t.Live:
		return good
	case takes:
		return stale
	}
	return possible
}

// playable tells why a peer cannot get a track; nil if it can.
func playable(t relay.Track, codecs []sdp.Codec) error {
	switch {
	case t.Params == nil:
		return errUnknown
	case t.Params.Reordered:
		return errOutOfOrder
	case !slices.ContainsFunc(codecs, func(c sdp.Codec) bool { return c.Carries(t.Params) }):
		return errUndecoded
	}
	return nil
}

// negotiable picks the codecs of an m-line to answer with: those of the tracks, the one of format first, and H.264
// or Opus, in which formats are made, for what may come later; all of them while a track's codec is not known yet.
func negotiable(tracks []relay.Track, m *sdp.Media, format media.Format) []sdp.Codec {
	var picked []sdp.Codec
	pick := func(fits func(sdp.Codec) bool) {
		if len(picked) > 0 && picked[0].Codec.Kind() == media.Audio {
			// A change of clock rate within a stream confuses receivers (RFC 7160).
			rate, inner := picked[0].ClockRate, fits
			fits = func(c sdp.Codec) bool { return c.ClockRate == rate && inner(c) }
		}
		i := slices.IndexFunc(m.Codecs, fits)
		if i >= 0 && !slices.ContainsFunc(picked, func(c sdp.Codec) bool { return c.PayloadType == m.Codecs[i].PayloadType }) {
			picked = append(picked, m.Codecs[i])
		}
	}
	sorted := slices.Clone(tracks)
	slices.SortStableFunc(sorted, func(a, b relay.Track) int { // format first
		return cmp.Compare(first(a, format), first(b, format))
	})
	for _, t := range sorted {
		if t.ID.Kind != m.Kind || t.Params == nil {
			continue
		}
		if slices.ContainsFunc(m.Codecs, func(c sdp.Codec) bool { return c.Takes(t.Params) }) {
			pick(func(c sdp.Codec) bool { return c.Takes(t.Params) })
		} else {
			pick(func(c sdp.Codec) bool { return c.Carries(t.Params) })
		}
	}
	made := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate}
	if m.Kind == media.Audio {
		made = media.Params{Codec: media.Opus, ClockRate: 48000}
	}
	if !slices.ContainsFunc(picked, func(c sdp.Codec) bool { return c.Codec == made.Codec }) {
		pick(func(c sdp.Codec) bool { return c.Takes(&made) })
	}
	if slices.ContainsFunc(tracks, func(t relay.Track) bool { return t.ID.Kind == m.Kind && t.Params == nil }) {
		for _, one := range m.Codecs { // it may turn out to be in any of them
			pick(func(c sdp.Codec) bool { return c.PayloadType == one.PayloadType })
		}
	}
	return picked
}

// everything is the offer of a peer that takes whatever the stream has: what a counter-offer is chosen from.
func everything(tracks []relay.Track) *sdp.Offer {
	var kinds []media.Kind
	for _, kind := range media.Kinds {
		if slices.ContainsFunc(tracks, func(t relay.Track) bool { return t.ID.Kind == kind }) {
			kinds = append(kinds, kind)
		}
	}
	return sdp.Everything(kinds...)
}

func first(t relay.Track, format media.Format) int {
	if t.ID.Format == format {
		return 0
	}
	return 1
}

// formats lists what a stream has, for people.
func formats(tracks []relay.Track) string {
	var list []string
	for _, t := range tracks {
		list = append(list, string(t.ID.Format))
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}

// explain says why a viewer cannot have a format, in a sentence for it.
func explain(err error, tracks []relay.Track, wanted media.Format) string {
	switch {
	case errors.Is(err, errNoFormat):
		return fmt.Sprintf("The stream has no format %q. It has: %s.", wanted, formats(tracks))
	case errors.Is(err, errOutOfOrder):
		return "The stream is sent with B-frames, which WebRTC cannot carry. Watch it over HLS, or ask its publisher to turn them off."
	case errors.Is(err, errNothing):
		return "The stream has nothing of the kinds that the offer asks for. Offer video and audio."
	}
	return "The offer has no codec in which this stream can be had. Offer H.264 and Opus; it comes as: " + encodings(tracks) + "."
}

func encodings(tracks []relay.Track) string {
	var list []string
	for _, t := range tracks {
		if t.Params != nil {
			list = append(list, string(t.Params.Codec))
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
