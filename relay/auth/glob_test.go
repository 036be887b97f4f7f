package auth_test

import (
	"regexp"
	"strings"
	"testing"

	"banyan/relay/auth"
	"banyan/relay/media"
)

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		glob  string
		name  media.Name
		match bool
	}{
		{"cup/cam1", "cup/cam1", true},
		{"cup/cam1", "cup/cam10", false},
		{"cup/cam1", "cup", false},
		{"cup/cam1", "cup/cam1/x", false},
		{"cup/cam1", "CUP/cam1", false}, // names differ by case
		{"*", "cup", true},
		{"*", "cup/cam1", false},
		{"cup/*", "cup/cam1", true},
		{"cup/*", "cup", false},
		{"cup/*", "cup/a/b", false},
		{"*/cam1", "cup/cam1", true},
		{"cup/cam*", "cup/cam", true},
		{"cup/cam*", "cup/cam12", true},
		{"cup/cam*", "cup/xcam1", false},
		{"*am*", "cam1", true},
		{"c*m1", "cam1", true},
		{"c*m1", "cam", false},
		{"a*a", "a", false}, // the ends may not share a letter
		{"a*b*c", "aXbYbZc", true},
		{"a*b*c", "acb", false},
		{"**", "cup", true},
		{"**", "a/b/c/d", true},
		{"cup/**", "cup", true},
		{"cup/**", "cup/cam1", true},
		{"cup/**", "cup/a/b/c", true},
		{"cup/**", "cups/cam1", false},
		{"**/camera", "camera", true},
		{"**/camera", "calls/7f3a/ana/camera", true},
		{"**/camera", "calls/camera/ana", false},
		{"calls/**/camera", "calls/camera", true},
		{"calls/**/camera", "calls/7f3a/ana/camera", true},
		{"**/ana/**", "calls/7f3a/ana/camera", true},
		{"**/ana/**", "calls/7f3a/bob/camera", false},
		{"a/**/b/**/c", "a/b/b/c", true},
	} {
		glob, err := auth.ParseGlob(c.glob)
		if err != nil {
			t.Errorf("%q: %v", c.glob, err)
			continue
		}
		if got := glob.Match(c.name); got != c.match {
			t.Errorf("%q matches %q: got %v, want %v", c.glob, c.name, got, c.match)
		}
	}
	if auth.Glob("").Match("") || auth.Glob("**").Match("") {
		t.Error("the empty name, which is none, is matched")
	}
}

func TestBadGlobs(t *testing.T) {
	for _, s := range []string{"", "/", "/cup", "cup/", "a//b", ".", "..", "../x", "cup/..", "***", "a**", "**b", "cup/a**b",
		"cam?", "cam[1]", "{a,b}", "a b", "a\x00", "é", "%2e", strings.Repeat("a", 65), strings.Repeat("*", 66),
		strings.Repeat("a/", 9) + "a", `cup\cam1`} {
		if glob, err := auth.ParseGlob(s); err == nil {
			t.Errorf("%q: got %q, want an error", s, glob)
		} else if len(err.Error()) > 400 {
			t.Errorf("%q: the error has %d bytes", s, len(err.Error()))
		}
	}
}

// pattern says in the language of regexp what glob means: an independent second opinion.
func pattern(glob string) *regexp.Regexp {
	var expression string
	for _, segment := range strings.Split(glob, "/") {
		if segment == "**" {
			expression += "(/[^/]+)*"
			continue
		}
		expression += "/" + strings.ReplaceAll(regexp.QuoteMeta(segment), `\*`, "[^/]*")
	}
	return regexp.MustCompile("^" + expression + "$")
}

// FuzzGlob holds the matcher against regexp, and a pattern without stars against equality: no token for one stream
// opens another.
func FuzzGlob(f *testing.F) {
	f.Add("cup/**", "cup/cam1")
	f.Add("a*b*c", "aXbYbZc")
	f.Add("**/ana/**", "calls/7f3a/ana/camera")
	f.Add("a/**/b/**/c", "a/b/b/c")
	f.Add("cup/cam1", "cup/cam2")
	f.Fuzz(func(t *testing.T, s, n string) {
		glob, err := auth.ParseGlob(s)
		if err != nil {
			return
		}
		name, err := media.ParseName(n)
		if err != nil {
			return
		}
		got := glob.Match(name)
		if want := pattern(s).MatchString("/" + n); got != want {
			t.Errorf("%q matches %q: got %v, want %v", s, n, got, want)
		}
		if !strings.Contains(s, "*") && got != (s == n) {
			t.Errorf("%q without stars matches %q", s, n)
		}
	})
}
