package auth_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"banyan/relay/auth"

	"github.com/golang-jwt/jwt/v5"
)

const goodHeader = `{"alg":"HS256","typ":"JWT"}`

// payload is a good payload with some members replaced or, where the value is "", left out.
func payload(changes ...string) string {
	members := []string{"iss", "aud", "sub", "iat", "exp", "publish"}
	values := map[string]string{
		"iss": `"banyan"`, "aud": `"banyan"`, "sub": `"ana"`, "iat": at(0), "exp": at(time.Hour), "publish": `["cup/cam1"]`,
	}
	for i := 0; i < len(changes); i += 2 {
		if _, known := values[changes[i]]; !known {
			members = append(members, changes[i])
		}
		values[changes[i]] = changes[i+1]
	}
	var parts []string
	for _, name := range members {
		if values[name] != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, values[name]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// at is a NumericDate that far from now.
func at(d time.Duration) string { return fmt.Sprint(now.Add(d).Unix()) }

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// sign makes a token with a right signature over whatever it is given.
func sign(header, payload string) string { return signWith(secret, header, payload) }

func signWith(key []byte, header, payload string) string {
	text := encode(header) + "." + encode(payload)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func rsaKey(t *testing.T) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func rs256(t *testing.T, key *rsa.PrivateKey, header string) string {
	t.Helper()
	text := encode(header) + "." + encode(payload())
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestBadTokens is class H of the bad inputs: each way to come without a good token, through the whole path from the
// request to the answer. All are refused but the marked ones, and no answer or error quotes the token.
func TestBadTokens(t *testing.T) {
	guard := newGuardOf(t, auth.Config{Revoked: func(id string) bool { return id == "stolen" }})
	good := sign(goodHeader, payload())
	head, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	key, public := rsaKey(t)
	bearer := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	header := func(extra string) http.Header {
		return bearer(sign(`{"alg":"HS256","typ":"JWT",`+extra+`}`, payload()))
	}
	claim := func(changes ...string) http.Header { return bearer(sign(goodHeader, payload(changes...))) }

	for _, c := range []struct {
		name    string
		request http.Header
		want    error // nil: let in
	}{
		{"a good one", bearer(good), nil},
		{"none", nil, auth.ErrNoToken},
		{"empty Bearer", http.Header{"Authorization": {"Bearer"}}, auth.ErrBadToken},
		{"empty Bearer with space", http.Header{"Authorization": {"Bearer  "}}, auth.ErrBadToken},
		{"empty header", http.Header{"Authorization": {""}}, auth.ErrBadToken},
		{"Basic", http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("ana:"+good))}}, auth.ErrBadToken},
		{"two Authorization headers", http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}, auth.ErrBadToken},
		{"two tokens in one header", bearer(good + ", Bearer " + good), auth.ErrBadToken},
		{"alg none", bearer(encode(`{"alg":"none"}`) + "." + body + "."), auth.ErrBadToken},
		{"alg none signed", bearer(sign(`{"alg":"none","typ":"JWT"}`, payload())), auth.ErrBadToken},
		{"alg None", bearer(encode(`{"alg":"None"}`) + "." + body + "."), auth.ErrBadToken},
		{"alg absent", bearer(sign(`{"typ":"JWT"}`, payload())), auth.ErrBadToken},
		{"alg HS512", bearer(sign(`{"alg":"HS512","typ":"JWT"}`, payload())), auth.ErrBadToken},
		{"alg twice", bearer(sign(`{"alg":"none","alg":"HS256"}`, payload())), auth.ErrBadToken},
		{"typ of another kind", bearer(sign(`{"alg":"HS256","typ":"JWE"}`, payload())), auth.ErrBadToken},
		{"HS256 with RSA public key", bearer(signWith(public, goodHeader, payload())), auth.ErrBadToken},
		{"RS256", bearer(rs256(t, key, `{"alg":"RS256","typ":"JWT"}`)), auth.ErrBadToken},
		{"RS256 unknown kid", bearer(rs256(t, key, `{"alg":"RS256","kid":"other"}`)), auth.ErrBadToken},
		{"kid ../", header(`"kid":"../../dev/null"`), auth.ErrBadToken},
		{"kid SQL", header(`"kid":"x' UNION SELECT 'key"`), auth.ErrBadToken},
		{"jku", header(`"jku":"http://127.0.0.1:9/keys"`), auth.ErrBadToken},
		{"x5u", header(`"x5u":"http://127.0.0.1:9/cert"`), auth.ErrBadToken},
		{"embedded jwk", header(`"jwk":{"kty":"oct","k":"c3Nzc3M"}`), auth.ErrBadToken},
		{"crit unknown", header(`"crit":["exp"]`), auth.ErrBadToken},
		{"no exp", claim("exp", ""), auth.ErrBadToken},
		{"exp text", claim("exp", `"tomorrow"`), auth.ErrBadToken},
		{"exp a number in text", claim("exp", `"`+at(time.Hour)+`"`), auth.ErrBadToken},
		{"exp null", claim("exp", "null"), auth.ErrBadToken},
		{"exp 0", claim("exp", "0"), auth.ErrBadToken},
		{"exp negative", claim("exp", "-1"), auth.ErrBadToken},
		{"exp 1e999", claim("exp", "1e999"), auth.ErrBadToken},
		{"exp past 61 s", claim("exp", at(-61*time.Second)), auth.ErrBadToken},
		{"exp past 59 s, within leeway", claim("exp", at(-59*time.Second)), nil},
		{"exp year 9999", claim("exp", "253402300799"), auth.ErrBadToken},
		{"nbf future 61 s", claim("nbf", at(61*time.Second)), auth.ErrBadToken},
		{"nbf future 59 s", claim("nbf", at(59*time.Second)), nil},
		{"iat future 61 s", claim("iat", at(61*time.Second)), auth.ErrBadToken},
		{"aud missing", claim("aud", ""), auth.ErrBadToken},
		{"aud empty list", claim("aud", "[]"), auth.ErrBadToken},
		{"aud list with one right", claim("aud", `["banyan","other"]`), auth.ErrBadToken},
		{"aud list of the right one", claim("aud", `["banyan"]`), nil},
		{"aud wrong", claim("aud", `"other"`), auth.ErrBadToken},
		{"aud a number", claim("aud", "1"), auth.ErrBadToken},
		{"iss wrong", claim("iss", `"other"`), auth.ErrBadToken},
		{"iss missing", claim("iss", ""), auth.ErrBadToken},
		{"sub empty", claim("sub", `""`), auth.ErrBadToken},
		{"sub missing", claim("sub", ""), auth.ErrBadToken},
		{"room * instead of a grant", claim("publish", "", "room", `"*"`), auth.ErrForbidden},
		{"stream pattern of bad grammar", claim("publish", `["cup/***"]`), auth.ErrBadToken},
		{"stream pattern climbs", claim("publish", `["../cup/cam1"]`), auth.ErrBadToken},
		{"stream pattern empty", claim("publish", `[""]`), auth.ErrBadToken},
		{"stream pattern not in a list", claim("publish", `"cup/cam1"`), auth.ErrBadToken},
		{"other stream", claim("publish", `["cup/cam2"]`), auth.ErrForbidden},
		{"other depth", claim("publish", `["cup/*/*","*","cup"]`), auth.ErrForbidden},
		{"other right", claim("publish", "", "play", `["**"]`, "api", "true"), auth.ErrForbidden},
		{"duplicate claim", bearer(sign(goodHeader, strings.Replace(payload(), "{", `{"publish":["**"],`, 1))), auth.ErrBadToken},
		{"duplicate claim in another case", claim("EXP", at(-time.Hour)), auth.ErrBadToken},
		{"1 MiB token", bearer(strings.Repeat("a", 1<<20)), auth.ErrBadToken},
		{"good but over 8 KiB", claim("pad", `"`+strings.Repeat("a", 8<<10)+`"`), auth.ErrBadToken},
		{"10,000 dots", bearer(strings.Repeat(".", 10_000)), auth.ErrBadToken},
		{"1,000 dots", bearer(strings.Repeat(".", 1_000)), auth.ErrBadToken},
		{"four parts", bearer(good + ".x"), auth.ErrBadToken},
		{"two parts", bearer(head + "." + body), auth.ErrBadToken},
		{"bad base64", bearer(head + ".!!!." + signature), auth.ErrBadToken},
		{"padding base64", bearer(good + "="), auth.ErrBadToken},
		{"line break in the signature", bearer(good[:len(good)-3] + "\n" + good[len(good)-3:]), auth.ErrBadToken},
		{"not JSON", bearer(sign(goodHeader, "publish everything")), auth.ErrBadToken},
		{"JSON null", bearer(sign(goodHeader, "null")), auth.ErrBadToken},
		{"nesting bomb", bearer(sign(goodHeader, strings.Repeat("[", 5000))), auth.ErrBadToken},
		{"signature stripped", bearer(head + "." + body + "."), auth.ErrBadToken},
		{"signature of another body", bearer(head + "." + encode(payload("publish", `["**"]`)) + "." + signature), auth.ErrBadToken},
		{"signature of another secret", bearer(signWith([]byte(strings.Repeat("t", 32)), goodHeader, payload())), auth.ErrBadToken},
		{"token in cookie", http.Header{"Cookie": {"token=" + good + "; Authorization=" + good}}, auth.ErrNoToken},
		{"revoked token", claim("jti", `"stolen"`), auth.ErrBadToken},
		{"another id", claim("jti", `"mine"`), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Every request also has a good token in its query, where it must not count.
			r := httptest.NewRequest("POST", "/whip/cup/cam1?token="+good+"&access_token="+good, nil)
			r.Header = c.request
			token, err := auth.Bearer(r)
			if err == nil {
				_, err = guard.CheckPublish(token, cam1)
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err != nil {
				wantRefusal(t, err, body)
			}
		})
	}
}

