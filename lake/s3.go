package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // scheme s3
)

// uploadParts is how many parts of an upload are under way, and so in memory, at
// once.
const uploadParts = 3

// s3 is what is particular to S3. A version is an ETag.
type s3 struct {
	client        *awss3.Client
	bucket        string
	encryption    types.ServerSideEncryption // as the URL asks for it
	encryptionKey *string
}

func newS3(b *blob.Bucket, u *url.URL) (s3, error) {
	s := s3{bucket: u.Host}
	var c *awss3.Client
	if !b.As(&c) {
		return s, errors.New("the bucket is not S3's")
	}
	s.client = awss3.New(c.Options(), keepConns)
	q := u.Query()
	for _, e := range s.encryption.Values() {
		if strings.EqualFold(string(e), q.Get("ssetype")) {
			s.encryption = e
		}
	}
	if key := q.Get("kmskeyid"); key != "" {
		s.encryptionKey = &key
	}
	return s, nil
}

// idleConns are kept for the next request. Of its own accord the client keeps ten: with
// more hours in flight most requests would begin with a handshake.
const idleConns = 256

func keepConns(o *awss3.Options) {
	if c, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = c.WithTransportOptions(func(t *http.Transport) { t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConns, idleConns })
	}
}

var errNoETag = errors.New("the response has no ETag: use a store that sends one")

func (s s3) open(ctx context.Context, key string, r span, version string) (*answer, error) {
	in := &awss3.GetObjectInput{Bucket: &s.bucket, Key: &key}
	switch {
	case r.at < 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d", r.at))
	case r.n >= 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", r.at, r.at+r.n-1))
	}
	if version != "" {
		in.IfMatch = &version
	}
	out, err := s.client.GetObject(ctx, in, func(o *awss3.Options) {
		o.DisableLogOutputChecksumValidationSkipped = true // of a range there is none
	})
	if err != nil {
		return nil, err
	}
	a := &answer{body: out.Body, size: aws.ToInt64(out.ContentLength), version: aws.ToString(out.ETag)}
	if a.version == "" {
		return nil, errors.Join(errNoETag, out.Body.Close())
	}
	if out.ContentRange != nil {
		var last int64
		if _, err := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/%d", &a.at, &last, &a.size); err != nil {
			return nil, errors.Join(fmt.Errorf("answer with Content-Range %q: %w", *out.ContentRange, err), out.Body.Close())
		}
	}
	return a, nil
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

// replacing returns the conditions under which an upload replaces a version, "" for
// none.
func replacing(version string) (ifMatch, ifNoneMatch *string) {
	if version == "" {
		return nil, aws.String("*")
	}
	return &version, nil
}

func (s s3) send(ctx context.Context, key string, content []byte, version string) (string, error) {
	in := &awss3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, ContentType: aws.String(parquetType), Body: bytes.NewReader(content),
		ServerSideEncryption: s.encryption, SSEKMSKeyId: s.encryptionKey,
	}
	in.IfMatch, in.IfNoneMatch = replacing(version)
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.ETag), nil
}

func (s s3) writing(version string, inParts bool) (*blob.WriterOptions, func() string, error) {
	var done completed
	return &blob.WriterOptions{BeforeWrite: func(as func(any) bool) error {
		var in *transfermanager.UploadObjectInput
		var manager *transfermanager.Client
		if !as(&in) || !as(&manager) {
			return errors.New("cannot make the upload conditional")
		}
		in.IfMatch, in.IfNoneMatch = replacing(version)
		// There is no other way to learn the new ETag or to send little in parts.
		*manager = *transfermanager.New(s.client, func(o *transfermanager.Options) {
			o.RequestChecksumCalculation = s.client.Options().RequestChecksumCalculation
			o.Concurrency = uploadParts
			if inParts {
				o.MultipartUploadThreshold = 1
			}
			o.ObjectProgressListeners.Register(&done)
		})
		return nil
	}}, func() string { return done.etag }, nil
}

// completed learns what became of an upload.
type completed struct{ etag string }

// OnObjectTransferComplete is called before the upload returns.
func (c *completed) OnObjectTransferComplete(_ context.Context, e *transfermanager.ObjectTransferCompleteEvent) {
	if out, ok := e.Output.(*transfermanager.UploadObjectOutput); ok {
		c.etag = aws.ToString(out.ETag)
	}
}

func (s3) absent(err error) bool { return s3Code(err) == "NoSuchKey" || s3Code(err) == "NotFound" }

// conflict knows the answers 412, 409 (another conditional request is at work),
// 404 for a condition on an object, or an upload in parts, that is gone, and 416.
func (s3) conflict(err error, replace bool) bool {
	switch s3Code(err) {
	case "NoSuchUpload":
		return true
	case "NoSuchKey":
		return replace
	}
	status := s3Status(err)
	return status == http.StatusPreconditionFailed || status == http.StatusConflict || status == http.StatusRequestedRangeNotSatisfiable
}

func (s3) explain(err error) string {
	switch s3Code(err) {
	case "NoSuchBucket":
		return "make the bucket, or correct its name, region or endpoint in the URL"
	case "AccessDenied", "Forbidden":
		return "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on the objects and s3:ListBucket on the bucket; without the last, absent objects look forbidden"
	case "BadDigest":
		return "the store has other bytes than it was sent or than its object should hold; nothing was published"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken":
		return "check the AWS credentials"
	}
	return ""
}

// s3Status returns the status of the answer that an error is about, 0 if there was
// none.
func s3Status(err error) int {
	var re *smithyhttp.ResponseError
	if !errors.As(err, &re) {
		return 0
	}
	return re.HTTPStatusCode()
}

func s3Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// An upload in parts may have one only, and the last part may be of any size: so
// the proof costs bytes, not megabytes.
func (s3) severalParts() int { return 1 }
