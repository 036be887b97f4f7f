package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestBrowsersTakeOver has two pages publish under one name. The one that loses it says so and stops: would it take the
// name back by itself, as after a broken connection, they would fight for ever, and viewers jump between two pictures.
func TestBrowsersTakeOver(t *testing.T) {
	n := StartNode(t, small...)
	token := n.Token(t, "--publish", "cup/*")
	operator := n.Token(t, "--api")
	live := func(b *Browser) {
		t.Helper()
		b.Open(n.URL("/publish/cup/dup#token=" + token))
		b.Click("button:has-text('Use the camera')")
		b.Click("button[type=submit]:has-text('Go live')")
		says(t, b, "You are live")
	}
	first, second := OpenBrowser(t, 1000, 900), OpenBrowser(t, 1000, 900)
	live(first)
	live(second)
	says(t, first, "Somebody else publishes under this name now", "Go live")
	first.Screenshot("taken-over")
	offers := func() float64 { return n.Metric(t, "banyan_signal_requests_total", `endpoint="whip"`, `method="POST"`) }
	if made := offers(); made != 2 {
		t.Errorf("%v offers came of two pages: they fight for the name", made)
	}
	says(t, second, "You are live")

	first.Click("button:has-text('Take it back')")
	says(t, first, "You are live")
	says(t, second, "Somebody else publishes under this name now", "Take it back")

	request, err := http.NewRequestWithContext(t.Context(), "DELETE", n.URL("/api/v1/streams/cup/dup"), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+operator)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	says(t, first, "The session was ended by the operator", "Go live")
	first.Screenshot("kicked")
}

// says waits until a page says all of that.
func says(t testing.TB, b *Browser, words ...string) {
	t.Helper()
	Eventually(t, 20*time.Second, "the page says so", func() error {
		for _, w := range words {
			if s := b.State(); !strings.Contains(s.Text, w) {
				return fmt.Errorf("it says %q and not %q", s.Text, w)
			}
		}
		return nil
	})
}
