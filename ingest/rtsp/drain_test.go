package rtsp

import (
	"strings"
	"testing"
)

func TestDrainRefusesNewClients(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	for what, request := range protected(n) {
		if got := status(request(n.dial(t))); got == "503" {
			t.Errorf("%s before: %s", what, got)
		}
	}
	n.server.Drain()
	for what, request := range protected(n) {
		if got := request(n.dial(t)); status(got) != "503" || !strings.Contains(got, "Retry-After: 1\r\n") {
			t.Errorf("%s while the server drains: %s", what, got)
		}
	}
}
