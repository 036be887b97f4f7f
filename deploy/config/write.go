package config

import (
	"fmt"
	"io"
	"net/url"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Write prints c as a configuration file in which every key stands with its meaning and default, so that the page
// that documents the keys is a file to start from. Secrets are left out.
func Write(w io.Writer, c Config) error {
	var b strings.Builder
	b.WriteString("# Banyan. Each key is also a flag (--http.addr) and an environment variable (BANYAN_HTTP_ADDR).\n" +
		"# Flags win over the environment, the environment over this file, this file over the defaults.\n")
	if c.Node.Name == machineName() {
		c.Node.Name = "" // a file that is taken to another machine must not take this one's name along
	}
	var open []string // the sections that the last key stood in
	for _, key := range Keys() {
		path := strings.Split(key.Name, ".")
		sections, name := path[:len(path)-1], path[len(path)-1]
		for depth, section := range sections {
			if depth < len(open) && open[depth] == section {
				continue
			}
			open = append(open[:depth:depth], section)
			if depth == 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(&b, "%s%s:\n", indent(depth), section)
		}
		open = open[:len(sections)]
		writeKey(&b, key, name, reflect.ValueOf(c).FieldByIndex(key.field), indent(len(sections)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func indent(depth int) string { return strings.Repeat("  ", depth) }

func writeKey(b *strings.Builder, key Key, name string, value reflect.Value, indent string) {
	shown := key.Default
	if shown == "" {
		shown = `""`
	}
	for _, line := range wrap(fmt.Sprintf("%s Default: %s.", key.Doc, shown), 110-len(indent)) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
	if empty := value.IsZero() || value.Kind() == reflect.Slice && value.Len() == 0; key.Secret && !empty {
		fmt.Fprintf(b, "%s# %s: it is set, and not shown\n", indent, name)
		return
	}
	fmt.Fprintf(b, "%s%s: %s\n", indent, name, yamlValue(value))
}

// wrap breaks text between words into lines of at most width bytes.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// plain is text that YAML reads as itself without quotes; what could be a number, a boolean or null is not among it.
var plain = regexp.MustCompile(`^(\./|/)?[A-Za-z][A-Za-z0-9_./-]*$`)

// yamlValue writes a value in YAML's short form.
func yamlValue(value reflect.Value) string {
	switch v := value.Interface().(type) {
	case time.Duration:
		return shortDuration(v)
	case Size:
		return v.String()
	}
	switch value.Kind() {
	case reflect.Bool:
		return strconv.FormatBool(value.Bool())
	case reflect.Int:
		return strconv.FormatInt(value.Int(), 10)
	case reflect.Slice:
		var items []string
		for i := range value.Len() {
			items = append(items, yamlValue(value.Index(i)))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case reflect.Struct:
		var members []string
		for i := range value.NumField() {
			member := value.Type().Field(i).Tag.Get("key")
			members = append(members, member+": "+yamlValue(value.Field(i)))
		}
		return "{" + strings.Join(members, ", ") + "}"
	}
	return yamlText(value.String())
}

func yamlText(s string) string {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = url.User("not-shown") // a camera's password
		s = u.String()
	}
	switch strings.ToLower(s) {
	case "true", "false", "yes", "no", "on", "off", "null", "y", "n":
	default:
		if plain.MatchString(s) {
			return s
		}
	}
	return strconv.Quote(s)
}

// shortDuration writes 1m0s as 1m.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
