package doctor_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"banyan/deploy/banyan/doctor"
	"banyan/deploy/config"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// healthy is a configuration that this machine can run: ports are chosen by the system.
func healthy(t *testing.T, changes ...string) config.Config {
	t.Helper()
	flags := map[string]string{
		"http.addr": "127.0.0.1:0", "admin.addr": "127.0.0.1:0", "rtsp.addr": "127.0.0.1:0", "rtsp.udp_addr": "127.0.0.1:0",
		"rtc.addr": "127.0.0.1:0",
		"data.dir": filepath.Join(t.TempDir(), "a", "b"), "transcoder.ffmpeg": "no-such-ffmpeg", // which takes a second to try
	}
	for i := 0; i < len(changes); i += 2 {
		flags[changes[i]] = changes[i+1]
	}
	c, err := config.Load(config.Sources{Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func examine(t *testing.T, c config.Config) []doctor.Finding {
	t.Helper()
	findings := doctor.Examine(t.Context(), doctor.Subject{Config: c})
	for _, f := range findings {
		if (f.Status == doctor.OK) != (f.Remedy == "") {
			t.Errorf("%+v: what is wrong has a remedy, and nothing else has", f)
		}
	}
	return findings
}

func wantFinding(t *testing.T, findings []doctor.Finding, check string, status doctor.Status, parts ...string) {
	t.Helper()
	for _, f := range findings {
		text := f.Found + " " + f.Remedy
		matches := f.Check == check && f.Status == status
		for _, part := range parts {
			matches = matches && strings.Contains(text, part)
		}
		if matches {
			return
		}
	}
	t.Errorf("no %s of %s with %q among %+v", status, check, parts, findings)
}

func TestAGoodMachinePassesAndIsLeftAsItWas(t *testing.T) {
	c := healthy(t, "transcoder.ffmpeg", "ffmpeg")
	findings := examine(t, c)
	if doctor.Failed(findings) {
		t.Errorf("a good machine fails: %+v", findings)
	}
	wantFinding(t, findings, "ffmpeg", doctor.OK, "version")
	wantFinding(t, findings, "data.dir", doctor.OK)
	if _, err := os.Stat(filepath.Dir(c.Data.Dir)); !os.IsNotExist(err) {
		t.Error("the data directory that was not there is there now")
	}

	var text bytes.Buffer
	if err := doctor.Print(&text, findings); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text.String()) {
		if !strings.HasPrefix(line, "OK") && !strings.HasPrefix(line, "WARN") && !strings.Contains(line, "-> ") {
			t.Errorf("line %q begins with no status", line)
		}
	}
	if data, err := json.Marshal(findings); err != nil || !strings.Contains(string(data), `"check":"ffmpeg","status":"OK"`) {
		t.Errorf("JSON: %s, %v", data, err)
	}
}

func TestAnExistingDirectoryKeepsItsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	examine(t, healthy(t, "data.dir", dir))
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("got %v, want the secret alone", entries)
	}
}

func TestADirectoryBelowAFileFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFinding(t, examine(t, healthy(t, "data.dir", filepath.Join(file, "data"))), "data.dir", doctor.Fail, "data.dir")
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}

func TestTakenPortsFail(t *testing.T) {
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	findings := examine(t, healthy(t, "http.addr", stream.Addr().String(), "rtc.addr", datagrams.LocalAddr().String(), "rtsp.addr", "192.0.2.1:8554"))
	wantFinding(t, findings, "http.addr", doctor.Fail, "in use", "http.addr")
	wantFinding(t, findings, "rtc.addr", doctor.Fail, "/udp is in use", "rtc.addr")
	wantFinding(t, findings, "rtsp.addr", doctor.Fail, "rtsp.addr")
	if !doctor.Failed(findings) {
		t.Error("taken ports do not fail")
	}
}

