// Package ingest is what the broadcaster's doors share: media time from RTP timestamps and sender
// reports (Timeline), bounded reordering, and the forwarding of a publisher's RTP packets into the logs
// of its stream. The doors themselves are the packages below it: whip and rtsp.
package ingest
