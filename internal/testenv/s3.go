package testenv

import (
	"context"
	"net/url"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

var gateway = shared(servers.S3)

// S3Endpoint returns the URL, http://HOST:PORT, of an S3 gateway (versitygw on a
// directory), which it starts if this is the first call. Credentials for it are
// in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this process and so of its
// children; the region is us-east-1.
func S3Endpoint(tb testing.TB) string {
	tb.Helper()
	return "http://" + gateway.get(tb)
}

// S3 creates an empty bucket for the test and returns its URL in the form of
// gocloud.dev/blob/s3blob. The bucket lives as long as the gateway.
//
// Unlike S3, the gateway answers a failed condition without reading the body and
// hangs up. A client that is still sending, as with several MiB in one request,
// sees a reset connection in place of the status 412. In one thing it was made like
// S3: the checksum of a part that it copies is that of the part.
func S3(tb testing.TB) string {
	tb.Helper()
	endpoint := S3Endpoint(tb)
	name := unique(tb.Name(), '-', 63)
	if _, err := S3Client(endpoint).CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		tb.Fatalf("testenv: create bucket: %v", err)
	}
	q := url.Values{"endpoint": {endpoint}, "region": {servers.S3Region}, "use_path_style": {"true"}}
	return "s3://" + name + "?" + q.Encode()
}

// S3Client returns a client of a gateway, http://HOST:PORT, with the credentials of the
// environment.
func S3Client(endpoint string, opts ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		Region:       servers.S3Region,
		UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}, nil
		}),
	}, opts...)
}
