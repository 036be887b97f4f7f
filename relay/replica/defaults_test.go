package replica

import (
	"testing"
	"time"
)

// TestDefaults holds what decides how long a replica goes on, and waits.
func TestDefaults(t *testing.T) {
	n := New(Config{})
	for what, d := range map[string]struct{ got, want time.Duration }{
		"linger":                     {n.config.Linger, 10 * time.Second},
		"for a maker of the track":   {orphaned, 5 * time.Second},
		"put off, at first":          {firstPause, 100 * time.Millisecond},
		"put off, at most":           {longestPause, 2 * time.Second},
		"two parents beside another": {overlap, 10 * time.Second},
		"without a way up":           {cutOff, 500 * time.Millisecond},
		"for news of a track":        {heardOf, time.Second},
		"gathering changes":          {settle, 20 * time.Millisecond},
	} {
		if d.got != d.want {
			t.Errorf("%s: %v, want %v", what, d.got, d.want)
		}
	}
	if !n.config.Carries("360p") || n.config.Logger == nil {
		t.Error("a node without more configuration carries not all formats, or has no log")
	}
}
