package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"banyan/deploy/config"
	"banyan/relay/media"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inFile makes a configuration file of text.
func inFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "banyan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, s config.Sources) config.Config {
	t.Helper()
	c, err := config.Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	c := load(t, config.Sources{})
	host, _ := os.Hostname()
	for key, pair := range map[string][2]any{
		"data.dir":           {c.Data.Dir, "./data"},
		"node.name":          {c.Node.Name, host},
		"http.addr":          {c.HTTP.Addr, ":8080"},
		"http.tls.addr":      {c.HTTP.TLS.Addr, ""},
		"admin.addr":         {c.Admin.Addr, "127.0.0.1:9090"},
		"rtsp.addr":          {c.RTSP.Addr, ":8554"},
		"rtc.addr":           {c.RTC.Addr, ":8189"},
		"rtc.engine":         {c.RTC.Engine, "auto"},
		"auth.publish":       {string(c.Auth.Publish), "token"},
		"auth.play":          {string(c.Auth.Play), "open"},
		"ladder.default":     {c.Ladder.Default, []media.Format{"source", "720p", "360p", "opus", "aac"}},
		"hls.segment":        {c.HLS.Segment, 2 * time.Second},
		"hls.part":           {c.HLS.Part, 200 * time.Millisecond},
		"hls.window":         {c.HLS.Window, 30 * time.Second},
		"ring.seconds":       {c.Ring.Seconds, 12 * time.Second},
		"ring.bytes":         {c.Ring.Bytes, config.Size(32 << 20)},
		"transcoder.encoder": {c.Transcoder.Encoder, "auto"},
		"transcoder.linger":  {c.Transcoder.Linger, 20 * time.Second},
		"cluster.probe":      {c.Cluster.Probe, 200 * time.Millisecond},
	} {
		if !reflect.DeepEqual(pair[0], pair[1]) {
			t.Errorf("%s: got %v, want %v", key, pair[0], pair[1])
		}
	}
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	s := config.Sources{
		File:  inFile(t, "http: {addr: ':1'}\nrtsp: {addr: ':1'}\nrtc: {addr: ':1', loopback: true}\n"),
		Env:   []string{"BANYAN_HTTP_ADDR=:2", "BANYAN_RTSP_ADDR=:2", "BANYAN_RTC_PUBLIC_IPS=203.0.113.7, 2001:db8::1", "PATH=/bin"},
		Flags: map[string]string{"http.addr": ":3"},
	}
	c := load(t, s)
	got := []string{c.HTTP.Addr, c.RTSP.Addr, c.RTC.Addr, c.Admin.Addr}
	if want := []string{":3", ":2", ":1", "127.0.0.1:9090"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !c.RTC.Loopback || !slices.Equal(c.RTC.PublicIPs, []string{"203.0.113.7", "2001:db8::1"}) {
		t.Errorf("rtc: got %+v", c.RTC)
	}
}

func TestListsOfSectionsComeFromFileAndFlag(t *testing.T) {
	const rules = `[{match: "cup/**", formats: [source, 1080p, opus], always: true}, {match: "*", formats: [source]}]`
	const pulls = `[{stream: cup/cam1, url: "rtsp://ana:pw@10.0.0.7/live", transport: tcp}, {stream: cup/cam2, url: "rtsps://cam/x"}]`
	fromFile := load(t, config.Sources{File: inFile(t, "ladder:\n  streams: "+rules+"\nrtsp:\n  pull: "+pulls+"\n")})
	fromFlag := load(t, config.Sources{Flags: map[string]string{"ladder.streams": rules, "rtsp.pull": pulls}})
	if diff := cmp.Diff(fromFile, fromFlag); diff != "" {
		t.Errorf("file and flag differ:\n%s", diff)
	}
	formats, always := fromFile.Formats("cup/a/b")
	if !slices.Equal(formats, []media.Format{"source", "1080p", "opus"}) || !always {
		t.Errorf("ladder of cup/a/b: got %v %v", formats, always)
	}
	if formats, always = fromFile.Formats("calls/x"); len(formats) != 5 || always {
		t.Errorf("ladder of a stream without a rule: got %v %v, want the default", formats, always)
	}
	if got := fromFile.RTSP.Pull[1].Transport; got != "auto" {
		t.Errorf("transport: got %q, want auto", got)
	}
}

