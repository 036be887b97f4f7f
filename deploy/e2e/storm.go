package e2e

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Storm is what became of many viewers who came at once.
type Storm struct {
	*Viewers
	FirstPicture []time.Duration // from the moment that all came, in ascending order
	Refused      int             // answers 503 with Retry-After: come back a little later
	Rude         int             // other refusals
}

// StartStorm lets n viewers come to a WHEP address at one moment, each from an address of its own on this machine, as
// those of a dead edge do. It returns once all have a picture, or fails after a minute. Call Leave to let them go.
func StartStorm(t testing.TB, url string, n int) *Storm {
	t.Helper()
	s := &Storm{Viewers: &Viewers{}}
	for range n {
		one, err := s.prepare()
		if err != nil {
			s.Leave()
			t.Fatal(err)
		}
		s.all = append(s.all, one)
	}
	began := time.Now()
	if err := s.connectAll(url); err != nil {
		s.Leave()
		t.Fatal(err)
	}
	Eventually(t, time.Minute, "all have a picture", func() error {
		if got := s.since(began); got < n {
			return errors.New("some have none")
		}
		return nil
	})
	for _, one := range s.all {
		one.mu.Lock()
		s.FirstPicture = append(s.FirstPicture, one.first.Sub(began))
		one.mu.Unlock()
	}
	slices.Sort(s.FirstPicture)
	return s
}

func (s *Storm) connectAll(url string) error {
	var mu sync.Mutex // guards the accounts
	refused := func(r *http.Response) {
		mu.Lock()
		defer mu.Unlock()
		if r.StatusCode == http.StatusServiceUnavailable && r.Header.Get("Retry-After") != "" {
			s.Refused++
		} else {
			s.Rude++
		}
	}
	var group errgroup.Group
	for i, one := range s.all {
		client := clientFrom(net.IPv4(127, 3, byte(i>>8), byte(i)))
		group.Go(func() error {
			defer client.CloseIdleConnections()
			return one.connect(client, url, refused)
		})
	}
	return group.Wait()
}

// clientFrom is an HTTP client that comes from an address.
func clientFrom(ip net.IP) *http.Client {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: ip}, Timeout: 20 * time.Second}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}, Timeout: 30 * time.Second}
}
