package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/deploy/banyan/doctor"
	"banyan/deploy/config"
	"banyan/relay/auth"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func containsAll(text string, words ...string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}

// banyan runs a command to its end.
func banyan(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	var out, logs bytes.Buffer
	err = run(t.Context(), args, &out, &logs)
	return out.String(), err
}

func TestTokensThatArePrintedOpenWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	out, err := banyan(t, "token", "--data.dir", dir, "--publish", "cup/*", "--publish", "talk", "--play", "**", "--api",
		"--user", "ana", "--ttl", "1h")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSuffix(out, "\n")
	if strings.ContainsAny(token, " \n") {
		t.Fatalf("standard output has more than the token: %q", out)
	}
	cfg, err := config.Load(config.Sources{Flags: map[string]string{"data.dir": dir}})
	if err != nil {
		t.Fatal(err)
	}
	guard, _, err := newGuard(cfg)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := guard.CheckPublish(token, "cup/cam1")
	if err != nil || claims.User != "ana" || !claims.API {
		t.Errorf("got %+v, %v", claims, err)
	}
	if _, err := guard.CheckPublish(token, "talk"); err != nil {
		t.Errorf("the second --publish: %v", err)
	}
	if left := time.Until(claims.Expires); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the token is good for %v, want an hour", left)
	}
}

func TestTokensThatCannotBeMakeNoSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{{"--api", "--ttl", "400d"}, {"--api", "--ttl", "0s"}, {}, {"--play", "a//b"}} {
		if _, err := banyan(t, append([]string{"token", "--data.dir", dir}, args...)...); err == nil {
			t.Errorf("%q: a token was made", args)
		} else if len(args) == 0 && !containsAll(err.Error(), "--publish", "--play", "--api", "banyan token --publish 'cup/*'") {
			t.Errorf("without flags it says %q, want their names and an example", err)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a secret was made for tokens that were not")
	}
}

// Whoever makes a token in another directory than the server's must see that another secret signed it.
func TestTokenTellsWhichSecretSignedIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "secret")
	for i, want := range []string{"made a new secret for tokens in " + file, "signed with " + file} {
		var out, notes bytes.Buffer
		err := run(t.Context(), []string{"token", "--data.dir", filepath.Dir(file), "--api"}, &out, &notes)
		if err != nil || !strings.Contains(notes.String(), want) || !strings.Contains(notes.String(), "another data.dir") {
			t.Errorf("call %d: got %q, %v; want %q", i+1, notes.String(), err, want)
		}
	}
	var notes bytes.Buffer
	err := run(t.Context(), []string{"token", "--api", "--data.dir", filepath.Dir(file), "--auth.secret", strings.Repeat("s", 32)}, io.Discard, &notes)
	if err != nil || notes.Len() > 0 {
		t.Errorf("with a secret of the configuration: got %q, %v; want nothing", notes.String(), err)
	}
}

