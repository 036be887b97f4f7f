package rtsp

import (
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/bluenviron/gortsplib/v4/pkg/base"
)

// sign makes the Authorization header of ana for a request, with a count where there is one.
func sign(algorithm, method, url, nonce, count, password string) string {
	of := func(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }
	if algorithm == "SHA-256" {
		of = func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	}
	secret, request := of("ana:banyan:"+password), of(method+":"+url)
	header := fmt.Sprintf(`Authorization: Digest username="ana", realm="banyan", nonce="%s", uri="%s", algorithm=%s`, nonce, url, algorithm)
	if count == "" {
		return fmt.Sprintf(`%s, response="%s"`, header, of(secret+":"+nonce+":"+request))
	}
	return fmt.Sprintf(`%s, qop=auth, nc=%s, cnonce="0a4f", response="%s"`, header, count, of(secret+":"+nonce+":"+count+":0a4f:auth:"+request))
}

// nonceOf is the nonce of a challenge.
func nonceOf(response string) string {
	_, rest, _ := strings.Cut(response, `nonce="`)
	nonce, _, _ := strings.Cut(rest, `"`)
	return nonce
}

// TestDigestIsGoodOnce is R13. A request that is let in is answered 404 here, as nobody publishes.
func TestDigestIsGoodOnce(t *testing.T) {
	t.Parallel()
	n := locked(t)
	const password = "s3cret-of-ana"
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		for _, c := range []struct{ name, first, second, want string }{
			{"no count twice", "", "", "401"},
			{"the same count twice", "00000001", "00000001", "401"},
			{"a lower count", "00000002", "00000001", "401"},
			{"no count after one", "00000001", "", "401"},
			{"a count after none", "", "00000001", "401"},
			{"count of nonsense", "00000001", "no", "401"},
			{"the next count", "00000001", "00000002", "404"},
			{"a later count", "00000009", "0000000a", "404"},
		} {
			r := n.dial(t)
			ask := func(stream, nonce, count, password string) string {
				url := n.url(stream)
				return r.request("DESCRIBE", url, "", sign(algorithm, "DESCRIBE", url, nonce, count, password))
			}
			nonce := nonceOf(r.request("DESCRIBE", n.url("cup/a"), ""))
			if got := ask("cup/a", nonce, c.first, password); status(got) != "404" {
				t.Errorf("%s, %s: the first use: %s", algorithm, c.name, got)
			}
			got := ask("cup/b", nonce, c.second, password)
			if status(got) != c.want {
				t.Errorf("%s, %s: the second use: %s; want %s", algorithm, c.name, got, c.want)
			}
			if c.want != "401" {
				continue
			}
			fresh := nonceOf(got)
			if !strings.Contains(got, `stale="true"`) || fresh == nonce || len(fresh) < 20 {
				t.Errorf("%s, %s: no new nonce: %s", algorithm, c.name, got)
			}
			if got := ask("cup/b", fresh, c.second, password); c.second != "no" && status(got) != "404" {
				t.Errorf("%s, %s: with the new nonce: %s", algorithm, c.name, got)
			}
			if got := n.dial(t).request("DESCRIBE", n.url("cup/c"), "", sign(algorithm, "DESCRIBE", n.url("cup/c"), fresh, "00000063", password)); status(got) != "401" {
				t.Errorf("%s, %s: on another connection: %s", algorithm, c.name, got)
			}
		}
		r := n.dial(t)
		nonce := nonceOf(r.request("DESCRIBE", n.url("cup/a"), ""))
		if got := r.request("DESCRIBE", n.url("cup/a"), "", sign(algorithm, "DESCRIBE", n.url("cup/a"), nonce, "", "wrong")); status(got) != "401" || strings.Contains(got, "stale") {
			t.Errorf("%s with a wrong password: %s", algorithm, got)
		}
		nonce = nonceOf(r.request("DESCRIBE", n.url("cup/a"), ""))
		if got := r.request("DESCRIBE", n.url("cup/a"), "", sign(algorithm, "DESCRIBE", n.url("cup/b"), nonce, "", password)); status(got) != "401" {
			t.Errorf("%s for another URL: %s", algorithm, got)
		}
	}
}

func TestAuthorizationIsRead(t *testing.T) {
	t.Parallel()
	got, err := parseAuthorization(base.HeaderValue{`Digest username="a\"n,a", realm="x", nonce=n , uri="rtsp://h/a=b", response="00", algorithm=sha-256, qop=auth, nc=00000001,cnonce="c"`})
	if err != nil {
		t.Fatal(err)
	}
	want := digest{realm: "x", nonce: "n", uri: "rtsp://h/a=b", response: "00", algorithm: "SHA-256", qop: "auth", count: "00000001", cnonce: "c"}
	if got.user != `a"n,a` || *got.digest != want {
		t.Errorf("read %q, %+v; want %+v", got.user, *got.digest, want)
	}
	if got, err := parseAuthorization(base.HeaderValue{"basic YW5hOnA6dw=="}); err != nil || got.user != "ana" || got.password != "p:w" {
		t.Errorf("read %+v, %v; want a password with a colon", got, err)
	}
	for _, header := range []base.HeaderValue{
		nil, {""}, {"Basic"}, {"Basic !!"}, {"Basic YW5h"}, {"Bearer x"}, {"Digest"}, {`Digest username="a"`},
		{`Digest username="a", username="b", uri="u", response="0"`}, {"Basic YTpi", "Basic YTpi"},
	} {
		if got, err := parseAuthorization(header); err == nil {
			t.Errorf("%q was read as %+v", header, got)
		}
	}
}

// FuzzAuthorization feeds Authorization headers: none of them proves anything.
func FuzzAuthorization(f *testing.F) {
	f.Add(`Digest username="ana", realm="banyan", nonce="", uri="rtsp://h/x", response="00", qop=auth, nc=1, cnonce="c"`)
	f.Add("Basic YW5hOnB3")
	f.Add(`Digest username="\\", a=`)
	u, err := base.ParseURL("rtsp://h/x")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		given, err := parseAuthorization(base.HeaderValue{header})
		if err == nil && given.digest != nil && given.digest.answers(&base.Request{Method: base.Play, URL: u}, given.user, "a password that nobody guesses") {
			t.Fatalf("%q is accepted", header)
		}
	})
}
