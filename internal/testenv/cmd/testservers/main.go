// Command testservers starts the servers that tests need, runs a command that
// finds them in its environment, ends them, and exits as the command did:
//
//	go run ./internal/testenv/cmd/testservers -- go test ./...
//	go run ./internal/testenv/cmd/testservers --only cassandra,kafka -- go test ./store/... ./dirty/...
//
// Without a command it prints the variables and waits for an interrupt.
//
// A server that the environment names already (AFTERHOURS_TEST_CASSANDRA,
// AFTERHOURS_TEST_KAFKA, AFTERHOURS_TEST_S3) is used as it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

func main() { os.Exit(run(os.Args[1:])) }

// run returns the exit code: the command's, 1 when a server does not start, 2
// when the arguments make no sense.
func run(args []string) int {
	names, command, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go watchParent()

	env, shutdown, err := start(ctx, names)
	defer shutdown()
	if err != nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
		return 1
	}
	if len(command) == 0 {
		return show(ctx, env)
	}
	return execute(command, env)
}

// parse splits the arguments into the servers to start and the command.
func parse(args []string) (names, command []string, err error) {
	f := flag.NewFlagSet("testservers", flag.ContinueOnError)
	f.Usage = func() {
		fmt.Fprintln(f.Output(), "usage: testservers [--only cassandra,kafka,s3] [-- command argument...]")
		f.PrintDefaults()
	}
	only := f.String("only", strings.Join(servers.Names, ","), "servers to start, separated by commas")
	if err := f.Parse(args); err != nil {
		return nil, nil, err
	}
	names = strings.Split(*only, ",")
	for _, name := range names {
		if !slices.Contains(servers.Names, name) {
			return nil, nil, fmt.Errorf("--only %q: have %s", name, strings.Join(servers.Names, ", "))
		}
	}
	return names, f.Args(), nil
}

// start starts the named servers at the same time. It returns the variables
// that lead to them, and what ends them, also after an error.
func start(ctx context.Context, names []string) (env []string, shutdown func(), err error) {
	started := make([]*servers.Server, len(names))
	g, ctx := errgroup.WithContext(ctx)
	for i, name := range names {
		if os.Getenv(servers.Variable(name)) != "" {
			continue
		}
		g.Go(func() (err error) {
			begin := time.Now()
			if started[i], err = servers.Start(ctx, name); err == nil {
				fmt.Fprintf(os.Stderr, "testservers: %s at %s after %.1f s\n", name, started[i].Addr, time.Since(begin).Seconds())
			}
			return err
		})
	}
	err = g.Wait()
	started = slices.DeleteFunc(started, func(s *servers.Server) bool { return s == nil })
	for _, s := range started {
		env = append(env, s.Env()...)
	}
	return env, func() { stopAll(started) }, err
}

func stopAll(started []*servers.Server) {
	for _, s := range started {
		s.Stop()
	}
}

// show prints the variables in a form that a shell can read, and waits.
func show(ctx context.Context, env []string) int {
	for _, kv := range env {
		fmt.Println("export " + kv)
	}
	fmt.Fprintln(os.Stderr, "testservers: running, interrupt to end")
	<-ctx.Done()
	return 0
}

// execute runs the command. Signals go on to it, and the servers stay until it
// has ended.
func execute(command, env []string) int {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
		return 1
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	return exitCode(cmd, err)
}

// exitCode follows the shells: 128 and the signal for a command that was killed.
func exitCode(cmd *exec.Cmd, err error) int {
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "testservers:", err)
		return 1
	}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// watchParent terminates this process when its parent ends. The go command
// passes no SIGTERM to what it runs: its end is all we see of one.
func watchParent() {
	parent := os.Getppid()
	for range time.Tick(time.Second) {
		if os.Getppid() != parent {
			syscall.Kill(os.Getpid(), syscall.SIGTERM)
			return
		}
	}
}
