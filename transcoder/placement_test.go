package transcoder

import (
	"slices"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/media"
)

// A node offers what is to be made on it, of streams that are published here or elsewhere.
func TestOnlyWhatIsMadeHereIsOffered(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{
		Ladders: []Rule{{Match: "**", Formats: []string{"source", "90p", "48p", "opus"}}},
		Here:    func(_ media.Name, f media.Format) bool { return f != "48p" },
	})
	picture := media.Params{Codec: media.H264, ClockRate: media.VideoClockRate, Width: 320, Height: 180, FPS: 30}
	if _, err := fx.hub.Adopt("far/cam1", "node far", time.Now(), []relay.Elsewhere{
		{Format: media.Source, Kind: media.Video, Params: &picture}, {Format: media.Source, Kind: media.Audio},
	}); err != nil {
		t.Fatal(err)
	}
	s, err := fx.hub.Stream("far/cam1")
	if err != nil {
		t.Fatal(err)
	}
	var offered []media.Format
	for _, o := range fx.transcoder.Offers(s) {
		offered = append(offered, o.Format)
	}
	slices.Sort(offered)
	// 180p is the source's own size: nobody knows yet whether its keyframes stand where players can switch.
	if want := []media.Format{"180p", "90p"}; !slices.Equal(offered, want) {
		t.Errorf("offered are %v, want %v: 48p is made elsewhere, and nothing is known of the sound", offered, want)
	}
}
