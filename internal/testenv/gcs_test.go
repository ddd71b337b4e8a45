package testenv_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"github.com/afterhours/afterhours/internal/testenv"
)

// What fake-gcs-server ignores by itself.
func TestGCSHonoursOtherConditions(t *testing.T) {
	t.Parallel()
	name := strings.TrimPrefix(testenv.GCS(t), "gs://")
	client, err := storage.NewClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, b := t.Context(), client.Bucket(name)
	write := func(o *storage.ObjectHandle) int64 {
		w := o.NewWriter(ctx)
		io.WriteString(w, "text")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return w.Attrs().Generation
	}
	o, other := b.Object("a b/c"), b.Object("d")
	now, of := write(o), write(other)
	is := func(g int64) storage.Conditions { return storage.Conditions{GenerationMatch: g} }
	read := func(o *storage.ObjectHandle) error {
		r, err := o.NewRangeReader(ctx, 1, 2)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = io.ReadAll(r)
		return err
	}
	compose := func(to, from *storage.ObjectHandle) error {
		_, err := to.ComposerFrom(from).Run(ctx)
		return err
	}
	rewrite := func(to, from *storage.ObjectHandle) error {
		_, err := to.CopierFrom(from).Run(ctx)
		return err
	}
	attrs := func(o *storage.ObjectHandle) error { _, err := o.Attrs(ctx); return err }
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"read, stale", read(o.If(is(now + 1))), 412},
		{"read", read(o.If(is(now))), 200},
		{"attributes, stale", attrs(o.If(is(now + 1))), 412},
		{"attributes", attrs(o.If(is(now))), 200},
		{"compose, stale source", compose(b.Object("new"), other.If(is(of+1))), 412},
		{"compose, stale target", compose(o.If(is(now+1)), other), 412},
		{"compose onto existing as absent", compose(o.If(storage.Conditions{DoesNotExist: true}), other), 412},
		{"compose", compose(b.Object("new").If(storage.Conditions{DoesNotExist: true}), other.If(is(of))), 200},
		{"rewrite, stale source", rewrite(b.Object("copy"), other.If(is(of+1))), 412},
		{"rewrite, stale target", rewrite(o.If(is(now+1)), other), 412},
		{"rewrite", rewrite(b.Object("copy"), other.If(is(of))), 200},
		{"delete, stale", o.If(is(now + 1)).Delete(ctx), 412},
		{"delete", o.If(is(now)).Delete(ctx), 200},
	} {
		if got := statusOf(tt.err); got != tt.want {
			t.Errorf("%s: status %d (%v), want %d", tt.name, got, tt.err, tt.want)
		}
	}
}

func statusOf(err error) int {
	var e *googleapi.Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Code
	}
	return 0
}

// A slow upload that a faster one has overtaken must not win, and must not
// hold the faster one up.
func TestGCSUploadOvertaken(t *testing.T) {
	t.Parallel()
	bucket, err := blob.OpenBucket(t.Context(), testenv.GCS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	slow, err := bucket.NewWriter(ctx, "k", &blob.WriterOptions{IfNotExist: true, BufferSize: 256 << 10, ContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Write(make([]byte, 300<<10)); err != nil {
		t.Fatal(err)
	}
	if err := bucket.WriteAll(ctx, "k", []byte("fast"), &blob.WriterOptions{IfNotExist: true}); err != nil {
		t.Fatalf("the fast upload: %v", err)
	}
	if err := slow.Close(); gcerrors.Code(err) != gcerrors.FailedPrecondition {
		t.Errorf("the slow upload: %v, want a failed precondition", err)
	}
	if b, err := bucket.ReadAll(ctx, "k"); string(b) != "fast" {
		t.Errorf("object = %.20q, %v, want fast", b, err)
	}
}
