package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/afterhours/afterhours"
)

// Bounds of an envelope's parts, in bytes, which keep the whole of it below
// [afterhours.MaxEnvelope].
const (
	maxKept   = 1 << 20
	maxReason = 1 << 10
	maxSource = 4 << 10
)

// envelope is the payload of a quarantine event: a record that could not be an
// event, as JSON. Its bytes are in Text or in Base64.
type envelope struct {
	Reason    string          `json:"reason"`
	Source    string          `json:"source"`
	Position  string          `json:"position"`
	Size      int64           `json:"size"` // of the whole record
	Text      json.RawMessage `json:"text,omitempty"`
	Base64    *string         `json:"base64,omitempty"`
	SHA256    string          `json:"sha256,omitempty"`    // of the whole record, if it is truncated
	Truncated bool            `json:"truncated,omitempty"` // only the beginning is kept
}

// quarantine makes the event that keeps a record which is no event. Its hour and
// its ID come from the record alone, so that a redelivery lands on itself; the
// bytes are part of the ID, so that a changed file loses nothing.
func quarantine(r Record, reason string, received afterhours.Micros) afterhours.Event {
	digest, size := sha256.Sum256(r.Bytes), int64(len(r.Bytes))
	if r.Cut != nil {
		digest, size = r.Cut.SHA256, r.Cut.Size
	}
	env := envelope{
		Reason:   clip(reason, maxReason),
		Source:   clip(r.Source, maxSource),
		Position: clip(r.Position, maxReason),
		Size:     size,
	}
	kept := r.Bytes[:min(len(r.Bytes), maxKept)]
	if int64(len(kept)) < size {
		env.Truncated, env.SHA256 = true, hex.EncodeToString(digest[:])
	}
	env.keep(kept)
	e := afterhours.Event{
		ID:       quarantineID(r, digest),
		Type:     afterhours.QuarantineType,
		Time:     afterhours.MicrosOf(r.Time),
		Received: received,
		Payload:  env.encode(),
	}
	if e.Validate() != nil {
		e.Time = 0 // a source's time that no reader can print
	}
	return e
}

// keep stores the bytes as text where that says the same and is not longer.
func (e *envelope) keep(b []byte) {
	if text, err := jsontext.AppendQuote(nil, b); err == nil && len(text) <= base64.StdEncoding.EncodedLen(len(b))+len(`""`) {
		e.Text = text
		return
	}
	encoded := base64.StdEncoding.EncodeToString(b)
	e.Base64 = &encoded
}

func (e *envelope) encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic(err) // strings, numbers and booleans always encode
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// quarantineID hashes source, position and the hash of the bytes, each with its
// length, so that no two records share one.
func quarantineID(r Record, digest [sha256.Size]byte) string {
	var b []byte
	for _, part := range []string{r.Source, r.Position, string(digest[:])} {
		b = binary.AppendUvarint(b, uint64(len(part)))
		b = append(b, part...)
	}
	id := sha256.Sum256(b)
	return hex.EncodeToString(id[:])
}

// clip returns at most n bytes of s as valid UTF-8.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
