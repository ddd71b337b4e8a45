package testenv

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// gcs is the fake of Google Cloud Storage of this process.
var gcs = sync.OnceValues(startGCS)

// GCS creates an empty bucket in a fake of Google Cloud Storage inside this
// process and returns its URL, gs://BUCKET. The variable STORAGE_EMULATOR_HOST
// of this process, and so of its children, leads clients there: both Google's
// and gocloud.dev/blob/gcsblob then want no credentials. The bucket and its
// objects are removed when the test ends.
//
// Generations are honoured as conditions of uploads (also resumable ones),
// reads, rewrites, composes and deletes.
func GCS(tb testing.TB) string {
	tb.Helper()
	s, err := gcs()
	if err != nil {
		tb.Fatalf("testenv: start fake-gcs-server: %v", err)
	}
	name := unique(tb.Name(), '-', 63)
	s.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: name})
	tb.Cleanup(func() {
		os.RemoveAll(filepath.Join(s.root, name))
		os.Remove(s.root) // if no other bucket is there; it is made again for the next
	})
	return "gs://" + name
}

// gcsServer is the fake, which keeps its objects in a directory: in memory it
// looks through all of them at each request, at some 30 ms for a few thousand.
type gcsServer struct {
	*fakestorage.Server
	root string
}

func startGCS() (*gcsServer, error) {
	root, err := os.MkdirTemp("", "afterhours-gcs-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	s, err := fakestorage.NewServerWithOptions(fakestorage.Options{
		NoListener:  true,
		StorageRoot: root,
		ExternalURL: "http://" + addr, // where resumable uploads go on
		PublicHost:  addr,             // how the XML reads of the Go client are recognised
		Writer:      io.Discard,
	})
	if err != nil {
		return nil, err
	}
	go http.Serve(l, &conditions{next: s.HTTPHandler(), server: s})
	// Without a scheme: Google's client takes it either way, gcsblob only so.
	return &gcsServer{s, root}, os.Setenv("STORAGE_EMULATOR_HOST", addr)
}
