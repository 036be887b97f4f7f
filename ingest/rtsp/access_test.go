package rtsp

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"banyan/relay/auth"
	"banyan/relay/media"
)

// locked makes a node that needs tokens and has one static user.
func locked(t *testing.T) *node {
	n := newNode(t, func(c *Config) {
		c.Guard = newGuard(t, auth.NeedToken)
		c.Users = []User{{Name: "ana", Password: "s3cret-of-ana", Publish: []string{"cup/*"}, Play: []string{"cup/*"}}}
	})
	n.guard = n.server.config.Guard.(*auth.Guard)
	return n
}

func (n *node) urlAs(user, password, path string) string {
	return fmt.Sprintf("rtsp://%s:%s@%s/%s", user, password, n.server.Addr(), path)
}

func TestPushWithDigest(t *testing.T) {
	t.Parallel()
	n := locked(t)
	push(t, n.urlAs("ana", "s3cret-of-ana", "cup/cam1"), "tcp", picture, x264())
	n.track("cup/cam1", media.Video)
	if got := probe(t, n.urlAs("ana", "s3cret-of-ana", "cup/cam1"), "udp", 10); got["h264"] < 10 {
		t.Errorf("ffprobe read %v", got)
	}
}

func TestPushWithTokenInURL(t *testing.T) {
	t.Parallel()
	n := locked(t)
	token := n.token("cup/*", "cup/*")
	push(t, n.url("cup/cam1?token="+token), "tcp", picture, tone, x264(), []string{"-c:a", "aac"})
	n.track("cup/cam1", media.Video)
	n.track("cup/cam1", media.Audio)
	if got := probe(t, n.url("cup/cam1?token="+token), "tcp", 10); got["h264"] < 10 {
		t.Errorf("ffprobe read %v", got)
	}
	if strings.Contains(n.logs.String(), token[:20]) {
		t.Error("the token is in the log")
	}
}

func TestPullWithTokenInURL(t *testing.T) {
	t.Parallel()
	camera := newNode(t, func(c *Config) { c.Guard = newGuard(t, auth.NeedToken) })
	camera.guard = camera.server.config.Guard.(*auth.Guard)
	token := camera.token("cam", "cam")
	push(t, camera.url("cam?token="+token), "tcp", picture, x264())
	camera.track("cam", media.Video)
	n := newNode(t, func(c *Config) {
		c.Pull = []Pull{{Stream: "copy", URL: camera.url("cam?token=" + token), Transport: "tcp"}}
	})
	n.track("copy", media.Video)
}

func TestWrongCredentials(t *testing.T) {
	t.Parallel()
	n := locked(t)
	other := n.token("elsewhere", "elsewhere")
	for _, url := range []string{
		n.url("cup/cam1"), n.urlAs("ana", "wrong", "cup/cam1"), n.urlAs("bob", "s3cret-of-ana", "cup/cam1"),
		n.urlAs("ana", "s3cret-of-ana", "other/cam1"), n.url("cup/cam1?token=" + other), n.url("cup/cam1?token=x.y.z"),
	} {
		if push(t, url, "tcp", picture, x264()).ended() {
			t.Errorf("%s was let in", url)
		}
	}
	if len(n.hub.Streams()) != 0 {
		t.Error("a stream was made")
	}
	if text := n.logs.String(); strings.Contains(text, "s3cret") || strings.Contains(text, other[:20]) {
		t.Error("a secret is in the log")
	}
}

// TestFFmpegSaysWhatIsWrong has people read what they need to know from FFmpeg, and operators from the log.
func TestFFmpegSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, path, says, logged string }{
		{"no token", "cup/cam1", "401 Unauthorized", "left without showing credentials"},
		{"bad token", "cup/cam1?token=x.y.z", "401 Unauthorized", "bad token"},
		{"wrong password", "ana:wrong@cup/cam1", "401 Unauthorized", "wrong user or password"},
		{"token for others", "cup/cam1?token=OTHER", "403 Forbidden", "forbidden"},
		{"bad name", "cup//cam%201?token=OTHER", "400 Bad Request", "method=ANNOUNCE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := locked(t)
			user, path, is := strings.Cut(c.path, "@")
			url := n.url(strings.Replace(c.path, "OTHER", n.token("elsewhere", "elsewhere"), 1))
			if is {
				name, password, _ := strings.Cut(user, ":")
				url = n.urlAs(name, password, path)
			}
			p := push(t, url, "tcp", picture, x264())
			if p.ended() {
				t.Error("it was let in")
			}
			if text := p.output.String(); !strings.Contains(text, c.says) {
				t.Errorf("FFmpeg says:\n%s\nwant %q", text, c.says)
			}
			eventually(t, "the refusal in the log", func() bool { return strings.Contains(n.logs.String(), c.logged) })
			if text := n.logs.String(); c.name != "bad name" && !strings.Contains(text, "stream=cup/cam1") {
				t.Errorf("the log does not name the stream:\n%s", text)
			}
			t.Log(p.output.String())
		})
	}
}

