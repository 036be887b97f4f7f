package auth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"banyan/relay/auth"
)

// TestNoSecretReachesTheLog logs seeded secrets in every way that a careless caller might, in both formats.
func TestNoSecretReachesTheLog(t *testing.T) {
	token := mint(t, newGuard(t), auth.Grant{API: true})
	const password = "hunter2-s3cr3t"
	authorization := basic("ana", password)
	camera, err := url.Parse("rtsp://ana:" + password + "@10.0.0.7/live")
	if err != nil {
		t.Fatal(err)
	}
	type ice struct{ Ufrag, Password string }
	type nested struct{ ICE *ice }

	for format, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		t.Run(format, func(t *testing.T) {
			var text bytes.Buffer
			log := slog.New(auth.Redact(handler(&text)))
			log.Info("message "+token, "user", "ana")
			log.Info("m", "token", password, "auth.secret", password, "ice_pwd", password, "s3.secret_key", []byte(password))
			log.Info("m", "header", http.Header{"Authorization": {"Bearer " + token, authorization}})
			log.Info("m", "url", camera, "text", camera.String(), "odd", "rtsp://ana:p@"+password+"@host/x")
			log.Info("m", "err", fmt.Errorf("pull: %w", errors.New("GET "+camera.String()+": refused")))
			log.Info("m", "sdp", "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:"+password+"\r\na=mid:0\r\n")
			log.Info("m", "body", []byte("a=ice-pwd:"+password))
			log.Info("m", "ice", ice{"abcd", password}, "pointer", &ice{"abcd", password}, "nested", nested{&ice{"abcd", password}})
			log.Info("m", "path", "/hls/cup/index.m3u8?x=1&token="+password+"&y=2")
			log.Info("m", "reply", `{"iceServers":[{"password":"`+password+`"}]}`)
			log.Info("m", "rtsp", `Digest username="ana", response="`+password+`"`)
			log.Info("m", slog.Group("request", "authorization", authorization, slog.Group("deep", "line", "Bearer "+token)))
			log.With("token", token, "origin", camera).WithGroup("g").Info("m", "password", password)
			log.Info("m", "late", lateValue(token))

			out := text.String()
			for name, secret := range map[string]string{
				"token": token, "password": password, "half a token": strings.Split(token, ".")[1],
				"basic": strings.TrimPrefix(authorization, "Basic "), "user": "ana:",
			} {
				if strings.Contains(out, secret) {
					t.Errorf("the %s is in the log:\n%s", name, lineWith(out, secret))
				}
			}
			for _, kept := range []string{"10.0.0.7/live", "x=1", "y=2", "a=mid:0", "refused", "abcd"} {
				if !strings.Contains(out, kept) {
					t.Errorf("%q, which is no secret, is gone", kept)
				}
			}
		})
	}
}

// lateValue becomes its text when it is logged.
type lateValue string

func (v lateValue) LogValue() slog.Value { return slog.StringValue(string(v)) }

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

func TestOrdinaryRecordsPassUnchanged(t *testing.T) {
	write := func(h slog.Handler) {
		log := slog.New(h).With("node", "a")
		log.LogAttrs(context.Background(), slog.LevelInfo, "publisher came",
			slog.String("stream", "cup/cam1"), slog.Int("tracks", 2), slog.Duration("took", time.Second),
			slog.Any("formats", []string{"720p", "opus"}), slog.Any("err", errors.New("no route")),
			slog.Any("peer", struct{ Addr string }{"10.0.0.7:5000"}), slog.Any("nothing", nil),
			slog.String("path", "/whip/cup/cam1"), slog.String("page", "http://localhost:8080/watch/cup/cam1"))
	}
	noTime := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}
	var want, got bytes.Buffer
	write(slog.NewJSONHandler(&want, noTime))
	write(auth.Redact(slog.NewJSONHandler(&got, noTime)))
	if got.String() != want.String() {
		t.Errorf("got  %swant %s", got.String(), want.String())
	}
}
