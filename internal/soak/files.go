package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/afterhours/afterhours"
)

// files has files ingested, one after the other. Some of the commands are killed;
// like those that fail they are run again, until one has said by its exit code that
// all is kept.
type files struct {
	*load
	dir    string
	argv   []string // what the file's name is added to
	every  time.Duration
	kills  func() bool // whether commands may be killed by now
	killed func()      // is told of every kill
}

// fileEvents is how many records a file has.
const fileEvents = 1200

// run begins no other file when ctx ends. The one that is begun is brought in to
// its end, unless all ends.
func (f *files) run(ctx, all context.Context) error {
	for n := 0; ctx.Err() == nil; n++ {
		path := filepath.Join(f.dir, fmt.Sprintf("events-%d.jsonl", n))
		records, err := f.write(path)
		if err != nil {
			return err
		}
		if err := f.bringIn(all, path, records); err != nil {
			return err
		}
		pause(ctx, f.every)
	}
	return nil
}

// write makes a file with records of three hours.
func (f *files) write(path string) ([]record, error) {
	var records []record
	var text []byte
	hours := [3]afterhours.Hour{}
	for i := range hours {
		hours[i] = f.hour(time.Now())
	}
	for range fileEvents {
		r, b := f.next(hours[f.rng.IntN(len(hours))])
		records = append(records, r)
		text = append(append(text, b...), '\n')
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return nil, err
	}
	return records, os.Chtimes(path, time.Time{}, recordTime())
}

// fileLimit is how long a file may take, with all repetitions.
const fileLimit = 5 * time.Minute

func (f *files) bringIn(ctx context.Context, path string, records []record) error {
	ctx, cancel := context.WithTimeout(ctx, fileLimit)
	defer cancel()
	for {
		out, code, killed, err := f.try(ctx, path)
		switch {
		case err != nil:
			return err
		case code == 0:
			f.ledger.ack(time.Now(), records...)
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s is not ingested after %v: %s", path, fileLimit, out)
		case killed:
			f.killed()
		}
		pause(ctx, reviveAfter)
	}
}

// try runs the command once, and now and then kills it on the way.
func (f *files) try(ctx context.Context, path string) (out string, code int, killed bool, err error) {
	if f.rng.IntN(3) == 0 && f.kills() {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, time.Duration(f.rng.IntN(1500))*time.Millisecond)
		defer end()
	}
	out, code, err = command(ctx, f.dir, append(f.argv, path), credentials()...)
	return out, code, ctx.Err() != nil, err
}
