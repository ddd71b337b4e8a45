package app

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/pflag"

	"github.com/afterhours/afterhours/ingest"
)

// TopicFlags are the flags that name Kafka topics to ingest.
type TopicFlags struct {
	brokers   []string
	topics    []string
	pattern   string
	group     string
	groupFlag string
}

// Add adds the flags. The group's name differs where a command has another group
// as well.
func (t *TopicFlags) Add(f *pflag.FlagSet, groupFlag string) {
	t.groupFlag = groupFlag
	f.StringSliceVar(&t.brokers, "brokers", nil, "Kafka brokers, `HOST:PORT,...`")
	f.StringSliceVar(&t.topics, "topics", nil, "`TOPIC,...` to ingest")
	f.StringVar(&t.pattern, "topic-pattern", "", "regular expression; all topics that match it are ingested, new ones too")
	f.StringVar(&t.group, groupFlag, "", "consumer group of the ingest")
}

// Given reports whether any of the flags was.
func (t *TopicFlags) Given() bool {
	return len(t.brokers)+len(t.topics)+len(t.pattern)+len(t.group) > 0
}

// Source returns the topics as a source, or every fault of the flags as a usage
// error.
func (t *TopicFlags) Source(ctx context.Context, g *Global) (ingest.Source, error) {
	var errs []error
	if len(t.brokers) == 0 {
		errs = append(errs, errors.New("--brokers is missing: want HOST:PORT, or several separated by commas"))
	}
	if (len(t.topics) == 0) == (t.pattern == "") {
		errs = append(errs, errors.New("give --topics or --topic-pattern, one of the two"))
	}
	if t.group == "" {
		errs = append(errs, fmt.Errorf("--%s is missing: offsets are committed for a group", t.groupFlag))
	}
	pattern, err := regexp.Compile(t.pattern)
	if err != nil {
		errs = append(errs, fmt.Errorf("--topic-pattern: %w", err))
	}
	if len(errs) > 0 {
		return nil, Usage(errors.Join(errs...))
	}
	if t.pattern == "" {
		pattern = nil
	}
	return ingest.OpenKafka(ctx, ingest.KafkaConfig{
		Brokers: t.brokers, Topics: t.topics, Pattern: pattern, Group: t.group, Log: g.Logger,
	})
}
