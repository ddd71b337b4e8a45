package kafka

import (
	"context"
	"crypto/tls"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	kafkagosasl "github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

const (
	clientID    = "afterhours"
	dialTimeout = 5 * time.Second
)

// mechanisms are the values of the URL's parameter sasl.
var mechanisms = map[string]func(user, password string) sasl.Mechanism{
	"plain":         func(u, p string) sasl.Mechanism { return plain.Auth{User: u, Pass: p}.AsMechanism() },
	"scram-sha-256": func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha256Mechanism() },
	"scram-sha-512": func(u, p string) sasl.Mechanism { return scram.Auth{User: u, Pass: p}.AsSha512Mechanism() },
}

// client returns a franz-go client, which reads.
func (c *config) client(more ...kgo.Opt) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.brokers...),
		kgo.ClientID(clientID),
		kgo.DialTimeout(dialTimeout),
		kgo.MetadataMaxAge(time.Minute), // how long added partitions go unread
	}
	if c.tls {
		opts = append(opts, kgo.DialTLS())
	}
	if c.sasl != "" {
		opts = append(opts, kgo.SASL(mechanisms[c.sasl](c.user, c.password)))
	}
	return kgo.NewClient(append(opts, more...)...)
}

// transport returns the connections of kafka-go, which writes.
func (c *config) transport() *kafkago.Transport {
	t := &kafkago.Transport{
		ClientID:       clientID,
		DialTimeout:    dialTimeout,
		MetadataTopics: []string{c.topic},
		MetadataTTL:    time.Second, // a leader that moved is found while a batch is still tried
	}
	if c.tls {
		t.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if c.sasl != "" {
		t.SASL = mechanism{mechanisms[c.sasl](c.user, c.password)}
	}
	return t
}

// mechanism gives kafka-go franz-go's authentication, so that both clients
// understand a URL alike.
type mechanism struct{ sasl.Mechanism }

// Start implements kafka-go's sasl.Mechanism.
func (m mechanism) Start(ctx context.Context) (kafkagosasl.StateMachine, []byte, error) {
	s, first, err := m.Authenticate(ctx, "")
	return session{s}, first, err
}

type session struct{ sasl.Session }

// Next implements kafka-go's sasl.StateMachine.
func (s session) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	return s.Challenge(challenge)
}