// TestThePrintedCommandMakesTokensThatTheNodeTakes pastes into a shell what serve prints, with the node's secret set in
// every way that there is.
func TestThePrintedCommandMakesTokensThatTheNodeTakes(t *testing.T) {
	secret := strings.Repeat("0123456789abcdef", 4)
	file := filepath.Join(t.TempDir(), "the cluster's key")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := filepath.Join(t.TempDir(), "banyan.yaml")
	if err := os.WriteFile(settings, []byte("cluster: {key: "+secret+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		flags []string
		env   string // a variable that has the secret in the node and in the shell
	}{
		"of its own":                   {},
		"key by flag":                  {flags: []string{"--cluster.key=" + secret}, env: "BANYAN_CLUSTER_KEY"},
		"key by environment":           {env: "BANYAN_CLUSTER_KEY"},
		"key in a file":                {flags: []string{"--cluster.key_file=" + file}},
		"key in the configuration":     {flags: []string{"--config=" + settings}},
		"secret by environment":        {flags: []string{"--config=" + settings}, env: "BANYAN_AUTH_SECRET"},
		"secret beside a key's file":   {flags: []string{"--cluster.key_file=" + file}, env: "BANYAN_AUTH_SECRET"},
		"secret by flag":               {flags: []string{"--auth.secret=" + secret}, env: "BANYAN_AUTH_SECRET"},
		"data.dir that wants a quote":  {flags: []string{"--data.dir=" + filepath.Join(t.TempDir(), "ana's data")}},
		"no secret in empty variables": {flags: []string{"--cluster.key="}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.env != "" {
				t.Setenv(c.env, secret)
			}
			flags := append([]string{"--cluster.addr=127.0.0.1:0", "--link.addr=127.0.0.1:0", "--node.name=one"}, c.flags...)
			n := start(t, flags...)
			_, printed, _ := strings.Cut(n.out.String(), "for /ops with:")
			printed, _, _ = strings.Cut(printed, "\n")
			if strings.Contains(n.out.String(), secret) {
				t.Errorf("the secret is on the screen: %s", n.out.String())
			}
			pasted := strings.Replace(printed, quoteForShell(os.Args[0]), `printf '%s\n'`, 1)
			words, err := exec.Command("sh", "-c", pasted).Output() // what the shell makes of it
			if err != nil {
				t.Fatalf("%s: %v", printed, err)
			}
			token, err := banyan(t, strings.Split(strings.TrimSpace(string(words)), "\n")...)
			if err != nil {
				t.Fatalf("%s: %v", printed, err)
			}
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.addr["http"]+"/api/v1/node", nil)
			request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
			response, err := n.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("the token of %s gets %s", printed, response.Status)
			}
			if c.env == "" {
				return
			}
			elsewhere := exec.Command("sh", "-c", printed)
			elsewhere.Env = []string{"PATH=" + os.Getenv("PATH")}
			if said, err := elsewhere.CombinedOutput(); err == nil || !strings.Contains(string(said), c.env+": set it as for this node") {
				t.Errorf("in a shell without the secret: %s, %v", said, err)
			}
		})
	}
}

func TestTokensLiveForDaysAndWeeks(t *testing.T) {
	dir := t.TempDir()
	cfg, err := config.Load(config.Sources{Flags: map[string]string{"data.dir": dir}})
	if err != nil {
		t.Fatal(err)
	}
	for ttl, want := range map[string]time.Duration{"2w": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "366d": auth.MaxTTL} {
		out, err := banyan(t, "token", "--data.dir", dir, "--api", "--ttl", ttl)
		if err != nil {
			t.Errorf("%s: %v", ttl, err)
			continue
		}
		guard, _, err := newGuard(cfg)
		if err != nil {
			t.Fatal(err)
		}
		claims, err := guard.Check(strings.TrimSpace(out))
		if left := time.Until(claims.Expires); err != nil || left > want || left < want-time.Minute {
			t.Errorf("%s: good for %v, %v; want %v", ttl, left, err, want)
		}
	}
}

func TestCommandLinesThatCannotWorkSayWhy(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"srve"}, "serve"},
		{[]string{"serve", "--http.adr", ":80"}, "--http.addr"},
		{[]string{"serve", "--http.addr", "80"}, "http.addr"},
		{[]string{"serve", "--roles", "relay,king"}, "ingest"},
		{[]string{"serve", "--roles", "mixer"}, "there is no mixer in this version yet: choose some of ingest,transcoder,relay,edge"},
		{[]string{"serve", "--roles", "edge,conference"}, "no conference"},
		{[]string{"serve", "--config", filepath.Join(dir, "none.yaml")}, "banyan config"},
		{[]string{"config", "--hls.part", "soon"}, "hls.part"},
		{[]string{"token", "--data.dir", dir}, "--publish GLOB"},
		{[]string{"token", "--data.dir", dir, "--play", "a//b"}, "segment is empty"},
		{[]string{"token", "--data.dir", dir, "--api", "--ttl", "400d"}, "cannot live 400 days: choose at most 366"},
		{[]string{"token", "--data.dir", dir, "--api", "--ttl", "a week"}, "7d"},
		{[]string{"token", "--data.dir", dir, "--api", "--auth.secret", "short"}, "auth.secret"},
		{[]string{"serve", "--ladder.default", "source,48p0"}, "480p-vp8"},
	} {
		out, err := banyan(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.args, err, c.want)
		}
		if out != "" {
			t.Errorf("%q: printed %q to standard output", c.args, out)
		}
	}
}

