package push

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// refusal is an answer other than success.
type refusal struct {
	status int
	detail string        // the server's own words
	after  time.Duration // when it wants to be asked again; zero where it did not say
}

func (r *refusal) Error() string {
	return fmt.Sprintf("the server answers %d %s: %s", r.status, http.StatusText(r.status), r.detail)
}

// temporary tells whether another try may succeed.
func (r *refusal) temporary() bool {
	switch r.status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return r.status >= 500
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 128 << 10

// post sends the offer and returns the answer with the URL of the session.
func (c *Config) post(ctx context.Context, offer string) (answer, session string, err error) {
	response, err := c.request(ctx, http.MethodPost, c.URL, offer)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", "", fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusCreated {
		return "", "", refused(response, body)
	}
	location, err := response.Location() // resolved against the URL that answered
	if err != nil {
		return "", "", fmt.Errorf("the server made a session but did not say where (Location): %w", err)
	}
	return string(body), location.String(), nil
}

// delete ends the session, if the server is there to hear it.
func (c *Config) delete(ctx context.Context, session string) {
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if response, err := c.request(ctx, http.MethodDelete, session, ""); err == nil {
		_ = response.Body.Close()
	}
}

// whyEnded asks the server why a session has ended that we did not end. A Banyan tells for a while (410, with a cause);
// nil where nobody tells, or where the session may simply be made again.
func (c *Config) whyEnded(ctx context.Context, session string) error {
	response, err := c.request(ctx, http.MethodGet, session, "")
	if err != nil {
		return nil // who cannot be asked is tried again
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusGone {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	var answer struct{ Cause, Detail string }
	if err != nil || json.Unmarshal(body, &answer) != nil {
		return nil // words of another server
	}
	switch answer.Cause {
	case "taken-over", "kicked", "expired":
		return refused(response, []byte(answer.Detail))
	}
	return nil
}

func (c *Config) request(ctx context.Context, method, address, body string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/sdp")
	}
	if c.Token != "" && sameHost(address, c.URL) {
		request.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return c.Client.Do(request)
}

// sameHost keeps the token from a server that is merely named in a Location.
func sameHost(a, b string) bool {
	one, err := url.Parse(a)
	if err != nil {
		return false
	}
	other, err := url.Parse(b)
	return err == nil && one.Host == other.Host && one.Scheme == other.Scheme
}

func refused(response *http.Response, body []byte) error {
	const most = 300
	r := &refusal{status: response.StatusCode, detail: strings.ToValidUTF8(string(body[:min(len(body), most)]), "")}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		r.after = min(time.Duration(seconds)*time.Second, time.Minute)
	}
	return r
}
