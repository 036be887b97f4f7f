package media

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseName(t *testing.T) {
	long := strings.Repeat("a", MaxSegmentBytes)
	good := []string{"cam1", "cup/cam1", "calls/7f3a/ana/camera", "A-Z_09", "-i", long + "/" + long}
	bad := []string{
		"", "/", "a/", "/a", "a//b", "..", "../..", "a/../b", ".", "a b", "a\\b", "%2e%2e%2f", "a%00", "a\x00b", "a\nb",
		long + "a", "1/2/3/4/5", "é", "\xc0\xae", "$(x)", "`x`", "%d", "concat:a|b", "a:b", "[0:v]", "movie=x",
		strings.Repeat("a/", 1000), "#EXT-X-ENDLIST", "\u202e",
	}
	for _, s := range good {
		if got, err := ParseName(s); err != nil || string(got) != s {
			t.Errorf("ParseName(%q) = %q, %v; want it accepted as it is", s, got, err)
		}
	}
	for _, s := range bad {
		if got, err := ParseName(s); err == nil {
			t.Errorf("ParseName(%q) = %q; want an error", s, got)
		} else if len(err.Error()) > 400 {
			t.Errorf("ParseName(%.20q…) answers with %d bytes; want a short sentence", s, len(err.Error()))
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"cup/cam1", "", "a//b", "../x", strings.Repeat("a", 65)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := ParseName(s)
		if err != nil {
			return
		}
		if string(name) != s || strings.Contains(s, ".") || strings.Contains(s, "//") || strings.Count(s, "/") >= MaxNameSegments {
			t.Fatalf("accepted %q", s)
		}
	})
}

func TestParseFormat(t *testing.T) {
	for _, s := range []string{"source", "720p", "1080p60", "opus", "480p-vp8"} {
		if _, err := ParseFormat(s); err != nil {
			t.Errorf("ParseFormat(%q): %v", s, err)
		}
	}
	for _, s := range []string{"", "-i", "A", "a/b", "720p ", strings.Repeat("a", 33)} {
		if _, err := ParseFormat(s); err == nil {
			t.Errorf("ParseFormat(%q) was accepted", s)
		}
	}
}

// FuzzParseFormat: what is taken fits the grammar and stands for itself, what is not is answered with a short sentence.
func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{"source", "720p", "480p15-av1", "-", "720P", "", "a--", "\x00", "\xff", strings.Repeat("a", 33)} {
		f.Add(s)
	}
	grammar := regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,31}\z`)
	f.Fuzz(func(t *testing.T, s string) {
		format, err := ParseFormat(s)
		if taken := err == nil; taken != grammar.MatchString(s) || taken && string(format) != s {
			t.Fatalf("%q: %q, %v", s, format, err)
		}
		if err != nil && (format != "" || len(err.Error()) > 500 || !utf8.ValidString(err.Error())) {
			t.Fatalf("%q is answered with %q, %q", s, format, err)
		}
	})
}

var rates = []int{8000, 16000, 22050, 44100, 48000, 90000}

func TestTicksRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom(rates).Draw(t, "rate")
		seconds := rapid.Int64Range(-1<<31, 1<<33).Draw(t, "seconds") // to the year 2242
		ticks := seconds*int64(rate) + rapid.Int64Range(0, int64(rate)).Draw(t, "rest")
		if got := TicksOf(TimeAt(ticks, rate), rate); got != ticks {
			t.Fatalf("ticks %d at %d Hz came back as %d", ticks, rate, got)
		}
	})
}

func TestTicksNeverLate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom(rates).Draw(t, "rate")
		at := Time(rapid.Int64Range(0, 4e18).Draw(t, "time"))
		back := TimeAt(TicksOf(at, rate), rate)
		if d := at.Sub(back); d < 0 || d > time.Second/time.Duration(rate)+1 {
			t.Fatalf("time %d at %d Hz came back %v earlier; want within one tick", at, rate, d)
		}
	})
}

func TestRescaleOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.SampledFrom(rates).Draw(t, "from"), rapid.SampledFrom(rates).Draw(t, "to")
		a := rapid.Int64Range(0, 1<<50).Draw(t, "a")
		b := a + rapid.Int64Range(0, 1<<20).Draw(t, "step")
		if Rescale(a, from, to) > Rescale(b, from, to) {
			t.Fatalf("rescaling %d and %d from %d to %d Hz swapped them", a, b, from, to)
		}
	})
}

func TestFloor(t *testing.T) {
	for _, c := range []struct{ at, want Time }{{0, 0}, {1999, 0}, {2000, 2000}, {-1, -2000}, {4001, 4000}} {
		if got := c.at.Floor(2000); got != c.want {
			t.Errorf("Time(%d).Floor(2000ns) = %d, want %d", c.at, got, c.want)
		}
	}
}

func TestBreakAt(t *testing.T) {
	const ms = Time(time.Millisecond)
	for _, c := range []struct{ first, want Time }{
		{4000 * ms, 4000 * ms}, {4040 * ms, 4000 * ms}, {4060 * ms, 6000 * ms}, {5999 * ms, 6000 * ms}, {-1, 0},
	} {
		if got := BreakAt(c.first, 2*time.Second); got != c.want {
			t.Errorf("a break whose first frame stands at %d shows at %d, want %d", c.first, got, c.want)
		}
	}
}

func TestNTP(t *testing.T) {
	for _, c := range []struct {
		at   time.Time
		want uint64
	}{
		{time.Unix(0, 0), 2208988800 << 32},
		{time.Unix(1, 500_000_000), 2208988801<<32 | 1<<31},
		{time.Unix(-1, 750_000_000), 2208988799<<32 | 3<<30},
	} {
		if got := TimeOf(c.at).NTP(); got != c.want {
			t.Errorf("%v is %#x, want %#x", c.at.UTC(), got, c.want)
		}
	}
}