func TestHelpVersionAndConfig(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"serve", "token", "doctor", "config", "version"}},
		{[]string{"--help"}, []string{"serve", "doctor"}},
		{[]string{"serve", "--help"}, []string{"--config=FILE", "--rtc.public_ips", "--rtc.loopback", "--roles", "--demo"}},
		{[]string{"version"}, []string{"banyan ", "go1."}},
		{[]string{"--version"}, []string{"banyan ", "go1."}},
		{[]string{"config", "--rtc.loopback", "--log.level=warn"}, []string{"loopback: true", "level: warn", "segment: 2s"}},
		{[]string{"config", "--rtc.loopback=false"}, []string{"loopback: false"}},
	} {
		out, err := banyan(t, c.args...)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		for _, part := range c.want {
			if !strings.Contains(out, part) {
				t.Errorf("%q: %q is missing in\n%s", c.args, part, out)
			}
		}
	}
}

func TestDoctorPrintsJSONAndFailsWhenItMust(t *testing.T) {
	args := []string{"doctor", "--json", "--data.dir", t.TempDir(), "--transcoder.ffmpeg", "no-such-ffmpeg",
		"--http.addr", "127.0.0.1:0", "--admin.addr", "127.0.0.1:0", "--rtsp.addr", "127.0.0.1:0", "--rtc.addr", "127.0.0.1:0"}
	out, err := banyan(t, args...)
	if err == nil || !strings.Contains(err.Error(), "FAIL") {
		t.Errorf("got %v, want a failure", err)
	}
	var findings []struct{ Check, Status, Remedy string }
	if err := json.Unmarshal([]byte(out), &findings); err != nil || findings[0].Check != "ffmpeg" || findings[0].Status != "FAIL" {
		t.Errorf("got %+v, %v", findings, err)
	}
}

// running is a node that serves on ports of its own.
type running struct {
	t      *testing.T
	addr   map[string]string // of each door
	rtsp   string            // where it listens for RTSP
	logs   *bufio.Scanner
	roles  []string     // that it said it has when it was ready
	out    bytes.Buffer // what it printed until then
	stop   context.CancelFunc
	ended  chan error // gets what run returns
	client *http.Client
}

// start runs `banyan serve` and waits until it is ready.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	reader, writer := io.Pipe()
	n := &running{t: t, addr: map[string]string{}, logs: bufio.NewScanner(reader), stop: stop, ended: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}}
	args = append([]string{"serve", "--log.format=json", "--data.dir", t.TempDir(),
		"--http.addr=127.0.0.1:0", "--admin.addr=127.0.0.1:0", "--rtc.addr=127.0.0.1:0", "--rtsp.addr=127.0.0.1:0",
		"--rtsp.udp_addr=127.0.0.1:0"}, args...)
	go func() {
		err := run(ctx, args, &n.out, writer)
		writer.Close()
		n.ended <- err
	}()
	t.Cleanup(func() {
		stop()
		for n.logs.Scan() { // run must not wait for us to read
		}
		n.client.CloseIdleConnections()
	})
	doors := 2 + strings.Count(strings.Join(args, " "), ".tls.addr")
	for ready := false; (!ready || len(n.addr) < doors) && n.logs.Scan(); {
		var line struct {
			Msg, Door, Addr string
			Roles           []string
		}
		if err := json.Unmarshal(n.logs.Bytes(), &line); err != nil {
			t.Fatalf("log line %q is not JSON: %v", n.logs.Text(), err)
		}
		if line.Msg == "ready" {
			ready, n.roles = true, line.Roles
		}
		if line.Msg == "listening" {
			n.addr[line.Door] = line.Addr
		}
		if line.Msg == "listening for RTSP" {
			n.rtsp = line.Addr
		}
		if line.Msg == "listening for RTSPS" {
			n.addr["rtsps"] = line.Addr
		}
	}
	if n.addr["http"] == "" {
		t.Fatalf("the node did not start: %v", <-n.ended)
	}
	return n
}

