package main

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"time"

	"github.com/afterhours/afterhours"
)

// hour is where events lie unless a work says otherwise; late ones come days after it.
var hour = time.Date(2026, 11, 18, 10, 0, 0, 0, time.UTC)

func benchHour() afterhours.Hour { return afterhours.HourOf("bench", afterhours.MicrosOf(hour)) }

// quiet keeps the log lines of a figure out of its time.
var quiet = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

var benchColumns = []afterhours.Column{{Name: "user_id", Field: "user_id", Type: afterhours.String}}

// event is the n-th event of the hour: JSON of about 300 bytes as a shop's app sends
// it. Events come in no order.
func event(n int) afterhours.Event {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	at := afterhours.MicrosOf(hour) + afterhours.Micros(r.Int64N(3600e6))
	id := fmt.Sprintf("%016x%016x", r.Uint64(), r.Uint64())
	payload := fmt.Appendf(nil, `{"event_id":"%s","event_type":"bench","event_time":"%s","user_id":"user-%06d","session":"%08x","page":"/item/%07d","price":%d.%02d,`+
		`"app":"%d.%d.%d","os":"%s","device":"%s","country":"%s","lat":%.5f,"lon":%.5f,"referrer":"%s"}`,
		id, at, r.IntN(200_000), r.Uint32(), r.IntN(5_000_000), r.IntN(900), r.IntN(100), 5+r.IntN(3), r.IntN(20), r.IntN(10),
		pickOf(r, "iOS 26.1", "iOS 25.4", "Android 16", "Android 15", "Android 14"), pickOf(r, "iPhone17,1", "iPhone16,2", "SM-S931B", "Pixel 10", "SM-A556B", "2312DRA50G"),
		pickOf(r, "ES", "US", "TR", "NO", "CA", "BR"), r.Float64()*180-90, r.Float64()*360-180, pickOf(r, "search", "home", "chat", "push", "similar-items", "saved-search"))
	return afterhours.NewEvent(id, "bench", at.Time(), at.Time().Add(time.Second), payload)
}

func pickOf(r *rand.Rand, s ...string) string { return s[r.IntN(len(s))] }
