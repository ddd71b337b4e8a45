package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Each reader has an environment of its own: together they want packages that
// exclude each other.
//
//go:embed requirements/*.txt
var requirements embed.FS

// artifacts are what a reader needs from Maven besides its Python packages.
var artifacts = map[string][]string{
	"spark": {"org.apache.hadoop:hadoop-aws:3.3.4", "com.amazonaws:aws-java-sdk-bundle:1.12.262"},
	"trino": {"io.trino:trino-server:" + trinoVersion + ":tar.gz"},
}

// programs is what a reader was installed as.
type programs struct {
	python string // interpreter with the reader's packages
	jars   string // directory of its artifacts, "" if it has none
}

// install makes a reader's programs present in the user's cache. The first time
// downloads: Trino is 820 MB, Spark 600 MB.
func install(ctx context.Context, reader string) (programs, error) {
	list, err := requirements.ReadFile("requirements/" + reader + ".txt")
	if err != nil {
		return programs{}, err
	}
	dir, err := cached("reader-"+reader, string(list), func(dir string) error { return fillPython(ctx, dir, list) })
	if err != nil {
		return programs{}, fmt.Errorf("install Python packages: %w", err)
	}
	p := programs{python: filepath.Join(dir, "bin", "python")}
	if names := artifacts[reader]; len(names) > 0 {
		p.jars, err = cached("reader-"+reader+"-jars", strings.Join(names, " "), func(dir string) error { return fillJars(ctx, dir, names) })
	}
	return p, err
}

// cached returns the directory of the user's cache that was filled for this
// content, filling it first if it is absent. A directory under its name is complete.
func cached(name, content string, fill func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "afterhours-testenv")
	dir := filepath.Join(base, fmt.Sprintf("%s-%.4x", name, sha256.Sum256([]byte(content))))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(base, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return "", err
	}
	// Another process may have made it meanwhile, which is as good.
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, nil
}

func fillPython(ctx context.Context, dir string, list []byte) error {
	file := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(file, list, 0o644); err != nil {
		return err
	}
	if err := command(ctx, "python3", "-m", "venv", dir); err != nil {
		return err
	}
	return command(ctx, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", file)
}

// fillJars copies artifacts and unpacks archives: of Trino the server and the one
// plugin that is needed, whose files are links to those of others.
func fillJars(ctx context.Context, dir string, names []string) error {
	for _, name := range names {
		if err := command(ctx, "mvn", "-B", "-q", "dependency:copy", "-Dartifact="+name, "-DoutputDirectory="+dir); err != nil {
			return err
		}
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		return err
	}
	if err := command(ctx, "tar", "-xzf", archives[0], "-C", dir, "--strip-components=1"); err != nil {
		return err
	}
	plugins, err := filepath.Glob(filepath.Join(dir, "plugin", "*"))
	for _, p := range plugins {
		if filepath.Base(p) != "hive" {
			err = errors.Join(err, os.RemoveAll(p))
		}
	}
	return errors.Join(err, os.Remove(archives[0]))
}

// command runs a program and puts what it printed into the error.
func command(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return nil
}
