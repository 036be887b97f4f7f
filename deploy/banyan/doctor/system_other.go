//go:build !linux

package doctor

import (
	"math"
	"runtime"
)

func examineSystem() []Finding {
	return []Finding{{"system", Warn, runtime.GOOS + " is fit for trying Banyan, not for many viewers", "use Linux for more"}}
}

// freeSpace is not known here, which is no reason to complain.
func freeSpace(string) (uint64, error) { return math.MaxUint64, nil }