// TestTokensInWrongPlacesAreNotLogged has somebody write & for ?, and somebody fill the log.
func TestTokensInWrongPlacesAreNotLogged(t *testing.T) {
	t.Parallel()
	n := locked(t)
	token := n.token("cup/*", "cup/*")
	r := n.dial(t)
	for range 50 {
		if got := r.request("DESCRIBE", n.url("cup/cam1&token="+token), ""); status(got) != "400" {
			t.Fatal(got)
		}
	}
	text := n.logs.String()
	if strings.Contains(text, token[:20]) || !strings.Contains(text, "stream=\"cup/cam1&token=[redacted]\"") {
		t.Errorf("the log is to name the stream, and not the token:\n%s", text)
	}
	if lines := strings.Count(text, "RTSP request refused"); lines != maxRefusalLines {
		t.Errorf("one connection made %d lines; want %d", lines, maxRefusalLines)
	}
}

// TestRightsAreChecked is R14: each method is refused who lacks the right to it, also PLAY and RECORD, whose SETUP went
// well before the token was taken back.
func TestRightsAreChecked(t *testing.T) {
	t.Parallel()
	var revoked atomic.Bool
	guard, err := auth.NewGuard(auth.Config{Secret: bytes.Repeat([]byte("k"), 32), Publish: auth.NeedToken, Play: auth.NeedToken,
		Revoked: func(string) bool { return revoked.Load() }})
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(t, func(c *Config) { c.Guard = guard })
	n.guard = guard
	url := func(publish, play string) string { return n.url("cup/cam1?token=" + n.token(publish, play)) }
	full, publisher, player := url("cup/*", "cup/*"), url("cup/*", "other"), url("other", "cup/*")
	push(t, full, "tcp", picture, x264())
	n.track("cup/cam1", media.Video)

	for _, c := range []struct {
		name, method, url, body, header string
	}{
		{"a player publishes", "ANNOUNCE", player, announcement, ""},
		{"a publisher asks what it is", "DESCRIBE", publisher, "", ""},
		{"a publisher plays", "SETUP", publisher + "/trackID=0", "", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"},
	} {
		headers := slices.DeleteFunc([]string{c.header}, func(s string) bool { return s == "" })
		if got := n.dial(t).request(c.method, c.url, c.body, headers...); status(got) != "403" {
			t.Errorf("%s: %s", c.name, got)
		}
	}

	recorder, viewer, leaver := n.dial(t), n.dial(t), n.dial(t)
	other := n.url("cup/cam2?token=" + n.token("cup/*", "other"))
	if got := recorder.request("ANNOUNCE", other, announcement); status(got) != "200" {
		t.Fatalf("ANNOUNCE: %s", got)
	}
	setUp := func(r *raw, url, transport string) (session string) {
		t.Helper()
		got := r.request("SETUP", url, "", "Transport: "+transport)
		if status(got) != "200" {
			t.Fatalf("SETUP: %s", got)
		}
		return "Session: " + sessionOf(got)
	}
	recording := setUp(recorder, other+"/streamid=0", "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record")
	viewing := setUp(viewer, player+"/trackID=0", "RTP/AVP/TCP;unicast;interleaved=0-1")
	leaving := setUp(leaver, player+"/trackID=0", "RTP/AVP/TCP;unicast;interleaved=0-1")
	revoked.Store(true)
	if got := recorder.request("RECORD", other, "", recording); status(got) != "401" {
		t.Errorf("RECORD: %s", got)
	}
	if got := viewer.request("PLAY", player, "", viewing); status(got) != "401" {
		t.Errorf("PLAY: %s", got)
	}
	if got := leaver.request("TEARDOWN", player, "", leaving); status(got) != "200" {
		t.Errorf("TEARDOWN, for which leaving is right enough: %s", got)
	}
	if n.began("cup/cam2") {
		t.Error("the stream was made")
	}
	revoked.Store(false)
	if got := viewer.request("PLAY", player, "", viewing); status(got) != "200" {
		t.Errorf("PLAY, with the right back: %s", got)
	}
}

// TestBrokenAddressesAreLogged: FFmpeg sends an address as it was typed, with a space, which makes the request line none.
func TestBrokenAddressesAreLogged(t *testing.T) {
	t.Parallel()
	n := locked(t)
	token := n.token("cup/*", "cup/*")
	for _, address := range []string{"cup/z z", "cup/z z?token=" + token} {
		p := push(t, n.url(address), "tcp", picture, x264())
		if p.ended() {
			t.Errorf("%q was let in", address)
		}
	}
	got := n.dial(t).request("DESCRIBE", strings.Replace(n.url("cup/y y?token="+token), "://", "://ana:pass/word@", 1), "")
	if status(got) != "400" || !strings.Contains(got, "The address has a space") {
		t.Errorf("the answer: %s", got)
	}
	eventually(t, "all refusals in the log", func() bool {
		text := n.logs.String()
		return strings.Count(text, `stream="cup/z z"`) >= 2 && strings.Contains(text, `stream="cup/y y"`)
	})
	if text := n.logs.String(); strings.Contains(text, token[:20]) || strings.Contains(text, "pass") || !strings.Contains(text, "The address has a space") {
		t.Errorf("the log has a secret, or lacks the reason:\n%s", text)
	}
}

// TestBasicNeedsTLS is R13: over plain RTSP Basic is neither offered nor taken, not even with a good token.
func TestBasicNeedsTLS(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) {
		c.TLSAddr, c.TLS = "127.0.0.1:0", selfSigned()
		c.Guard = newGuard(t, auth.NeedToken)
		c.Users = []User{{Name: "ana", Password: "s3cret-of-ana", Play: []string{"cup/*"}}}
	})
	n.guard = n.server.config.Guard.(*auth.Guard)
	for _, secret := range []string{"ana:s3cret-of-ana", "any:" + n.token("cup/*", "cup/*")} {
		basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(secret))
		for _, secure := range []bool{false, true} {
			n.secure = secure
			r := n.dial(t)
			if got := r.request("DESCRIBE", n.url("cup/cam1"), ""); strings.Contains(got, "WWW-Authenticate: Basic") != secure {
				t.Errorf("TLS %v: %s", secure, got)
			}
			want := "401"
			if secure {
				want = "404" // let in, and the stream is not there
			}
			if got := r.request("DESCRIBE", n.url("cup/cam1"), "", basic); status(got) != want {
				t.Errorf("TLS %v: %s; want %s", secure, got, want)
			}
		}
	}
}

