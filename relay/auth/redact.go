package auth

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
)

// Redact returns a handler that passes records to next with every secret replaced by "[redacted]": the values of
// attributes whose key names a secret, and within any text tokens, credentials of Authorization headers, user and
// password of URLs, secrets in queries, and the passwords of ICE. Errors and other values are looked at as the text
// they would be logged as. It is a net under careful callers, who do not log secrets to begin with.
func Redact(next slog.Handler) slog.Handler { return redactor{next} }

const redacted = "[redacted]"

// secretKey finds keys that hold nothing but a secret, with or without a prefix: token, ice_pwd, s3.secret_key.
var secretKey = regexp.MustCompile(`(?i)(^|[._-])(token|jwt|secret|secret_?key|password|passwd|pwd|ice_?pwd|authorization|cookie|credential|bearer)$`)

// inText finds secrets in running text; what the first group matches is kept.
var inText = []*regexp.Regexp{
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_=-]*(\.[A-Za-z0-9_=-]*){1,2}`),                                               // a JWT: its header begins with {"
	regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{6,}`),                                            // Authorization headers
	regexp.MustCompile(`(?i)(\bdigest\s+)username=[^\r\n]+`),                                                           // the same, of RTSP
	regexp.MustCompile(`(?i)([a-z][a-z0-9+.-]*://)[^\s/?#"'<>]*@`),                                                     // userinfo, also with @ in it
	regexp.MustCompile(`(?i)([?&](?:token|access_token|jwt|key|secret|password|pwd|pass|signature|sig)=)[^\s&#"'<>]+`), // queries
	regexp.MustCompile(`(?i)(\bice-pwd:)[^\s\\"]+`),                                                                    // SDP and its fragments
	regexp.MustCompile(`(?i)(\b(?:ice_?)?(?:password|passwd|pwd|secret)["']?\s*[:=]\s*["']?)[^\s"',;&}]+`),
}

// RedactText replaces the secrets in s that it can recognise.
func RedactText(s string) string {
	for _, pattern := range inText {
		s = pattern.ReplaceAllString(s, "${1}"+redacted)
	}
	return s
}

type redactor struct{ next slog.Handler }

func (r redactor) Enabled(ctx context.Context, level slog.Level) bool {
	return r.next.Enabled(ctx, level)
}

func (r redactor) Handle(ctx context.Context, record slog.Record) error {
	clean := slog.NewRecord(record.Time, record.Level, RedactText(record.Message), record.PC)
	record.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return r.next.Handle(ctx, clean)
}

func (r redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	return redactor{r.next.WithAttrs(redactAttrs(attrs))}
}

func (r redactor) WithGroup(name string) slog.Handler { return redactor{r.next.WithGroup(name)} }

func redactAttrs(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return clean
}

func redactAttr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	if secretKey.MatchString(a.Key) && !a.Value.Equal(slog.StringValue("")) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindGroup:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(redactAttrs(a.Value.Group())...)}
	case slog.KindString:
		return slog.String(a.Key, RedactText(a.Value.String()))
	case slog.KindAny:
		return slog.Attr{Key: a.Key, Value: redactAny(a.Value)}
	}
	return a // numbers, times, durations and booleans hold no secrets
}

// redactAny keeps a value whose text is clean, so that JSON output keeps its structure, and logs the redacted text
// in place of one whose is not.
func redactAny(v slog.Value) slog.Value {
	var text string
	switch value := v.Any().(type) {
	case nil:
		return v
	case []byte:
		text = string(value)
	default:
		text = fmt.Sprintf("%+v", value) // Error or String where there is one, else all fields
	}
	clean := RedactText(text)
	_, isText := v.Any().(fmt.Stringer)
	// %+v does not look behind a pointer within a value but prints 0x…; a JSON handler would look there.
	hides := strings.Contains(text, "0x")
	if clean == text && !isText && !hides {
		return v
	}
	return slog.StringValue(clean)
}
