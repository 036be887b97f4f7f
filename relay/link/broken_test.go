package link

import (
	"context"
	"testing"

	"banyan/relay/media"
)

// brittle is a sink that breaks at one of the calls of a link.
type brittle struct {
	*replica
	at string
}

func (b *brittle) breaks(at string) {
	if b.at == at {
		panic("a case that nobody thought of")
	}
}

func (b *brittle) Begin(p media.Params) error {
	b.breaks("Begin")
	return b.replica.Begin(p)
}

func (b *brittle) Write(p media.Packet) error {
	b.breaks("Write")
	return b.replica.Write(p)
}

func (b *brittle) SetPath(path []string) {
	b.breaks("SetPath")
	b.replica.SetPath(path)
}

// TestABrokenSinkEndsItsTrackOnly lets sinks panic beside one that is well, on one link.
func TestABrokenSinkEndsItsTrackOnly(t *testing.T) {
	picture, sound := newReplica(videoID, birth, "ingest"), newReplica(audioID, birth, "ingest")
	c := newCamera(t, picture, 10)
	c.shoot(t)
	parent, _ := node(t, "ingest", shelve(picture, sound), patient)
	child, _ := node(t, "relay", nil, patient)
	p := peer(t, child, parent)
	well := newReplica(videoID, 0)
	follow(t, p, 0, nil, well)
	for i, at := range []string{"Begin", "Write", "SetPath"} {
		broken := &brittle{replica: newReplica(videoID, 0), at: at}
		result, _ := follow(t, p, 0, nil, broken)
		wantError(t, result, ErrBroken)
		eventually(t, "the panic is counted", func() bool { return counted(t, child, "banyan_link_panics_total") == float64(i+1) })
	}
	c.shoot(t)
	wantSame(t, picture.Log(), well.Log(), birth)
	eventually(t, "the parent serves none but the one that is well", func() bool { return parent.metrics.served.Load() == 1 })
	if ended := counted(t, child, "banyan_link_ended_total"); ended != 0 {
		t.Errorf("%v links ended, want the one to go on", ended)
	}
}

// hollow is a track that breaks when the link asks for its path.
type hollow struct{ *replica }

func (h hollow) Path() []string { panic("a case that nobody thought of") }

// TestABrokenTrackEndsItsSubscriptionOnly does the same to a parent.
func TestABrokenTrackEndsItsSubscriptionOnly(t *testing.T) {
	picture, sound := newReplica(videoID, birth, "ingest"), newReplica(audioID, birth, "ingest")
	c := newCamera(t, picture, 10)
	c.shoot(t)
	parent, _ := node(t, "ingest", &hollowShelf{shelve(picture, sound)}, patient)
	child, _ := node(t, "relay", nil, patient)
	p := peer(t, child, parent)
	well := newReplica(videoID, 0)
	follow(t, p, 0, nil, well)
	result, _ := follow(t, p, 0, nil, newReplica(audioID, 0))
	if err := <-result; err == nil {
		t.Error("the track that breaks its parent came to no end")
	}
	c.shoot(t)
	wantSame(t, picture.Log(), well.Log(), birth)
	if panics := counted(t, parent, "banyan_link_panics_total"); panics != 1 {
		t.Errorf("%v panics were counted, want 1", panics)
	}
	eventually(t, "the broken track is closed", func() bool { return sound.readers() == 0 })
}

// hollowShelf has hollow tracks of sound.
type hollowShelf struct{ *shelf }

func (h *hollowShelf) Open(ctx context.Context, id media.TrackID, wish Wish) (Track, error) {
	track, err := h.shelf.Open(ctx, id, wish)
	if r, ok := track.(*replica); ok && id.Kind == media.Audio {
		return hollow{r}, err
	}
	return track, err
}
