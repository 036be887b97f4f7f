package auth

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"banyan/relay/media"

	"github.com/golang-jwt/jwt/v5"
)

// Mode says whether something needs a token.
type Mode string

// The modes.
const (
	NeedToken Mode = "token"
	Open      Mode = "open"
)

// ParseMode checks s.
func ParseMode(s string) (Mode, error) {
	if mode := Mode(s); mode == NeedToken || mode == Open {
		return mode, nil
	}
	return "", fmt.Errorf("%.40q is no mode: write %q or %q", s, NeedToken, Open)
}

// MinSecretBytes is the least length of a secret, that of the hash: a shorter key is the weakest part (RFC 7518 section 3.2).
const MinSecretBytes = 32

// Config says how a Guard decides.
type Config struct {
	Secret  []byte               // signs; at least MinSecretBytes
	Also    [][]byte             // secrets that others sign with, or signed with lately; as long
	Publish Mode                 // if empty, NeedToken
	Play    Mode                 // if empty, NeedToken
	Revoked func(id string) bool // says whether a token's jti is revoked; if nil, none is
	Now     func() time.Time     // if nil, time.Now
}

// A Guard makes and checks tokens. It keeps no state, so that all methods may be called at the same time.
type Guard struct {
	secret  []byte
	known   jwt.VerificationKeySet // secret and Also
	publish Mode
	play    Mode
	revoked func(id string) bool
	now     func() time.Time
	parser  *jwt.Parser
}

// NewGuard checks c and makes a Guard of it.
func NewGuard(c Config) (*Guard, error) {
	g := &Guard{secret: c.Secret, publish: c.Publish, play: c.Play, revoked: c.Revoked, now: c.Now}
	for _, secret := range append([][]byte{c.Secret}, c.Also...) {
		if len(secret) < MinSecretBytes {
			return nil, fmt.Errorf("the secret has %d bytes: use at least %d random ones, such as `openssl rand -hex 32` prints",
				len(secret), MinSecretBytes)
		}
		g.known.Keys = append(g.known.Keys, secret)
	}
	for _, mode := range []*Mode{&g.publish, &g.play} {
		if *mode == "" {
			*mode = NeedToken
		}
		if _, err := ParseMode(string(*mode)); err != nil {
			return nil, err
		}
	}
	if g.now == nil {
		g.now = time.Now
	}
	g.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), // "none" and the RS/HS swap end here
		jwt.WithAudience(audience), jwt.WithIssuer(issuer),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(Leeway),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(g.now),
	)
	return g, nil
}

// The ways in which a check fails. An error of this package is one of them by errors.Is.
var (
	ErrNoToken   = errors.New("no token")
	ErrBadToken  = errors.New("bad token")
	ErrForbidden = errors.New("forbidden")
)

// An Error is a failed check. Error is for the log; Answer is for the client.
type Error struct {
	kind   error  // one of the sentinels
	detail string // for strangers
	cause  error  // may be nil; never shown to the client, never holds the token
}

func (e *Error) Error() string {
	if e.cause == nil {
		return e.kind.Error()
	}
	return e.kind.Error() + ": " + e.cause.Error()
}

func (e *Error) Unwrap() error { return e.kind }

// Answer is how the failure is told over HTTP (RFC 6750 section 3); see problem.Answerer.
func (e *Error) Answer() (status int, detail string, header http.Header) {
	switch {
	case errors.Is(e.kind, ErrForbidden):
		return http.StatusForbidden, e.detail, nil
	case errors.Is(e.kind, ErrBadToken):
		return http.StatusUnauthorized, e.detail, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}
	default:
		return http.StatusUnauthorized, e.detail, http.Header{"Www-Authenticate": {"Bearer"}}
	}
}

func noToken() error {
	return &Error{kind: ErrNoToken, detail: "This needs a token. Send it in the header \"Authorization: Bearer …\"; " +
		"the operator makes one with `banyan token`."}
}

func badToken(cause error) error {
	return &Error{kind: ErrBadToken, cause: cause,
		detail: "The token is not valid, or no longer. Ask the operator for a new one."}
}

func forbidden(verb string, name media.Name) error {
	what := verb
	if name != "" {
		what = verb + " " + string(name)
	}
	return &Error{kind: ErrForbidden, cause: errors.New("the token does not allow to " + what),
		detail: "The token is valid, but it does not allow to " + what + ". Ask the operator for one that does."}
}

// Bearer returns the token that came with r, and "" if none did. Only a single Authorization header of the scheme
// Bearer counts. Queries and cookies are not looked at: queries end up in logs and Referer headers, and cookies are
// sent by pages that are not ours.
func Bearer(r *http.Request) (string, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", nil
	}
	if len(headers) > 1 {
		return "", badToken(errors.New("there are several Authorization headers"))
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	token = strings.Trim(token, " ") // RFC 9110 section 11.4 allows several spaces
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", badToken(errors.New("the Authorization header is not \"Bearer\" and a token"))
	}
	return token, nil
}

// CheckPublish says whether the holder of token may publish name. An empty token is none.
func (g *Guard) CheckPublish(token string, name media.Name) (Claims, error) {
	return g.checkStream(token, name, "publish", g.publish, func(c Claims) []Glob { return c.Publish })
}

// CheckPlay says whether the holder of token may play name. An empty token is none.
func (g *Guard) CheckPlay(token string, name media.Name) (Claims, error) {
	return g.checkStream(token, name, "play", g.play, func(c Claims) []Glob { return c.Play })
}

// checkStream is both checks. In mode open everybody may; a good token still tells who it is, and a bad one is as
// none, so that an expired token does not shut out whom no token would let in.
func (g *Guard) checkStream(token string, name media.Name, verb string, mode Mode, globs func(Claims) []Glob) (Claims, error) {
	claims, err := g.claims(token)
	switch {
	case mode == Open:
		return claims, nil
	case err != nil:
		return Claims{}, err
	case !allows(globs(claims), name):
		return Claims{}, forbidden(verb, name)
	}
	return claims, nil
}

// Check returns what a good token says, whatever it allows.
func (g *Guard) Check(token string) (Claims, error) { return g.claims(token) }

// CheckAPI says whether the holder of token may use the REST API. No mode opens it.
func (g *Guard) CheckAPI(token string) (Claims, error) {
	claims, err := g.claims(token)
	if err != nil {
		return Claims{}, err
	}
	if !claims.API {
		return Claims{}, forbidden("use the API", "")
	}
	return claims, nil
}

func (g *Guard) claims(token string) (Claims, error) {
	if token == "" {
		return Claims{}, noToken()
	}
	claims, err := g.parse(token)
	if err != nil {
		return Claims{}, badToken(err)
	}
	return claims, nil
}
