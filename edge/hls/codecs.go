package hls

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/bluenviron/mediacommon/v2/pkg/codecs/av1"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h264"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/h265"
	"github.com/bluenviron/mediacommon/v2/pkg/codecs/mpeg4audio"

	"banyan/relay/frame"
	"banyan/relay/media"
)

// codecString describes a track for the CODECS attribute (RFC 6381), from its parameter sets where
// they are known, else what such a track may need at most.
func codecString(p *media.Params) string {
	switch p.Codec {
	case media.H264:
		return h264String(p)
	case media.H265:
		return h265String(p)
	case media.AV1:
		return av1String(p)
	case media.VP9:
		return "vp09.00.41.08" // profile 0, level 4.1, 8 bit: what browsers send and decode
	case media.AAC:
		var config mpeg4audio.AudioSpecificConfig
		if len(p.Sets) > 0 && config.Unmarshal(p.Sets[0]) == nil {
			return fmt.Sprintf("mp4a.40.%d", config.Type)
		}
		return "mp4a.40.2"
	case media.Opus:
		return "opus"
	}
	return ""
}

// h264String is avc1.PPCCLL (RFC 6381 section 3.3): profile, constraints and level as in the SPS in use.
func h264String(p *media.Params) string {
	if sps := frame.SetsOf(p).SPS; len(sps) > 0 && len(sps[0]) >= 4 {
		return "avc1." + hex.EncodeToString(sps[0][1:4])
	}
	profile := "6400" // High
	if p.Aligned {
		profile = "42c0" // Constrained Baseline, in which the transcoder makes all its formats
	}
	return fmt.Sprintf("avc1.%s%02x", profile, media.H264Level(p.Width, p.Height, p.FPS))
}

// h265String is as ISO/IEC 14496-15 annex E.3 has it.
func h265String(p *media.Params) string {
	var sps h265.SPS
	all := frame.SetsOf(p).SPS
	if len(all) == 0 || sps.Unmarshal(all[0]) != nil {
		return "hvc1.1.6.L123.b0" // Main profile, level 4.1
	}
	ptl := &sps.ProfileTierLevel
	space := []string{"", "A", "B", "C"}[ptl.GeneralProfileSpace&3]
	var compatibility uint32 // in reverse order of bits
	for i, set := range ptl.GeneralProfileCompatibilityFlag {
		if set {
			compatibility |= 1 << i
		}
	}
	tier := "L"
	if ptl.GeneralTierFlag > 0 {
		tier = "H"
	}
	text := fmt.Sprintf("hvc1.%s%d.%x.%s%d", space, ptl.GeneralProfileIdc, compatibility, tier, ptl.GeneralLevelIdc)
	return text + constraints(all[0])
}

// constraints are the six bytes of constraint flags, each after a dot; trailing zeros are left out. They
// follow two bytes of the NAL unit's header, one of parameter set ids, one of profile and four of
// compatibility.
func constraints(sps []byte) string {
	const at, size = 8, 6
	plain := h264.EmulationPreventionRemove(sps)
	if len(plain) < at+size {
		return ""
	}
	var text strings.Builder
	for _, b := range bytes.TrimRight(plain[at:at+size], "\x00") {
		fmt.Fprintf(&text, ".%x", b)
	}
	return text.String()
}

// av1String is as the AV1 ISOBMFF binding has it, section 5.
func av1String(p *media.Params) string {
	var h av1.SequenceHeader
	if len(p.Sets) == 0 || h.Unmarshal(p.Sets[0]) != nil || len(h.SeqLevelIdx) == 0 {
		return "av01.0.08M.08"
	}
	tier := "M"
	if len(h.SeqTier) > 0 && h.SeqTier[0] {
		tier = "H"
	}
	return fmt.Sprintf("av01.%d.%02d%s.%02d", h.SeqProfile, h.SeqLevelIdx[0], tier, h.ColorConfig.BitDepth)
}
