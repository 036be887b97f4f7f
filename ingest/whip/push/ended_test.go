package push

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWhyEnded asks servers why a session has ended: only what another try would make worse ends the publisher.
func TestWhyEnded(t *testing.T) {
	problem := func(cause string) string { return fmt.Sprintf(`{"status":410,"cause":%q,"detail":"Because."}`, cause) }
	for _, c := range []struct {
		name, body string
		status     int
		ends       bool
	}{
		{"taken over", problem("taken-over"), 410, true},
		{"ended by the operator", problem("kicked"), 410, true},
		{"the token has run out", problem("expired"), 410, true},
		{"it was silent", problem("lost"), 410, false},
		{"gone without a cause", `{"status":410}`, 410, false},
		{"words of another server", "<html>gone", 410, false},
		{"endless words", strings.Repeat(" ", 2*maxAnswer) + problem("kicked"), 410, false},
		{"a session that is not known", problem("kicked"), 404, false},
		{"no answer to such a question", "", 405, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/sessions/1" || r.Header.Get("Authorization") != "Bearer secret" {
					t.Errorf("asked by %s %s with %q", r.Method, r.URL, r.Header.Get("Authorization"))
				}
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer server.Close()
			config := Config{URL: server.URL + "/whip/cup/cam1", Token: "secret", Client: server.Client()}
			err := config.whyEnded(t.Context(), server.URL+"/sessions/1")
			var refused *refusal
			if ends := errors.As(err, &refused) && !refused.temporary(); ends != c.ends {
				t.Errorf("%v: it ends the publisher: %v, want %v", err, ends, c.ends)
			}
			if c.ends && !strings.Contains(err.Error(), "Because.") {
				t.Errorf("%q does not say why", err)
			}
		})
	}
	config := Config{Client: &http.Client{}}
	if err := config.whyEnded(t.Context(), "http://127.0.0.1:1/sessions/1"); err != nil {
		t.Errorf("where nobody answers: %v, want another try", err)
	}
}
