package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/afterhours/afterhours/compact"
)

// task is what a process of its own does. It comes as JSON in the argument after
// "child"; fields that a task has no use for are empty.
type task struct {
	Do      string // a key of tasks
	Store   string `json:",omitempty"` // URL, cassandra://HOST:PORT/KEYSPACE or pebble:///DIR
	Queue   string `json:",omitempty"` // URL, kafka://HOST:PORT/TOPIC or pebble:///DIR
	Lake    string `json:",omitempty"` // URL
	Events  int    `json:",omitempty"`
	Late    int    `json:",omitempty"`
	Hours   int    `json:",omitempty"`
	Workers int    `json:",omitempty"`
	Profile string `json:",omitempty"` // the names of profiles begin with it; none are written if empty
}

// took is what a process prints of its task, as JSON: how long what is measured
// took, without start-up and preparation, and how many rows, hours or files that were.
type took struct {
	Seconds float64 `json:"seconds"`
	Units   int64   `json:"units"`
}

var tasks = map[string]func(context.Context, task) (took, error){
	"raw batches": rawBatches, "ingest": ingestAll,
	"fill": fill, "bare read": bareRead, "encode": encode, "rewrite": rewrite,
	"base": makeBase, "late": fillLate,
	"strays": fillHours, "drain": drain, "drain again": drainAgain, "files": bareFiles, "puts": barePuts,
}

// runTask is the main function of a process that another has started.
func runTask(ctx context.Context, arg string) error {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return fmt.Errorf("child %q: %w", arg, err)
	}
	do := tasks[t.Do]
	if do == nil {
		return fmt.Errorf("child: no task is called %q", t.Do)
	}
	res, err := do(ctx, t)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Do, err)
	}
	return json.NewEncoder(os.Stdout).Encode(res)
}

// time measures what f does, and profiles it if that is asked for.
func (t task) time(f func() error) (time.Duration, error) {
	stop, err := t.profile()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = f()
	elapsed := time.Since(start)
	return elapsed, errors.Join(err, stop())
}

// profile begins a CPU profile; the returned function ends it and writes one of the
// heap and of all that was allocated.
func (t task) profile() (stop func() error, err error) {
	if t.Profile == "" {
		return func() error { return nil }, nil
	}
	cpu, err := os.Create(t.Profile + ".cpu.pprof")
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return nil, errors.Join(err, cpu.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(t.Profile + ".heap.pprof")
		if err != nil {
			return errors.Join(err, cpu.Close())
		}
		return errors.Join(cpu.Close(), pprof.Lookup("heap").WriteTo(heap, 0), heap.Close())
	}, nil
}

// config is that of a compactor with so many workers, and limits the process as the
// commands do.
func config(workers int) compact.Config {
	cfg := compact.Defaults()
	cfg.Workers, cfg.Logger = workers, quiet
	cfg.LimitRuntime()
	return cfg
}

// figure is what one run of a work took.
type figure struct {
	took
	rss int64 // peak, in bytes; 0 if the work has no process of its own
}

// start has a process of its own do a task. One that has been large itself would pass
// its peak memory on to those that it starts: so this one only starts others.
func (t task) start(ctx context.Context) (figure, error) {
	self, err := os.Executable()
	if err != nil {
		return figure{}, err
	}
	arg, err := json.Marshal(t)
	if err != nil {
		return figure{}, err
	}
	return runProgram(ctx, self, "child", string(arg))
}

// runProgram runs a program that prints what it took.
func runProgram(ctx context.Context, name string, args ...string) (figure, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return figure{}, ctx.Err()
	}
	if err != nil {
		return figure{}, err
	}
	f := figure{rss: cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&f.took); err != nil {
		return figure{}, fmt.Errorf("read what it took from %q: %w", out, err)
	}
	return f, nil
}
