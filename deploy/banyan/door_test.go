package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Who sends too many headers is told what to do, up to where net/http stops reading.
func TestHeadersThatAreTooLarge(t *testing.T) {
	reached := 0
	addr, stop, ended := openTestDoor(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
		reached++
		writeOK(w)
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for _, c := range []struct {
		what    string
		query   int // bytes
		headers int
		status  int
		problem bool
	}{
		{"a long token", 0, 8 << 10, 200, false},
		{"just enough", 0, maxHeader - 1000, 200, false},
		{"long headers", 0, maxHeader, 431, true},
		{"a long query", maxHeader, 0, 431, true},
		{"both", maxHeader / 2, maxHeader / 2, 431, true},
		{"as much as is read", maxHeader / 2, readHeader - maxHeader/2, 431, true},
		{"more than is read", 0, 2 * readHeader, 431, false}, // net/http's own words: it gives no way to say more
	} {
		r, err := http.NewRequest(http.MethodGet, "http://"+addr+"/?"+strings.Repeat("q", c.query), nil)
		if err != nil {
			t.Fatal(err)
		}
		for left := c.headers; left > 0; left -= 4000 {
			r.Header.Add("Cookie", strings.Repeat("c", min(left, 4000)))
		}
		resp, err := client.Do(r)
		if err != nil {
			if c.headers <= readHeader { // beyond, the connection may be cut while the client still writes
				t.Errorf("%s: %v", c.what, err)
			}
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		var told struct{ Detail string }
		is := resp.Header.Get("Content-Type") == "application/problem+json" && json.Unmarshal(body, &told) == nil && strings.HasSuffix(told.Detail, ".")
		if resp.StatusCode != c.status || is != c.problem {
			t.Errorf("%s: got %d %q, want %d, as a problem %v", c.what, resp.StatusCode, body, c.status, c.problem)
		}
	}
	if reached != 2 {
		t.Errorf("%d requests reached the handler, want 2", reached)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the door: %v", err)
	}
}