// get asks a door and returns status, content type and body.
func (n *running) get(door, path string) (int, string, string) {
	n.t.Helper()
	resp, err := n.client.Get("http://" + n.addr[door] + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), string(body)
}

// try asks the public door, and gives "" where it does not answer with success.
func (n *running) try(path string) string {
	resp, err := n.client.Get("http://" + n.addr["http"] + path)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// end stops the node and returns what it says.
func (n *running) end() error {
	n.stop()
	for n.logs.Scan() {
	}
	return <-n.ended
}

func TestServeAnswersAndStops(t *testing.T) {
	n := start(t)
	for _, c := range []struct {
		door, path string
		status     int
		part       string
	}{
		{"http", "/healthz", 200, "ok"},
		{"http", "/readyz", 200, "ok"},
		{"http", "/nothing", 404, `"status":404`}, // the pages answer for what nobody else serves
		{"http", "/edges/x", 404, `"status":404`},
		{"http", "/signal", 404, `"status":404`},
		{"http", "/watch/a%20b", 404, `"status":404`},
		{"http", "/metrics", 404, ""}, // for operators alone
		{"http", "/debug/pprof/", 404, ""},
		{"http", "/api/v1/nothing", 404, `"status":404`},
		{"http", "/api/v1/streams", 200, `"streams":[]`},
		{"http", "/sessions/none", 404, `"status":404`},
		{"http", "/hls/cup/cam1/index.m3u8", 404, `"status":404`},
		{"admin", "/healthz", 200, "ok"},
		{"admin", "/metrics", 200, "banyan_build_info"},
		{"admin", "/metrics", 200, "banyan_rtsp_pull_failures_total 0"},
		{"admin", "/metrics", 200, `banyan_transcoder_process_ends_total{reason="exit"} 0`},
		{"admin", "/metrics", 200, `banyan_transcoder_process_ends_total{reason="source"} 0`},
		{"admin", "/debug/pprof/", 200, "goroutine"},
		{"admin", "/debug/pprof/cmdline", 404, ""}, // arguments may hold secrets
	} {
		status, contentType, body := n.get(c.door, c.path)
		if status != c.status || !strings.Contains(body, c.part) {
			t.Errorf("%s %s: got %d %.200q, want %d with %q", c.door, c.path, status, body, c.status, c.part)
		}
		if c.door == "http" && strings.Contains(c.part, "status") && contentType != "application/problem+json" {
			t.Errorf("%s %s: type %q, want application/problem+json", c.door, c.path, contentType)
		}
	}
	n.client.CloseIdleConnections()
	if err := n.end(); err != nil {
		t.Errorf("a stop that was asked for is no error: %v", err)
	}
	if _, err := net.Dial("tcp", n.addr["admin"]); err == nil {
		t.Error("the admin door is open after the end")
	}
}

func TestServeSaysWhereToLookAndWhatRuns(t *testing.T) {
	n := start(t)
	for _, want := range []string{"http://" + n.addr["http"] + "/ ", "/publish/", " token --data.dir ", "--publish"} {
		if !strings.Contains(n.out.String(), want) {
			t.Errorf("%q is missing in what was printed:\n%s", want, n.out.String())
		}
	}
	if strings.Contains(n.out.String(), "demo") {
		t.Errorf("there is no demo:\n%s", n.out.String())
	}
	if want := "ingest transcoder relay edge"; strings.Join(n.roles, " ") != want {
		t.Errorf("it has the roles %v, want %s", n.roles, want)
	}
	var self doctor.Node
	if _, _, body := n.get("admin", doctor.NodePath); json.Unmarshal([]byte(body), &self) != nil ||
		self.Product != doctor.Product || self.Version == "" || self.Addrs["rtsp.addr"] != "127.0.0.1:0" {
		t.Errorf("to the doctor it says %s", body)
	}

	open := start(t, "--auth.publish=open", "--roles=ingest,edge")
	if text := open.out.String(); strings.Contains(text, "token to") || !strings.Contains(text, "--api\n") {
		t.Errorf("no token is needed but for /ops:\n%s", open.out.String())
	}
	if want := "ingest edge"; strings.Join(open.roles, " ") != want {
		t.Errorf("it has the roles %v, want %s", open.roles, want)
	}
	closed := start(t, "--auth.play=token")
	if text := closed.out.String(); !strings.Contains(text, "--publish 'cup/*'\n") || !strings.Contains(text, "--play 'cup/*'\n") {
		t.Errorf("both tokens are needed:\n%s", text)
	}
	for node, want := range map[*running]string{
		n:                        fmt.Sprintf(`{"streams":[],"ingest":{"token":true,"whip":true,"rtsp_port":%s}}`, portOf(n.rtsp)),
		open:                     fmt.Sprintf(`{"streams":[],"ingest":{"token":false,"whip":true,"rtsp_port":%s}}`, portOf(open.rtsp)),
		start(t, "--roles=edge"): `{"streams":[]}`,
	} {
		if _, _, body := node.get("http", "/api/v1/streams"); strings.TrimSpace(body) != want {
			t.Errorf("to the landing page it says %s, want %s", body, want)
		}
	}
	if blind := start(t, "--roles=ingest"); blind.out.Len() > 0 {
		t.Errorf("a node without pages prints %q", blind.out.String())
	}
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}

// TestStoppedIsTheLastWord has a publisher, a viewer and a format end with the node: they tell of it first.
func TestStoppedIsTheLastWord(t *testing.T) {
	n := start(t, "--auth.publish=open", "--transcoder.preset=ultrafast")
	camera := exec.Command("ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-re", "-f", "lavfi", "-i", "testsrc=size=320x180:rate=15",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "15", "-f", "rtsp", "-rtsp_transport", "tcp", "rtsp://"+n.rtsp+"/cup/ana")
	if err := camera.Start(); err != nil {
		t.Fatalf("%v: install ffmpeg", err)
	}
	t.Cleanup(func() { _ = camera.Process.Kill(); _ = camera.Wait() })
	var lines []string
	watched := make(chan struct{})
	go func() { // whom the log stops as soon as a format is made for it
		defer close(watched)
		var format string
		for deadline := time.Now().Add(time.Minute); format == "" && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			for line := range strings.Lines(n.try("/hls/cup/ana/index.m3u8")) {
				if !strings.HasPrefix(line, "#") && strings.Contains(line, ".m3u8") {
					format = strings.TrimSpace(line)
				}
			}
		}
		n.try("/hls/cup/ana/" + format)
		n.stop()
	}()
	for n.logs.Scan() { // the node waits for us to read
		if lines = append(lines, n.logs.Text()); strings.Contains(n.logs.Text(), "format started") {
			n.stop()
		}
	}
	<-watched
	if err := <-n.ended; err != nil {
		t.Error(err)
	}
	text := strings.Join(lines, "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, `"msg":"stopped"`) || !strings.Contains(text, "format stopped") || !strings.Contains(text, "publisher left") {
		t.Errorf("the end of the log:\n%s\nwant \"stopped\" last, and what stopped before it", text)
	}
}

