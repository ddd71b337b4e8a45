package servers

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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
	versitygwPath    = "github.com/versity/versitygw/cmd/versitygw"
)

// fetchS3 builds the gateway outside of our module, which would otherwise carry
// its 77 modules.
func fetchS3(ctx context.Context) (string, error) {
	return cached("versitygw-"+versitygwVersion, func(dir string) error {
		cmd := exec.CommandContext(ctx, "go", "install", versitygwPath+"@"+versitygwVersion)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=")
		return output(cmd)
	})
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
