package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
)

// Size is an amount of memory or storage in bytes, written with a unit: 32MiB.
type Size int64

// units are the ways to write a size, longest suffix first.
var units = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}, {"", 1}}

// ParseSize reads what String writes, and decimal units (GB, MB, KB).
func ParseSize(s string) (Size, error) {
	for _, unit := range units {
		digits, found := strings.CutSuffix(strings.TrimSpace(s), unit.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > (1<<62)/unit.bytes {
			break
		}
		return Size(n * unit.bytes), nil
	}
	return 0, fmt.Errorf("%.40q is not a size: write a whole number and a unit, such as 32MiB", s)
}

// String writes s in the largest binary unit that keeps it whole.
func (s Size) String() string {
	for _, unit := range units[:3] {
		if int64(s) >= unit.bytes && int64(s)%unit.bytes == 0 {
			return strconv.FormatInt(int64(s)/unit.bytes, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// decode sets field to what raw means for its type, and checks it. raw is text, from flags, environment and
// defaults, or what the YAML parser makes: bool, int, float64, []any, map[string]any.
func decode(field reflect.Value, raw any, check string) error {
	if field.Kind() == reflect.Slice {
		if err := decodeList(field, raw, check); err != nil {
			return err
		}
		if field.Len() == 0 && has(check, "some") {
			return errors.New("the list is empty: write at least one, such as [source]")
		}
		return nil
	}
	text, err := scalar(raw)
	if err != nil {
		return err
	}
	if err := decodeText(field, text); err != nil {
		return err
	}
	return checkValue(field, check)
}

func scalar(raw any) (string, error) {
	switch raw.(type) {
	case string, bool, int, int64, uint64, float64:
		return fmt.Sprint(raw), nil
	}
	return "", errors.New("a single value belongs here, not a list or a section")
}

func decodeText(field reflect.Value, text string) (err error) {
	switch value := field.Addr().Interface().(type) {
	case *time.Duration:
		*value, err = ParseDuration(text)
	case *Size:
		*value, err = ParseSize(text)
	case *int:
		if *value, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("%.40q is not a whole number", text)
		}
	case *bool:
		switch text {
		case "true", "yes", "on", "1":
			*value = true
		case "false", "no", "off", "0":
			*value = false
		default:
			return fmt.Errorf("%.40q is neither: write true or false", text)
		}
	default: // string and types made of it
		field.SetString(text)
	}
	return err
}

// longTimes are what time.ParseDuration cannot read: days of 24 hours, and weeks of seven of them.
var longTimes = regexp.MustCompile(`[\d.]+[dw]`)

// inHours rewrites a long time; one that is no number stays as it is.
func inHours(long string) string {
	last := len(long) - 1
	days, err := strconv.ParseFloat(long[:last], 64)
	if err != nil {
		return long
	}
	if long[last] == 'w' {
		days *= 7
	}
	return strconv.FormatFloat(24*days, 'f', -1, 64) + "h"
}

// ParseDuration reads what time.ParseDuration does, and days and weeks (7d, 1w2d12h). A number alone is seconds, as
// people write "seconds: 12".
func ParseDuration(text string) (time.Duration, error) {
	plain := longTimes.ReplaceAllStringFunc(text, inHours)
	if _, err := strconv.ParseFloat(plain, 64); err == nil {
		plain += "s"
	}
	d, err := time.ParseDuration(plain)
	if err != nil {
		return 0, fmt.Errorf("%.40q is not a duration: write a number and a unit out of ms, s, m, h, d and w, such as 200ms, 12h or 7d", text)
	}
	return d, nil
}

// decodeList fills a slice from a YAML list or from text: "a, b", or a list in YAML's short form.
func decodeList(field reflect.Value, raw any, check string) error {
	items, err := list(raw)
	if err != nil {
		return err
	}
	slice := reflect.MakeSlice(field.Type(), len(items), len(items))
	for i, item := range items {
		if field.Type().Elem().Kind() == reflect.Struct {
			err = decodeItem(slice.Index(i), item)
		} else {
			err = decode(slice.Index(i), item, check)
		}
		if err != nil {
			return fmt.Errorf("item %d: %w", i+1, err)
		}
	}
	field.Set(slice)
	return nil
}

func list(raw any) ([]any, error) {
	switch value := raw.(type) {
	case []any:
		return value, nil
	case string:
		text := strings.TrimSpace(value)
		if strings.HasPrefix(text, "[") {
			parsed, err := yaml.Parser().Unmarshal([]byte("list: " + text))
			if items, ok := parsed["list"].([]any); ok && err == nil {
				return items, nil
			}
			return nil, errors.New("it begins like a list and does not end like one: write [a, b]")
		}
		var items []any
		for item := range strings.SplitSeq(text, ",") {
			if item = strings.TrimSpace(item); item != "" {
				items = append(items, item)
			}
		}
		return items, nil
	}
	return nil, errors.New("a list belongs here: write [a, b]")
}

// decodeItem fills a struct from a map, by the key tags of its fields.
func decodeItem(target reflect.Value, raw any) error {
	members, ok := raw.(map[string]any)
	if !ok {
		return fmt.Errorf("write it as {%s}", strings.Join(memberNames(target.Type()), ": …, ")+": …")
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if !slices.Contains(memberNames(target.Type()), name) {
			return fmt.Errorf("%s: there is no such member; there are %s", name, strings.Join(memberNames(target.Type()), ", "))
		}
	}
	for i := range target.NumField() {
		name := target.Type().Field(i).Tag.Get("key")
		value, given := members[name]
		if !given || value == nil {
			continue
		}
		if err := decode(target.Field(i), value, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func memberNames(item reflect.Type) []string {
	var names []string
	for i := range item.NumField() {
		names = append(names, item.Field(i).Tag.Get("key"))
	}
	return names
}