func TestOpenServersAskNobody(t *testing.T) {
	t.Parallel()
	n := newNode(t, nil)
	basic := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("any:thing"))
	if got := n.dial(t).request("DESCRIBE", n.url("cam"), "", basic); status(got) != "404" {
		t.Errorf("an unneeded password: %s; want it overlooked", got)
	}
}

// TestTLS pushes and plays over RTSPS, with a token and with Digest (R22).
func TestTLS(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) {
		c.Addr, c.TLSAddr, c.TLS = off, "127.0.0.1:0", selfSigned()
		c.Guard = newGuard(t, auth.NeedToken)
		c.Users = []User{{Name: "ana", Password: "s3cret-of-ana", Play: []string{"cup/*"}}}
	})
	if n.server.Addr() != nil {
		t.Errorf("RTSP is off, and listens on %v", n.server.Addr())
	}
	n.guard = n.server.config.Guard.(*auth.Guard)
	url := "rtsps://" + n.server.TLSAddr().String() + "/cup/cam1?token=" + n.token("cup/*", "cup/*")
	push(t, url, "tcp", picture, tone, x264(), []string{"-c:a", "aac"})
	n.track("cup/cam1", media.Video)
	n.track("cup/cam1", media.Audio)
	url = "rtsps://ana:s3cret-of-ana@" + n.server.TLSAddr().String() + "/cup/cam1"
	if got := probe(t, url, "tcp", 10); got["h264"] < 10 {
		t.Errorf("ffprobe read %v", got)
	}
	// Whoever does not speak TLS, or not at all, gets nothing and harms nobody.
	conn, err := net.Dial("tcp", n.server.TLSAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := &raw{t: t, conn: conn}
	if got := r.request("OPTIONS", n.url("cup/cam1"), ""); strings.HasPrefix(got, "RTSP/1.0 200") {
		t.Errorf("without TLS: %q", got)
	}
	if got := probe(t, url, "tcp", 10); got["h264"] < 10 {
		t.Errorf("ffprobe read %v", got)
	}
}

func TestUsersAreChecked(t *testing.T) {
	t.Parallel()
	for name, u := range map[string]User{
		"no name": {Password: "x"}, "no password": {Name: "a"}, "bad glob": {Name: "a", Password: "x", Play: []string{"a//b"}},
	} {
		if _, err := checkUsers([]User{u}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
