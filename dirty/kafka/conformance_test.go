package kafka

import (
	"log/slog"
	"testing"

	"github.com/afterhours/afterhours/dirty"
	"github.com/afterhours/afterhours/dirty/dirtytest"
	"github.com/afterhours/afterhours/internal/testenv"
)

// The topic keeps every promise of the contract.
func TestConformance(t *testing.T) {
	t.Parallel()
	dirtytest.Run(t, func(t *testing.T) dirty.Queue {
		q, err := Open(t.Context(), "kafka://"+testenv.Kafka(t)+"/"+testenv.Topic(t, "suite")+"?partitions=3", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return q
	})
}