// wantRefusal checks how err would be told over HTTP.
func wantRefusal(t *testing.T, err error, bodyOfToken string) {
	t.Helper()
	var refusal *auth.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("%T is no *auth.Error", err)
	}
	status, detail, header := refusal.Answer()
	want, challenge := 401, "Bearer"
	switch {
	case errors.Is(err, auth.ErrForbidden):
		want, challenge = 403, ""
	case errors.Is(err, auth.ErrBadToken):
		challenge = `Bearer error="invalid_token"`
	}
	if status != want || header.Get("WWW-Authenticate") != challenge {
		t.Errorf("answer: got %d %v, want %d with challenge %q", status, header, want, challenge)
	}
	if !strings.HasSuffix(detail, ".") && !strings.HasSuffix(detail, "`.") {
		t.Errorf("detail %q is not a sentence", detail)
	}
	for _, text := range []string{detail, err.Error()} {
		if strings.Contains(text, bodyOfToken) || strings.Contains(text, "eyJ") || len(text) > 400 {
			t.Errorf("%q quotes the token", text)
		}
	}
}

func TestMintedTokensSayWhatWasGranted(t *testing.T) {
	guard := newGuard(t)
	token := mint(t, guard, auth.Grant{User: "ana", Publish: []string{"cup/*"}, Play: []string{"**"}, API: true, TTL: time.Hour})
	claims, err := guard.CheckPublish(token, cam1)
	if err != nil {
		t.Fatal(err)
	}
	if claims.User != "ana" || !claims.API || len(claims.ID) < 26 || !claims.Expires.Equal(now.Add(time.Hour)) {
		t.Errorf("got %+v", claims)
	}
	if _, err := guard.CheckPlay(token, "calls/7f3a/ana/camera"); err != nil {
		t.Errorf("play: %v", err)
	}
	if _, err := guard.CheckAPI(token); err != nil {
		t.Errorf("API: %v", err)
	}
	if _, err := jwt.Parse(token, func(*jwt.Token) (any, error) { return secret, nil }, jwt.WithTimeFunc(func() time.Time { return now })); err != nil {
		t.Errorf("a plain JWT library does not take our token: %v", err)
	}

	nameless, err := guard.CheckAPI(mint(t, guard, auth.Grant{API: true}))
	if err != nil || nameless.User == "" {
		t.Errorf("a token without a user: got %+v, %v, want a made-up user", nameless, err)
	}
}

