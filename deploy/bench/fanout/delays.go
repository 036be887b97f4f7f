package fanout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"
)

// Delays are a histogram that a server keeps of its own delay: from the time at which it had a packet until the kernel had
// taken it for a viewer, the longest of what the viewer was sent at once. Each viewer counts, and each time that
// something was sent to it.
type Delays []Bucket

// Bucket is how many were at most so long, those of the buckets before included.
type Bucket struct {
	Most  float64 // seconds
	Count uint64
}

// maxDelays bounds the answer that is read.
const maxDelays = 64 << 10

// readDelays asks a server for them, as JSON.
func readDelays(ctx context.Context, url string) (d Delays, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }() // all of it was read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read %s: %s", url, response.Status)
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxDelays)).Decode(&d); err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	slices.SortFunc(d, func(a, b Bucket) int { return cmp.Compare(a.Most, b.Most) })
	return d, nil
}

// since are those that came after before was read.
func (d Delays) since(before Delays) Delays {
	if len(before) != len(d) {
		return d
	}
	fresh := slices.Clone(d)
	for i := range fresh {
		fresh[i].Count -= before[i].Count
	}
	return fresh
}

// At is a percentile, p from 0 to 1, as exact as the buckets are; zero where there are none.
func (d Delays) At(p float64) time.Duration {
	if len(d) == 0 || d[len(d)-1].Count == 0 {
		return 0
	}
	rank := p * float64(d[len(d)-1].Count)
	low, below := 0.0, uint64(0)
	for _, b := range d {
		if float64(b.Count) >= rank && b.Count > below {
			share := (rank - float64(below)) / float64(b.Count-below)
			return time.Duration((low + share*(b.Most-low)) * float64(time.Second))
		}
		low, below = b.Most, b.Count
	}
	return time.Duration(low * float64(time.Second))
}
