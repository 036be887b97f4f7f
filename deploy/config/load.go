package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// Sources are where the settings come from, besides the defaults.
type Sources struct {
	File  string            // path of a YAML file; if empty, there is none
	Env   []string          // as os.Environ returns; only what begins with BANYAN_ counts
	Flags map[string]string // by key
}

// Load reads all sources and checks every value. The error, if any, has one line per mistake.
func Load(s Sources) (Config, error) {
	keys := Keys()
	values := koanf.New(".")
	var mistakes []error
	origin := map[string]string{} // of each key that is set
	lay := func(name string, layer *koanf.Koanf, err error) {
		if err != nil {
			mistakes = append(mistakes, err)
			return
		}
		mistakes = append(mistakes, unknown(layer, keys, name)...)
		for _, key := range layer.Keys() {
			if layer.Get(key) == nil { // "key:" with nothing behind leaves the key as it was
				layer.Delete(key)
				continue
			}
			origin[key] = name
		}
		if err := values.Merge(layer); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, err))
		}
	}
	layer, err := defaults(keys)
	lay("default", layer, err)
	if s.File != "" {
		layer, err := fromFile(s.File)
		lay(s.File, layer, err)
	}
	layer, err = fromEnv(s.Env, keys)
	lay("environment", layer, err)
	layer, err = fromFlags(s.Flags)
	lay("flags", layer, err)
	if len(mistakes) > 0 {
		return Config{}, errors.Join(mistakes...)
	}

	var c Config
	wrong := map[string]bool{}
	for _, key := range keys {
		field := reflect.ValueOf(&c).Elem().FieldByIndex(key.field)
		if err := decode(field, values.Get(key.Name), key.check); err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w (from %s)", key.Name, err, source(key, origin[key.Name])))
			wrong[key.Name] = true
		}
	}
	if !wrong["cluster.key"] && !wrong["cluster.key_file"] {
		if err := c.readKeyFile(); err != nil {
			mistakes = append(mistakes, fmt.Errorf("cluster.key_file: %w (from %s)", err,
				source(Key{Name: "cluster.key_file", Env: EnvPrefix + "CLUSTER_KEY_FILE"}, origin["cluster.key_file"])))
		}
	}
	mistakes = append(mistakes, c.check(func(key string) bool { return !wrong[key] })...)
	if len(mistakes) > 0 {
		return Config{}, errors.Join(mistakes...)
	}
	if c.Node.Name == "" {
		c.Node.Name = machineName()
	}
	return c, nil
}

// maxKeyFile is far more than all keys of a cluster need.
const maxKeyFile = 4 << 10

// readKeyFile puts what cluster.key_file holds into cluster.key. Its errors quote nothing of that.
func (c *Config) readKeyFile() error {
	name := c.Cluster.KeyFile
	switch {
	case name == "":
		return nil
	case c.Cluster.Key != "":
		return errors.New("cluster.key is set, too: set one of the two")
	}
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("%w: make the key by `openssl rand -hex 32 > %s`, and copy the file to all nodes", err, name)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxKeyFile {
		return fmt.Errorf("%s has more than %d bytes: it is no key", name, maxKeyFile)
	}
	key := strings.TrimSpace(string(text))
	if key == "" || strings.ContainsAny(key, "\x00\r\n") {
		return fmt.Errorf("%s: write one line, with the key", name)
	}
	if err := checkSecrets(key); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.Cluster.Key = key
	return nil
}

// source says where to look for a bad value.
func source(key Key, origin string) string {
	switch origin {
	case "environment":
		return key.Env
	case "flags":
		return "--" + key.Name
	}
	return origin
}

func defaults(keys []Key) (*koanf.Koanf, error) {
	flat := map[string]any{}
	for _, key := range keys {
		flat[key.Name] = key.Default
	}
	k := koanf.New(".")
	return k, k.Load(confmap.Provider(flat, "."), nil)
}

func fromFile(path string) (*koanf.Koanf, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(path), yaml.Parser()); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("there is no configuration file %s: `banyan config > %s` writes one", path, path)
		}
		return nil, fmt.Errorf("%s: %w: write YAML as `banyan config` prints it", path, err)
	}
	return k, nil
}

func fromEnv(environ []string, keys []Key) (*koanf.Koanf, error) {
	byEnv := map[string]string{}
	for _, key := range keys {
		byEnv[key.Env] = key.Name
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      EnvPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(variable, value string) (string, any) {
			if name, known := byEnv[variable]; known {
				return name, value
			}
			if kubernetesEnv.MatchString(variable) {
				return "", nil
			}
			// An underscore may stand for a dot or for itself; the name as it is tells the reader more.
			return variable, value
		},
	}), nil)
	return k, err
}

func fromFlags(flags map[string]string) (*koanf.Koanf, error) {
	flat := map[string]any{}
	for name, value := range flags {
		flat[name] = value
	}
	k := koanf.New(".")
	return k, k.Load(confmap.Provider(flat, "."), nil)
}

// unknown returns a mistake for each key of a layer that no field of Config has.
func unknown(layer *koanf.Koanf, keys []Key, origin string) []error {
	var mistakes []error
	for _, name := range layer.Keys() {
		section := func(key Key) bool { return strings.HasPrefix(key.Name, name+".") }
		known := slices.ContainsFunc(keys, func(key Key) bool { return key.Name == name })
		first := slices.IndexFunc(keys, section)
		empty := layer.Get(name) == nil || reflect.ValueOf(layer.Get(name)).Kind() == reflect.Map
		switch {
		case known, first >= 0 && empty: // a section with nothing in it is harmless
		case first >= 0:
			mistakes = append(mistakes, fmt.Errorf("%s: this is a section, not a value: write %s (from %s)",
				name, keys[first].Name, origin))
		default:
			mistakes = append(mistakes, unknownKey(name, keys, origin))
		}
	}
	return mistakes
}

// flagsOnly are what people look for among the keys, and what to do instead.
var flagsOnly = map[string]string{
	"roles":                  rolesFlag,
	"node.roles":             rolesFlag,
	EnvPrefix + "ROLES":      rolesFlag,
	EnvPrefix + "NODE_ROLES": rolesFlag,
	"demo":                   "the demo is a flag, `banyan serve --demo`",
}

const rolesFlag = "roles are a flag, such as `banyan serve --roles ingest,edge`"

func unknownKey(name string, keys []Key, origin string) error {
	if instead := flagsOnly[name]; instead != "" {
		return fmt.Errorf("%s: there is no such key: %s (from %s)", name, instead, origin)
	}
	likely := nearest(name, keys)
	if variable, isEnv := strings.CutPrefix(name, EnvPrefix); isEnv {
		likely = nearest(strings.ToLower(strings.ReplaceAll(variable, "_", ".")), keys)
		if i := slices.IndexFunc(keys, func(key Key) bool { return key.Name == likely }); i >= 0 {
			likely = keys[i].Env
		}
	}
	if likely != "" {
		return fmt.Errorf("%s: there is no such key; did you mean %s? (from %s)", name, likely, origin)
	}
	return fmt.Errorf("%s: there is no such key; `banyan config` prints all that exist (from %s)", name, origin)
}

// machineName is the host name, made fit for a label.
func machineName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "node"
	}
	return strings.Map(func(r rune) rune {
		if labelRune(r) {
			return r
		}
		return '-'
	}, host[:min(len(host), maxLabel)])
}
