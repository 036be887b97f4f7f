package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestRealClient(t *testing.T) {
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no proxy", "203.0.113.5:1000", nil, "203.0.113.5:1000"},
		{"a stranger who says to be a proxy", "203.0.113.5:1000", []string{"198.51.100.1"}, "203.0.113.5:1000"},
		{"a proxy", "10.0.0.1:1000", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"a client that lies before the proxy", "10.0.0.1:1000", []string{"1.1.1.1, 198.51.100.1"}, "198.51.100.1:0"},
		{"two proxies, two headers", "10.0.0.1:1000", []string{"198.51.100.1", "10.9.9.9"}, "198.51.100.1:0"},
		{"with ports and IPv6", "[::ffff:10.0.0.1]:1000", []string{"[2001:db8::1]:555"}, "[2001:db8::1]:0"},
		{"nonsense", "10.0.0.1:1000", []string{"who, me"}, "10.0.0.1:1000"},
		{"nothing", "10.0.0.1:1000", nil, "10.0.0.1:1000"},
	} {
		var got string
		h := realClient([]string{"10.0.0.0/8"}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr }))
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.forwarded
		h.ServeHTTP(httptest.NewRecorder(), r)
		if got != c.want {
			t.Errorf("%s: the client is %s, want %s", c.name, got, c.want)
		}
	}
}