// A balancer must be able to see that the node is about to go.
func TestDrainingShowsOnThePublicDoor(t *testing.T) {
	n := start(t, "--node.drain=2s")
	n.stop()
	for deadline := time.Now().Add(2 * time.Second); ; {
		status, _, _ := n.get("http", "/readyz")
		if status == http.StatusServiceUnavailable {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz says %d while draining, want 503", status)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if status, _, _ := n.get("http", "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz says %d while draining", status)
	}
	n.client.CloseIdleConnections()
	if err := n.end(); err != nil {
		t.Error(err)
	}
}

// An odd port is no mistake of the machine, so doctor says of it what serve does.
func TestAnOddRTPPortIsRefusedByAllCommands(t *testing.T) {
	for _, command := range []string{"serve", "doctor"} {
		_, err := banyan(t, command, "--data.dir", t.TempDir(), "--http.addr=127.0.0.1:0", "--admin.addr=", "--rtc.addr=127.0.0.1:0",
			"--rtsp.addr=127.0.0.1:0", "--rtsp.udp_addr=127.0.0.1:38001")
		if err == nil || !strings.Contains(err.Error(), "rtsp.udp_addr") || !strings.Contains(err.Error(), "odd") {
			t.Errorf("%s: got %v, want an error with the key", command, err)
		}
	}
}

func TestATakenRTPPortStopsTheStart(t *testing.T) {
	taken := takeEvenPort(t)
	defer taken.Close()
	_, err := banyan(t, "serve", "--data.dir", t.TempDir(), "--http.addr=127.0.0.1:0", "--admin.addr=", "--rtc.addr=127.0.0.1:0",
		"--rtsp.addr=127.0.0.1:0", "--rtsp.udp_addr", taken.LocalAddr().String())
	if err == nil || !strings.Contains(err.Error(), "rtsp.udp_addr") || !strings.Contains(err.Error(), "another program") {
		t.Errorf("got %v, want an error with the key", err)
	}
}

// takeEvenPort opens a port of UDP that the configuration would take for RTP.
func takeEvenPort(t *testing.T) net.PacketConn {
	t.Helper()
	for range 100 {
		taken, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if taken.LocalAddr().(*net.UDPAddr).Port%2 == 0 {
			return taken
		}
		taken.Close()
	}
	t.Fatal("the system gives no even port")
	return nil
}

func TestATakenPortStopsTheStartWithItsKey(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = banyan(t, "serve", "--data.dir", t.TempDir(), "--http.addr=127.0.0.1:0", "--rtc.addr=127.0.0.1:0",
		"--rtsp.addr=127.0.0.1:0", "--rtsp.udp_addr=127.0.0.1:0", "--admin.addr", taken.Addr().String())
	if err == nil || !strings.Contains(err.Error(), "admin.addr") || !strings.Contains(err.Error(), "another program") {
		t.Errorf("got %v", err)
	}
}

// TestAllTakenPortsAreNamed is a second start of the same server.
func TestAllTakenPortsAreNamed(t *testing.T) {
	keys := []string{"http.addr", "admin.addr", "rtsp.addr"}
	args := []string{"serve", "--data.dir", t.TempDir(), "--rtc.addr=127.0.0.1:0", "--rtsp.udp_addr=127.0.0.1:0"}
	for _, key := range keys {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		args = append(args, "--"+key, taken.Addr().String())
	}
	_, err := banyan(t, args...)
	for _, key := range keys {
		if err == nil || !strings.Contains(err.Error(), key+" 127.0.0.1:") {
			t.Errorf("got %v, want an error with %s", err, key)
		}
	}
}

// openTestDoor serves handler until the test ends the context that it returns.
func openTestDoor(t *testing.T, drain time.Duration, handler http.HandlerFunc) (addr string, stop context.CancelFunc, ended chan error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", handler)
	log := slog.New(slog.DiscardHandler)
	door, err := openDoor("http", "http.addr", "127.0.0.1:0", publicHandler(log, mux), log)
	if err != nil {
		t.Fatal(err)
	}
	door.drain = drain
	ctx, stop := context.WithCancel(context.Background())
	ended = make(chan error, 1)
	go func() { ended <- door.serve(ctx) }()
	t.Cleanup(stop)
	return door.listener.Addr().String(), stop, ended
}

func TestRunningRequestsFinishWhenTheNodeStops(t *testing.T) {
	arrived, finish := make(chan struct{}), make(chan struct{})
	addr, stop, ended := openTestDoor(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-finish
		if r.Context().Err() != nil {
			t.Error("the request was cancelled though it would have finished in time")
		}
		writeOK(w)
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answer := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://" + addr)
		if err == nil {
			resp.Body.Close()
		}
		answer <- err
	}()
	<-arrived
	stop()
	close(finish)
	if err := <-answer; err != nil {
		t.Errorf("the request that ran: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the door: %v", err)
	}
}

func TestRequestsThatNeverEndAreCancelled(t *testing.T) {
	arrived := make(chan struct{})
	addr, stop, ended := openTestDoor(t, time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done() // as a playlist that waits for a segment that never comes
	})
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if resp, err := client.Get("http://" + addr); err == nil {
			resp.Body.Close()
		}
	}()
	<-arrived
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the door: %v", err)
	}
	<-answered
}

