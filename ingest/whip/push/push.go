// Package push is a WHIP publisher (RFC 9725): it takes MPEG-TS with H.264 and Opus, as FFmpeg writes it
// to a pipe, and publishes it to a WHIP endpoint. The demo camera and tests are made of it; it also
// turns every FFmpeg into a WHIP encoder:
//
//	ffmpeg -re -i … -c:v libx264 -bf 0 -c:a libopus -f mpegts - | (push.Run)
//
// Run reads the source in one goroutine and keeps a session in another. Between them is a short queue:
// what is not sent in time is dropped up to the next keyframe, so that a lost connection holds back no
// encoder and is behind nobody when it is back. Run connects again by itself, with growing pauses,
// until its context or its source ends. Only an answer that another try cannot change (a refused token,
// an offer that the server cannot take) ends it early, and that somebody else has taken the name over or the operator
// has ended the session: who came back then would be in the way.
//
// Packets are sent at the pace of their timestamps. Sender reports tie both tracks to one clock, so that
// the server can put them in step to the sample, however the pipe delivered them. Lost packets are sent
// again on request (RFC 4585, RFC 4588).
package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what is published, and where.
type Config struct {
	// URL of the WHIP endpoint, such as http://localhost:8080/whip/cup/cam1.
	URL string
	// Token, if not empty, goes with every request as a bearer token.
	Token string
	// Source is MPEG-TS with one H.264 track, one Opus track, or both; other tracks are left out. If it
	// is an io.Closer it is closed when the context ends; else its Read must return by itself then.
	Source io.Reader
	// TCP makes the connection over ICE-TCP alone, as on a network that blocks UDP.
	TCP bool
	// Client makes the requests. If nil, one with a timeout of 10 s.
	Client *http.Client
	// Logger gets a line when a session starts and ends. If nil, slog.Default().
	Logger *slog.Logger
}

// Pauses between attempts to connect: each twice as long as the one before, and half of it by chance,
// so that many publishers do not come back at the same moment.
const (
	firstPause = 500 * time.Millisecond
	longestOne = 5 * time.Second
	// A session that lasted this long was a success: begin with short pauses again.
	success = 10 * time.Second
)

// errEnded is what ends the session when the source has ended.
var errEnded = errors.New("the source has ended")

// Run publishes until ctx ends, the source ends (then it returns nil), or the server refuses for good.
// It returns after all that it started.
func Run(ctx context.Context, c Config) error {
	if c.URL == "" || c.Source == nil {
		return errors.New("push: set URL and Source")
	}
	if c.Client == nil {
		c.Client = &http.Client{Timeout: 10 * time.Second}
		defer c.Client.CloseIdleConnections()
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	group, ctx := errgroup.WithContext(ctx)
	if closer, ok := c.Source.(io.Closer); ok {
		stop := context.AfterFunc(ctx, func() { _ = closer.Close() })
		defer stop()
	}
	source := newSource(c.Source)
	group.Go(func() error { return source.run(ctx) })
	group.Go(func() error { return publish(ctx, c, source) })
	if err := group.Wait(); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// publish keeps a session as long as the source lasts. It never returns nil.
func publish(ctx context.Context, c Config, source *source) error {
	if err := source.probe(ctx); err != nil {
		return err
	}
	pause := firstPause
	for {
		begun := time.Now()
		err := runSession(ctx, c, source)
		var refused *refusal
		switch {
		case errors.Is(err, errEnded):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refused) && !refused.temporary():
			return fmt.Errorf("publish to %s: %w", c.URL, err)
		case time.Since(begun) > success:
			pause = firstPause
		}
		wait := pause/2 + rand.N(pause/2)
		if refused != nil {
			wait = max(wait, refused.after)
		}
		c.Logger.Info("publisher waits to connect again", "url", c.URL, "cause", err, "pause", wait.Round(time.Millisecond))
		if err := source.discard(ctx, wait); err != nil {
			return err
		}
		pause = min(2*pause, longestOne)
	}
}
