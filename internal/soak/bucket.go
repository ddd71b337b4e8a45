package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv/servers"
)

// bucket is where the lake is, as readers reach it: not by a proxy.
type bucket struct {
	client *s3.Client
	name   string
}

func openBucket(addr, name string) *bucket {
	endpoint := "http://" + addr
	return &bucket{name: name, client: s3.New(s3.Options{
		BaseEndpoint: &endpoint,
		Region:       servers.S3Region,
		UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: servers.S3Access, SecretAccessKey: servers.S3Secret}, nil
		}),
	})}
}

// list returns the keys of the partitions, with their versions.
func (b *bucket) list(ctx context.Context) (map[string]string, error) {
	found := map[string]string{}
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, o := range page.Contents {
			if _, ok := hourOf(*o.Key); ok {
				found[*o.Key] = aws.ToString(o.ETag)
			}
		}
	}
	return found, nil
}

// errAbsent is what get returns if the store says that there is no such object.
var errAbsent = errors.New("there is no such object")

// get reads an object in one request, and so one version of it.
func (b *bucket) get(ctx context.Context, key string) (data []byte, version string, err error) {
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &key})
	var absent *types.NoSuchKey
	if errors.As(err, &absent) {
		return nil, "", errAbsent
	}
	if err != nil {
		return nil, "", err
	}
	defer func() { err = errors.Join(err, out.Body.Close()) }()
	data, err = io.ReadAll(out.Body)
	if err == nil && int64(len(data)) != aws.ToInt64(out.ContentLength) {
		err = io.ErrUnexpectedEOF
	}
	return data, aws.ToString(out.ETag), err
}

// all reads the whole lake, and fails if any of it cannot be read.
func (b *bucket) all(ctx context.Context) (map[afterhours.Hour]object, error) {
	listed, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	lake := map[afterhours.Hour]object{}
	for key := range listed {
		h, _ := hourOf(key)
		data, _, err := b.get(ctx, key)
		if err == nil {
			lake[h], err = decode(data, h.Type == afterhours.QuarantineType)
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
	}
	return lake, nil
}
