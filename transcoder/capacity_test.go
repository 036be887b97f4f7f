package transcoder

import (
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"banyan/relay/media"
)

// value is the sum of a metric over its labels; -1 where there is none.
func value(t *testing.T, r prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	return -1
}

// With room for one picture, that which more watch displaces the other, which comes back when there is room.
func TestCapacityIsShort(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	fx := newFixture(t, Config{Ladders: onlySmall, Capacity: 0.001, Metrics: registry})
	fx.play(1, small(t, "4").repeat(8).from(fx.epoch))
	fx.offered("48p")
	large := fx.watch("48p", media.Video)
	fx.worker("48p", func(w Worker) bool { return w.Out > 10 })
	cheap := fx.watch("32p", media.Video)
	more := []*viewer{fx.watch("32p", media.Video), fx.watch("32p", media.Video)}
	fx.worker("32p", func(w Worker) bool { return w.Out > 10 })
	if w := fx.worker("48p", func(w Worker) bool { return w.State == Queued }); w.PID != 0 || w.Trouble != "" {
		t.Errorf("the format that had to go says %+v, want no process and no trouble", w)
	}
	for name, want := range map[string]float64{
		"banyan_transcoder_processes":               1,
		"banyan_transcoder_processes_waiting":       1,
		"banyan_transcoder_processes_refused_total": 2, // the small one, and the large one when it asked again
		"banyan_transcoder_processes_shed_total":    1,
		"banyan_transcoder_circuit_open":            0,
	} {
		if got := value(t, registry, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if in, lag := value(t, registry, "banyan_transcoder_frames_total"), value(t, registry, "banyan_transcoder_lag_seconds"); in < 40 || lag < 0 {
		t.Errorf("frames %v and lag %v; want at least 40 and one", in, lag)
	}
	cheap.sub.Close()
	for _, other := range more {
		other.sub.Close()
	}
	back := fx.worker("48p", func(w Worker) bool { return w.State == Running && w.Out > 30 })
	frames := large.until(large.sub.Log().NewestTime())
	for i := 1; i < len(frames); i++ {
		if frames[i].Ticks <= frames[i-1].Ticks {
			t.Fatalf("time went back when process %d took over", back.PID)
		}
	}
}

func TestThumbnailsAreShared(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: onlySmall})
	fx.send(small(t, "1").from(fx.epoch))
	var wg sync.WaitGroup
	pictures := make([][]byte, 20)
	for i := range pictures {
		wg.Go(func() {
			var err error
			if pictures[i], err = fx.transcoder.Thumbnail(t.Context(), fx.stream); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range pictures {
		if len(p) == 0 || &p[0] != &pictures[0][0] {
			t.Fatal("more than one was made")
		}
	}
}

func TestOffersSayWhatComes(t *testing.T) {
	t.Parallel()
	fx := newFixture(t, Config{Ladders: []Rule{
		{Match: "other/**", Formats: []string{"90p"}},
		{Match: "cup/*", Formats: []string{"source", "90p", "48p-vp8", "opus", "aac"}, Always: false},
	}})
	if offers := fx.transcoder.Offers(fx.stream); len(offers) != 0 {
		t.Errorf("nothing is published and %d formats are offered", len(offers))
	}
	fx.send(small(t, "1").from(fx.epoch))
	fx.send(tone(t, media.AAC, "1").from(fx.epoch))
	offered := map[media.Format]media.Params{}
	for _, o := range fx.transcoder.Offers(fx.stream) {
		offered[o.Format] = o.Params
	}
	if len(offered) != 3 || offered["90p"].Height != 90 || offered["48p-vp8"].Codec != media.VP8 || offered["opus"].Channels != 2 {
		t.Errorf("offered are %+v; want 90p, 48p-vp8 and opus: AAC is there already", offered)
	}
}
