package hls

import (
	"bytes"
	"compress/gzip"
	"sync"
	"time"
)

// state is a rendition between two publications. Its playlists are written when they are first asked
// for, and once, whatever the number of viewers.
type state struct {
	listing
	err     error         // why nothing follows; nil while something may
	changed chan struct{} // closed by the packager when the next state is there
	owner   *packager

	full, delta document
}

// ready tells whether there is anything to play.
func (s *state) ready() bool { return s.open != nil || len(s.segments) > 0 }

// playable tells whether a player that begins at the hold-back from the end finds media there.
func (s *state) playable() bool {
	var have time.Duration
	for _, closed := range s.segments {
		if !closed.gap {
			return true
		}
	}
	if s.open == nil {
		return false
	}
	for _, p := range s.open.parts {
		if !p.gap {
			have += p.length
		}
	}
	return have >= s.holdBack()
}

// playlist gives the whole playlist or, where skip is wished and worth it, a delta update.
func (s *state) playlist(skip bool) *document {
	if skip {
		if n := s.skippable(); n > 0 {
			s.delta.write(s.owner.zipper, func() []byte { return s.text(n) })
			return &s.delta
		}
	}
	s.full.write(s.owner.zipper, func() []byte { return s.text(0) })
	return &s.full
}

func (s *state) text(skip int) []byte {
	return s.render(skip, s.owner.id, s.owner.reports(s))
}

// reportOf is what other renditions say of this one. One that is not being made stands where the
// given state of another is, as it will when it is asked for: numbers follow from media time.
func reportOf(id renditionID, own, other *state) report {
	of := own
	if of == nil || !of.ready() {
		of = other
	}
	r := report{id: id}
	r.msn, r.part = of.position()
	return r
}

// document is a text, plain and compressed.
type document struct {
	once          sync.Once
	plain, zipped []byte
}

func (d *document) write(z *zipper, text func() []byte) {
	d.once.Do(func() {
		d.plain = text()
		d.zipped = z.compress(d.plain)
	})
}

// zipper compresses texts. It keeps the compressors, each of which takes a megabyte.
// Methods are safe for concurrent use.
type zipper struct{ writers sync.Pool }

func (z *zipper) compress(text []byte) []byte {
	var out bytes.Buffer
	w, _ := z.writers.Get().(*gzip.Writer)
	if w == nil {
		w, _ = gzip.NewWriterLevel(&out, gzip.BestSpeed) // the level is valid
	} else {
		w.Reset(&out)
	}
	_, _ = w.Write(text) // a buffer takes everything
	_ = w.Close()
	z.writers.Put(w)
	return out.Bytes()
}
