package rtsp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

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

func TestPullWithTokenAsPassword(t *testing.T) {
	t.Parallel()
	camera := newNode(t, func(c *Config) { c.Guard = newGuard(t, auth.NeedToken) })
	camera.guard = camera.server.config.Guard.(*auth.Guard)
	token := camera.token("cam", "cam")
	push(t, camera.url("cam?token="+token), "tcp", picture, x264())
	camera.track("cam", media.Video)
	n := newNode(t, func(c *Config) {
		c.Pull = []Pull{{Stream: "copy", URL: camera.urlAs("anybody", token, "cam"), Transport: "tcp"}}
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

// TestTLS pushes and plays over RTSPS, with a token and with Digest (R22).
func TestTLS(t *testing.T) {
	t.Parallel()
	n := newNode(t, func(c *Config) {
		c.Addr, c.TLSAddr, c.TLS = off, "127.0.0.1:0", selfSigned(t)
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

// selfSigned makes a certificate for this machine.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
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
