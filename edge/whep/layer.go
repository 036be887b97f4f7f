package whep

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"banyan/relay/media"
	"banyan/relay/problem"
	"banyan/relay/rtc/wish"
)

// layerRelation is the extension for choosing a layer, of draft-ietf-wish-whep. Banyan's layers are formats.
const layerRelation = "urn:ietf:params:whep:ext:core:layer"

const maxLayerBytes = 4 << 10

// layer is the body of a request to change: {"format":"720p"}, or in the words of the draft {"encodingId":"720p"}. The
// draft's mediaId may be there and says nothing new: there is one video.
type layer struct {
	Format     *string `json:"format"`
	EncodingID *string `json:"encodingId"`
}

// parseLayer reads the body.
func parseLayer(body []byte) (media.Format, error) {
	var l layer
	if err := json.Unmarshal(body, &l); err != nil {
		return auto, errors.New(`the body is not JSON of the form {"format":"720p"}`)
	}
	switch {
	case l.Format != nil && l.EncodingID != nil && *l.Format != *l.EncodingID:
		return auto, errors.New("format and encodingId differ: send one of them")
	case l.Format != nil:
		return parseFormat(*l.Format)
	case l.EncodingID != nil:
		return parseFormat(*l.EncodingID)
	}
	return auto, errors.New(`the body names no format: send {"format":"720p"} or {"format":"auto"}`)
}

// serveLayer changes the format of a session.
func serveLayer(w http.ResponseWriter, r *http.Request, s wish.Session) {
	v := s.(*session) // this package made it
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		problem.UnsupportedMediaType(w, []string{"application/json"})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLayerBytes))
	if err != nil {
		problem.WriteError(w, err)
		return
	}
	format, err := parseLayer(body)
	if err != nil {
		problem.BadRequest(w, "The layer cannot be read: "+err.Error()+".")
		return
	}
	if err := v.check(format); err != nil {
		problem.WriteError(w, err)
		return
	}
	v.want(format)
	w.WriteHeader(http.StatusNoContent)
}

// check tells why the viewer cannot have a format without a new session.
func (v *session) check(format media.Format) error {
	if format == auto {
		return nil
	}
	stream, err := v.server.config.Hub.Stream(v.stream.Name())
	if err != nil {
		return refusal(err, nil, format)
	}
	tracks := tracksOf(stream)
	if !hasFormat(tracks, format) {
		return refusal(errNoFormat, tracks, format)
	}
	for _, t := range tracks {
		if t.ID.Format != format {
			continue
		}
		if track := v.Track(t.ID.Kind); track != nil && playable(t, track.Codecs()) == nil {
			return nil
		}
	}
	return &wish.Refusal{
		Status: http.StatusUnprocessableEntity,
		Detail: "This session did not negotiate a codec that the format needs. Make a new one with POST and ?format=.",
	}
}
