package config

import (
	"reflect"
	"regexp"
	"strings"
)

// A Key is one setting, as its field in Config describes it.
type Key struct {
	Name    string // "http.tls.addr"; the flag is --http.tls.addr
	Env     string // "BANYAN_HTTP_TLS_ADDR"
	Default string // as it would be written in the file
	Doc     string
	Secret  bool
	Bool    bool // takes true or false, and as a flag no value
	Later   bool // nothing uses it yet

	check string
	field []int // index of the field in Config, for reflect
}

// EnvPrefix begins the name of every environment variable of ours.
const EnvPrefix = "BANYAN_"

// Keys returns all keys in the order of Config.
func Keys() []Key {
	return keysOf(reflect.TypeFor[Config](), "", nil)
}

func keysOf(section reflect.Type, prefix string, index []int) []Key {
	var keys []Key
	for i := range section.NumField() {
		field := section.Field(i)
		name := prefix + field.Tag.Get("key")
		at := append(index[:len(index):len(index)], i)
		if field.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(field.Type, name+".", at)...)
			continue
		}
		keys = append(keys, Key{
			Name:    name,
			Env:     EnvPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_")),
			Default: field.Tag.Get("default"),
			Doc:     doc(field.Tag),
			Secret:  field.Tag.Get("secret") == "true",
			Bool:    field.Type.Kind() == reflect.Bool,
			Later:   field.Tag.Get("later") == "true",
			check:   field.Tag.Get("check"),
			field:   at,
		})
	}
	return keys
}

func doc(tag reflect.StructTag) string {
	if tag.Get("later") == "true" {
		return "Not used yet. " + tag.Get("doc")
	}
	return tag.Get("doc")
}

// Unused lists the keys that are set and that nothing uses yet.
func (c *Config) Unused() []string {
	var names []string
	for _, key := range Keys() {
		if value := reflect.ValueOf(c).Elem().FieldByIndex(key.field); key.Later && !value.IsZero() &&
			(value.Kind() != reflect.Slice || value.Len() > 0) {
			names = append(names, key.Name)
		}
	}
	return names
}

// kubernetesEnv matches the variables that Kubernetes sets in every container for each service of the namespace
// (<NAME>_SERVICE_HOST, <NAME>_PORT_80_TCP_ADDR …). A service named banyan would else stop every start.
var kubernetesEnv = regexp.MustCompile(`^BANYAN_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// nearest returns the name among keys that name is most likely meant to be, or "" if none is near.
func nearest(name string, keys []Key) string {
	best, distance := "", 4 // three slips of the finger, or a forgotten section
	for _, key := range keys {
		d := editDistance(name, key.Name)
		if strings.HasSuffix(key.Name, "."+name) {
			d = 1
		}
		if d < distance {
			best, distance = key.Name, d
		}
	}
	return best
}

// editDistance is the Levenshtein distance of a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