// TestMistakesStopTheStart gives each kind of mistake by each way in. Every error names the key and what to write.
func TestMistakesStopTheStart(t *testing.T) {
	for _, c := range []struct {
		name  string
		file  string
		env   string
		flags map[string]string
		want  []string
	}{
		{"unknown key", "http: {adr: ':80'}", "", nil, []string{"http.adr", "did you mean http.addr?"}},
		{"proxy without a network", "http: {trusted_proxies: [proxy]}", "", nil, []string{"http.trusted_proxies", "10.0.0.0/8"}},
		{"format that cannot be made", "ladder: {default: [source, 480p-mp3]}", "", nil, []string{"ladder.default", "480p-mp3"}},
		{"unknown section", "nats: {brokers: [a]}", "", nil, []string{"nats.brokers", "banyan config"}},
		{"roles in a file", "roles: [edge]", "", nil, []string{"roles: there is no such key", "--roles ingest,edge"}},
		{"roles of a node", "node: {roles: [edge]}", "", nil, []string{"--roles"}},
		{"roles in a variable", "", "BANYAN_ROLES=edge", nil, []string{"BANYAN_ROLES", "--roles"}},
		{"key without section", "segment: 2s", "", nil, []string{"segment", "hls.segment"}},
		{"value for a section", "http: 8080", "", nil, []string{"http", "section", "http.addr"}},
		{"section for a value", "http: {addr: {port: 80}}", "", nil, []string{"http.addr.port"}},
		{"unknown variable", "", "BANYAN_HTTP_ADR=:80", nil, []string{"BANYAN_HTTP_ADR:", "did you mean BANYAN_HTTP_ADDR?"}},
		{"unknown flag", "", "", map[string]string{"http.adr": ":80"}, []string{"http.adr", "http.addr"}},
		{"broken YAML", "http: [", "", nil, []string{"banyan.yaml", "YAML"}},
		{"key twice", "log: {level: info}\nlog: {level: warn}", "", nil, []string{"log", "already defined"}},
		{"list for a value", "log: {level: [info]}", "", nil, []string{"log.level", "single value"}},
		{"value for a list of sections", "rtsp: {pull: 'rtsp://cam'}", "", nil, []string{"rtsp.pull", "item 1", "stream: …"}},
		{"port alone", "http: {addr: 8080}", "", nil, []string{"http.addr", `"8080"`, ":8080"}},
		{"port too large", "", "BANYAN_RTSP_ADDR=:65536", nil, []string{"rtsp.addr", "BANYAN_RTSP_ADDR", "65535"}},
		{"bad host", "", "", map[string]string{"admin.addr": "a b:80"}, []string{"admin.addr", "--admin.addr", ":80"}},
		{"empty address", "http: {addr: ''}", "", nil, []string{"http.addr", "host:port"}},
		{"duration without sense", "hls: {part: soon}", "", nil, []string{"hls.part", "200ms"}},
		{"duration too long", "hls: {part: 200}", "", nil, []string{"hls.part", "3m20s", "at most 5s"}},
		{"negative duration", "transcoder: {linger: -1s}", "", nil, []string{"transcoder.linger", "at least 0s"}},
		{"size without sense", "ring: {bytes: lots}", "", nil, []string{"ring.bytes", "32MiB"}},
		{"size too small", "ring: {bytes: 10}", "", nil, []string{"ring.bytes", "at least 1MiB"}},
		{"size overflows", "ring: {bytes: 99999999999GiB}", "", nil, []string{"ring.bytes"}},
		{"number", "transcoder: {workers: many}", "", nil, []string{"transcoder.workers", "whole number"}},
		{"number below zero", "transcoder: {workers: -1}", "", nil, []string{"transcoder.workers", "at least 0"}},
		{"boolean", "rtc: {loopback: perhaps}", "", nil, []string{"rtc.loopback", "true or false"}},
		{"mode", "auth: {publish: opne}", "", nil, []string{"auth.publish", "token or open"}},
		{"encoder", "transcoder: {encoder: h264}", "", nil, []string{"transcoder.encoder", "libx264"}},
		{"short secret", "auth: {secret: tiny-secret}", "", nil, []string{"auth.secret", "32", "openssl rand"}},
		{"public IP", "rtc: {public_ips: [example.com]}", "", nil, []string{"rtc.public_ips", "item 1", "IP address"}},
		{"public IP of none", "rtc: {public_ips: [0.0.0.0]}", "", nil, []string{"rtc.public_ips", "IP address"}},
		{"ICE server of the web", "rtc: {ice_servers: [{url: 'https://example.org'}]}", "", nil, []string{"rtc.ice_servers", "item 1", "stun:host:port"}},
		{"ICE server alone", "", "BANYAN_RTC_ICE_SERVERS=stun:example.org", nil, []string{"rtc.ice_servers", "{url: …"}},
		{"ICE server with slashes", "rtc: {ice_servers: [{url: 'stun://example.org'}]}", "", nil, []string{"rtc.ice_servers", "without slashes"}},
		{"ICE server without a host", "rtc: {ice_servers: [{url: 'stun::3478'}]}", "", nil, []string{"rtc.ice_servers", "host and port"}},
		{"ICE server without a port", "rtc: {ice_servers: [{url: 'stun:a:0'}]}", "", nil, []string{"rtc.ice_servers", "host and port"}},
		{"ICE server with two bad brackets", "rtc: {ice_servers: [{url: 'stun:a>b'}]}", "", nil, []string{"rtc.ice_servers", "host and port"}},
		{"STUN with a user", "rtc: {ice_servers: [{url: 'stun:a', username: b, credential: tiny-secret}]}", "", nil, []string{"rtc.ice_servers", "STUN knows no users"}},
		{"STUN with a transport", "rtc: {ice_servers: [{url: 'stun:a?transport=udp'}]}", "", nil, []string{"rtc.ice_servers", "no ?transport="}},
		{"TURN by pigeon", "rtc: {ice_servers: [{url: 'turn:a?transport=pigeon', secret: tiny-secret}]}", "", nil, []string{"rtc.ice_servers", "transport=tcp"}},
		{"TURN for nobody", "rtc: {ice_servers: [{url: 'stun:a'}, {url: 'turn:a'}]}", "", nil, []string{"rtc.ice_servers", "item 2", "username and credential"}},
		{"TURN without password", "rtc: {ice_servers: [{url: 'turn:a', username: b}]}", "", nil, []string{"rtc.ice_servers", "username and credential"}},
		{"TURN with both", "rtc: {ice_servers: [{url: 'turn:a', username: b, secret: tiny-secret}]}", "", nil, []string{"rtc.ice_servers", "either"}},
		{"TURN with two lines", `rtc: {ice_servers: [{url: 'turn:a', username: b, credential: "tiny-secret\nx"}]}`, "", nil, []string{"rtc.ice_servers", "credential", "one line"}},
		{"ICE server with an unknown member", "rtc: {ice_servers: [{urls: 'stun:a'}]}", "", nil, []string{"rtc.ice_servers", "urls", "there are url"}},
		{"node name", "node: {name: 'a b'}", "", nil, []string{"node.name", "A-Z"}},
		{"line break in a path", `data: {dir: "a\nb"}`, "", nil, []string{"data.dir", "control character"}},
		{"TLS without certificate", "http: {tls: {addr: ':8443'}}", "", nil, []string{"http.tls.addr", "http.tls.cert"}},
		{"certificate without key", "http: {tls: {cert: a.pem}}", "", nil, []string{"http.tls.cert", "http.tls.key"}},
		{"empty ladder", "ladder: {default: []}", "", nil, []string{"ladder.default", "[source]"}},
		{"unknown format", "ladder: {default: [source, big]}", "", nil, []string{"ladder.default", "item 2", "720p"}},
		{"format twice", "ladder: {default: [source, source]}", "", nil, []string{"ladder.default", "twice"}},
		{"rule without match", "ladder: {streams: [{formats: [source]}]}", "", nil, []string{"ladder.streams", "item 1", "match"}},
		{"rule with bad match", "ladder: {streams: [{match: 'a**', formats: [source]}]}", "", nil, []string{"ladder.streams", "match"}},
		{"rule without formats", "ladder: {streams: [{match: '*'}]}", "", nil, []string{"ladder.streams", "formats"}},
		{"rule with unknown member", "ladder: {streams: [{match: '*', format: [source]}]}", "", nil, []string{"ladder.streams", "format", "formats"}},
		{"broken list", "", "", map[string]string{"ladder.streams": "[{match"}, []string{"ladder.streams", "[a, b]"}},
		{"odd port for RTP", "rtsp: {udp_addr: '127.0.0.1:38001'}", "", nil, []string{"rtsp.udp_addr", "odd", "38002"}},
		{"last port for RTP", "", "BANYAN_RTSP_UDP_ADDR=:65535", nil, []string{"rtsp.udp_addr", "odd", "65534"}},
		{"RTSPS without certificate", "rtsp: {tls: {addr: ':8322'}}", "", nil, []string{"rtsp.tls.addr", "http.tls.cert"}},
		{"user without password", "rtsp: {users: [{user: a, play: ['*']}]}", "", nil, []string{"rtsp.users", "item 1", "password"}},
		{"user without name", "rtsp: {users: [{password: tiny-secret, play: ['*']}]}", "", nil, []string{"rtsp.users", "user", "name"}},
		{"user with short password", "rtsp: {users: [{user: a, password: abc, play: ['*']}]}", "", nil, []string{"rtsp.users", "8 characters"}},
		{"user who may nothing", "rtsp: {users: [{user: a, password: tiny-secret}]}", "", nil, []string{"rtsp.users", "publish"}},
		{"user with bad pattern", "rtsp: {users: [{user: a, password: tiny-secret, publish: ['a//b']}]}", "", nil, []string{"rtsp.users", "publish"}},
		{"user twice", "rtsp: {users: [{user: a, password: tiny-secret, play: ['a']}, {user: a, password: tiny-secret, play: ['b']}]}", "", nil,
			[]string{"rtsp.users", "item 2", "twice"}},
		{"pull of a file", "rtsp: {pull: [{stream: a, url: 'file:///etc/passwd'}]}", "", nil, []string{"rtsp.pull", "rtsp://"}},
		{"pull of nowhere", "rtsp: {pull: [{stream: a, url: 'rtsp:///x'}]}", "", nil, []string{"rtsp.pull", "rtsp://"}},
		{"pull from a port of others", "rtsp: {pull: [{stream: a, url: 'rtsp://c:25/x'}]}", "", nil, []string{"rtsp.pull", "port 25", "80, 322, 443, 554, or one from 1024"}},
		{"pull to a bad name", "rtsp: {pull: [{stream: 'a//b', url: 'rtsp://c/x'}]}", "", nil, []string{"rtsp.pull", "stream"}},
		{"pull by pigeon", "rtsp: {pull: [{stream: a, url: 'rtsp://c/x', transport: pigeon}]}", "", nil, []string{"rtsp.pull", "transport", "tcp"}},
		{"pulled twice", "rtsp: {pull: [{stream: a, url: 'rtsp://c/x'}, {stream: a, url: 'rtsp://d/x'}]}", "", nil, []string{"rtsp.pull", "item 2", "twice"}},
		{"parts that do not fit", "hls: {part: 300ms}", "", nil, []string{"hls.part", "whole parts"}},
		{"segment of half seconds", "hls: {segment: 1500ms, part: 250ms}", "", nil, []string{"hls.segment", "whole number of seconds"}},
		{"window too short", "hls: {window: 10s}", "", nil, []string{"hls.window", "16s"}},
		{"window far too short", "hls: {window: 1s}", "", nil, []string{"hls.window", "at least 16s"}},
		{"window for long segments", "hls: {segment: 10s, window: 1s}", "", nil, []string{"hls.window", "at least 1m20s"}},
		{"ring shorter than segments", "ring: {seconds: 3}", "", nil, []string{"ring.seconds", "4s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := config.Sources{Flags: c.flags}
			if c.file != "" {
				s.File = inFile(t, c.file)
			}
			if c.env != "" {
				s.Env = []string{c.env}
			}
			_, err := config.Load(s)
			if err == nil {
				t.Fatal("got no error")
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if len(err.Error()) > 600 || strings.Contains(err.Error(), "tiny-secret") {
				t.Errorf("error %q floods or tells a secret", err)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnce(t *testing.T) {
	_, err := config.Load(config.Sources{File: inFile(t, "http: {addr: x}\nlog: {level: loud}\nhls: {part: never}\n")})
	if got := strings.Count(err.Error(), "\n") + 1; got != 3 {
		t.Errorf("got %d lines, want 3:\n%v", got, err)
	}
	// What only several keys together show, too, unless one of them is wrong by itself.
	_, err = config.Load(config.Sources{File: inFile(t, "http: {addr: x}\nhls: {part: never, window: 9s}\nring: {seconds: 3}\nladder: {default: []}\n")})
	for _, key := range []string{"http.addr", "hls.part", "hls.window", "ring.seconds", "ladder.default"} {
		if strings.Count(err.Error(), key+":") != 1 {
			t.Errorf("%s is not told of once:\n%v", key, err)
		}
	}
	_, err = config.Load(config.Sources{File: inFile(t, "hls: {segment: 1h, part: 70ms, window: 9s}\n")})
	if got := strings.Count(err.Error(), "\n") + 1; got != 1 {
		t.Errorf("got %d lines, want that of the segment alone, on which the others depend:\n%v", got, err)
	}
}

func TestMissingFileSaysHowToGetOne(t *testing.T) {
	_, err := config.Load(config.Sources{File: filepath.Join(t.TempDir(), "none.yaml")})
	if err == nil || !strings.Contains(err.Error(), "banyan config >") {
		t.Errorf("got %v", err)
	}
}

func TestEmptyKeysAndSectionsLeaveTheDefaults(t *testing.T) {
	got := load(t, config.Sources{File: inFile(t, "http:\nrtsp:\n  addr:\nnode: {}\n")})
	if diff := cmp.Diff(load(t, config.Sources{}), got); diff != "" {
		t.Error(diff)
	}
	load(t, config.Sources{File: inFile(t, "")})
}

func TestVariablesOfKubernetesAreNotOurs(t *testing.T) {
	environ := []string{"BANYAN_SERVICE_HOST=10.0.0.1", "BANYAN_SERVICE_PORT=8080", "BANYAN_SERVICE_PORT_HTTP=8080",
		"BANYAN_PORT=tcp://10.0.0.1:8080", "BANYAN_PORT_8080_TCP=tcp://10.0.0.1:8080", "BANYAN_PORT_8080_TCP_ADDR=10.0.0.1",
		"BANYAN_EDGE_SERVICE_HOST=10.0.0.2", "BANYAN_EDGE_PORT_8189_UDP_PORT=8189"}
	if diff := cmp.Diff(load(t, config.Sources{}), load(t, config.Sources{Env: environ})); diff != "" {
		t.Error(diff)
	}
}

func TestWrittenConfigurationLoadsAsItself(t *testing.T) {
	for name, s := range map[string]config.Sources{
		"defaults": {},
		"changed": {Flags: map[string]string{
			"http.addr": "[::1]:80", "hls.window": "1m", "ring.bytes": "1536KiB", "rtc.loopback": "true", "node.name": "0755",
			"node.region": "no", "data.dir": `/srv/a "b" \c: #d`, "rtc.public_ips": "2001:db8::1,203.0.113.7",
			"ladder.streams": `[{match: "cup/*", formats: [source, aac], always: true}]`,
			"rtsp.pull":      `[{stream: cup/cam1, url: "rtsp://10.0.0.7/live?x=1%23y", transport: udp}]`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			want := load(t, s)
			var text bytes.Buffer
			if err := config.Write(&text, want); err != nil {
				t.Fatal(err)
			}
			got := load(t, config.Sources{File: inFile(t, text.String())})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s\n%s", diff, text.String())
			}
			for _, key := range config.Keys() {
				if last := key.Name[strings.LastIndex(key.Name, ".")+1:]; !strings.Contains(text.String(), "  "+last+": ") {
					t.Errorf("%s is missing", key.Name)
				}
			}
		})
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c := load(t, config.Sources{Flags: map[string]string{
		"auth.secret":     strings.Repeat("hunter2-", 4),
		"rtsp.pull":       "[{stream: a, url: 'rtsp://ana:hunter2-@cam/x'}]",
		"rtsp.users":      "[{user: ana, password: hunter2-, play: ['*']}]",
		"rtc.ice_servers": "[{url: 'turn:a', username: ana, credential: hunter2-}, {url: 'turn:a', secret: hunter2-}]",
	}})
	var text bytes.Buffer
	if err := config.Write(&text, c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "hunter2") {
		t.Errorf("a secret is printed:\n%s", text.String())
	}
}

func TestEveryKeyIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, key := range config.Keys() {
		if key.Doc == "" || !strings.HasSuffix(key.Doc, ".") {
			t.Errorf("%s: the meaning %q is no sentence", key.Name, key.Doc)
		}
		if key.Env == "" || seen[key.Env] {
			t.Errorf("%s: variable %s stands for two keys", key.Name, key.Env)
		}
		seen[key.Env] = true
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]config.Size{"0": 0, "1": 1, "17B": 17, "32MiB": 32 << 20, "1 KiB": 1024, "2GB": 2e9, "1GiB": 1 << 30} {
		if got, err := config.ParseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "1TiB", "0x10", "9223372036854775807GiB"} {
		if got, err := config.ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	if got := config.Size(1536 << 10).String(); got != "1536KiB" {
		t.Errorf("got %s, want 1536KiB", got)
	}
}

func TestDurations(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"200ms": 200 * time.Millisecond, "12": 12 * time.Second, "1.5": 1500 * time.Millisecond, "2h45m": 165 * time.Minute,
		"7d": 7 * day, "2w": 14 * day, "1w2d12h": 9*day + 12*time.Hour, "1.5d": 36 * time.Hour, "-1d": -day,
	} {
		if got, err := config.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", ".d", "1..5d", "1.2.3w", "2 w", "1y", "99999999w", strings.Repeat("9", 400) + "d", "1e3d"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// FuzzFile looks for a file that makes Load panic, and for one that it takes and cannot read back.
func FuzzFile(f *testing.F) {
	f.Add("http: {addr: ':80'}\n")
	f.Add("ladder: {streams: [{match: '*', formats: [source]}]}\n")
	f.Add("rtsp: {pull: [{stream: a, url: 'rtsp://c/x'}]}\n")
	f.Add("a: &a [*a]\n")
	f.Add("? [1]\n: 2\n")
	f.Add("http.addr: ':80'\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load(config.Sources{File: inFile(t, text)})
		if err != nil {
			return
		}
		var written bytes.Buffer
		if err := config.Write(&written, c); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Sources{File: inFile(t, written.String())}); err != nil {
			t.Errorf("from %q was written what does not load: %v\n%s", text, err, written.String())
		}
	})
}

func TestKeysOfLaterPartsAreTakenAndTold(t *testing.T) {
	c, err := config.Load(config.Sources{Env: []string{"BANYAN_REDIS_URL=redis://localhost", "BANYAN_S3_BUCKET=films"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Unused(), " "); got != "redis.url s3.bucket" {
		t.Errorf("told of %q, want the two keys that are set", got)
	}
}

func TestTheClustersKeyMayStandInAFile(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	file := func(text string) string { return inFile(t, text) }
	c := load(t, config.Sources{Flags: map[string]string{"cluster.key_file": file(key + "\n")}})
	same := load(t, config.Sources{Flags: map[string]string{"cluster.key": key}})
	if !c.Clustered() || c.TokenSecret() != same.TokenSecret() {
		t.Errorf("the key of the file is %q, want %q", c.ClusterKeys(), same.ClusterKeys())
	}
	if two := load(t, config.Sources{Flags: map[string]string{"cluster.key_file": file(key + ", " + key[1:] + key)}}); len(two.ClusterKeys()) != 2 {
		t.Errorf("a file with two keys has %q", two.ClusterKeys())
	}
	var text bytes.Buffer
	if err := config.Write(&text, c); err != nil || strings.Contains(text.String(), key) {
		t.Errorf("what is printed has the key, or: %v", err)
	}
	if again := load(t, config.Sources{File: inFile(t, text.String())}); again.TokenSecret() != c.TokenSecret() {
		t.Error("the written configuration has another key")
	}
	for name, bad := range map[string]map[string]string{
		"openssl rand -hex 32": {"cluster.key_file": filepath.Join(t.TempDir(), "none")},
		"write one line":       {"cluster.key_file": file(key + "\n" + key)},
		"one line, with":       {"cluster.key_file": file("\n")},
		"it has 5 bytes":       {"cluster.key_file": file("short")},
		"it is no key":         {"cluster.key_file": file(strings.Repeat(key, 200))},
		"set one of the two":   {"cluster.key_file": file(key), "cluster.key": key},
	} {
		_, err := config.Load(config.Sources{Flags: bad})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "cluster.key_file") ||
			strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "short") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestNodesOfAClusterTakeEachOthersTokens(t *testing.T) {
	load := func(flags map[string]string) config.Config {
		t.Helper()
		c, err := config.Load(config.Sources{Flags: flags})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key, other := strings.Repeat("k", 32), strings.Repeat("o", 32)
	one := load(map[string]string{"cluster.key": key, "node.name": "one"})
	two := load(map[string]string{"cluster.key": key, "node.name": "two", "cluster.join": "10.0.0.1:7946"})
	if one.TokenSecret() == "" || one.TokenSecret() != two.TokenSecret() || one.TokenSecret() == key {
		t.Errorf("secrets of two nodes with one key: %q and %q, want the same, and not the key", one.TokenSecret(), two.TokenSecret())
	}
	if c := load(map[string]string{"cluster.key": other}); c.TokenSecret() == one.TokenSecret() {
		t.Error("another key gives the same secret")
	}
	if c := load(map[string]string{"cluster.key": key, "auth.secret": other}); c.TokenSecret() != other {
		t.Errorf("auth.secret is %q, want what was configured", c.TokenSecret())
	}
	both := load(map[string]string{"cluster.key": other + ", " + key})
	if secrets := both.TokenSecrets(); len(secrets) != 2 || secrets[1] != one.TokenSecret() || both.TokenSecret() != secrets[0] || len(both.ClusterKeys()) != 2 {
		t.Errorf("while the key is changed, tokens are signed with %q and taken with %q", both.TokenSecret(), secrets)
	}
	for _, bad := range []string{key + ",short", strings.Repeat(key+",", 5)} {
		if _, err := config.Load(config.Sources{Flags: map[string]string{"cluster.key": bad}}); err == nil || !strings.Contains(err.Error(), "cluster.key") {
			t.Errorf("cluster.key %q: %v, want an error that names the key", bad, err)
		}
	}
	if alone := load(nil); alone.TokenSecret() != "" || alone.Clustered() || !two.Clustered() {
		t.Error("a node without key and join stands alone, with a secret of its own")
	}
}

func TestDocumentedFormatsAreTaken(t *testing.T) {
	_, err := config.Load(config.Sources{Flags: map[string]string{"ladder.default": "source,1080p60,480p-vp8,360p-vp9,opus,aac"}})
	if err != nil {
		t.Error(err)
	}
}
