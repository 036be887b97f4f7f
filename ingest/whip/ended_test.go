package whip

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pion/webrtc/v4"

	"banyan/relay"
	"banyan/relay/rtc"
)

// TestPublisherIsToldOfItsEnd: a publisher that hears that its connection has ended asks why, at once and for a while
// after, so that it does not take the name back from whoever has taken it over.
func TestPublisherIsToldOfItsEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, cause, words string
		logged             error
		end                func(n *node)
	}{
		{"taken over", "taken-over", "Somebody else publishes under this name now", relay.ErrTakenOver, func(n *node) { n.connect(n.T) }},
		{"kicked", "kicked", "ended by the operator", relay.ErrKicked, func(n *node) {
			if stream, err := n.hub.Stream(camera); err != nil || !stream.Kick() {
				n.Errorf("there is no publisher: %v", err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, rtc.Config{})
			token := n.token("ana", "cup/*")
			s := n.connect(t)
			n.poll("live", n.live)
			session := n.onlySession()
			c.end(n)
			n.poll("the connection ends at the publisher's", func() bool { return s.pc.ConnectionState() == webrtc.PeerConnectionStateClosed })
			told := func(r reply) {
				t.Helper()
				var answer struct{ Cause, Detail string }
				if err := json.Unmarshal([]byte(r.body), &answer); err != nil || r.status != http.StatusGone ||
					answer.Cause != c.cause || !strings.Contains(answer.Detail, c.words) {
					t.Errorf("answered %d %s, want 410 with cause %q and %q", r.status, r.body, c.cause, c.words)
				}
			}
			r := n.ask("GET", s.session, token, "") // at once, while the session is taken apart
			r.wantProblem(t, http.StatusGone)
			told(r)
			<-session.Done()
			for _, method := range []string{"GET", "PATCH", "DELETE"} {
				told(n.ask(method, s.session, token, "", "Content-Type", typeFragment))
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
	token := n.token("ana", "cup/*")
	s := n.connect(t)
	n.poll("live", n.live)
	session := n.onlySession()
	if err := s.pc.GracefulClose(); err != nil {
		t.Fatal(err)
	}
	<-session.Done()
	if r := n.ask("DELETE", s.session, token, ""); r.status != http.StatusOK {
		t.Errorf("DELETE: answered %d %s, want 200", r.status, r.body)
	}
	n.ask("GET", s.session, token, "").wantProblem(t, http.StatusNotFound)
}

// onlySession is the one session that the node has.
func (n *node) onlySession() *session {
	n.Helper()
	n.server.mu.Lock()
	defer n.server.mu.Unlock()
	for x := range n.server.sessions {
		return x
	}
	n.Fatal("there is no session")
	return nil
}
