package deploy_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const module = "banyan"

// arrows say which packages of the module a package may import, by folder; the first folder that holds it decides.
// They are section 3 of the design: relay knows no role, roles know the relay, and only deploy knows them all.
var arrows = []struct {
	from string
	to   []string
}{
	{"relay/media", nil},
	{"relay/log", []string{"relay/media"}},
	{"relay/problem", []string{"relay/media"}},
	{"relay/auth", []string{"relay/media"}},
	{"relay/tree", []string{"relay/media"}},
	{"relay/cluster", []string{"relay/media", "relay/tree"}},
	{"relay/link", []string{"relay/media", "relay/log"}},
	{"relay", []string{"relay"}},
	{"ingest", []string{"ingest", "relay"}},
	{"edge", []string{"edge", "relay"}},
	{"transcoder", []string{"transcoder", "relay"}},
	{"mixer", []string{"mixer", "relay", "transcoder"}},
	{"conference", []string{"conference", "relay", "transcoder"}},
	{"deploy", []string{"deploy", "conference", "edge", "ingest", "mixer", "relay", "transcoder"}},
}

// backward returns a sentence for every arrow of graph that points the wrong way. The keys of graph are packages,
// its values what they import, both as import paths.
func backward(graph map[string][]string) []string {
	var wrong []string
	for from, imports := range graph {
		path, ours := inModule(from)
		if !ours {
			continue
		}
		rule := slices.IndexFunc(arrows, func(a struct {
			from string
			to   []string
		}) bool {
			return within(path, a.from)
		})
		if rule < 0 {
			wrong = append(wrong, fmt.Sprintf("%s lies in no folder of the design", path))
			continue
		}
		for _, imported := range imports {
			to, ours := inModule(imported)
			allowed := slices.ContainsFunc(arrows[rule].to, func(folder string) bool { return within(to, folder) })
			if ours && !allowed {
				wrong = append(wrong, fmt.Sprintf("%s imports %s, but may import only %q", path, to, arrows[rule].to))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

func inModule(importPath string) (path string, ours bool) {
	return strings.CutPrefix(importPath, module+"/")
}

func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// importGraph reads the sources of the module below root, for all systems. Tests are left out: they may bring roles
// together to try them on each other. It reads by itself, as the go command would hide from Go's cache of test
// results what this test depends on.
func importGraph(t *testing.T, root string) map[string][]string {
	t.Helper()
	graph := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			hidden := path != root && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_"))
			if hidden || name == "node_modules" || name == "testdata" || isOtherModule(root, path) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		from := module + "/" + filepath.ToSlash(folder)
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			graph[from] = append(graph[from], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return graph
}

// isOtherModule finds tools that have a module of their own.
func isOtherModule(root, path string) bool {
	_, err := os.Stat(filepath.Join(path, "go.mod"))
	return err == nil && path != root
}

func TestImportsPointOneWay(t *testing.T) {
	graph := importGraph(t, "..")
	if len(graph["banyan/relay/auth"]) == 0 {
		t.Fatalf("the graph of %d packages lacks what relay/auth imports, so it shows nothing", len(graph))
	}
	for _, sentence := range backward(graph) {
		t.Error(sentence)
	}
}

func TestArrowsThatPointBackAreFound(t *testing.T) {
	for _, c := range []struct {
		from, to string
		wrong    bool
	}{
		{"relay/media", "fmt", false},
		{"relay/media", "github.com/pion/rtp", false},
		{"relay/media", "banyan/relay/log", true},
		{"relay/media", "banyan/relay", true},
		{"relay/log", "banyan/relay/media", false},
		{"relay/log", "banyan/relay", true},
		{"relay/auth", "banyan/relay/problem", true},
		{"relay/problem", "banyan/relay/log", true},
		{"relay", "banyan/relay/log", false},
		{"relay/rtc", "banyan/relay", false},
		{"relay", "banyan/ingest", true},
		{"relay/rtc", "banyan/edge/whep", true},
		{"relay/tree", "banyan/deploy/config", true},
		{"ingest/whip", "banyan/ingest", false},
		{"ingest/whip", "banyan/relay/problem", false},
		{"ingest/whip", "banyan/edge/whep", true},
		{"ingest/rtsp", "banyan/transcoder", true},
		{"edge/hls", "banyan/relay/log", false},
		{"edge/hls", "banyan/transcoder", true},
		{"edge/hls", "banyan/mixer", true},
		{"transcoder", "banyan/relay", false},
		{"transcoder", "banyan/ingest", true},
		{"mixer", "banyan/transcoder", false},
		{"mixer", "banyan/conference/sfu", true},
		{"conference/sfu", "banyan/transcoder", false},
		{"conference/sfu", "banyan/edge/whep", true},
		{"deploy/banyan", "banyan/edge/web", false},
		{"ingest", "banyan/deploy/config", true},
		{"relayed", "fmt", true},
		{"internal/util", "fmt", true},
	} {
		wrong := backward(map[string][]string{"banyan/" + c.from: {c.to}})
		if got := len(wrong) > 0; got != c.wrong {
			t.Errorf("%s -> %s: found wrong: %v, want %v (%q)", c.from, c.to, got, c.wrong, wrong)
		}
	}
}
