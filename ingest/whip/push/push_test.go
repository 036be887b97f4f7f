package push

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"banyan/relay/rtc/sdp"
)

// What needs a server is tested beside it, in package whip.

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOffer: what we offer is what RFC 9725 section 4.4 asks of clients.
func TestOffer(t *testing.T) {
	s, err := newSession(Config{}, &source{video: true, audio: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.pc.GracefulClose() }()
	offer, err := s.offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"\na=msid:banyan ", "\na=rtcp-mux-only\r\n", "\na=setup:actpass\r\n", "\na=sendonly\r\n"} {
		if n := strings.Count(offer, line); n != 2 {
			t.Errorf("%d m-lines have %q, want both:\n%s", n, line, offer)
		}
	}
	if _, err := sdp.ParseOffer(offer, sdp.Publish); err != nil {
		t.Errorf("our own server refuses it: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	for status, temporary := range map[int]bool{400: false, 401: false, 403: false, 404: false, 409: true, 422: false, 429: true, 500: true, 503: true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}))
		c := Config{URL: server.URL, Client: server.Client()}
		_, _, err := c.post(context.Background(), "v=0")
		var r *refusal
		if !errors.As(err, &r) || r.temporary() != temporary || r.after != 7*time.Second {
			t.Errorf("status %d: %v, temporary %v; want temporary %v, and 7 s to wait", status, err, r.temporary(), temporary)
		}
		server.Close()
	}
}

// TestTokenStaysWithItsServer names another server in Location, which must not get the token.
func TestTokenStaysWithItsServer(t *testing.T) {
	got := make(chan string, 2)
	record := func(w http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") }
	other := httptest.NewServer(http.HandlerFunc(record))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		record(w, r)
		w.Header().Set("Location", other.URL+"/sessions/1")
		w.WriteHeader(http.StatusCreated)
	}))
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c := Config{URL: server.URL, Token: "secret", Client: client}
	_, session, err := c.post(context.Background(), "v=0")
	if err != nil {
		t.Fatal(err)
	}
	c.delete(context.Background(), session)
	if own, foreign := <-got, <-got; own != "Bearer secret" || foreign != "" {
		t.Errorf("the server got %q, the other one %q", own, foreign)
	}
}

func TestBadSources(t *testing.T) {
	for name, source := range map[string][]byte{"empty": nil, "zeros": make([]byte, 10000), "text": bytes.Repeat([]byte("G"), 10000)} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := Run(ctx, Config{URL: "http://127.0.0.1:1/whip/x", Source: bytes.NewReader(source)})
		if err == nil || ctx.Err() != nil {
			t.Errorf("%s: %v, want the source refused at once", name, err)
		}
		cancel()
	}
	if err := Run(context.Background(), Config{}); err == nil {
		t.Error("an empty Config was taken")
	}
}

func TestClocks(t *testing.T) {
	if got := ticks(1500*time.Millisecond, videoRate); got != 135000 {
		t.Errorf("1.5 s are %d ticks", got)
	}
	if got := ticks(-20*time.Millisecond, audioRate); got != 1<<32-960 {
		t.Errorf("-20 ms are %d ticks", got)
	}
}
