package app

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/compact"
)

// parseTypePolicies reads the values of --type-policy. What they do not say is as
// in general.
func parseTypePolicies(texts []string, general compact.Policy) (map[string]compact.Policy, error) {
	policies := map[string]compact.Policy{}
	var errs []error
	for _, text := range texts {
		eventType, p, err := parseTypePolicy(text, general)
		if _, twice := policies[eventType]; err == nil && twice {
			err = fmt.Errorf("event type %q has one already", eventType)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--type-policy %q: %w", text, err))
			continue
		}
		policies[eventType] = p
	}
	return policies, errors.Join(errs...)
}

// parseTypePolicy reads TYPE:NAME=VALUE,... over a policy. The type may have
// colons of its own.
func parseTypePolicy(text string, p compact.Policy) (eventType string, _ compact.Policy, err error) {
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return "", p, errors.New("want TYPE:grace=1m,quiet=5m,age-share=8,max-delay=2h,row-worth=1MiB, or parts of it; in YAML, in quotes")
	}
	eventType = text[:colon]
	if err := afterhours.ValidateType(eventType); err != nil {
		return "", p, err
	}
	given := map[string]bool{}
	for part := range strings.SplitSeq(text[colon+1:], ",") {
		name, value, _ := strings.Cut(part, "=")
		if given[name] {
			return "", p, fmt.Errorf("%s is given twice", name)
		}
		given[name] = true
		if err := setPolicyPart(&p, name, value); err != nil {
			return "", p, err
		}
	}
	return eventType, p, nil
}

func setPolicyPart(p *compact.Policy, name, value string) (err error) {
	switch name {
	case "grace":
		p.Grace, err = parsePositive(name, value)
	case "quiet":
		p.Quiet, err = parsePositive(name, value)
	case "max-delay":
		p.MaxDelay, err = parsePositive(name, value)
	case "age-share":
		p.AgeShare, err = strconv.ParseFloat(value, 64)
		if err != nil || !(p.AgeShare >= 0) || math.IsInf(p.AgeShare, 0) {
			return fmt.Errorf("age-share %q: want a number, such as 8, or 0", value)
		}
	case "row-worth":
		if err := (*Size)(&p.RowWorth).Set(value); err != nil {
			return fmt.Errorf("row-worth %w", err)
		}
	default:
		return fmt.Errorf("unknown part %q, have grace, quiet, age-share, max-delay and row-worth", name)
	}
	return err
}

// parsePositive reads a duration that is not negative.
func parsePositive(name, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s %q: want a duration, such as 5m", name, text)
	}
	return d, nil
}
