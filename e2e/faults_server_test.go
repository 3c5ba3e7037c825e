//go:build crash && linux

package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/config-api/config-api/shared/feed"
)

func serverFaults() []fault {
	return []fault{
		{"Postgres killed", func(s *survival) error {
			s.killPostgres(s.t)
			s.chance(500 * time.Millisecond)
			s.startPostgres(s.t)
			return nil
		}},
		{"Postgres stopped immediately", func(s *survival) error {
			if err := syscall.Kill(s.postgresPID(s.t), syscall.SIGQUIT); err != nil {
				return err
			}
			<-s.postgres.Done()
			s.chance(500 * time.Millisecond)
			s.startPostgres(s.t)
			return nil
		}},
		{"a backend of Postgres killed", func(s *survival) error { // all others are ended by the server
			return syscall.Kill(s.backend(), syscall.SIGKILL)
		}},
		{"an idle transaction holds a snapshot", func(s *survival) error {
			return s.hold("begin isolation level repeatable read; select count(*) from readmodel.active, eventstore.log_head")
		}},
		{"an idle transaction holds the log's head", func(s *survival) error {
			return s.hold("begin; select from eventstore.log_head for update")
		}},
		{"an idle transaction holds the active generation", func(s *survival) error {
			return s.hold("begin; select from readmodel.active for update")
		}},
		{"NATS killed", func(s *survival) error { return s.kill(s.nats) }},
		{"NATS restored from an older copy", restoreNATS},
	}
}

// backend is the process of a session of the services.
func (s *survival) backend() int {
	var pid int
	_ = s.pool.QueryRow(s.t.Context(), `select pid from pg_stat_activity
		where application_name ~ '^(command|projector|query)-' order by random() limit 1`).Scan(&pid)
	return pid
}

// hold keeps a transaction open for some seconds.
func (s *survival) hold(sql string) error {
	conn, err := s.pool.Acquire(s.t.Context())
	if err != nil {
		return err
	}
	defer conn.Release()
	if _, err := conn.Exec(s.t.Context(), sql); err != nil {
		return err
	}
	s.chance(5 * time.Second)
	_, err = conn.Exec(s.t.Context(), `rollback`)
	return err
}

// restoreNATS puts an older copy of NATS's files in the place of those of now, so
// that the feed is shorter than what was published and delivered.
func restoreNATS(s *survival) error {
	s.nats.signal(syscall.SIGKILL)
	older := filepath.Join(s.dir, "nats-older")
	if err := os.CopyFS(older, os.DirFS(s.natsDir)); err != nil {
		return err
	}
	if err := s.startAgain(s.nats); err != nil {
		return err
	}
	if err := s.awaitNormal(s.t.Context()); err != nil {
		return err
	}
	before := s.load.beats()[0]
	if err := s.until("more was written", func() bool { return s.load.beats()[0] > before+50 }); err != nil {
		return err
	}
	s.nats.signal(syscall.SIGKILL)
	if err := os.RemoveAll(s.natsDir); err != nil {
		return err
	}
	if err := os.Rename(older, s.natsDir); err != nil {
		return err
	}
	return s.startAgain(s.nats)
}

func feedFaults() []fault {
	reset := func(to func(last uint64) uint64) func(*survival) error {
		return func(s *survival) error {
			var last error
			return errors.Join(s.until("the consumer is reset", func() bool {
				last = s.reset(to)
				return last == nil
			}), last)
		}
	}
	return []fault{
		{"the feed's stream deleted", func(s *survival) error {
			ctx, cancel := s.within(10 * time.Second)
			defer cancel()
			return s.js.DeleteStream(ctx, feed.Stream)
		}},
		{"the projector's consumer deleted", func(s *survival) error {
			ctx, cancel := s.within(10 * time.Second)
			defer cancel()
			name, err := s.consumer(ctx)
			if err != nil {
				return err
			}
			return s.js.DeleteConsumer(ctx, feed.Stream, name)
		}},
		{"the projector's consumer reset to the beginning", reset(func(uint64) uint64 { return 1 })},
		{"the projector's consumer reset a little back", reset(func(last uint64) uint64 { return max(1, last-min(last, 20)) })},
		{"the projector's consumer reset to the end", reset(func(last uint64) uint64 { return last })},
		{"the projector's consumer reset beyond the end", reset(func(last uint64) uint64 { return last + 1000 })},
	}
}

// reset tries once: a reset that meets the projector's own is sometimes never
// answered.
func (s *survival) reset(to func(last uint64) uint64) error {
	ctx, cancel := s.within(2 * time.Second)
	defer cancel()
	last, err := feed.LastPosition(ctx, s.js)
	if err != nil {
		return err
	}
	name, err := s.consumer(ctx)
	if err != nil {
		return err
	}
	if _, err := s.js.Consumer(ctx, feed.Stream, name); err != nil {
		return err // the reset of one that is not there is never answered
	}
	_, err = s.js.ResetConsumerToSequence(ctx, feed.Stream, name, to(uint64(last)))
	return err
}

// consumer is that of the generation that is read.
func (s *survival) consumer(ctx context.Context) (string, error) {
	projections, err := s.api.Projections(ctx)
	if err != nil {
		return "", err
	}
	return projections[0].Consumer, nil
}

// links are those of one of each service, to each of the two servers.
var links = []struct {
	name string
	of   func(*survival) (*process, *link)
}{
	{"command and Postgres", func(s *survival) (*process, *link) { p := s.one(s.commands); return p, s.toPostgres[p] }},
	{"projector and Postgres", func(s *survival) (*process, *link) { p := s.one(s.projectors); return p, s.toPostgres[p] }},
	{"query and Postgres", func(s *survival) (*process, *link) { p := s.one(s.queries); return p, s.toPostgres[p] }},
	{"command and NATS", func(s *survival) (*process, *link) { p := s.one(s.commands); return p, s.toNATS[p] }},
	{"projector and NATS", func(s *survival) (*process, *link) { p := s.one(s.projectors); return p, s.toNATS[p] }},
	{"query and NATS", func(s *survival) (*process, *link) { p := s.one(s.queries); return p, s.toNATS[p] }},
}

func networkFaults() []fault {
	var all []fault
	for _, between := range links {
		all = append(all,
			fault{"latency of 200 ms between " + between.name, func(s *survival) error {
				_, l := between.of(s)
				l.slow(200 * time.Millisecond)
				s.chance(3 * time.Second)
				l.slow(0)
				return nil
			}},
			fault{"partition between " + between.name, func(s *survival) error {
				_, l := between.of(s)
				l.part()
				s.chance(4 * time.Second)
				l.heal()
				return nil
			}},
			fault{"connections cut between " + between.name, func(s *survival) error {
				_, l := between.of(s)
				l.cut()
				return nil
			}})
	}
	for how, what := range map[int32]string{loseCommit: "before", loseCommitted: "after"} {
		for service, of := range map[string]func(*survival) *process{
			"command": func(s *survival) *process { return s.one(s.commands) }, "projector": func(s *survival) *process { return s.holder(s.t.Context(), projectorLock) },
		} {
			all = append(all, fault{fmt.Sprintf("connection of %s cut %s its COMMIT", service, what), func(s *survival) error {
				p := of(s)
				if p == nil {
					p = s.projectors[0]
				}
				l := s.toPostgres[p]
				l.cutAtCommit(how)
				return s.until("a COMMIT was cut", func() bool { return l.commits.Load() == passCommit })
			}})
		}
	}
	slices.SortFunc(all, func(a, b fault) int { return cmp.Compare(a.name, b.name) }) // a map has no order
	return all
}
