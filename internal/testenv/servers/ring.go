package servers

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// member is a node's place in a ring: node i listens on 127.0.1.i, and tells
// clients that it is at 127.0.2.i, where nobody is until somebody stands in. All
// use the same ports.
type member struct{ number int }

func (m *member) ip() string    { return "127.0.1." + strconv.Itoa(m.number) }
func (m *member) front() string { return "127.0.2." + strconv.Itoa(m.number) }

func (m *member) at(port int) string      { return net.JoinHostPort(m.ip(), strconv.Itoa(port)) }
func (m *member) frontAt(port int) string { return net.JoinHostPort(m.front(), strconv.Itoa(port)) }

// settings fill in the configuration. What a member acknowledges is in its commit
// log, so that kill -9 takes nothing back: with periodic syncs it would, and a
// quorum of which one forgot is none.
func (m *member) settings() []string {
	return []string{
		"ADDRESS", m.ip(), "FRONT", m.front(), "SEED", (&member{1}).ip(),
		"MEMTABLE_HEAP", "128MiB", "MEMTABLE_OFFHEAP", "128MiB",
		"COMMITLOG_SYNC", "commitlog_sync: batch",
	}
}

// memberOptions come after the usual ones, and the last word counts. Members share
// a small machine, are short-lived and have to be up again soon.
var memberOptions = []string{
	"-Xmx1g", "-XX:MaxDirectMemorySize=256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
	"-Dcassandra.ring_delay_ms=2000", "-Dcassandra.unsafesystem=false",
}

// StartRing starts n Cassandra nodes that are one ring, each with about 1.4 GiB of
// memory, and waits until each answers; whether they know of each other by then is
// for the caller to ask. Clients that are given a node by its Door find the others
// by theirs.
func StartRing(ctx context.Context, n int) ([]*Server, error) {
	r := recipes[Cassandra]
	programs, err := r.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", Cassandra, err)
	}
	var nodes []*Server
	err = onFreePorts(r.ports, func(ports []int) error {
		nodes, err = startRing(ctx, n, home{programs: programs, ports: ports})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start a ring of %d nodes: %w", n, err)
	}
	return nodes, nil
}

// startRing starts the first node, which the others ask for the rest.
func startRing(ctx context.Context, n int, h home) ([]*Server, error) {
	nodes := make([]*Server, n)
	start := func(ctx context.Context, i int) (err error) {
		mine := h
		mine.member = &member{i + 1}
		nodes[i], err = recipes[Cassandra].start(ctx, Cassandra, mine)
		return err
	}
	err := start(ctx, 0)
	if err == nil {
		others, ctx := errgroup.WithContext(ctx)
		for i := 1; i < n; i++ {
			others.Go(func() error { return start(ctx, i) })
		}
		err = others.Wait()
	}
	if err == nil {
		return nodes, nil
	}
	for _, s := range nodes {
		if s != nil {
			s.Stop()
		}
	}
	return nil, err
}
