package lake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // scheme gs
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
)

// gcs is what is particular to Google Cloud Storage. A version is a generation. It
// cannot copy a range of an object: what a rewrite does not touch is read and sent.
type gcs struct{ bucket *storage.BucketHandle }

func newGCS(b *blob.Bucket, u *url.URL) (gcs, error) {
	var client *storage.Client
	if !b.As(&client) {
		return gcs{}, errors.New("the bucket is not Google Cloud Storage's")
	}
	return gcs{client.Bucket(u.Host)}, nil
}

func (g gcs) open(ctx context.Context, key string, r span, version string) (*answer, error) {
	o := g.bucket.Object(key)
	if version != "" {
		generation, err := strconv.ParseInt(version, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("generation %q is not a number", version)
		}
		o = o.If(storage.Conditions{GenerationMatch: generation})
	}
	body, err := o.NewRangeReader(ctx, r.at, r.n)
	if err != nil {
		return nil, err
	}
	a := &answer{body: body, at: body.Attrs.StartOffset, size: body.Attrs.Size, version: strconv.FormatInt(body.Attrs.Generation, 10)}
	if body.Attrs.Generation <= 0 {
		return nil, errors.Join(errors.New("the response has no generation"), body.Close())
	}
	return a, nil
}

func (gcs) listed(o *blob.ListObject) (key, version string, err error) {
	var attrs storage.ObjectAttrs
	if !o.As(&attrs) {
		return "", "", errors.New("listing is not Google Cloud Storage's")
	}
	return attrs.Name, strconv.FormatInt(attrs.Generation, 10), nil
}

func (gcs) writing(version string, inParts bool) (*blob.WriterOptions, func() string, error) {
	generation, err := strconv.ParseInt(cmp.Or(version, "0"), 10, 64)
	if err != nil || generation < 0 {
		return nil, nil, fmt.Errorf("generation %q is not a number", version)
	}
	var w *storage.Writer
	o := &blob.WriterOptions{IfNotExist: version == "", BeforeWrite: func(as func(any) bool) error {
		var handle **storage.ObjectHandle
		if !as(&handle) {
			return errors.New("cannot make the upload conditional")
		}
		if version != "" {
			*handle = (*handle).If(storage.Conditions{GenerationMatch: generation})
		}
		if !as(&w) {
			return errors.New("cannot learn the version of the upload")
		}
		return nil
	}}
	if inParts {
		o.BufferSize = gcsChunk
	}
	return o, func() string { return strconv.FormatInt(w.Attrs().Generation, 10) }, nil
}

// absent does not ask gcerrors, which takes forbidden for not found.
func (gcs) absent(err error) bool { return errors.Is(err, storage.ErrObjectNotExist) }

func (gcs) conflict(err error, replace bool) bool {
	switch googleStatus(err) {
	case http.StatusPreconditionFailed, http.StatusConflict, http.StatusRequestedRangeNotSatisfiable:
		return true
	case http.StatusNotFound:
		return replace
	case 0:
		return gcerrors.Code(err) == gcerrors.FailedPrecondition
	}
	return false
}

func (gcs) explain(err error) string {
	switch googleStatus(err) {
	case http.StatusNotFound:
		return "make the bucket, or correct its name in the URL"
	case http.StatusForbidden, http.StatusUnauthorized:
		return "grant roles/storage.objectAdmin on the bucket to the credentials in use"
	}
	return ""
}

func googleStatus(err error) int {
	var api *googleapi.Error
	if errors.As(err, &api) {
		return api.Code
	}
	return 0
}

// gcsChunk is the smallest chunk of the SDK, which sends in chunks what is larger
// than one.
const gcsChunk = 256 << 10

func (gcs) severalParts() int { return gcsChunk + 1 }
