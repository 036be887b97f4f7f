package auth_test

import (
	"bytes"
	"testing"
	"time"

	"banyan/relay/auth"
	"banyan/relay/media"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	secret = bytes.Repeat([]byte("s"), 32)
	// now is when all tests happen.
	now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

const cam1 = media.Name("cup/cam1")

// newGuard is a guard that wants tokens for everything.
func newGuard(t testing.TB) *auth.Guard { return newGuardOf(t, auth.Config{}) }

func newGuardOf(t testing.TB, c auth.Config) *auth.Guard {
	t.Helper()
	c.Secret = secret
	if c.Now == nil {
		c.Now = func() time.Time { return now }
	}
	guard, err := auth.NewGuard(c)
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func mint(t testing.TB, g *auth.Guard, grant auth.Grant) string {
	t.Helper()
	if grant.TTL == 0 {
		grant.TTL = time.Hour
	}
	token, err := g.Mint(grant)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
