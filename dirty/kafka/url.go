package kafka

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// config is what a URL says.
type config struct {
	brokers     []string // host:port
	topic       string
	partitions  int32 // of a topic that must be created
	replication int16 // likewise; 0: as many as there are brokers, at most 3
	tls         bool
	sasl        string // a key of mechanisms, or empty
	user        string
	password    string
}

const (
	defaultPort       = "9092"
	defaultPartitions = 16
	maxPartitions     = 10_000
)

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// parseURL reads a queue's URL. Its errors never show the password.
func parseURL(raw string) (config, error) {
	c, err := parse(raw)
	if err != nil {
		return config{}, fmt.Errorf("parse Kafka URL: %w; want kafka://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]/TOPIC", err)
	}
	return c, nil
}

func parse(raw string) (config, error) {
	rest, ok := strings.CutPrefix(raw, "kafka://")
	if !ok {
		return config{}, errors.New("it does not begin with kafka://")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	// net/url knows one host only: it reads the URL without the brokers.
	at := strings.LastIndexByte(rest[:end], '@') + 1
	u, err := url.Parse("kafka://" + rest[:at] + "brokers" + rest[end:])
	if err != nil {
		return config{}, errors.New("user, password, topic or parameters are not percent-encoded well")
	}
	c := config{partitions: defaultPartitions, topic: strings.TrimPrefix(u.Path, "/"), user: u.User.Username()}
	c.password, _ = u.User.Password()
	c.brokers, err = parseBrokers(rest[at:end])
	return c, errors.Join(err, c.checkTopic(), c.parameters(u.RawQuery))
}

func (c *config) checkTopic() error {
	if !topicName.MatchString(c.topic) || c.topic == "." || c.topic == ".." {
		return fmt.Errorf("topic %q is not 1 to 249 of the characters a-z A-Z 0-9 . _ -", c.topic)
	}
	return nil
}

func parseBrokers(list string) ([]string, error) {
	var brokers []string
	for b := range strings.SplitSeq(list, ",") {
		if !strings.Contains(b, ":") || strings.HasSuffix(b, "]") {
			b = net.JoinHostPort(strings.Trim(b, "[]"), defaultPort)
		}
		host, port, err := net.SplitHostPort(b)
		if err != nil || host == "" {
			return nil, fmt.Errorf("broker %q is not HOST or HOST:PORT", b)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("broker %q: the port is not a number below 65536", b)
		}
		brokers = append(brokers, b)
	}
	return brokers, nil
}

// parameters reads the part after the question mark.
func (c *config) parameters(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the parameters are not percent-encoded well")
	}
	var faults []error
	for name, vs := range values {
		if len(vs) > 1 {
			faults = append(faults, fmt.Errorf("parameter %s is given twice", name))
		}
		faults = append(faults, c.parameter(name, vs[0]))
	}
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return errors.Join(append(faults, c.checkSecurity())...)
}

func (c *config) parameter(name, value string) error {
	switch name {
	case "partitions":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > maxPartitions {
			return fmt.Errorf("partitions=%q is not a number from 1 to %d", value, maxPartitions)
		}
		c.partitions = int32(n)
	case "replication":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > 100 {
			return fmt.Errorf("replication=%q is not a number from 1 to 100", value)
		}
		c.replication = int16(n)
	case "tls":
		on, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("tls=%q is not true or false", value)
		}
		c.tls = on
	case "sasl":
		if mechanisms[value] == nil {
			return fmt.Errorf("sasl=%q is not plain, scram-sha-256 or scram-sha-512", value)
		}
		c.sasl = value
	default:
		return fmt.Errorf("unknown parameter %q; there are partitions, replication, tls and sasl", name)
	}
	return nil
}

func (c *config) checkSecurity() error {
	switch {
	case c.sasl == "" && c.user != "":
		return errors.New("there is a user but no parameter sasl: plain, scram-sha-256 or scram-sha-512")
	case c.sasl != "" && (c.user == "" || c.password == ""):
		return fmt.Errorf("sasl=%s needs USER:PASSWORD@ before the brokers", c.sasl)
	}
	return nil
}
