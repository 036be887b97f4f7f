package doctor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

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
		"data.dir": filepath.Join(t.TempDir(), "a", "b"),
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
	c := healthy(t)
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
		return script + "esac\n"
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
		{"no x264", program(t, full("libx264")), doctor.Fail, []string{"the encoder libx264"}},
		{"no ivf", program(t, full("ivf")), doctor.Fail, []string{"the muxer ivf"}},
		{"no AV1", program(t, full("av1")), doctor.Warn, []string{"the decoder av1", "not be transcoded"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantFinding(t, examine(t, healthy(t, "transcoder.ffmpeg", c.program)), "ffmpeg", c.status, c.parts...)
		})
	}
	wantFinding(t, examine(t, healthy(t, "transcoder.ffmpeg", program(t, full("")), "transcoder.encoder", "h264_nvenc")),
		"ffmpeg", doctor.Fail, "h264_nvenc")
}

func TestPages(t *testing.T) {
	c := healthy(t, "transcoder.ffmpeg", "no-such-ffmpeg")
	built := doctor.Examine(t.Context(), doctor.Subject{Config: c, Pages: fstest.MapFS{"index.html": {}}})
	wantFinding(t, built, "pages", doctor.OK)
	empty := doctor.Examine(t.Context(), doctor.Subject{Config: c, Pages: fstest.MapFS{".gitkeep": {}}})
	wantFinding(t, empty, "pages", doctor.Warn, "make build")
}
