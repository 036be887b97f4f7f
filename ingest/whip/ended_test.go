package whip

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"banyan/relay"
	"banyan/relay/auth"
	"banyan/relay/rtc"
)

// TestPublisherIsToldOfItsEnd: a publisher that hears that its connection has ended asks why, at once and for a while
// after, so that it does not take the name back from whoever has taken it over.
func TestPublisherIsToldOfItsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cause, words string
		logged             error
		end                func(s *sender, x *session) (heard <-chan struct{})
	}{
		{"taken over", "taken-over", "Somebody else publishes under this name now", relay.ErrTakenOver, func(s *sender, _ *session) <-chan struct{} {
			s.node.connect(s.T)
			return s.closed
		}},
		{"kicked", "kicked", "ended by the operator", relay.ErrKicked, func(s *sender, _ *session) <-chan struct{} {
			if stream, err := s.node.hub.Stream(camera); err != nil || !stream.Kick() {
				s.Errorf("there is no publisher: %v", err)
			}
			return s.closed
		}},
		{"expired", "expired", "has run out", errExpired, func(s *sender, _ *session) <-chan struct{} { return s.closed }},
		{"lost", "lost", "The publisher fell silent", rtc.ErrLost, func(s *sender, x *session) <-chan struct{} {
			s.vanish()
			return x.Ending() // the publisher cannot hear of it
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{DisconnectTimeout: time.Second, FailTimeout: 2 * time.Second})
			if c.logged == errExpired {
				n.server.config.Guard = &hourglass{Guard: n.guard, mode: auth.NeedToken}
			}
			s, session := n.broadcast(t)
			select {
			case <-c.end(s, session):
			case <-time.After(patience):
				t.Fatal("the connection goes on")
			}
			token := n.token("ana", string(camera)) // another than the session was made with, which may have run out
			told := func(r reply) {
				t.Helper()
				r.wantProblem(t, http.StatusGone)
				var answer struct{ Cause, Detail string }
				if err := json.Unmarshal([]byte(r.body), &answer); err != nil || answer.Cause != c.cause || !strings.Contains(answer.Detail, c.words) {
					t.Errorf("answered %s, want cause %q and %q", r.body, c.cause, c.words)
				}
			}
			told(n.ask("GET", s.session, token, "")) // at once, while the session is taken apart
			<-session.Done()
			for _, method := range []string{"GET", "PATCH", "DELETE"} {
				told(n.ask(method, s.session, token, "", "Content-Type", typeFragment))
			}
			if c.logged == errExpired {
				n.ask("GET", s.session, s.token, "").wantProblem(t, http.StatusUnauthorized)
			}
			n.ask("GET", s.session, "", "").wantProblem(t, http.StatusUnauthorized)
			n.ask("GET", s.session, n.token("eve", "cup/*"), "").wantProblem(t, http.StatusForbidden)
			if !errors.Is(session.Err(), c.logged) {
				t.Errorf("the log tells %v, want %v", session.Err(), c.logged)
			}
		})
	}
}

// TestDeleteAfterTheConnection: who closes its connection first, as browsers do, has deleted what ended by that.
func TestDeleteAfterTheConnection(t *testing.T) {
	t.Parallel()
	n := newNode(t, rtc.Config{})
	s, session := n.broadcast(t)
	if err := s.pc.GracefulClose(); err != nil {
		t.Fatal(err)
	}
	<-session.Done()
	if r := n.ask("DELETE", s.session, s.token, ""); r.status != http.StatusOK {
		t.Errorf("DELETE: answered %d %s, want 200", r.status, r.body)
	}
	n.ask("GET", s.session, s.token, "").wantProblem(t, http.StatusNotFound)
}

// broadcast is the only publisher, live, at both ends.
func (n *node) broadcast(t *testing.T) (*sender, *session) {
	t.Helper()
	s := n.connect(t)
	n.poll("live", n.live)
	return s, n.session(t)
}
