package health

import (
	"fmt"
	"strings"
	"time"
)

// Report is what all checks found at one time.
type Report struct {
	Passed  bool     `json:"passed"` // every check has; none is as good
	Results []Result `json:"results"`
}

// Result is what one check found.
type Result struct {
	Name  string        `json:"name"`            // of the check, as "unit nginx.service"
	Error string        `json:"error,omitempty"` // why it has not passed
	Took  time.Duration `json:"took"`            // in nanoseconds

	// Instance names what was found, where that can be told: another one at the next look has been started in between.
	Instance string `json:"instance,omitempty"`
}

// maxQuoted bounds how many checks a sentence names.
const maxQuoted = 5

// Why says in one line what has not passed; "" when all has.
func (r *Report) Why() string {
	var failed []string
	for _, result := range r.Results {
		if result.Error != "" {
			failed = append(failed, result.Name+": "+result.Error)
		}
	}
	if more := len(failed) - maxQuoted; more > 0 {
		failed = append(failed[:maxQuoted], fmt.Sprintf("%d more", more))
	}
	return strings.Join(failed, "; ")
}
