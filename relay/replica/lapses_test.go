package replica

import (
	"testing"
	"time"

	"banyan/relay/media"
	"banyan/relay/tree"
)

// TestLapses lets time pass after a format was announced last.
func TestLapses(t *testing.T) {
	id := media.TrackID{Stream: cup, Format: made, Kind: media.Video}
	source := tree.Track{ID: pictureID, Node: "ingest", Source: true, Since: 100}
	format := tree.Track{ID: id, Node: "worker1", Since: 100}
	later := source
	later.Since = 200
	here := tree.Track{ID: id, Node: "self", Since: 100}
	view := func(tracks ...tree.Track) *tree.View { return tree.NewView(nil, tracks) }
	begin := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		then []tree.Track
		at   time.Duration // after the first view without the format
		want int
	}{
		"announced as before":              {then: []tree.Track{source, format}, want: 0},
		"missed just now":                  {then: []tree.Track{source}, want: 1},
		"missed for a while":               {then: []tree.Track{source}, at: orphaned - time.Millisecond, want: 1},
		"missed for long":                  {then: []tree.Track{source}, at: orphaned, want: 0},
		"its publisher has left":           {then: nil, want: 0},
		"another publisher came":           {then: []tree.Track{later}, want: 0},
		"it is made on this node":          {then: []tree.Track{source, here}, want: 0},
		"another one has the source still": {then: []tree.Track{{ID: pictureID, Node: "other", Source: true, Since: 50}}, want: 0},
	} {
		var l lapses
		l.follow(view(source, format), "self", begin)
		then := view(c.then...)
		if got := len(l.of(then, cup, begin)); c.at == 0 && got != c.want {
			t.Errorf("%s, before the view was followed: %d formats are waited for, want %d", name, got, c.want)
		}
		l.follow(then, "self", begin)
		if got := len(l.of(then, cup, begin.Add(c.at))); got != c.want {
			t.Errorf("%s: %d formats are waited for, want %d", name, got, c.want)
		}
		l.follow(then, "self", begin.Add(c.at))
		if got := len(l.of(then, cup, begin.Add(c.at))); got != c.want {
			t.Errorf("%s, after another look: %d formats are waited for, want %d", name, got, c.want)
		}
		l.follow(view(), "self", begin.Add(c.at))
		if len(l.known) != 0 {
			t.Errorf("%s: %d streams are remembered that are gone", name, len(l.known))
		}
	}
}
