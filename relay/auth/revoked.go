package auth

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// Revocations is the list of tokens that are good no more although they have not expired, by their ids. It is kept in
// a file, one id a line, which is synced before Revoke returns. Methods are safe for concurrent use.
type Revocations struct {
	mu   sync.RWMutex
	ids  map[string]struct{}
	file string
}

// maxRevoked bounds the list. When it is full, a new secret is the better way to take tokens back.
const maxRevoked = 100_000

// ErrRevocationsFull is returned when the list is full.
var ErrRevocationsFull = errors.New("the list of revoked tokens is full: set a new auth.secret, which ends all tokens")

// tokenID is what Mint makes, see NewID.
var tokenID = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// OpenRevocations reads the list in the file "revoked" of dir; a missing file is an empty list. Lines that are no
// token id (the last one of a write that was cut short) are passed over.
func OpenRevocations(dir string) (*Revocations, error) {
	r := &Revocations{ids: map[string]struct{}{}, file: filepath.Join(dir, "revoked")}
	f, err := os.Open(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revoked tokens: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan() && len(r.ids) < maxRevoked; {
		if id := lines.Text(); tokenID.MatchString(id) {
			r.ids[id] = struct{}{}
		}
	}
	return r, nil
}

// Revoked tells whether the token with this id is on the list; it is what Config.Revoked takes.
func (r *Revocations) Revoked(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, found := r.ids[id]
	return found
}

// Revoke puts a token on the list, for good.
func (r *Revocations) Revoke(id string) error {
	if !tokenID.MatchString(id) {
		return fmt.Errorf("%.40q is not the id of a token: it is the claim \"jti\", 26 characters of A-Z and 2-7", id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, found := r.ids[id]; found {
		return nil
	}
	if len(r.ids) >= maxRevoked {
		return ErrRevocationsFull
	}
	if err := appendLine(r.file, id); err != nil {
		return fmt.Errorf("keep the revoked token: %w", err)
	}
	r.ids[id] = struct{}{}
	return nil
}

// appendLine begins with a line break too, so that a line that was cut short cannot spoil the next one.
func appendLine(file, line string) (err error) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteString("\n" + line + "\n"); err != nil {
		return err
	}
	return f.Sync()
}