func TestGrantsThatCannotWorkAreNotMinted(t *testing.T) {
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("cup/camera-%d", i)
	}
	for name, grant := range map[string]auth.Grant{
		"no life":       {API: true},
		"negative life": {API: true, TTL: -time.Hour},
		"too long":      {API: true, TTL: auth.MaxTTL + time.Second},
		"nothing":       {TTL: time.Hour, User: "ana"},
		"bad publish":   {TTL: time.Hour, Publish: []string{"cup//cam1"}},
		"bad play":      {TTL: time.Hour, Play: []string{"cup/ **"}},
		"too big":       {TTL: time.Hour, Play: many},
	} {
		if token, err := newGuard(t).Mint(grant); err == nil {
			t.Errorf("%s: got token %s, want an error", name, token)
		}
	}
}

func TestLongestTokenIsTakenAtOnce(t *testing.T) {
	guard := newGuard(t)
	if _, err := guard.CheckAPI(mint(t, guard, auth.Grant{API: true, TTL: auth.MaxTTL})); err != nil {
		t.Errorf("a fresh token of the longest life: %v", err)
	}
}

// FuzzToken looks for any text but the one good token that opens the stream, and for panics.
func FuzzToken(f *testing.F) {
	guard := newGuard(f)
	token := sign(goodHeader, payload()) // not minted, as that differs in each of the fuzzer's processes
	f.Add(token)
	f.Add(token + "=")
	f.Add(token[:len(token)-1] + "\n" + token[len(token)-1:])
	f.Add(encode(`{"alg":"none"}`) + "." + encode(payload()) + ".")
	f.Add(encode(goodHeader) + "." + encode(payload("exp", `"x"`)) + ".AAAA")
	f.Add("a.b.c")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := guard.CheckPublish(text, cam1); err == nil && text != token {
			t.Errorf("%q opens the stream", text)
		}
		if _, err := guard.CheckPublish(text, "cup/cam2"); err == nil {
			t.Errorf("%q opens another stream", text)
		}
	})
}

// FuzzPayload gives arbitrary payloads a right signature, as an application that holds the secret might.
func FuzzPayload(f *testing.F) {
	guard := newGuard(f)
	f.Add(payload())
	f.Add(payload("aud", `["banyan"]`))
	f.Add(payload("publish", `["**"]`))
	f.Add(payload("EXP", "1"))
	f.Add(`{"exp":{},"aud":[[]]}`)
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := guard.CheckPublish(sign(goodHeader, text), cam1)
		if err != nil {
			return
		}
		if claims.User == "" || !claims.Expires.After(now.Add(-auth.Leeway)) || claims.Expires.After(now.Add(auth.MaxTTL+auth.Leeway)) {
			t.Errorf("payload %q is let in with %+v", text, claims)
		}
	})
}
