package main

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"

	"banyan/deploy/config"

	"github.com/alecthomas/kong"
)

// settings are the flags that every command with a configuration has: --config, and one for each key. kong reads
// grammars from structs, so the keys become the fields of a struct that is made here.
type settings struct {
	File string       `name:"config" placeholder:"FILE" help:"YAML file with settings, as the command config prints it."`
	Keys kong.Plugins `embed:""`
}

func newSettings() settings {
	var fields []reflect.StructField
	for i, key := range config.Keys() {
		value := reflect.TypeFor[*string]() // nil: not given
		if key.Bool {
			value = reflect.TypeFor[*bool]()
		}
		tag := fmt.Sprintf(`name:%q help:%s group:"Settings" placeholder:%s`,
			key.Name, strconv.Quote(key.Doc), strconv.Quote(placeholder(key)))
		fields = append(fields, reflect.StructField{Name: "Key" + strconv.Itoa(i), Type: value, Tag: reflect.StructTag(tag)})
	}
	return settings{Keys: kong.Plugins{reflect.New(reflect.StructOf(fields)).Interface()}}
}

// placeholder shows the default of a key, where it has one.
func placeholder(key config.Key) string {
	if key.Default == "" {
		return "…"
	}
	return key.Default
}

// load reads the configuration from everywhere.
func (s *settings) load() (config.Config, error) {
	return config.Load(config.Sources{File: s.File, Env: os.Environ(), Flags: s.flags()})
}

// key is the key of a name that exists.
func (s *settings) key(name string) config.Key {
	keys := config.Keys()
	return keys[slices.IndexFunc(keys, func(key config.Key) bool { return key.Name == name })]
}

// given tells whether a key was set by a flag or by the environment, which another command does not read from a file.
func (s *settings) given(name string) bool {
	if _, byFlag := s.flags()[name]; byFlag {
		return true
	}
	_, byEnv := os.LookupEnv(s.key(name).Env)
	return byEnv
}

// flags are the keys that were given on the command line.
func (s *settings) flags() map[string]string {
	flags := map[string]string{}
	values := reflect.ValueOf(s.Keys[0]).Elem()
	for i, key := range config.Keys() {
		if value := values.Field(i); !value.IsNil() {
			flags[key.Name] = fmt.Sprint(value.Elem().Interface())
		}
	}
	return flags
}
