package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"banyan/relay/media"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// Leeway is how far the clocks of who makes a token and who checks it may differ.
	Leeway = 60 * time.Second
	// MaxTTL is the longest life of a token. A token for ever is a leak for ever.
	MaxTTL = 366 * 24 * time.Hour
	// maxTokenBytes bounds the work that a stranger can ask for. A token of ours has a few hundred bytes.
	maxTokenBytes = 8 << 10
	// audience and issuer of every token. There is one installation per secret, so they need no configuration.
	audience = "banyan"
	issuer   = "banyan"
)

// Claims are what a good token says. The zero Claims are those of someone without a token.
type Claims struct {
	ID      string // jti, by which a token can be revoked
	User    string // sub, who holds it
	Publish []Glob
	Play    []Glob
	API     bool
	Expires time.Time // end of the grant, without leeway; a session that needs it must end then
}

// A Grant is what a new token shall allow.
type Grant struct {
	User    string // if empty, a name is made up
	Publish []string
	Play    []string
	API     bool
	TTL     time.Duration // greater than 0, at most MaxTTL
}

// Check says what keeps a grant from being one.
func (g Grant) Check() error {
	const day = 24 * time.Hour
	switch {
	case g.TTL > MaxTTL:
		return fmt.Errorf("a token cannot live %d days: choose at most %d", g.TTL/day, MaxTTL/day)
	case g.TTL < time.Second:
		return fmt.Errorf("a token cannot live %v: choose at least one second, and at most %d days", g.TTL, MaxTTL/day)
	case len(g.Publish) == 0 && len(g.Play) == 0 && !g.API:
		return errors.New("a token that allows nothing is of no use: give it streams to publish or play, or the API")
	}
	for _, pattern := range slices.Concat(g.Publish, g.Play) {
		if _, err := ParseGlob(pattern); err != nil {
			return err
		}
	}
	return nil
}

// Mint makes a token that allows grant from now on.
func (g *Guard) Mint(grant Grant) (string, error) {
	if err := grant.Check(); err != nil {
		return "", err
	}
	now := g.now()
	id := NewID()
	body := wireClaims{
		Issuer: issuer, Audience: audiences{audience}, ID: id, Subject: grant.User,
		IssuedAt: seconds(now.Unix()), Expires: seconds(now.Add(grant.TTL).Unix()),
		Publish: grant.Publish, Play: grant.Play, API: grant.API,
	}
	if body.Subject == "" {
		body.Subject = "token-" + id[:8]
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &body).SignedString(g.secret)
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	if len(token) > maxTokenBytes {
		return "", fmt.Errorf("the token has %d bytes, which no node takes: use fewer or wider patterns", len(token))
	}
	return token, nil
}

// parse checks everything about a token but what it is wanted for. Its errors name the reason and never quote
// the token.
func (g *Guard) parse(token string) (Claims, error) {
	if len(token) > maxTokenBytes {
		return Claims{}, fmt.Errorf("it has %d bytes, at most %d are taken", len(token), maxTokenBytes)
	}
	// Go's base64 decoder skips CR and LF even when strict, which would let one token be written in many ways.
	if strings.ContainsFunc(token, notTokenRune) {
		return Claims{}, errors.New("it has characters that no token has")
	}
	var body wireClaims
	parsed, err := g.parser.ParseWithClaims(token, &body, func(*jwt.Token) (any, error) { return g.known, nil })
	if err != nil {
		return Claims{}, err
	}
	if err := checkHeader(parsed); err != nil {
		return Claims{}, err
	}
	claims := Claims{ID: body.ID, User: body.Subject, API: body.API, Expires: time.Unix(int64(body.Expires), 0)}
	if claims.Publish, err = parseGlobs(body.Publish); err != nil {
		return Claims{}, err
	}
	if claims.Play, err = parseGlobs(body.Play); err != nil {
		return Claims{}, err
	}
	switch {
	case len(body.Audience) != 1:
		return Claims{}, errors.New("its audience is not banyan alone")
	case claims.User == "":
		return Claims{}, errors.New("its subject is empty")
	case claims.Expires.Sub(g.now()) > MaxTTL+Leeway:
		return Claims{}, fmt.Errorf("it expires later than %v from now", MaxTTL)
	case g.revoked != nil && g.revoked(claims.ID):
		return Claims{}, errors.New("it is revoked")
	}
	return claims, nil
}

