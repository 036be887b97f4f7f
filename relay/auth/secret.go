package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// NewID makes an id for a session, a token or anything else that must not be guessed: 26 characters of A-Z and 2-7
// with at least 128 bits of randomness, safe in URLs and file names.
func NewID() string { return rand.Text() }

// SecretFile is where the secret of an installation is kept, if it is not configured.
func SecretFile(dir string) string { return filepath.Join(dir, "secret") }

// Secret returns the secret of this installation: the configured one if there is one, else the one kept in the file
// "secret" of dir, which is made at the first call. Nodes that shall take each other's tokens need the same.
func Secret(configured, dir string) ([]byte, error) {
	if configured != "" {
		return []byte(configured), nil
	}
	path := SecretFile(dir)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeSecret(dir, path); err != nil {
			return nil, fmt.Errorf("make a secret for tokens (or set auth.secret): %w", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("look for the secret for tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read %s: run `chmod 600 %s`", path, path)
	}
	secret, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the secret for tokens: %w", err)
	}
	secret = bytes.TrimSpace(secret)
	if len(secret) < MinSecretBytes {
		return nil, fmt.Errorf("%s has less than %d bytes: delete it for a new one, which ends all tokens", path, MinSecretBytes)
	}
	return secret, nil
}

// makeSecret writes a new secret so that a reader sees all of it or nothing, and the first of several writers wins.
func makeSecret(dir, path string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	draft, err := os.CreateTemp(dir, "secret-*") // readable by us alone
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	random := make([]byte, MinSecretBytes)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	_, err = draft.WriteString(hex.EncodeToString(random) + "\n")
	if err = errors.Join(err, draft.Sync(), draft.Close()); err != nil {
		return err
	}
	if err := os.Link(draft.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
