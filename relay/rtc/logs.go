package rtc

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/pion/logging"
)

// logAdapter gives the WebRTC stack's own log lines to slog, all at level debug: what its packets from strangers
// make it say is no state change of ours.
type logAdapter struct{ log *slog.Logger }

// NewLogger implements logging.LoggerFactory.
func (a logAdapter) NewLogger(scope string) logging.LeveledLogger {
	return &stackLog{a.log.With("scope", scope)}
}

type stackLog struct{ log *slog.Logger }

func (l *stackLog) printf(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l *stackLog) Trace(string)                      {} // per packet
func (l *stackLog) Tracef(string, ...any)             {}
func (l *stackLog) Debug(string)                      {}
func (l *stackLog) Debugf(string, ...any)             {}
func (l *stackLog) Info(msg string)                   { l.printf("%s", msg) }
func (l *stackLog) Infof(format string, args ...any)  { l.printf(format, args...) }
func (l *stackLog) Warn(msg string)                   { l.printf("%s", msg) }
func (l *stackLog) Warnf(format string, args ...any)  { l.printf(format, args...) }
func (l *stackLog) Error(msg string)                  { l.printf("%s", msg) }
func (l *stackLog) Errorf(format string, args ...any) { l.printf(format, args...) }
