package pebble

import (
	"context"
	"fmt"
	"time"
)

// ttlSetting names the setting that says how long rows live.
const ttlSetting = "ttl"

// settleTTL records the TTL in a new store, and refuses one that differs from
// what is recorded: rows, index and the lake's manifests rely on it.
func (s *Store) settleTTL(asked time.Duration) (time.Duration, error) {
	if asked != 0 && asked < time.Microsecond {
		return 0, fmt.Errorf("a TTL of %s: it must be positive, such as 720h", asked)
	}
	ctx, key := context.Background(), nameKey(settingTable, ttlSetting)
	text, ok, err := get[string](ctx, s, key)
	if err != nil {
		return 0, err
	}
	if !ok {
		if asked == 0 {
			asked = DefaultTTL
		}
		return asked, s.put(ctx, key, asked.String())
	}
	recorded, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("setting %s: %w", ttlSetting, err)
	}
	if asked != 0 && asked != recorded {
		return 0, fmt.Errorf("a TTL of %s was asked for, but the store was made with one of %s: ask for %[2]s or for none, or use another directory",
			asked, recorded)
	}
	return recorded, nil
}
