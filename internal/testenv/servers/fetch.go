package servers

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// cached returns the directory name in the cache, filling it first if it is
// absent. fill gets an empty directory; only when it returns nil does that one
// appear under its name, so a directory that exists is complete. A file lock
// keeps two processes from fetching the same thing at once.
func cached(name string, fill func(dir string) error) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "afterhours-testenv")
	dir := filepath.Join(base, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	lock, err := lockFile(dir + ".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil { // by whom we waited for
		return dir, nil
	}
	return dir, fillDir(dir, fill)
}

func fillDir(dir string, fill func(dir string) error) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "fetching-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := fill(tmp); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// lockFile waits for the lock on path. Closing the file, or the end of the
// process, gives it up.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f, nil
}

// fetchJars fills a directory with the jars of a pom.xml. Its name carries a
// hash of the pom, so that a changed one is fetched anew.
func fetchJars(ctx context.Context, name string, pom []byte) (string, error) {
	return cached(fmt.Sprintf("%s-%x", name, sha256.Sum256(pom))[:len(name)+9], func(dir string) error {
		mvn, err := exec.LookPath("mvn")
		if err != nil {
			return fmt.Errorf("mvn (Apache Maven) is needed to fetch the jars: %w", err)
		}
		file := filepath.Join(dir, "pom.xml")
		if err := os.WriteFile(file, pom, 0o644); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "-f", file, "dependency:copy-dependencies", "-DoutputDirectory="+dir)
		return output(cmd)
	})
}

// output runs cmd and puts what it printed into the error.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

// java returns the path of a Java 17 or newer.
func java(ctx context.Context) (string, error) {
	name := "java"
	if jdk := os.Getenv("JAVA_HOME"); jdk != "" {
		name = filepath.Join(jdk, "bin", "java")
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("java 17 or newer is needed: %w", err)
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w\n%s", path, err, out)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s -version: no version in %q", path, out)
	}
	if v, _ := strconv.Atoi(string(m[1])); v < 17 {
		return "", fmt.Errorf("java 17 or newer is needed, %s is %d; set JAVA_HOME", path, v)
	}
	return path, nil
}
