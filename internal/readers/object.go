package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// lakePath is where the lake lies in the bucket.
const lakePath = "lake"

// object is the hour's partition where readers read it, put there as the lake
// does it. It is not safe for concurrent use.
type object interface {
	put(ctx context.Context, v version) error
}

// bucketObject is an object of an S3 bucket, replaced by conditional requests.
type bucketObject struct {
	client *s3.Client
	bucket string
	etag   *string // nil: there is none yet
}

// newBucketObject makes the bucket.
func newBucketObject(ctx context.Context, endpoint, bucket string) (*bucketObject, error) {
	client := s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		Region:       servers.S3Region,
		UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: servers.S3Access, SecretAccessKey: servers.S3Secret}, nil
		}),
	})
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		return nil, fmt.Errorf("create bucket %s: %w", bucket, err)
	}
	return &bucketObject{client: client, bucket: bucket}, nil
}

func (o *bucketObject) put(ctx context.Context, v version) error {
	b, err := os.ReadFile(v.path)
	if err != nil {
		return err
	}
	in := &s3.PutObjectInput{Bucket: &o.bucket, Key: aws.String(lakePath + "/" + partitionPath), Body: bytes.NewReader(b), IfMatch: o.etag}
	if o.etag == nil {
		in.IfNoneMatch = aws.String("*")
	}
	out, err := o.client.PutObject(ctx, in)
	if err != nil {
		return fmt.Errorf("replace the object by version %d: %w", v.number, err)
	}
	o.etag = out.ETag
	return nil
}

// fileObject is a file of a directory, replaced by renaming.
type fileObject struct{ root string }

func (o fileObject) put(_ context.Context, v version) error {
	from, err := os.Open(v.path)
	if err != nil {
		return err
	}
	defer from.Close()
	target := filepath.Join(o.root, filepath.FromSlash(partitionPath))
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return err
	}
	to, err := os.CreateTemp(o.root, ".new-")
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	if err := to.Close(); err != nil {
		return err
	}
	return os.Rename(to.Name(), target)
}
