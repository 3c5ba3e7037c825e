//go:build crash && linux

package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"time"
)

// fault is something that goes wrong. inject returns when its cause is over; what
// it has broken heals after that.
type fault struct {
	name   string
	inject func(*survival) error
}

// faults are all of them; the seed decides on their order.
var faults = slices.Concat(processFaults(), serverFaults(), feedFaults(), networkFaults())

const (
	rebuildLock = 7_263_103
	// armedFor is how long a failpoint is waited for.
	armedFor = 15 * time.Second
)

func processFaults() []fault {
	all := []fault{
		{"command killed", func(s *survival) error { return s.kill(s.one(s.commands)) }},
		{"relay's command killed", func(s *survival) error { return s.killHolder(relayLock) }},
		{"working projector killed", func(s *survival) error { return s.killHolder(projectorLock) }},
		{"standby projector killed", func(s *survival) error { return s.kill(s.standby()) }},
		{"query killed", func(s *survival) error { return s.kill(s.one(s.queries)) }},
		{"both commands killed", func(s *survival) error { return s.kill(s.commands...) }},
		{"both projectors killed", func(s *survival) error { return s.kill(s.projectors...) }},
		{"relay's command stopped", func(s *survival) error { return s.stopHolder(relayLock) }},
		{"working projector stopped", func(s *survival) error { return s.stopHolder(projectorLock) }},
		{"rebuild under load", func(s *survival) error { return s.rebuild("") }},
		{"killed in a rebuild, before the flip", func(s *survival) error { return s.rebuild("flip-before-commit") }},
		{"killed in a rebuild, after the flip", func(s *survival) error { return s.rebuild("flip-after-commit") }},
	}
	for point, lock := range map[string]int{
		"append-before-commit": 0, "append-after-commit": 0, "relay-in-batch": relayLock,
		"apply-before-commit": projectorLock, "apply-after-commit": projectorLock,
	} {
		all = append(all, fault{"killed at " + point, func(s *survival) error {
			victim := s.one(s.commands)
			if lock != 0 {
				var err error
				if victim, err = s.holding(lock); err != nil {
					return err
				}
			}
			return s.killAt(victim, point, 1+s.random.IntN(20))
		}})
	}
	slices.SortFunc(all, func(a, b fault) int { return cmp.Compare(a.name, b.name) }) // a map has no order
	return all
}

func (s *survival) kill(victims ...*process) error {
	for _, v := range victims {
		v.signal(syscall.SIGKILL)
	}
	s.chance(500 * time.Millisecond)
	return s.startAgain(victims...)
}

func (s *survival) startAgain(all ...*process) error {
	for _, p := range all {
		p.disarm()
		if err := p.start(); err != nil {
			return err
		}
	}
	return nil
}

// holding waits for a process that has the lock.
func (s *survival) holding(lock int) (*process, error) {
	var p *process
	err := s.until(fmt.Sprintf("somebody has lock %d", lock), func() bool {
		p = s.holder(s.t.Context(), lock)
		return p != nil
	})
	return p, err
}

func (s *survival) killHolder(lock int) error {
	p, err := s.holding(lock)
	if err != nil {
		return err
	}
	return s.kill(p)
}

func (s *survival) standby() *process {
	works := s.holder(s.t.Context(), projectorLock)
	for _, p := range s.projectors {
		if p != works {
			return p
		}
	}
	return s.projectors[0]
}

// stopHolder stops a leader until its lock has gone to another, and lets it go on
// as if nothing had happened.
func (s *survival) stopHolder(lock int) error {
	stopped, err := s.holding(lock)
	if err != nil {
		return err
	}
	stopped.signal(syscall.SIGSTOP)
	err = s.until("another has the lock", func() bool {
		now := s.holder(s.t.Context(), lock)
		return now != nil && now != stopped
	})
	s.chance(time.Second)
	stopped.signal(syscall.SIGCONT)
	return err
}

func (s *survival) killAt(victim *process, point string, hit int) error {
	if err := victim.arm(point, hit); err != nil {
		return err
	}
	if !victim.diedIn(armedFor) {
		s.t.Logf("%s was not reached by %s within %v", point, victim.name, armedFor)
		victim.signal(syscall.SIGKILL)
	}
	s.chance(300 * time.Millisecond)
	return s.startAgain(victim)
}

// rebuild makes the read tables anew under load, with the projector that does it
// killed at a failpoint, if one is given. Started again, it ends.
func (s *survival) rebuild(point string) error {
	victim, err := s.holding(rebuildLock)
	if err != nil {
		return err
	}
	if point != "" {
		if err := victim.arm(point, 1); err != nil {
			return err
		}
	}
	began, err := s.api.StartRebuild(s.t.Context(), 0)
	if err != nil {
		return err
	}
	if point != "" {
		if !victim.diedIn(normalWithin) {
			return fmt.Errorf("the rebuild does not come to %s", point)
		}
		if err := s.startAgain(victim); err != nil {
			return err
		}
	}
	var last error
	err = s.until("the rebuild ends", func() bool {
		now, err := s.api.Rebuild(s.t.Context())
		if last = err; err != nil || now.Generation == began.Generation && !now.Ended() {
			return false
		}
		if now.State != "done" {
			last = fmt.Errorf("it is %s: %s", now.State, now.Detail)
		}
		return true
	})
	if err == nil {
		err = last
	}
	return err
}
