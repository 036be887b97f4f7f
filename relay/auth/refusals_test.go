package auth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestRefusalLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	l := NewRefusalLog(slog.New(slog.NewTextHandler(&out, nil)))
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for range 1000 { // a second of an attack
		now = now.Add(time.Millisecond)
		l.Write(now, "refused", "peer", "192.0.2.7")
	}
	if lines := strings.Count(out.String(), "\n"); lines < refusalsAtOnce || lines > refusalsAtOnce+refusalsPerSecond {
		t.Errorf("1000 refusals in a second made %d lines, want about %d", lines, refusalsAtOnce)
	}
	out.Reset()
	l.Write(now.Add(2*time.Second), "refused", "peer", "192.0.2.8")
	if got := out.String(); !strings.Contains(got, "192.0.2.8") || !strings.Contains(got, "others=9") { // and 1000 - 50 - 1
		t.Errorf("after that: %q, want a line that counts those which were left out", got)
	}
	out.Reset()
	l.Write(now.Add(4*time.Second), "refused")
	if got := out.String(); strings.Contains(got, "others") {
		t.Errorf("the next: %q, want none left out", got)
	}
	var none *RefusalLog
	none.Write(now, "refused")
}
