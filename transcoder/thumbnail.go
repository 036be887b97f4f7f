package transcoder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"banyan/relay"
	"banyan/relay/frame"
	"banyan/relay/log"
	"banyan/relay/media"
)

// ErrNoPicture tells that a stream has no keyframe to make a thumbnail of.
var ErrNoPicture = errors.New("the stream has no picture yet: try again in a moment")

const (
	thumbWidth    = 480             // pixels, at most
	thumbBytes    = 1 << 20         // at most
	thumbAge      = 5 * time.Second // before another is made
	maxThumbnails = 2               // made at once
)

// Thumbnail is a JPEG of the source's newest keyframe, at most 480 pixels wide and about five seconds
// old. Callers who ask for the same stream share one; at most two are made at once, and who asks for a
// third waits a while. It returns ErrNoPicture where there is nothing to show.
func (t *Transcoder) Thumbnail(ctx context.Context, s *relay.Stream) ([]byte, error) {
	if jpeg := t.thumbCache.get(s, time.Now()); jpeg != nil {
		return jpeg, nil
	}
	key, err := newestKeyframe(s)
	if err != nil {
		return nil, err
	}
	// The key is the name: it may be that of a stream that came back meanwhile, which is as good.
	jpeg, err, _ := t.thumbs.Do(string(s.Name()), func() (any, error) {
		if jpeg := t.thumbCache.get(s, time.Now()); jpeg != nil {
			return jpeg, nil // made between the look above and now
		}
		// Others wait for it too, so that one of them leaving does not end it; its own limits do.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*t.config.Grace)
		defer cancel()
		return t.makeThumbnail(bounded, s, key)
	})
	if err != nil {
		return nil, fmt.Errorf("thumbnail of %q: %w", s.Name(), err)
	}
	return jpeg.([]byte), nil
}

func newestKeyframe(s *relay.Stream) (*frame.Frame, error) {
	for _, track := range s.Published() {
		if track.ID.Format != media.Source || track.ID.Kind != media.Video || track.Log == nil {
			continue
		}
		f := frame.NewReader(track.Log.Cursor(log.LastKeyframe())).Next()
		if f != nil && f.Keyframe {
			return f, nil
		}
	}
	return nil, ErrNoPicture
}

func (t *Transcoder) makeThumbnail(ctx context.Context, s *relay.Stream, key *frame.Frame) ([]byte, error) {
	select {
	case t.thumbSlots <- struct{}{}:
		defer func() { <-t.thumbSlots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var input bytes.Buffer
	in, err := newInput(&input, *key.Params, int64(key.Time())/int64(time.Second)-1)
	if err != nil {
		return nil, err
	}
	if err := in.write(key); err != nil {
		return nil, err
	}
	software := limits{memory: t.config.Memory, nice: 10}
	jpeg, err := runOnce(t.config.FFmpeg, thumbnailArgs(*key.Params, thumbWidth), software, input.Bytes(), t.config.Grace, thumbBytes)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(jpeg, []byte{0xff, 0xd8}) {
		return nil, ErrNoPicture
	}
	t.thumbCache.put(s, jpeg, time.Now())
	return jpeg, nil
}

// thumbCache keeps thumbnails for a few seconds.
type thumbCache struct {
	mu   sync.Mutex
	kept map[*relay.Stream]thumb
}

type thumb struct {
	jpeg []byte
	made time.Time
}

func (c *thumbCache) get(s *relay.Stream, now time.Time) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.kept[s]; ok && now.Sub(kept.made) < thumbAge {
		return kept.jpeg
	}
	return nil
}

func (c *thumbCache) put(s *relay.Stream, jpeg []byte, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept = map[*relay.Stream]thumb{}
	}
	for stream, old := range c.kept {
		if now.Sub(old.made) >= thumbAge {
			delete(c.kept, stream)
		}
	}
	c.kept[s] = thumb{jpeg: jpeg, made: now}
}
