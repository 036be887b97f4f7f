package rtc

import "github.com/pion/rtp"

func newPacket(seq uint16, payload string) *rtp.Packet {
	return &rtp.Packet{
		Header:  rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(seq) * 3000},
		Payload: []byte(payload),
	}
}
