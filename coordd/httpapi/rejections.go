package httpapi

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// rejectionInterval is the least time between log lines about connections that
// came to nothing: whoever reaches the port can make any number of them.
const rejectionInterval = time.Second

// rejections logs connections that were closed before they were served.
type rejections struct {
	log *slog.Logger

	mu         sync.Mutex
	last       time.Time
	suppressed int
}

// report logs one. That a client left or was silent is what port scanners and
// probes do, and only worth a line when debugging.
func (r *rejections) report(remote net.Addr, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // the listener ends
	}
	if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) {
		r.log.Debug("a client showed nothing", "remote", remote.String(), "error", err)
		return
	}
	suppressed, ok := r.admit(time.Now())
	if !ok {
		return
	}
	r.log.Warn("rejected connection", "remote", remote.String(), "error", err, "not-logged", suppressed)
}

// admit returns how many lines were left out since the last one that was not.
func (r *rejections) admit(now time.Time) (suppressed int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.last) < rejectionInterval {
		r.suppressed++
		return 0, false
	}
	suppressed, r.suppressed, r.last = r.suppressed, 0, now
	return suppressed, true
}
