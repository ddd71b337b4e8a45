package lake

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"
)

const (
	// assembledParts is how many parts of an upload are sent or copied at once. One
	// that is sent takes memory of up to twice sentPart.
	assembledParts = 4

	// abortTime is how long an upload that failed is tried to be given up.
	abortTime  = 30 * time.Second
	abortPause = 100 * time.Millisecond // before the second try; each is twice the last
)

// assembly is an upload in parts of which the store copies some from the object that
// it replaces.
type assembly struct {
	s3
	key     string
	id      *string
	draft   *draft
	version string // which the object must have at the end
}

// assemble has the store compare the checksum of the whole, so what it has copied is
// proven like what it was sent.
func (s s3) assemble(ctx context.Context, key string, d *draft, parts []piece, version string) (string, error) {
	up, err := s.client.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ContentType: aws.String(parquetType),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
		ServerSideEncryption: s.encryption, SSEKMSKeyId: s.encryptionKey,
	})
	if err != nil {
		return "", fmt.Errorf("begin an upload: %w", err)
	}
	a := &assembly{s, key, up.UploadId, d, version}
	made, err := a.run(ctx, parts)
	if err != nil {
		return "", errors.Join(err, a.abort(ctx))
	}
	return made, nil
}

func (a *assembly) run(ctx context.Context, parts []piece) (version string, err error) {
	done := make([]types.CompletedPart, len(parts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(assembledParts)
	for i, p := range parts {
		g.Go(func() (err error) {
			number := int32(i + 1)
			if p.base {
				done[i], err = a.copy(gctx, number, p)
			} else {
				done[i], err = a.send(gctx, number, p)
			}
			if err != nil {
				return fmt.Errorf("part %d of %d: %w", number, len(parts), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	out, err := a.client.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
		Bucket: &a.bucket, Key: &a.key, UploadId: a.id, IfMatch: &a.version,
		MultipartUpload:   &types.CompletedMultipartUpload{Parts: done},
		ChecksumCRC64NVME: a.draft.sum.base64(), ChecksumType: types.ChecksumTypeFullObject, MpuObjectSize: &a.draft.size,
	})
	if s3Status(err) == http.StatusBadRequest { // as a rule for the checksum
		err = fmt.Errorf("%w: %w", errOtherBytes, err)
	}
	if err != nil {
		return "", fmt.Errorf("complete the upload: %w", err)
	}
	return aws.ToString(out.ETag), nil
}

// copy has the store copy a part.
func (a *assembly) copy(ctx context.Context, number int32, p piece) (types.CompletedPart, error) {
	if err := ctx.Err(); err != nil {
		return types.CompletedPart{}, err
	}
	out, err := a.client.UploadPartCopy(ctx, &awss3.UploadPartCopyInput{
		Bucket: &a.bucket, Key: &a.key, UploadId: a.id, PartNumber: &number,
		CopySource:        aws.String(copySource(a.bucket, a.key)),
		CopySourceRange:   aws.String(fmt.Sprintf("bytes=%d-%d", p.from, p.from+p.size-1)),
		CopySourceIfMatch: &a.draft.base.version,
	})
	if err != nil {
		return types.CompletedPart{}, fmt.Errorf("copy bytes %d to %d: %w", p.from, p.from+p.size, err)
	}
	r := out.CopyPartResult
	if r == nil {
		return types.CompletedPart{}, errNoETag
	}
	return types.CompletedPart{PartNumber: &number, ETag: r.ETag, ChecksumCRC64NVME: r.ChecksumCRC64NVME}, nil
}

// copySource names an object so that every store reads it the same: with + and
// space escaped.
func copySource(bucket, key string) string {
	return strings.ReplaceAll(url.QueryEscape(bucket+"/"+key), "+", "%20")
}

// send sends a part.
func (a *assembly) send(ctx context.Context, number int32, p piece) (types.CompletedPart, error) {
	if err := ctx.Err(); err != nil {
		return types.CompletedPart{}, err
	}
	b := make([]byte, p.size)
	if err := readAt(a.draft, b, p.at); err != nil {
		return types.CompletedPart{}, err
	}
	sum := checksumOf(b).base64()
	out, err := a.client.UploadPart(ctx, &awss3.UploadPartInput{
		Bucket: &a.bucket, Key: &a.key, UploadId: a.id, PartNumber: &number, Body: bytes.NewReader(b), ChecksumCRC64NVME: sum,
	})
	if err != nil {
		return types.CompletedPart{}, err
	}
	return types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumCRC64NVME: sum}, nil
}

// abort removes the parts of the upload, also if it was called off. There are none if
// it was completed after all. A part that the store is still taking may outlive the
// first try: S3's documentation has one list the parts, and abort again.
func (a *assembly) abort(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	for pause := abortPause; ; pause *= 2 {
		_, err := a.client.AbortMultipartUpload(ctx, &awss3.AbortMultipartUploadInput{Bucket: &a.bucket, Key: &a.key, UploadId: a.id})
		if err == nil {
			_, err = a.client.ListParts(ctx, &awss3.ListPartsInput{Bucket: &a.bucket, Key: &a.key, UploadId: a.id})
		}
		if s3Code(err) == "NoSuchUpload" {
			return nil
		}
		if err == nil {
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		return fmt.Errorf("abort upload %s, whose parts are paid for until a lifecycle rule removes them: %w", *a.id, err)
	}
}

// base64 returns the checksum as S3 writes it.
func (c checksum) base64() *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(c))))
}