func notTokenRune(r rune) bool {
	return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// checkHeader refuses every header parameter that could change how a token is verified (RFC 7515 section 4.1), also
// those that we would ignore: whoever sends them expects something of them.
func checkHeader(token *jwt.Token) error {
	raw, _, _ := strings.Cut(token.Raw, ".")
	decoded, err := jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(raw)
	if err != nil {
		return err
	}
	if err := refuseRepeatedMembers(decoded); err != nil {
		return err
	}
	for name, value := range token.Header {
		text, _ := value.(string)
		if name != "alg" && (name != "typ" || !strings.EqualFold(text, "JWT")) {
			return fmt.Errorf("its header has %.40q, only alg and typ JWT may be there", name)
		}
	}
	return nil
}

func parseGlobs(patterns []string) ([]Glob, error) {
	var globs []Glob
	for _, pattern := range patterns {
		glob, err := ParseGlob(pattern)
		if err != nil {
			return nil, err
		}
		globs = append(globs, glob)
	}
	return globs, nil
}

// wireClaims is the payload of a token as it travels.
type wireClaims struct {
	Issuer    string    `json:"iss"`
	Audience  audiences `json:"aud"`
	Subject   string    `json:"sub"`
	ID        string    `json:"jti,omitempty"`
	Expires   seconds   `json:"exp"`
	IssuedAt  seconds   `json:"iat,omitempty"`
	NotBefore seconds   `json:"nbf,omitempty"`
	Publish   []string  `json:"publish,omitempty"`
	Play      []string  `json:"play,omitempty"`
	API       bool      `json:"api,omitempty"`
}

// The methods of jwt.Claims.

func (c *wireClaims) GetIssuer() (string, error)  { return c.Issuer, nil }
func (c *wireClaims) GetSubject() (string, error) { return c.Subject, nil }
func (c *wireClaims) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings(c.Audience), nil
}
func (c *wireClaims) GetExpirationTime() (*jwt.NumericDate, error) { return c.Expires.date(), nil }
func (c *wireClaims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.IssuedAt.date(), nil }
func (c *wireClaims) GetNotBefore() (*jwt.NumericDate, error)      { return c.NotBefore.date(), nil }

// UnmarshalJSON refuses a payload in which a member appears twice: which of the two counts differs between parsers.
func (c *wireClaims) UnmarshalJSON(data []byte) error {
	if err := refuseRepeatedMembers(data); err != nil {
		return err
	}
	type plain wireClaims // without this method
	return json.Unmarshal(data, (*plain)(c))
}

// seconds since the Unix epoch. Zero is absent.
type seconds int64

func (s seconds) date() *jwt.NumericDate {
	if s == 0 {
		return nil
	}
	return jwt.NewNumericDate(time.Unix(int64(s), 0))
}

// UnmarshalJSON takes the JSON number that RFC 7519 section 2 (NumericDate) asks for, fractions cut off, and no text.
func (s *seconds) UnmarshalJSON(data []byte) error {
	var value float64
	if err := json.Unmarshal(data, &value); err != nil || string(data) == "null" {
		return errors.New("a time in it is not a number")
	}
	const year9999 = 253402300799 // beyond lie overflows and no tokens of ours
	if math.IsNaN(value) || value < 1 || value > year9999 {
		return errors.New("a time in it is out of range")
	}
	*s = seconds(value)
	return nil
}

// audiences is one string or a list of them (RFC 7519 section 4.1.3).
type audiences []string

func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

func (a audiences) MarshalJSON() ([]byte, error) { return json.Marshal(a[0]) }

// refuseRepeatedMembers walks a JSON text and fails if an object in it has a member twice, also in another case:
// encoding/json takes "EXP" for exp.
func refuseRepeatedMembers(data []byte) error {
	type level struct {
		seen  map[string]bool // nil in an array
		value bool            // in an object: the next token is a value
	}
	var levels []level
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		top := len(levels) - 1
		isKey := top >= 0 && levels[top].seen != nil && !levels[top].value
		if key, ok := token.(string); ok && isKey {
			folded := strings.ToLower(strings.ToUpper(key))
			if levels[top].seen[folded] {
				return fmt.Errorf("it has the member %.40q twice", key)
			}
			levels[top].seen[folded] = true
			levels[top].value = true
			continue
		}
		if top >= 0 {
			levels[top].value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{seen: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:top]
		}
	}
}

// allows says whether one of globs matches name.
func allows(globs []Glob, name media.Name) bool {
	return slices.ContainsFunc(globs, func(g Glob) bool { return g.Match(name) })
}
