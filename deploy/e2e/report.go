package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// table is what the tests of this package measured, for people to read: it decides nothing.
var table struct {
	mu   sync.Mutex
	rows [][]string
}

// Record adds a row to the table of faults: what was done, what viewers and nodes made of it, and what we aim at.
func Record(fault, aim, format string, values ...any) {
	table.mu.Lock()
	defer table.mu.Unlock()
	table.rows = append(table.rows, []string{fault, fmt.Sprintf(format, values...), aim})
}

// PrintTable writes the table into the file that E2E_TABLE names, as `go test` shows nothing of packages that pass.
func PrintTable() error {
	table.mu.Lock()
	defer table.mu.Unlock()
	name := os.Getenv("E2E_TABLE")
	if name == "" || len(table.rows) == 0 {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	text := "fault\tmeasured\taim\n"
	for _, row := range table.rows {
		text += strings.Join(row, "\t") + "\n"
	}
	w := tabwriter.NewWriter(file, 0, 0, 3, ' ', 0)
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Flush()
}

// Worst is the greatest of durations in ascending order; zero of none.
func Worst(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)-1].Round(time.Millisecond)
}
