package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// TestFleetOnThisMachine does what "From one machine to many" tells a newcomer to: start the script, publish with the very
// command that it prints, watch at an edge of another region, end the relay there, end the script.
func TestFleetOnThisMachine(t *testing.T) {
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	base := freeRange(t, 1100)
	dir := t.TempDir()
	fleet := StartProcess(t, "env", "BANYAN="+binary, "BASE="+strconv.Itoa(base), "bash", "../compose/cluster.sh", dir)
	Eventually(t, 60*time.Second, "the script says that ten nodes run", func() error {
		if !strings.Contains(fleet.Output(), "Ctrl-C ends all.") {
			return fmt.Errorf("it said %q", fleet.Output())
		}
		return nil
	})
	printed := regexp.MustCompile(`(?s)  (ffmpeg .*?token=\S+")`).FindStringSubmatch(fleet.Output())
	pages := regexp.MustCompile(`(?m)^  (http://\S+)/watch/cup/cam1 +(\w+)$`).FindAllStringSubmatch(fleet.Output(), -1)
	if printed == nil || len(pages) != 3 || pages[2][2] != "asia" {
		t.Fatalf("no command to publish, or no pages of three regions in %s", fleet.Output())
	}
	StartProcess(t, "bash", "-c", "exec "+strings.Replace(printed[1], "ffmpeg ", "ffmpeg -nostdin -loglevel warning ", 1))
	for _, page := range pages {
		Eventually(t, 30*time.Second, "the camera is seen in "+page[2], func() error { return playlistThere(page[1]) })
	}
	asia := pages[2][1]
	decodes(t, asia+"/hls/cup/cam1/index.m3u8", "1280x720")

	tree := regexp.MustCompile(`(?m) at (http://\S+)/ops, with the token of\n  (.*)$`).FindStringSubmatch(fleet.Output())
	if tree == nil {
		t.Fatalf("no word of /ops and its token in %s", fleet.Output())
	}
	opensTheAPI(t, tree[1], tree[2])
	node, err := os.ReadFile(filepath.Join(dir, "edge-asia.log"))
	if err != nil {
		t.Fatal(err)
	}
	_, own, _ := strings.Cut(string(node), "Make a token for /ops with:")
	own, _, _ = strings.Cut(own, "\n")
	opensTheAPI(t, asia, own)

	relay, err := exec.Command("pgrep", "-f", "^"+binary+" serve --node.name relay-asia ").Output()
	pid, bad := strconv.Atoi(strings.TrimSpace(string(relay)))
	if err != nil || bad != nil {
		t.Fatalf("relay-asia runs as %q: %v", relay, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	decodes(t, asia+"/hls/cup/cam1/index.m3u8", "1280x720")
	if !strings.Contains(fleet.Output(), "a node ended; the others go on") {
		t.Errorf("the script is silent about the node that ended: %s", fleet.Output())
	}
	fleet.Signal(syscall.SIGINT)
	fleet.Wait(t, 70*time.Second)
	if strings.Contains(fleet.Output(), "Killed") {
		t.Errorf("the script repeats what bash says of the node that was killed: %s", fleet.Output())
	}
	if left, _ := exec.Command("pgrep", "-f", "^"+binary+" serve --node.name ").Output(); len(left) > 0 {
		t.Errorf("nodes are left: %s", left)
	}
}

// opensTheAPI pastes a command that makes a token into a shell, and uses the token at a node.
func opensTheAPI(t *testing.T, node, command string) {
	t.Helper()
	token, err := exec.Command("bash", "-c", command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node+"/api/v1/cluster/tree", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the token of %s gets %s", command, response.Status)
	}
}

// playlistThere tells whether an edge has a multivariant playlist of the camera.
func playlistThere(edge string) error {
	response, err := http.Get(edge + "/hls/cup/cam1/index.m3u8")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	return nil
}

// freeRange finds a port behind which a row of ports is mostly free: each node of the script has a hundred.
func freeRange(t *testing.T, ports int) int {
	t.Helper()
	const lowest, highest = 12000, 31000 // below those that the kernel gives away
	for base := lowest + os.Getpid()%100*100; base+ports < highest; base += 100 {
		free := true
		for port := base + 100; free && port < base+ports; port += 100 {
			for n := 0; free && n < 9; n++ {
				_, free = isFree(fmt.Sprintf("127.0.0.1:%d", port+n))
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("found no row of free ports for ten nodes")
	return 0
}

// composeFile is what is looked at of compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Environment map[string]string
		Command     []string
		Ports       []string
	}
}

// TestComposeFile looks whether the settings of each service are what a node takes, and fit the ports that are let through:
// the numbers in WebRTC's candidates, too, are those that viewers reach.
func TestComposeFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "compose", "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file composeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	const host = "192.0.2.10"
	roles, published := map[string]int{}, map[string]string{}
	for name, service := range file.Services {
		var environment []string
		for key, value := range service.Environment {
			value = regexp.MustCompile(`\$\{BANYAN_HOST:-[^}]*\}`).ReplaceAllString(value, host)
			value = regexp.MustCompile(`\$\{BANYAN_CLUSTER_KEY:\?[^}]*\}`).ReplaceAllString(value, strings.Repeat("ab", 32))
			environment = append(environment, key+"="+value)
		}
		if len(service.Command) != 2 || service.Command[0] != "--roles" {
			t.Errorf("%s is started by %q", name, service.Command)
			continue
		}
		roles[service.Command[1]]++
		for _, port := range service.Ports {
			outer, inner, _ := strings.Cut(port, ":")
			if strings.HasSuffix(inner, "/udp") {
				outer += "/udp"
			}
			if other := published[outer]; other != "" {
				t.Errorf("%s and %s both publish port %s", name, other, outer)
			}
			published[outer] = name
		}
		settings := settingsOf(t, environment)
		if settings.Node.Name != name {
			t.Errorf("%s calls itself %q", name, settings.Node.Name)
		}
		joined, _, _ := strings.Cut(strings.Join(settings.Cluster.Join, ","), ":")
		if _, known := file.Services[joined]; !known {
			t.Errorf("%s joins %q, which is no service", name, settings.Cluster.Join)
		}
		if len(service.Ports) == 0 {
			continue
		}
		at, err := url.Parse(settings.HTTP.URL)
		if err != nil || at.Hostname() != host || !slices.Contains(service.Ports, at.Port()+settings.HTTP.Addr) {
			t.Errorf("%s is reached at %q, listens at %q, and lets %v through", name, settings.HTTP.URL, settings.HTTP.Addr, service.Ports)
		}
		for _, protocol := range []string{"/udp", "/tcp"} {
			if rtc := strings.TrimPrefix(settings.RTC.Addr, ":"); !slices.Contains(service.Ports, rtc+":"+rtc+protocol) {
				t.Errorf("%s has WebRTC at %q, and lets %v through", name, settings.RTC.Addr, service.Ports)
			}
		}
		if !slices.Equal(settings.RTC.PublicIPs, []string{host}) {
			t.Errorf("%s tells viewers of %v", name, settings.RTC.PublicIPs)
		}
	}
	if want := map[string]int{"ingest": 1, "transcoder": 2, "relay": 3, "edge": 4}; fmt.Sprint(roles) != fmt.Sprint(want) {
		t.Errorf("the fleet is %v, want %v", roles, want)
	}
}

// nodeSettings are some of those that `banyan config` prints.
type nodeSettings struct {
	Node struct{ Name string }
	HTTP struct{ Addr, URL string }
	RTC  struct {
		Addr      string
		PublicIPs []string `yaml:"public_ips"`
	}
	Cluster struct{ Join []string }
}

// settingsOf asks the program what it makes of an environment.
func settingsOf(t *testing.T, environment []string) (s nodeSettings) {
	t.Helper()
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, "config")
	command.Env = environment
	out, err := command.Output()
	if err != nil {
		t.Fatalf("banyan config with %v: %v", environment, err)
	}
	if err := yaml.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	return s
}
