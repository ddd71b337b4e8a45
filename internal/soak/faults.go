package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/proxy"
	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// Classes of faults, as the report has them.
const (
	classKill    = "kill -9"
	classPause   = "SIGSTOP"
	classNetwork = "connections"
	classDisk    = "full disk"
	classGroup   = "rebalance"
)

// fault is something that is done to one target and undone again.
type fault struct {
	class  string
	what   string // kind of process, or what is done to connections
	target string // no two faults are done to one at the same time
	weight int    // how often, compared with others
	do     func(ctx context.Context, hold time.Duration) error
}

// ofDaemon are the faults of a process of ours.
func ofDaemon(d *daemon, weight int) []fault {
	return []fault{
		{classKill, d.kind, d.name, weight, func(context.Context, time.Duration) error { return d.kill() }},
		{classPause, d.kind, d.name, weight, func(ctx context.Context, hold time.Duration) error {
			if err := d.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			pause(ctx, hold)
			return d.signal(syscall.SIGCONT)
		}},
	}
}

// ofServer are the faults of a server. ready waits until it can be used again.
func ofServer(s *servers.Server, target string, weight int, ready func(context.Context) error) []fault {
	return []fault{
		{classKill, s.Name, target, weight, func(ctx context.Context, hold time.Duration) error {
			if err := s.Kill(); err != nil {
				return err
			}
			pause(ctx, hold)
			if err := s.Restart(ctx); err != nil {
				return err
			}
			return ready(ctx)
		}},
		{classPause, s.Name, target, weight, func(ctx context.Context, hold time.Duration) error {
			if err := s.Pause(); err != nil {
				return err
			}
			pause(ctx, hold)
			if err := s.Resume(); err != nil {
				return err
			}
			return ready(ctx)
		}},
	}
}

// ofDoor are the faults of the connections to a server.
func ofDoor(p *proxy.Proxy, name, target string, weight int, ready func(context.Context) error) []fault {
	held := func(m proxy.Mode) func(context.Context, time.Duration) error {
		return func(ctx context.Context, hold time.Duration) error {
			p.Set(m)
			pause(ctx, hold)
			p.Set(proxy.Pass)
			return ready(ctx)
		}
	}
	cut := func(context.Context, time.Duration) error { p.Cut(); return nil }
	return []fault{
		{classNetwork, name + " cut", target, weight, cut},
		{classNetwork, name + " slow", target, weight, held(proxy.Slow)},
		{classNetwork, name + " half-open", target, weight, held(proxy.HalfOpen)},
		{classNetwork, name + " refused", target, weight, held(proxy.Refuse)},
	}
}

// rebalance has a third compactor come and go.
func rebalance(d *daemon) fault {
	return fault{classGroup, "compactor", d.name, 4, func(ctx context.Context, hold time.Duration) error {
		d.start()
		pause(ctx, 5*time.Second+hold)
		code, err := d.halt(time.Minute)
		d.events("left", "who", d.name, "code", code)
		return err
	}}
}

// fullDisk fills the file system of a compactor's temporary files.
func fullDisk(d *daemon) fault {
	return fault{classDisk, "compactor", d.name, 3, func(ctx context.Context, hold time.Duration) error {
		pid, err := d.pid()
		if err != nil {
			return err
		}
		// It has a file system of its own, seen by it and below its process.
		path := filepath.Join("/proc", fmt.Sprint(pid), "root", d.tempDir(), "ballast")
		if err := fill(path); err != nil {
			return gone(err)
		}
		pause(ctx, hold)
		return gone(os.Remove(path))
	}}
}

// fill writes a file until the disk is full.
func fill(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, 4<<10) // a page; the file system has nothing smaller to give
	for err == nil {
		_, err = f.Write(block)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// gone turns the error of a process that has ended by itself into errDown.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%w: %w", errDown, err)
	}
	return err
}