// The ports of a Banyan that runs are in order, those that somebody else has are not.
func TestPortsOfARunningBanyan(t *testing.T) {
	taken := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l.Addr().String()
	}
	ours, theirs := taken(), taken()
	for _, c := range []struct {
		name, answer string
		status       doctor.Status
		part         string
	}{
		{"a Banyan", `{"product":"banyan","version":"v9","addrs":{"http.addr":"` + ours + `","admin.addr":"ADMIN"}}`, doctor.OK, "a running Banyan, version v9"},
		{"another program", `{"product":"other"}`, doctor.Fail, "another program"},
		{"no JSON", `ok`, doctor.Fail, "another program"},
		{"endless", `{"product":"` + strings.Repeat("x", 1<<20), doctor.Fail, "another program"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var admin *httptest.Server
			admin = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != doctor.NodePath {
					t.Errorf("asked for %s", r.URL.Path)
				}
				_, _ = io.WriteString(w, strings.Replace(c.answer, "ADMIN", admin.Listener.Addr().String(), 1))
			}))
			defer admin.Close()
			findings := examine(t, healthy(t, "http.addr", ours, "rtsp.addr", theirs, "admin.addr", admin.Listener.Addr().String()))
			wantFinding(t, findings, "http.addr", c.status, c.part)
			wantFinding(t, findings, "admin.addr", c.status, c.part)
			wantFinding(t, findings, "rtsp.addr", doctor.Fail, "another program")
		})
	}
}

// program writes a shell script that stands for an FFmpeg that we do not have.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFFmpeg(t *testing.T) {
	full := func(without string) string {
		lists := map[string][]string{
			"-encoders": {"libx264", "aac", "libopus"}, "-muxers": {"mpegts", "ivf"}, "-demuxers": {"mpegts", "ivf"},
			"-decoders": {"h264", "hevc", "aac", "opus", "vp8", "vp9", "av1", "pcm_alaw", "pcm_mulaw"},
		}
		script := "case $2 in -version) echo ffmpeg version 9.9-x Copyright;;\n"
		for option, names := range lists {
			script += option + ") "
			for _, name := range names {
				if name != without {
					script += fmt.Sprintf("echo ' V..... %s,other  text with libx264 and av1 in it';", name)
				}
			}
			script += ":;;\n"
		}
		// What it encodes is nothing that could be looked at, and nobody does; hardware it has none.
		return script + "*) case \"$*\" in *nvenc*|*qsv*|*vaapi*) echo no such card >&2; exit 1;; esac; cat >/dev/null; echo encoded;;\nesac\n"
	}
	for _, c := range []struct {
		name, program string
		status        doctor.Status
		parts         []string
	}{
		{"not installed", "no-such-ffmpeg", doctor.Fail, []string{"apt-get install ffmpeg"}},
		{"broken", program(t, "exit 3"), doctor.Fail, []string{"exit status 3"}},
		{"no program", t.TempDir(), doctor.Fail, []string{"transcoder.ffmpeg"}},
		{"full", program(t, full("")), doctor.OK, []string{"version 9.9"}},
		{"old", program(t, strings.Replace(full(""), "9.9-x", "4.3.6", 1)), doctor.Fail, []string{"version 4.3.6", "5.1 or newer"}},
		{"no Opus", program(t, full("libopus")), doctor.Fail, []string{"the encoder libopus"}},
		{"no ivf", program(t, full("ivf")), doctor.Fail, []string{"the muxer ivf"}},
		{"no AV1", program(t, full("av1")), doctor.Warn, []string{"the decoder av1", "not be transcoded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFinding(t, examine(t, healthy(t, "transcoder.ffmpeg", c.program)), "ffmpeg", c.status, c.parts...)
		})
	}

	none := strings.Replace(full(""), "*nvenc*", "*264*", 1)
	for _, c := range []struct {
		name, program, encoder string
		status                 doctor.Status
		parts                  []string
	}{
		{"what works is taken", full(""), "auto", doctor.OK, []string{"libx264 works, auto is configured"}},
		{"what is configured works", full(""), "libx264", doctor.OK, []string{"libx264 works, libx264 is configured"}},
		{"what is configured does not", full(""), "h264_nvenc", doctor.Fail,
			[]string{"h264_nvenc is configured and does not work here, libx264 does", "no such card", "set transcoder.encoder to auto or to libx264"}},
		{"nothing works", none, "auto", doctor.Fail, []string{"no encoder of H.264 works", "libx264: ", "no such card"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFinding(t, examine(t, healthy(t, "transcoder.ffmpeg", program(t, c.program), "transcoder.encoder", c.encoder)),
				"transcoder.encoder", c.status, c.parts...)
		})
	}
}

