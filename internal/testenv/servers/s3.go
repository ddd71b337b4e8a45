package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Credentials and region of the S3 gateway.
const (
	S3Access = "afterhours"
	S3Secret = "afterhours-secret"
	S3Region = "us-east-1"
)

const (
	versitygwVersion = "v1.8.0"
	versitygwPath    = "github.com/versity/versitygw"
)

// The gateway takes the checksum of a whole object for that of any range copied from
// it, if both are of one kind. Like S3, ours computes it.
const (
	copyFile  = "backend/posix/posix.go"
	copyWrong = `if checksums.Algorithm == "" || mpChecksums.Algorithm != checksums.Algorithm {`
	copyRight = `{`
)

// fetchS3 builds the gateway outside of our module, which would otherwise carry
// its 77 modules.
func fetchS3(ctx context.Context) (string, error) {
	return cached("versitygw-"+versitygwVersion+"-copies", func(dir string) error {
		src, err := os.MkdirTemp("", "versitygw-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(src)
		if err := sourceS3(ctx, src); err != nil {
			return err
		}
		return output(goCommand(ctx, src, "build", "-o", filepath.Join(dir, "versitygw"), "./cmd/versitygw"))
	})
}

// sourceS3 fills a directory with the gateway's source.
func sourceS3(ctx context.Context, src string) error {
	cmd := goCommand(ctx, src, "mod", "download", "-json", versitygwPath+"@"+versitygwVersion)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		return err
	}
	if err := os.CopyFS(src, os.DirFS(module.Dir)); err != nil {
		return err
	}
	file := filepath.Join(src, copyFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n := bytes.Count(text, []byte(copyWrong)); n != 1 {
		return fmt.Errorf("%s of the gateway has the line to correct %d times: see whether %s is right by itself", copyFile, n, versitygwVersion)
	}
	return os.WriteFile(file, bytes.Replace(text, []byte(copyWrong), []byte(copyRight), 1), 0o644)
}

// goCommand runs the go command in a directory as nobody's workspace, for this
// machine.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=")
	return cmd
}

// buildS3 serves a directory: a bucket is a folder of it.
func buildS3(_ context.Context, h home) ([]string, error) {
	root := filepath.Join(h.dir, "buckets")
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, err
	}
	return []string{
		filepath.Join(h.programs, "versitygw"), "--port", local(h.ports[0]), "--quiet",
		"--access", S3Access, "--secret", S3Secret, "--region", S3Region, "posix", root,
	}, nil
}

// answerS3 takes any answer in HTTP: an unsigned request is refused, politely.
func answerS3(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
	if err != nil {
		return err
	}
	req.Close = true // no idle connection, whose goroutines look like a leak
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("answers %s", resp.Status)
	}
	return nil
}
