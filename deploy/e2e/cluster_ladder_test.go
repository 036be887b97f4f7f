package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ladders asks an edge again and again what a stream consists of, by its multivariant playlist and the API, and keeps each
// answer that differs from the first.
type ladders struct {
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex // guards the fields below
	asked  int
	others []string
}

var renditionURI = regexp.MustCompile(`(?m)^[^#\s].*|URI="[^"]*"`)

// ladder lists what an edge tells a newcomer.
func (n *Node) ladder(stream string) (string, error) {
	playlist, err := n.Get("/hls/" + stream + "/index.m3u8")
	if err != nil {
		return "", err
	}
	list := renditionURI.FindAllString(string(playlist), -1)
	s, err := n.Stream(stream)
	if err != nil {
		return "", err
	}
	for _, f := range s.Formats {
		list = append(list, f.Kind+" "+f.Name)
	}
	slices.Sort(list)
	return strings.Join(list, ", "), nil
}

// AskLadder waits until the answer has all of want, and has newcomers ask from then on until the test ends.
func (n *Node) AskLadder(t *testing.T, stream string, want ...string) *ladders {
	t.Helper()
	var whole string
	Eventually(t, 30*time.Second, "the ladder is whole", func() (err error) {
		whole, err = n.ladder(stream)
		for _, part := range want {
			if err == nil && !strings.Contains(whole, part) {
				err = fmt.Errorf("no %q in %s", part, whole)
			}
		}
		return err
	})
	l := &ladders{stop: make(chan struct{})}
	l.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				got, err := n.ladder(stream)
				l.note(whole, got, err)
			case <-l.stop:
				return
			}
		}
	})
	t.Cleanup(func() { close(l.stop); l.done.Wait() })
	return l
}

func (l *ladders) note(want, got string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked++; got != want || err != nil {
		l.others = append(l.others, fmt.Sprintf("%s (error: %v), want %s", got, err, want))
	}
}

// wantWhole waits until some more have asked, and checks what all were told.
func (l *ladders) wantWhole(t *testing.T, when string) {
	t.Helper()
	asked := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.asked
	}
	before := asked()
	Eventually(t, 20*time.Second, "newcomers ask", func() error {
		if now := asked(); now < before+20 {
			return fmt.Errorf("%d did", now-before)
		}
		return nil
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	Record("newcomers ask for the ladder while "+when, "always the whole ladder", "%d of %d were told otherwise", len(l.others), l.asked)
	if len(l.others) > 0 {
		t.Errorf("%s: %d of %d newcomers were told of another ladder, the first: %s", when, len(l.others), l.asked, l.others[0])
	}
}

// TestNewcomersWhileAJobMoves has newcomers ask an edge for the ladder while its formats go from a worker that drains to the
// next one, and from that, which is killed, to a third.
func TestNewcomersWhileAJobMoves(t *testing.T) {
	c := threeTiers(t)
	edge := c.Nodes["edge1"]
	newcomers := edge.AskLadder(t, "cup/cam1", "video 180p", "audio opus", "180p-video")
	viewers := Watch(t, edge.URL("/whep/cup/cam1?format=180p"), 2)
	defer viewers.Leave()
	viewers.WaitFlowing(t, "viewers of the format")
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker1")

	c.Start("worker2", "transcoder", "eu", small...)
	c.WaitSees(t, edge, len(c.Nodes))
	drain(t, c.Nodes["worker1"])
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker2")
	newcomers.wantWhole(t, "a worker drains")
	c.Nodes["worker1"].Wait(t, time.Minute)

	c.Start("worker3", "transcoder", "eu", small...)
	c.Kill("worker2")
	edge.WaitBirthplace(t, "cup/cam1", "180p", "video", "worker3")
	newcomers.wantWhole(t, "a worker is killed")
}
