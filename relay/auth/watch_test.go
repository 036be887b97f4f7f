package auth_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"banyan/relay/auth"
)

// TestWatch: a session ends with its token where one is needed, and not before; where none is, it outlives it.
func TestWatch(t *testing.T) {
	for _, c := range []struct {
		name    string
		mode    auth.Mode
		token   bool
		isEnded bool
	}{
		{"a token is needed", auth.NeedToken, true, true},
		{"a good token where none is needed", auth.Open, true, false},
		{"nobody, where none is needed", auth.Open, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				guard := newGuardOf(t, auth.Config{Play: c.mode, Now: time.Now})
				token := ""
				if c.token {
					token = mint(t, guard, auth.Grant{Play: []string{"**"}, TTL: time.Hour})
				}
				claims, err := guard.CheckPlay(token, cam1)
				if err != nil {
					t.Fatal(err)
				}
				done, ended := make(chan struct{}), make(chan error, 1)
				go func() {
					ended <- auth.Watch(done, claims.Expires, func() error { _, err := guard.CheckPlay(token, cam1); return err })
				}()
				time.Sleep(time.Hour + auth.Leeway - time.Second)
				synctest.Wait()
				if len(ended) > 0 {
					t.Fatal("it ended while the token still holds")
				}
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if got := len(ended) > 0; got != c.isEnded {
					t.Fatalf("after the token has expired, ended is %v", got)
				}
				close(done)
				if err := <-ended; errors.Is(err, auth.ErrBadToken) != c.isEnded {
					t.Errorf("the reason is %v", err)
				}
			})
		})
	}
}
