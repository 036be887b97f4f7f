package media

// H264Level is the level_idc for pictures of a size and rate (ITU-T H.264, table A-1), from 21 on: what the transcoder
// has encoders promise, so that playlists can tell it before there is a picture. A rate of zero counts as 30.
func H264Level(width, height int, fps float64) int {
	levels := []struct{ idc, macroblocks, perSecond int }{
		{21, 792, 19800}, {30, 1620, 40500}, {31, 3600, 108000}, {32, 5120, 216000}, {40, 8192, 245760},
		{42, 8704, 522240}, {51, 36864, 983040}, {52, 36864, 2073600},
	}
	if fps <= 0 {
		fps = 30
	}
	blocks := (width + 15) / 16 * ((height + 15) / 16)
	for _, l := range levels {
		if blocks <= l.macroblocks && float64(blocks)*fps <= float64(l.perSecond) {
			return l.idc
		}
	}
	return 62
}
