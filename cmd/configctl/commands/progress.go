package commands

import (
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far long work is, on a terminal only.
type progress struct {
	what string
	out  io.Writer // nil if it is no terminal

	mu  sync.Mutex // an upload is read by another goroutine
	bar *progressbar.ProgressBar
}

func (c *cli) progress(what string) *progress {
	p := &progress{what: what}
	if isTerminal(c.Err) {
		p.out = c.Err
	}
	return p
}

// at moves the bar. That it can't be drawn is no fault of the work.
func (p *progress) at(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil || total <= 0 {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.out), progressbar.OptionSetDescription(p.what), progressbar.OptionSetWidth(30),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond))
	}
	if p.bar.GetMax64() != total { // the log grows meanwhile
		p.bar.ChangeMax64(total)
	}
	_ = p.bar.Set64(min(done, total))
}

// end takes the bar away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	p.out, p.bar = nil, nil
}
