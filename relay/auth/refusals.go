package auth

import (
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// A RefusalLog tells the operator who was turned away and why. Strangers cause its lines, so that it writes some at once
// and then one a second; how many it left out stands in the next one. A nil RefusalLog writes nothing.
type RefusalLog struct {
	logger *slog.Logger

	mu     sync.Mutex // guards those below
	limit  *rate.Limiter
	unsaid int
}

const (
	refusalsAtOnce    = 50
	refusalsPerSecond = 1
)

// NewRefusalLog writes into logger.
func NewRefusalLog(logger *slog.Logger) *RefusalLog {
	return &RefusalLog{logger: logger, limit: rate.NewLimiter(refusalsPerSecond, refusalsAtOnce)}
}

// Write logs a refusal at now, with attributes as those of slog; text that a stranger sent must have passed RedactText.
func (l *RefusalLog) Write(now time.Time, message string, attributes ...any) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limit.AllowN(now, 1) {
		l.unsaid++
		return
	}
	if l.unsaid > 0 {
		attributes = append(attributes, "others", l.unsaid)
	}
	l.unsaid = 0
	l.logger.Warn(message, attributes...)
}
