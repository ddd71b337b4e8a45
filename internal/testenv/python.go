package testenv

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

//go:embed requirements.txt
var requirements []byte

var python = sync.OnceValues(func() (string, error) { return PythonWith(requirements) })

// Python returns the path of a Python interpreter that has DuckDB and pyarrow in
// the versions of requirements.txt: what users read the lake with.
func Python(tb testing.TB) string {
	tb.Helper()
	path, err := python()
	if err != nil {
		tb.Fatalf("testenv: python: %v", err)
	}
	return path
}

// PythonWith returns the path of a Python interpreter that has these packages, as
// pip lists them. The first call on a machine makes a virtual environment in the
// user's cache, for which it needs python3 and pip.
func PythonWith(requirements []byte) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	base = filepath.Join(base, "afterhours-testenv")
	// The hash makes a new environment when a version changes.
	dir := filepath.Join(base, fmt.Sprintf("python-%x", sha256.Sum256(requirements))[:len("python-")+8])
	path := filepath.Join(dir, "bin", "python")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(base, "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := fillPython(tmp, requirements); err != nil {
		return "", err
	}
	// An environment under its name is complete. Another process may have made
	// it meanwhile, which is as good.
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return path, nil
}

func fillPython(dir string, requirements []byte) error {
	list := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(list, requirements, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", dir},
		{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r", list},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w\n%s", args, err, out)
		}
	}
	return nil
}
