package auth_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"banyan/relay/auth"
)

func TestRevokedTokensStayRevoked(t *testing.T) {
	dir := t.TempDir()
	list, err := auth.OpenRevocations(dir)
	if err != nil {
		t.Fatal(err)
	}
	guard, err := auth.NewGuard(auth.Config{Secret: []byte(strings.Repeat("s", auth.MinSecretBytes)), Revoked: list.Revoked})
	if err != nil {
		t.Fatal(err)
	}
	token, err := guard.Mint(auth.Grant{Publish: []string{"cup/*"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := guard.CheckPublish(token, "cup/cam1")
	if err != nil {
		t.Fatal(err)
	}
	if err := list.Revoke(claims.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := guard.CheckPublish(token, "cup/cam1"); !errors.Is(err, auth.ErrBadToken) {
		t.Errorf("a revoked token: %v, want ErrBadToken", err)
	}
	// A write that was cut short before a crash must cost nothing but itself.
	file := filepath.Join(dir, "revoked")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "ABCDEF"...), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := auth.OpenRevocations(dir)
	if err != nil || !again.Revoked(claims.ID) {
		t.Fatalf("after a restart the token is good again: %v", err)
	}
	other := auth.NewID()
	if err := again.Revoke(other); err != nil {
		t.Fatal(err)
	}
	if last, err := auth.OpenRevocations(dir); err != nil || !last.Revoked(other) || !last.Revoked(claims.ID) {
		t.Errorf("the list lost a line: %v", err)
	}
	for _, bad := range []string{"", "../x", strings.Repeat("A", 27), "a\nb"} {
		if err := again.Revoke(bad); err == nil {
			t.Errorf("revoked %q", bad)
		}
	}
}