// certificate writes a pair that is good until then, for the given names, and gives the two files.
func certificate(t *testing.T, until time.Time, names ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: until.Add(-90 * 24 * time.Hour), NotAfter: until, DNSNames: names}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", signed), write("key.pem", "PRIVATE KEY", der)
}

func TestCertificates(t *testing.T) {
	const day = 24 * time.Hour
	cert, key := certificate(t, time.Now().Add(60*day), "live.example.org")
	_, other := certificate(t, time.Now().Add(60*day), "live.example.org")
	soon, soonKey := certificate(t, time.Now().Add(5*day+time.Hour), "live.example.org")
	late, lateKey := certificate(t, time.Now().Add(-day), "live.example.org")
	early, earlyKey := certificate(t, time.Now().Add(200*day), "live.example.org")
	nobody, nobodyKey := certificate(t, time.Now().Add(60*day))
	open, openKey := certificate(t, time.Now().Add(60*day), "live.example.org")
	if err := os.Chmod(openKey, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, cert, key, check string
		status                 doctor.Status
		parts                  []string
	}{
		{"good", cert, key, "http.tls.cert", doctor.OK, []string{"live.example.org", "good until"}},
		{"no certificate", cert + "x", key, "http.tls.cert", doctor.Fail, []string{"no such file", "set http.tls.cert"}},
		{"no key", cert, key + "x", "http.tls.key", doctor.Fail, []string{"no such file", "set http.tls.key"}},
		{"of another key", cert, other, "http.tls.cert", doctor.Fail, []string{"are no pair", "does not match"}},
		{"mixed up", key, cert, "http.tls.cert", doctor.Fail, []string{"are no pair", "http.tls.key to the private key"}},
		{"expires soon", soon, soonKey, "http.tls.cert", doctor.Warn, []string{"expires in 5 days", "renew it"}},
		{"expired", late, lateKey, "http.tls.cert", doctor.Fail, []string{"has expired", "renew it"}},
		{"not yet good", early, earlyKey, "http.tls.cert", doctor.Fail, []string{"good only from"}},
		{"for nobody", nobody, nobodyKey, "http.tls.cert", doctor.Warn, []string{"names no host"}},
		{"key for all to read", open, openKey, "http.tls.key", doctor.Warn, []string{"chmod o="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := healthy(t, "transcoder.ffmpeg", "no-such-ffmpeg", "http.tls.addr", "127.0.0.1:0", "http.tls.cert", c.cert, "http.tls.key", c.key)
			wantFinding(t, examine(t, settings), c.check, c.status, c.parts...)
		})
	}
}

func TestICEServersAreLookedUp(t *testing.T) {
	c := healthy(t, "transcoder.ffmpeg", "no-such-ffmpeg", "rtc.ice_servers",
		`[{url: "stun:127.0.0.1:3478"}, {url: "turn:[::1]?transport=udp", secret: x}]`)
	wantFinding(t, examine(t, c), "rtc.ice_servers", doctor.OK, "stun:127.0.0.1:3478 is at 127.0.0.1")
	c = healthy(t, "transcoder.ffmpeg", "no-such-ffmpeg", "rtc.ice_servers", `[{url: "stun:none.invalid"}]`)
	wantFinding(t, examine(t, c), "rtc.ice_servers", doctor.Warn, "stun:none.invalid cannot be found", "correct its host")
}

func TestPages(t *testing.T) {
	c := healthy(t, "transcoder.ffmpeg", "no-such-ffmpeg")
	built := doctor.Examine(t.Context(), doctor.Subject{Config: c, Pages: fstest.MapFS{"index.html": {}}})
	wantFinding(t, built, "pages", doctor.OK)
	empty := doctor.Examine(t.Context(), doctor.Subject{Config: c, Pages: fstest.MapFS{".gitkeep": {}}})
	wantFinding(t, empty, "pages", doctor.Warn, "make build")
}
