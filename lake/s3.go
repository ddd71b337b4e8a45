package lake

import (
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // scheme s3
)

// s3 is what is particular to S3. A version is an ETag.
type s3 struct{}

var errNoETag = errors.New("the response has no ETag: use a store that sends one")

// reading keeps the SDK from logging that it cannot check a checksum of parts.
func (s3) reading() *blob.ReaderOptions {
	return &blob.ReaderOptions{BeforeRead: func(as func(any) bool) error {
		var options *[]func(*awss3.Options)
		if as(&options) {
			*options = append(*options, func(o *awss3.Options) { o.DisableLogOutputChecksumValidationSkipped = true })
		}
		return nil
	}}
}

func (s3) version(r *blob.Reader) (string, error) {
	var out awss3.GetObjectOutput
	if !r.As(&out) || out.ETag == nil || *out.ETag == "" {
		return "", errNoETag
	}
	return *out.ETag, nil
}

func (s3) listed(o *blob.ListObject) (key, version string, err error) {
	var out types.Object
	if !o.As(&out) || out.Key == nil {
		return "", "", errors.New("listing is not S3's")
	}
	if out.ETag != nil {
		version = *out.ETag
	}
	return *out.Key, version, nil
}

func (s3) expect(etag string) (func(as func(any) bool) error, error) {
	return func(as func(any) bool) error {
		var in *transfermanager.UploadObjectInput
		if !as(&in) {
			return errors.New("cannot make the upload conditional")
		}
		in.IfMatch = &etag
		return nil
	}, nil
}

func (s3) absent(err error) bool { return s3Code(err) == "NoSuchKey" || s3Code(err) == "NotFound" }

// conflict knows the answers 412, 409 (another conditional request is at work)
// and 404 for a condition on an object, or an upload in parts, that is gone.
func (s3) conflict(err error, replace bool) bool {
	switch s3Code(err) {
	case "NoSuchUpload":
		return true
	case "NoSuchKey":
		return replace
	}
	var re *smithyhttp.ResponseError
	if !errors.As(err, &re) {
		return false
	}
	status := re.HTTPStatusCode()
	return status == http.StatusPreconditionFailed || status == http.StatusConflict
}

func (s3) explain(err error) string {
	switch s3Code(err) {
	case "NoSuchBucket":
		return "make the bucket, or correct its name, region or endpoint in the URL"
	case "AccessDenied", "Forbidden":
		return "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the objects and s3:ListBucket on the bucket; without the last, absent objects look forbidden"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken":
		return "check the AWS credentials"
	}
	return ""
}

func s3Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// The transfer manager splits what has 16 MiB or more.
func (s3) partSize() int { return 8 << 20 }
func (s3) twoParts() int { return 16 << 20 }
