package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// readLimit ends a reader that hangs; a busy machine draws things out.
const readLimit = 10 * time.Minute

// process is a reader at work: a Python process that reads the hour whenever it
// is told to, and keeps whatever it caches in between.
type process struct {
	version string

	cmd    *exec.Cmd
	input  io.WriteCloser
	output *bufio.Reader
	log    string
}

// place is where a reader finds the lake.
type place struct {
	Endpoint string            `json:"endpoint"`
	Bucket   string            `json:"bucket"`
	Access   string            `json:"access"`
	Secret   string            `json:"secret"`
	Region   string            `json:"region"`
	Path     string            `json:"path"` // of the lake: a prefix in the bucket, or a directory if it begins with a slash
	Jars     string            `json:"jars"`
	Options  map[string]string `json:"options"`
}

// startProcess starts a reader in directory dir and waits until it is ready.
func startProcess(ctx context.Context, dir, script, reader, python string, p place) (*process, error) {
	config, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "reader.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	r := &process{cmd: exec.CommandContext(ctx, python, script, reader, string(config)), log: log.Name()}
	r.cmd.Dir, r.cmd.Stderr = dir, log
	if r.input, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.output = bufio.NewReader(output)
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	var ready struct{ Version string }
	if err := r.receive(&ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start: %w", err), r.close())
	}
	r.version = ready.Version
	return r, nil
}

// read has the reader read the hour once.
func (r *process) read() (answer, error) {
	if _, err := io.WriteString(r.input, "read\n"); err != nil {
		return answer{}, fmt.Errorf("%w\n%s", err, r.tail())
	}
	var a answer
	err := r.receive(&a)
	return a, err
}

// receive reads one line of JSON.
func (r *process) receive(v any) error {
	watchdog := time.AfterFunc(readLimit, func() { _ = r.cmd.Process.Kill() })
	defer watchdog.Stop()
	line, err := r.output.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the reader ended: %w\n%s", err, r.tail())
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("the reader says %q: %w", line, err)
	}
	return nil
}

// close has the reader end.
func (r *process) close() error {
	watchdog := time.AfterFunc(10*time.Second, func() { _ = r.cmd.Process.Kill() })
	defer watchdog.Stop()
	err := r.input.Close()
	_, drained := io.Copy(io.Discard, r.output)
	_ = r.cmd.Wait() // how it ends does not matter any more
	return errors.Join(err, drained)
}

func (r *process) tail() string {
	b, err := os.ReadFile(r.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
