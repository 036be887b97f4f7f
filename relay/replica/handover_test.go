package replica

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay/link"
	"banyan/relay/log"
	"banyan/relay/media"
)

// pair is a replica that moves from a lead to an heir with another log. Their pictures are a frame apart; numbers are
// those of pictures, and each tenth is a keyframe.
type pair struct {
	t          *testing.T
	replica    *replica
	lead, heir *sink
}

const (
	leadBirth = int64(1_800_000_000_000_000)
	heirBirth = leadBirth + 60_000_000
)

func newPair(t *testing.T) *pair {
	id := media.TrackID{Stream: "cup/cam1", Format: made, Kind: media.Video}
	r := &replica{id: id, writer: log.New(id, 0, log.Config{}).Writer(), moved: make(chan struct{})}
	p := &pair{t: t, replica: r, lead: newSink(r, "worker1"), heir: newSink(r, "worker2")}
	r.setSinks(p.lead, p.heir)
	for i, s := range []link.Sink{p.lead, p.heir} {
		params := h264
		params.Epoch = uint32(i + 1)
		if err := s.Begin(params); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// give writes picture n of a sink, in two packets.
func (p *pair) give(s *sink, n int64) error {
	p.t.Helper()
	birth := leadBirth
	if s == p.heir {
		birth = heirBirth
	}
	for half := range int64(2) {
		packet := media.Packet{Offset: birth + 2*n + half, Ticks: media.TicksOf(media.Time(n*int64(frame)), 90000), Payload: []byte{1}}
		if half == 0 && n%makerGOP == 0 {
			packet.Flags |= media.Keyframe
		}
		if half == 1 {
			packet.Flags |= media.FrameEnd
		}
		if err := s.Write(packet); err != nil {
			return err
		}
	}
	return nil
}

// giveAll writes pictures of a sink from one up to another, which it takes.
func (p *pair) giveAll(s *sink, from, until int64) {
	p.t.Helper()
	for n := from; n < until; n++ {
		if err := p.give(s, n); err != nil {
			p.t.Fatalf("picture %d: %v", n, err)
		}
	}
}

// led has the lead give the pictures from 1000 on, and gives a reader of them.
func (p *pair) led(until int64) *log.Cursor {
	p.t.Helper()
	p.giveAll(p.lead, 1000, until)
	return p.replica.writer.Log().Cursor(log.LastKeyframe())
}

// pictures are those that readers get, from a cursor that was there before.
func pictures(c *log.Cursor) (list []int64) {
	for p, _ := c.Next(); p != nil; p, _ = c.Next() {
		if p.Has(media.FrameEnd) {
			list = append(list, int64(p.Time().Sub(0)/frame))
		}
	}
	return list
}

func (p *pair) want(c *log.Cursor, from, until int64) {
	p.t.Helper()
	got := pictures(c)
	if int64(len(got)) != until-from || len(got) > 0 && (got[0] != from || got[len(got)-1] != until-1) {
		p.t.Errorf("readers got pictures %v, want %d to %d", got, from, until-1)
	}
}

func TestAnHeirThatIsAheadWaitsForTheLead(t *testing.T) {
	p := newPair(t)
	reader := p.led(1008)
	p.giveAll(p.heir, 1003, 1014) // it is six ahead
	p.want(reader, 1000, 1008)
	p.giveAll(p.lead, 1008, 1010)
	p.want(reader, 1008, 1010)
	if err := p.give(p.lead, 1010); !errors.Is(err, errHandedOver) {
		t.Errorf("the lead goes on: %v", err)
	}
	p.want(reader, 1010, 1014)
	_ = p.give(p.heir, 1014)
	p.want(reader, 1014, 1015)
}

func TestALeadThatIsAheadEndsWhereTheHeirBegins(t *testing.T) {
	p := newPair(t)
	reader := p.led(1010)
	p.giveAll(p.heir, 1000, 1007)
	if err := p.give(p.lead, 1010); !errors.Is(err, errHandedOver) {
		t.Errorf("the lead goes on: %v", err)
	}
	p.giveAll(p.heir, 1007, 1012)
	p.want(reader, 1000, 1012)
}

// TestAnHeirDoesNotWaitForALeadThatStands has the lead hang, on a link that is well.
func TestAnHeirDoesNotWaitForALeadThatStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		reader := p.led(1008)
		began := time.Now()
		p.want(reader, 1000, 1008)
		for n := int64(1009); n < 1100; n++ {
			time.Sleep(frame)
			_ = p.give(p.heir, n)
			if got := pictures(reader); len(got) > 0 {
				if waited := time.Since(began); got[0] != 1010 || waited > standing+2*frame {
					t.Errorf("readers go on with picture %d after %v, want 1010 after %v", got[0], waited, standing)
				}
				return
			}
		}
		t.Error("readers get nothing more")
	})
}

// TestAnHeirIsUrgedWhenTheLeadIsLost gives readers at once what is held.
func TestAnHeirIsUrgedWhenTheLeadIsLost(t *testing.T) {
	p := newPair(t)
	reader := p.led(1008)
	p.giveAll(p.heir, 1010, 1013)
	p.want(reader, 1000, 1008)
	p.heir.urge()
	p.want(reader, 1010, 1013)
}

// TestWhatIsHeldIsBounded has the lead go on slowly, and ever further behind.
func TestWhatIsHeldIsBounded(t *testing.T) {
	p := newPair(t)
	reader := p.led(1001)
	last := int64(1010) + int64(heldMost/frame)
	p.giveAll(p.heir, 1010, last+1)
	p.want(reader, 1000, 1001)
	_ = p.give(p.heir, last+1)
	p.want(reader, 1010, last+2)
}
