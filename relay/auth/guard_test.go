package auth_test

import (
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"banyan/relay/auth"
)

func TestOpenModeNeedsNoTokenButTheAPIAlwaysDoes(t *testing.T) {
	guard := newGuardOf(t, auth.Config{Publish: auth.Open, Play: auth.Open})
	if _, err := guard.CheckPublish("", cam1); err != nil {
		t.Errorf("publish: %v", err)
	}
	if _, err := guard.CheckPlay("expired or otherwise bad", cam1); err != nil {
		t.Errorf("play with a bad token, which is as none: %v", err)
	}
	if _, err := guard.CheckAPI(""); !errors.Is(err, auth.ErrNoToken) {
		t.Errorf("API: got %v, want %v", err, auth.ErrNoToken)
	}
	claims, err := guard.CheckPlay(mint(t, guard, auth.Grant{User: "ana", API: true}), cam1)
	if err != nil || claims.User != "ana" {
		t.Errorf("a token still tells who it is: got %+v, %v", claims, err)
	}
}

func TestAGuardWithoutModesWantsTokens(t *testing.T) {
	guard := newGuard(t)
	if _, err := guard.CheckPublish("", cam1); !errors.Is(err, auth.ErrNoToken) {
		t.Errorf("publish: got %v", err)
	}
	if _, err := guard.CheckPlay("", cam1); !errors.Is(err, auth.ErrNoToken) {
		t.Errorf("play: got %v", err)
	}
}

func TestRightsDoNotSpillOver(t *testing.T) {
	guard := newGuard(t)
	publisher := mint(t, guard, auth.Grant{Publish: []string{"cup/cam1"}})
	player := mint(t, guard, auth.Grant{Play: []string{"cup/cam1"}})
	operator := mint(t, guard, auth.Grant{API: true})
	for _, c := range []struct {
		who, token         string
		publish, play, api bool
	}{
		{"publisher", publisher, true, false, false},
		{"player", player, false, true, false},
		{"operator", operator, false, false, true},
	} {
		_, publish := guard.CheckPublish(c.token, cam1)
		_, play := guard.CheckPlay(c.token, cam1)
		_, api := guard.CheckAPI(c.token)
		for what, got := range map[string]struct {
			err error
			ok  bool
		}{"publish": {publish, c.publish}, "play": {play, c.play}, "api": {api, c.api}} {
			if got.ok && got.err != nil || !got.ok && !errors.Is(got.err, auth.ErrForbidden) {
				t.Errorf("%s, %s: got %v", c.who, what, got.err)
			}
		}
	}
}

func TestBearerTakesTheSchemeInAnyCase(t *testing.T) {
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("Authorization", "bearer  a.b.c ")
	if token, err := auth.Bearer(r); token != "a.b.c" || err != nil {
		t.Errorf("got %q, %v, want a.b.c", token, err)
	}
}

func TestWeakConfigurationIsRefused(t *testing.T) {
	if _, err := auth.NewGuard(auth.Config{Secret: []byte(strings.Repeat("x", 31))}); err == nil {
		t.Error("a secret of 31 bytes is taken")
	}
	if _, err := auth.NewGuard(auth.Config{Secret: secret, Play: "opne"}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

func TestSecretIsMadeOnceAndKeptPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var wait sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wait.Go(func() {
			made, err := auth.Secret("", dir)
			if err != nil {
				t.Errorf("first start: %v", err)
			}
			got[i] = string(made)
		})
	}
	wait.Wait()
	for _, s := range got {
		if s != got[0] || len(s) < 32 {
			t.Fatalf("starters at the same time got different secrets: %q and %q", s, got[0])
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("%d files are left, want the secret alone", len(entries))
	}
	path := filepath.Join(dir, "secret")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Secret("", dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that others can read: got %v, want what to do", err)
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, []byte("short\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := auth.Secret("", dir); err == nil {
		t.Error("a cut-off secret is taken")
	}
	if made, err := auth.Secret("configured", dir); err != nil || string(made) != "configured" {
		t.Errorf("configured: got %q, %v", made, err)
	}
}

func TestIDsAreLongAndSafe(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := auth.NewID()
		if len(id) < 26 || strings.ContainsFunc(id, func(r rune) bool { return (r < 'A' || r > 'Z') && (r < '2' || r > '7') }) {
			t.Fatalf("id %q: want at least 26 base32 characters, that is 128 bits", id)
		}
		if seen[id] {
			t.Fatalf("id %q twice", id)
		}
		seen[id] = true
	}
}

func BenchmarkCheckPlay(b *testing.B) {
	guard := newGuard(b)
	token := mint(b, guard, auth.Grant{User: "ana", Play: []string{"cup/*"}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := guard.CheckPlay(token, cam1); err != nil {
			b.Fatal(err)
		}
	}
}

// basic is used by the redaction tests: what a player sends as user and password.
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}
