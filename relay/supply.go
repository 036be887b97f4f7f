package relay

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"banyan/relay/log"
	"banyan/relay/media"
)

// supply is a Supplier's work on one track.
type supply struct {
	offer  Offer
	cancel context.CancelFunc
	linger func() // stops the linger that ends the supply; nil if none runs
}

// offers asks all suppliers; never with the lock held, as they look at the stream.
func (s *Stream) offers() []supplierOffer {
	s.hub.mu.Lock()
	suppliers := s.hub.suppliers
	s.hub.mu.Unlock()
	var all []supplierOffer
	for _, supplier := range suppliers {
		for _, o := range supplier.Offers(s) {
			all = append(all, supplierOffer{Offer: o, supplier: supplier})
		}
	}
	return all
}

type supplierOffer struct {
	Offer
	supplier Supplier
}

// keepAlways starts the tracks that suppliers want supplied while the stream is live, and lets go of those that they offer
// no more, as of another publisher.
func (s *Stream) keepAlways() {
	s.keeping.Lock() // so that what was asked for last is done last
	defer s.keeping.Unlock()
	offers := s.offers()
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	always := map[trackKey]bool{}
	for _, o := range offers {
		key := trackKey{o.Format, o.Kind}
		if always[key] = always[key] || o.Always; o.Always && s.liveLocked() && s.tracks[key] == nil {
			s.startLocked(key, o, 0)
		}
	}
	for key, t := range s.tracks {
		if t.supply == nil {
			continue
		}
		t.supply.offer.Always = always[key]
		if always[key] && s.liveLocked() && t.supply.linger != nil {
			t.supply.linger()
			t.supply.linger = nil
		}
		s.restLocked(key, t)
	}
}

// startLocked begins to supply an offered track, if it can behind a media time.
func (s *Stream) startLocked(key trackKey, o supplierOffer, after media.Time) *track {
	h := s.hub
	id := media.TrackID{Stream: s.name, Format: key.format, Kind: key.kind}
	ctx, cancel := context.WithCancel(h.ctx)
	first := log.FirstOffset(time.Now())
	if o.Replica {
		first = 0
	}
	t := &track{log: log.New(id, first, h.config.Log), supply: &supply{offer: o.Offer, cancel: cancel}}
	t.log.Want(after)
	s.tracks[key] = t
	s.ringLocked()
	writer := t.log.Writer()
	h.config.Logger.Info("format started", "track", id.String())
	h.wg.Go(func() {
		defer cancel()
		err := h.supply(ctx, id, func() error { return o.supplier.Supply(ctx, s, o.Offer, writer) })
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() == nil {
			h.config.Logger.Warn("format ended by itself", "track", id.String(), "cause", err)
		}
		s.dropLocked(key, t)
	})
	return t
}

// panicPause is how long a track is silent after its supplier has panicked: readers who subscribe again at once would
// otherwise have it panic again and again, as fast as it can.
const panicPause = 5 * time.Second

// supply runs a supplier's work. A panic in there costs this track alone.
func (h *Hub) supply(ctx context.Context, id media.TrackID, work func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			h.panics.Add(1)
			h.config.Logger.Error("a format's supplier panicked", "track", id.String(), "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = fmt.Errorf("its supplier panicked: %v", cause)
			pause := time.NewTimer(panicPause)
			defer pause.Stop()
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}()
	return work()
}

// dropLocked ends a supplied track.
func (s *Stream) dropLocked(key trackKey, t *track) {
	t.supply.cancel()
	if s.tracks[key] != t {
		return
	}
	delete(s.tracks, key)
	t.log.Close()
	s.hub.config.Logger.Info("format stopped", "track", t.log.ID().String())
	s.ringLocked()
}

// restLocked lets go of a supplied track that has no readers, after its linger.
func (s *Stream) restLocked(key trackKey, t *track) {
	if t.supply == nil || t.readers > 0 || t.supply.linger != nil || s.closed {
		return
	}
	if t.supply.offer.Always && s.liveLocked() {
		return
	}
	t.supply.linger = s.hub.after(t.supply.offer.Linger, func() { s.dropLocked(key, t) })
}

// restAllLocked lets go of what was kept only because the stream was live.
func (s *Stream) restAllLocked() {
	for key, t := range s.tracks {
		s.restLocked(key, t)
	}
}
