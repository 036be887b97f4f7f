package e2e

import "testing"

func TestSequence(t *testing.T) {
	type packet struct {
		number uint16
		stamp  uint32
	}
	for name, c := range map[string]struct {
		packets []packet
		frames  int
		want    Account
	}{
		"in order, over the end of both": {[]packet{{65534, 1<<32 - 3600}, {65535, 0}, {0, 0}, {1, 3600}}, 3, Account{Packets: 4, Step: 3600}},
		"one missing":                    {[]packet{{7, 0}, {9, 3600}}, 2, Account{Packets: 2, Missing: 1, Step: 3600}},
		"one late":                       {[]packet{{7, 0}, {9, 3600}, {8, 0}}, 2, Account{Packets: 3, Step: 3600}},
		"one twice":                      {[]packet{{7, 0}, {8, 0}, {7, 0}, {9, 3600}}, 2, Account{Packets: 4, Doubled: 1, Step: 3600}},
		"late and twice":                 {[]packet{{7, 0}, {9, 0}, {8, 0}, {8, 0}}, 1, Account{Packets: 4, Doubled: 1}},
		"from before the account":        {[]packet{{7, 0}, {6, 0}, {8, 0}}, 1, Account{Packets: 3}},
		"a picture left out":             {[]packet{{7, 0}, {8, 3600}, {9, 10800}}, 3, Account{Packets: 3, Step: 7200}},
		"more than is remembered":        {[]packet{{7, 0}, {20000, 3600}, {19999, 3600}}, 2, Account{Packets: 3, Missing: 19992, Doubled: 1, Step: 3600}},
	} {
		var s sequence
		for _, p := range c.packets {
			s.take(p.number, p.stamp)
		}
		c.want.Frames = c.frames
		if s.Account != c.want {
			t.Errorf("%s: %v, want %v", name, s.Account, c.want)
		}
	}
	var s sequence
	s.take(7, 0)
	s.take(9, 7200)
	s.reset()
	s.take(8, 3600) // of the time before
	s.take(10, 10800)
	if want := (Account{Packets: 2, Frames: 1, Step: 3600}); s.Account != want {
		t.Errorf("after a new start: %v, want %v", s.Account, want)
	}
}
