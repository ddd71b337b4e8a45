package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
)

// daemonsLimit is how long a daemon may take to end when nothing disturbs it.
const daemonsLimit = time.Minute

// settle ends the daemons, drains the queue, compares the lake with the ledger,
// and has the commands that look for mistakes look for them.
func (s *soak) settle(ctx context.Context) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	s.haltAll(ctx)
	steps := []struct {
		argv []string
		want string // in what it prints
	}{
		// Before anything is swept: what is acknowledged must be found by its marks.
		{[]string{"once"}, ""},
		{nil, ""},
		{[]string{"sweep", "--all"}, ""},
		{[]string{"once"}, ""},
		{[]string{"verify"}, "; 0 hours behind, 0 broken"},
		{nil, ""},
	}
	r := s.newReport()
	for _, step := range steps {
		if step.argv == nil {
			lake, out, err := s.compare(ctx)
			if err != nil {
				return r, err
			}
			r.lake(lake, out)
			continue
		}
		said, err := s.oneShot(ctx, step.argv, step.want)
		if err != nil {
			return r, err
		}
		r.heard(said)
	}
	r.duration = time.Since(s.begin)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.violations = s.violations
	s.log.Info("end", "violations", len(r.violations))
	return r, nil
}

// haltAll waits until all daemons work, and asks them to end, which nothing keeps
// them from doing well.
func (s *soak) haltAll(ctx context.Context) {
	for _, d := range s.daemons() {
		if err := until(ctx, d.works); err != nil {
			s.wrong("with no faults: %v", err)
		}
		if code, err := d.halt(daemonsLimit); code != 0 || err != nil {
			s.wrong("%s ended with code %d after SIGTERM, with no faults: %v", d.name, code, err)
		}
	}
}

// oneShot runs a command of the compactor to its end, which must be good.
func (s *soak) oneShot(ctx context.Context, argv []string, want string) (string, error) {
	begin := time.Now()
	all := append(append([]string{filepath.Join(s.bin(), "compactor")}, argv...), "--log-level", "warn")
	out, code, err := command(ctx, s.dirOf("commands"), append(all, s.world.flags(s.ttl)...), credentials()...)
	if ctx.Err() != nil {
		s.wrong("compactor %s did not end in time: %s", argv[0], out)
		return "", fmt.Errorf("compactor %s: %w", argv[0], context.Cause(ctx))
	}
	if err != nil || code != 0 || !strings.Contains(out, want) {
		s.wrong("compactor %s ended with code %d, %v:\n%s", argv[0], code, err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	s.log.Info("command", "argv", argv, "code", code, "took", time.Since(begin).String(), "out", out)
	return fmt.Sprintf("compactor %s: %s", strings.Join(argv, " "), lines[len(lines)-1]), nil
}

// compare reads the whole lake and compares it with the ledger.
func (s *soak) compare(ctx context.Context) (map[afterhours.Hour]object, outcome, error) {
	if err := s.reader.pass(ctx); err != nil {
		return nil, outcome{}, fmt.Errorf("read the lake, with no faults: %w", err)
	}
	lake, err := s.world.bucket.all(ctx)
	if err != nil {
		return nil, outcome{}, errors.Join(errors.New("read the lake, with no faults"), err)
	}
	out := s.ledger.compare(lake)
	for i, w := range out.wrong {
		if i == 20 {
			s.wrong("and %d more", len(out.wrong)-i)
			break
		}
		s.wrong("%s", w)
	}
	return lake, out, nil
}