// pair writes a fresh certificate with the given serial number, for 127.0.0.1.
func pair(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		keyFile:  {Type: "EC PRIVATE KEY", Bytes: der},
		certFile: {Type: "CERTIFICATE", Bytes: cert},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestRTSPSAsksItsUsers(t *testing.T) {
	certFile, keyFile := pair(t, t.TempDir(), 1)
	n := start(t, "--rtsp.addr=", "--rtsp.tls.addr=127.0.0.1:0", "--http.tls.cert", certFile, "--http.tls.key", keyFile,
		"--auth.play=token", "--rtsp.users", "[{user: gate, password: long enough, play: ['cup/*']}]")
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", n.addr["rtsps"], &tls.Config{RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, c := range []struct{ header, want string }{
		{"X: y", "RTSP/1.0 401"},
		// What a password proves is tested with the door itself; here, that the user is known there.
		{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("gate:long enough")), "RTSP/1.0 404"},
	} {
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = fmt.Fprintf(conn, "DESCRIBE rtsps://%s/cup/cam1 RTSP/1.0\r\nCSeq: 1\r\n%s\r\n\r\n", n.addr["rtsps"], c.header)
		answer := make([]byte, 4096)
		size, err := conn.Read(answer)
		if err != nil || !strings.HasPrefix(string(answer[:size]), c.want) {
			t.Errorf("with %.20q: got %q, %v; want %s", c.header, answer[:size], err, c.want)
		}
	}
}

