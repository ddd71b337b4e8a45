package servers

import (
	"context"
	_ "embed"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const kafkaVersion = "4.1.1"

// kafkaCluster is any fixed ID: the cluster has one node and lives for minutes.
const kafkaCluster = "YWZ0ZXJob3Vycy10ZXN0ZQ"

//go:embed kafka/pom.xml
var kafkaPOM []byte

//go:embed kafka/server.properties
var kafkaProperties string

//go:embed kafka/log4j2.properties
var kafkaLog4j string

func fetchKafka(ctx context.Context) (string, error) {
	return fetchJars(ctx, Kafka+"-"+kafkaVersion, kafkaPOM)
}

// buildKafka configures one node that is broker and controller, and formats its
// log directory.
func buildKafka(ctx context.Context, h home) ([]string, error) {
	java, err := java(ctx)
	if err != nil {
		return nil, err
	}
	properties := filepath.Join(h.dir, "server.properties")
	text := strings.NewReplacer("CLIENT_PORT", port(h, 0), "CONTROLLER_PORT", port(h, 1),
		"FRONT_PORT", port(h, 2), "BACK_PORT", port(h, 3), "LOG_DIR", filepath.Join(h.dir, "logs")).Replace(kafkaProperties)
	if err := writeFiles(h.dir, map[string]string{"server.properties": text, "log4j2.properties": kafkaLog4j}); err != nil {
		return nil, err
	}
	argv := append([]string{java}, jvm(h)...)
	argv = append(argv, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dlog4j2.configurationFile="+filepath.Join(h.dir, "log4j2.properties"),
		"-cp", filepath.Join(h.programs, "*"))
	format := append(argv[1:len(argv):len(argv)], "kafka.tools.StorageTool", "format", "-t", kafkaCluster, "-c", properties)
	if err := output(exec.CommandContext(ctx, java, format...)); err != nil {
		return nil, err
	}
	return append(argv, "kafka.Kafka", properties), nil
}

// answerKafka asks for the broker's API versions.
func answerKafka(ctx context.Context, addr string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RequestRetries(0), kgo.DialTimeout(time.Second))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return c.Ping(ctx)
}

func port(h home, i int) string { return strconv.Itoa(h.ports[i]) }
