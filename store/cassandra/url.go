package cassandra

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const defaultPort = "9042"

// DefaultTTL is how long rows live in a keyspace that was opened first by a URL
// without ttl.
const DefaultTTL = 720 * time.Hour

// maxTTL is half of Cassandra's limit, since index rows live twice as long as
// rows. Servers with the storage format of Cassandra 4 also refuse expiry after
// January 2038.
const maxTTL = 10 * 365 * 24 * time.Hour

// target is what a URL says.
type target struct {
	hosts    []string // host:port
	keyspace string
	user     string
	password string
	dc       string        // data centre, "" if the URL names none
	ttl      time.Duration // whole seconds, 0 if the URL names none
	tls      bool
}

// addresses names the servers in messages.
func (t target) addresses() string { return strings.Join(t.hosts, ", ") }

// port returns the port of the first host.
func (t target) port() int {
	_, port, _ := net.SplitHostPort(t.hosts[0])
	n, _ := strconv.Atoi(port) // digits only, as parseURL made sure
	return n
}

var keyspaceName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,47}$`)

// parseURL reads a URL as the package comment has it. Several hosts with ports
// are no URL by the book, so net/url sees only the parts. No error repeats the
// URL, which may hold a password.
func parseURL(raw string) (target, error) {
	rest, ok := strings.CutPrefix(raw, "cassandra://")
	if !ok {
		return target{}, errors.New("open cassandra store: want a URL like cassandra://host1,host2/keyspace?dc=dc1")
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, keyspace, _ := strings.Cut(rest, "/")
	if strings.Contains(keyspace+query, "@") { // what stands before it may be a password
		return target{}, errors.New("open cassandra store: URL: an @ comes after a / or a ?: write these in a user or password as %2F and %3F")
	}
	var t target
	if err := errors.Join(
		t.setAuthority(authority),
		t.setKeyspace(keyspace),
		t.setQuery(query),
	); err != nil {
		return target{}, fmt.Errorf("open cassandra store: %w", err)
	}
	return t, nil
}

func (t *target) setAuthority(authority string) error {
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		user, password, _ := strings.Cut(authority[:i], ":")
		var err1, err2 error
		t.user, err1 = url.PathUnescape(user)
		t.password, err2 = url.PathUnescape(password)
		if err1 != nil || err2 != nil || t.user == "" {
			return errors.New("URL: user or password is empty or not percent-encoded")
		}
	}
	for h := range strings.SplitSeq(hosts, ",") {
		addr, err := address(h)
		if err != nil {
			return err
		}
		t.hosts = append(t.hosts, addr)
	}
	return nil
}

// address adds the default port to a host that has none.
func address(h string) (string, error) {
	// An IPv6 address needs brackets: without them a colon begins the port.
	withPort := h
	if !strings.Contains(h, ":") || strings.HasSuffix(h, "]") {
		withPort += ":" + defaultPort
	}
	host, port, err := net.SplitHostPort(withPort)
	if err != nil || host == "" {
		return "", fmt.Errorf("URL: host %q: want host or host:port", h)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("URL: host %q: %q is no port", h, port)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

func (t *target) setKeyspace(name string) error {
	switch {
	case name == "":
		return errors.New("URL: keyspace is missing, want cassandra://host/keyspace")
	case !keyspaceName.MatchString(name):
		return fmt.Errorf("URL: keyspace %q: want a letter, then up to 47 letters, digits or underscores", name)
	}
	t.keyspace = name
	return nil
}

func (t *target) setQuery(query string) error {
	params, err := url.ParseQuery(query)
	if err != nil {
		return fmt.Errorf("URL: parameters: %w", err)
	}
	var errs []error
	for name, values := range params {
		if len(values) > 1 {
			errs = append(errs, fmt.Errorf("URL: parameter %s is given twice", name))
			continue
		}
		errs = append(errs, t.setParameter(name, values[0]))
	}
	return errors.Join(errs...)
}

func (t *target) setParameter(name, value string) error {
	switch name {
	case "dc":
		if value == "" {
			return errors.New("URL: parameter dc is empty, want the name of a data centre")
		}
		t.dc = value
	case "ttl":
		d, err := parseTTL(value)
		if err != nil {
			return fmt.Errorf("URL: parameter ttl: %w", err)
		}
		t.ttl = d
	case "tls":
		if value != "true" && value != "false" {
			return fmt.Errorf("URL: parameter tls is %q, want true or false", value)
		}
		t.tls = value == "true"
	default:
		return fmt.Errorf("URL: unknown parameter %q, have dc, tls, ttl", name)
	}
	return nil
}

// parseTTL reads a duration that Cassandra can keep.
func parseTTL(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is no duration, such as 720h", text)
	case d < time.Second || d%time.Second != 0:
		return 0, fmt.Errorf("%s is not a positive number of whole seconds", d)
	case d > maxTTL:
		return 0, fmt.Errorf("%s is more than %s: index rows live twice as long, and Cassandra's limit is 20 years", d, maxTTL)
	}
	return d, nil
}
