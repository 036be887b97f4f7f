package whip

import (
	"sync/atomic"
	"testing"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"
	"banyan/relay/rtc"
)

// hourglass is a guard that lets a token in once, and then only others, unless it needs none.
type hourglass struct {
	Guard
	mode  auth.Mode
	asked atomic.Int32
	spent atomic.Value // the token that it was asked for first, a string
}

func (g *hourglass) CheckPublish(token string, stream media.Name) (auth.Claims, error) {
	claims, err := g.Guard.CheckPublish(token, stream)
	claims.Expires = time.Now().Add(-auth.Leeway)
	if g.asked.Add(1) == 1 {
		g.spent.Store(token)
	} else if g.mode == auth.NeedToken && token == g.spent.Load() {
		return g.Guard.CheckPublish("spent", stream) // refused as any is that does not hold
	}
	return claims, err
}

// TestTokenRunsOut: a publisher is cut when its token runs out, unless nobody needs one.
func TestTokenRunsOut(t *testing.T) {
	t.Parallel()
	for _, mode := range []auth.Mode{auth.NeedToken, auth.Open} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			guard := &hourglass{Guard: n.guard, mode: mode}
			n.server.config.Guard = guard
			s := n.connect(t)
			n.poll("the guard to be asked again", func() bool { return guard.asked.Load() > 1 })
			if mode == auth.NeedToken {
				n.poll("the session to end", func() bool { return n.metric("banyan_whip_sessions_ended_total", "expired") == 1 })
				return
			}
			s.until("the stream to go on", func() bool {
				stream, err := n.hub.Stream(camera)
				return err == nil && stream.Live() && stream.Published()[0].Params != nil
			})
			if ended := n.metric("banyan_whip_sessions_ended_total", "expired"); ended != 0 {
				t.Errorf("%v sessions were cut", ended)
			}
		})
	}
}