func TestHTTPSSpeaksHTTP2AndPlainHTTPDoesNot(t *testing.T) {
	certFile, keyFile := pair(t, t.TempDir(), 1)
	n := start(t, "--http.tls.addr=127.0.0.1:0", "--http.tls.cert", certFile, "--http.tls.key", keyFile)
	pem, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + n.addr["https"] + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("over TLS: got %s, want HTTP/2", resp.Proto)
	}

	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	clear := &http.Transport{Protocols: &protocols}
	defer clear.CloseIdleConnections()
	if resp, err := (&http.Client{Transport: clear}).Get("http://" + n.addr["http"] + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("HTTP/2 in the clear is answered")
	}
}

func TestANewCertificateIsTakenUpAndABrokenOneIsNot(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	c := &certificate{log: slog.New(slog.DiscardHandler)}
	c.certFile, c.keyFile = pair(t, dir, 1)
	if err := c.read(now); err != nil {
		t.Fatal(err)
	}
	serial := func(at time.Time) int64 {
		leaf, err := x509.ParseCertificate(c.current(at).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	// touch makes sure that the change shows, however coarse the file system's clock is.
	touch := func(at time.Time) {
		if err := os.Chtimes(c.certFile, at, at); err != nil {
			t.Fatal(err)
		}
	}
	pair(t, dir, 2)
	touch(now.Add(time.Hour))
	if got := serial(now.Add(certInterval / 2)); got != 1 {
		t.Errorf("before the interval is over: got %d, want 1", got)
	}
	if got := serial(now.Add(certInterval)); got != 2 {
		t.Errorf("after it: got %d, want 2", got)
	}
	if err := os.WriteFile(c.certFile, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(now.Add(2 * time.Hour))
	if got := serial(now.Add(2 * certInterval)); got != 2 {
		t.Errorf("with a broken file: got %d, want 2", got)
	}
}

func TestSecretsInSettingsStayOutOfTheLog(t *testing.T) {
	var text bytes.Buffer
	cfg, err := config.Load(config.Sources{Flags: map[string]string{"log.level": "debug"}})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := auth.NewGuard(auth.Config{Secret: bytes.Repeat([]byte("s"), 32)})
	if err != nil {
		t.Fatal(err)
	}
	token, err := guard.Mint(auth.Grant{API: true, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	newLog(cfg, &text).Debug("pull", "url", "rtsp://ana:hunter2@cam/x", "header", "Bearer "+token)
	if strings.Contains(text.String(), "hunter2") || strings.Contains(text.String(), token) || !strings.Contains(text.String(), "cam/x") {
		t.Errorf("got %s", text.String())
	}
}
