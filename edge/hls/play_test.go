package hls

import (
	"fmt"
	"testing"
)

func TestSmoke(t *testing.T) {
	s := newStage(t, nil)
	studio := newStudio(t, s.hub, "cup/cam1", record(t, "320x180"), both)
	studio.play(second(0.5), second(9.1))
	fmt.Println(s.want(200, "cup/cam1/index.m3u8").body)
	fmt.Println(s.want(200, "cup/cam1/source-video/index.m3u8").body)
	fmt.Println(s.want(200, "cup/cam1/source-audio/index.m3u8").body)
}
