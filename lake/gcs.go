package lake

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/gcsblob" // scheme gs
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
)

// gcs is what is particular to Google Cloud Storage. A version is a generation.
type gcs struct{}

func (gcs) reading() *blob.ReaderOptions { return nil }

func (gcs) version(r *blob.Reader) (string, error) {
	var sr *storage.Reader
	if !r.As(&sr) || sr.Attrs.Generation == 0 {
		return "", errors.New("the response has no generation")
	}
	return strconv.FormatInt(sr.Attrs.Generation, 10), nil
}

func (gcs) listed(o *blob.ListObject) (key, version string, err error) {
	var attrs storage.ObjectAttrs
	if !o.As(&attrs) {
		return "", "", errors.New("listing is not Google Cloud Storage's")
	}
	return attrs.Name, strconv.FormatInt(attrs.Generation, 10), nil
}

func (gcs) expect(version string) (func(as func(any) bool) error, error) {
	generation, err := strconv.ParseInt(version, 10, 64)
	if err != nil || generation <= 0 {
		return nil, fmt.Errorf("generation %q is not a number", version)
	}
	return func(as func(any) bool) error {
		var handle **storage.ObjectHandle
		if !as(&handle) {
			return errors.New("cannot make the upload conditional")
		}
		*handle = (*handle).If(storage.Conditions{GenerationMatch: generation})
		return nil
	}, nil
}

// absent does not ask gcerrors, which takes forbidden for not found.
func (gcs) absent(err error) bool { return errors.Is(err, storage.ErrObjectNotExist) }

func (gcs) conflict(err error, replace bool) bool {
	switch googleStatus(err) {
	case http.StatusPreconditionFailed, http.StatusConflict:
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

// The SDK sends in chunks what is larger than one chunk, 256 KiB at least.
func (gcs) partSize() int { return 256 << 10 }
func (gcs) twoParts() int { return 256<<10 + 1 }
