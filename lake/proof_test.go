package lake

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/afterhours/afterhours/internal/testenv"
)

// A store that ignores conditions, or some, or only on uploads in parts, is found
// out, and the proof's objects are removed all the same.
func TestProveFindsStoresThatIgnoreConditions(t *testing.T) {
	multipart := func(r *http.Request) bool { return r.Method == http.MethodPost }
	single := func(r *http.Request) bool { return r.Method == http.MethodPut }
	for what, c := range map[string]struct {
		of       func(r *http.Request) bool
		header   string
		existing bool // only where there is an object, of whatever version
	}{
		"If-None-Match":           {single, "If-None-Match", false},
		"If-Match":                {single, "If-Match", false},
		"which version":           {single, "If-Match", true},
		"If-None-Match of parts":  {multipart, "If-None-Match", false},
		"If-Match of parts":       {multipart, "If-Match", false},
		"which version, of parts": {multipart, "If-Match", true},
	} {
		t.Run(what, func(t *testing.T) {
			var exists sync.Map
			l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				_, there := exists.Load(r.URL.Path)
				if c.of(r) && r.Header.Get(c.header) != "" && (there || !c.existing) {
					r.Header.Del(c.header)
					sign(t, r)
				}
				if r.Method == http.MethodDelete {
					exists.Delete(r.URL.Path)
				} else {
					exists.Store(r.URL.Path, true)
				}
				pass.ServeHTTP(w, r)
			}))
			err := l.Prove(context.Background())
			if err == nil || !strings.Contains(err.Error(), "ignores If-Match or If-None-Match") {
				t.Errorf("Prove = %v", err)
			}
			mustBeEmpty(t, l)
		})
	}
}

// The same on Google Cloud Storage, where the condition is a parameter, for uploads
// in one request and in several.
func TestProveFindsGCSThatIgnoresGenerations(t *testing.T) {
	bucket := testenv.GCS(t)
	target := &url.URL{Scheme: "http", Host: os.Getenv("STORAGE_EMULATOR_HOST")}
	pass := httputil.NewSingleHostReverseProxy(target)
	for _, kind := range []string{"multipart", "resumable"} {
		t.Run(kind, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); q.Get("uploadType") == kind {
					q.Del("ifGenerationMatch")
					r.URL.RawQuery = q.Encode()
				}
				r.Host = target.Host
				pass.ServeHTTP(w, r)
			}))
			t.Cleanup(s.Close)
			t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(s.URL, "http://"))
			l := openTest(t, bucket)
			if err := l.Prove(context.Background()); err == nil || !strings.Contains(err.Error(), "generations") {
				t.Errorf("Prove = %v", err)
			}
			mustBeEmpty(t, l)
		})
	}
}

// The proof is made at every start: it moves a few bytes on S3, not megabytes.
func TestProofIsCheap(t *testing.T) {
	var sent, requests atomic.Int64
	l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		requests.Add(1)
		sent.Add(r.ContentLength)
		pass.ServeHTTP(w, r)
	}))
	if err := l.Prove(context.Background()); err != nil {
		t.Fatal(err)
	}
	if sent.Load() > 16<<10 || requests.Load() > 55 {
		t.Errorf("%d bytes in %d requests", sent.Load(), requests.Load())
	}
	t.Logf("%d bytes in %d requests", sent.Load(), requests.Load())
	mustBeEmpty(t, l)
}

func mustBeEmpty(t *testing.T, l *Lake) {
	t.Helper()
	err := l.objects.list(context.Background(), func(o Object) error {
		t.Errorf("left behind: %s", o.Key)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A publish whose answer is lost is a conflict; the next attempt finds it done.
func TestLostAnswerIsFoundInTheBase(t *testing.T) {
	var lose atomic.Bool
	l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut && lose.CompareAndSwap(true, false) {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}))
	if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 5)...); err != nil {
		t.Fatal(err)
	}
	lose.Store(true)
	if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 9)...); !errors.Is(err, ErrConflict) {
		t.Fatalf("publish without an answer: %v, want a conflict", err)
	}
	res, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 9)...)
	if err != nil || res.Added != 0 || res.RowsBefore != 9 {
		t.Errorf("next attempt %+v, %v; want the nine rows found and none added", res, err)
	}
	if rows, m := read(t, l, hour); len(rows) != 9 || m.Duplicates != 0 {
		t.Errorf("%d rows, manifest %+v", len(rows), m)
	}
}

// A publish that is called off while its answer is awaited ends, and whatever
// became of it, the partition is whole.
func TestSlowUploadCanBeCalledOff(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var slow atomic.Bool
	l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method == http.MethodPut && slow.Load() {
			io.Copy(io.Discard, r.Body) // or the server does not see that the client is gone
			cancel()
			<-r.Context().Done()
			return
		}
		pass.ServeHTTP(w, r)
	}))
	if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 5)...); err != nil {
		t.Fatal(err)
	}
	slow.Store(true)
	b, err := l.Base(ctx, hour)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r, err := l.Rewrite(b, RewriteOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Publish(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("publish = %v, want canceled", err)
	}
	if rows, m := read(t, l, hour); len(rows) != 5 || m.Generation != 1 {
		t.Errorf("%d rows of generation %d", len(rows), m.Generation)
	}
}

// These answers mean that somebody else was there: start again.
func TestAnswersThatAreConflicts(t *testing.T) {
	for code, status := range map[string]int{
		"ConditionalRequestConflict": http.StatusConflict, "OperationAborted": http.StatusConflict,
		"PreconditionFailed": http.StatusPreconditionFailed, "NoSuchUpload": http.StatusNotFound,
	} {
		l := openTest(t, proxyS3(t, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			if r.Method != http.MethodPut {
				pass.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(status)
			w.Write([]byte("<Error><Code>" + code + "</Code><Message>busy</Message></Error>"))
		}))
		if _, err := rewrite(l, hour, RewriteOptions{}, sample(hour, 1)...); !errors.Is(err, ErrConflict) {
			t.Errorf("%d %s: publish = %v, want a conflict", status, code, err)
		}
	}
}

// A base that must not be read is not taken for one that is not there.
func TestForbiddenIsNotAbsent(t *testing.T) {
	forbid := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`<Error><Code>AccessDenied</Code><Message>no</Message></Error>`))
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forbid(w, r, nil) }))
	t.Cleanup(s.Close)
	testenv.GCS(t)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(s.URL, "http://"))
	for _, url := range []string{proxyS3(t, forbid), "gs://bucket"} {
		b, err := openTest(t, url).Base(context.Background(), hour)
		if err == nil {
			t.Errorf("%s: base %+v, want an error", url, b)
		} else if !strings.Contains(err.Error(), "s3:GetObject") && !strings.Contains(err.Error(), "objectAdmin") {
			t.Errorf("%s: error has no remedy: %v", url, err)
		}
	}
}

// What is wrong with a URL, or behind it, is said.
func TestWrongLakesAreExplained(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	s3URL, gcsURL := testenv.S3(t), testenv.GCS(t)
	for url, want := range map[string]string{
		"ftp://x/y":         `scheme "ftp"`,
		"x/y":               `scheme ""`,
		"s3://":             "no bucket",
		"s3://k:s@b":        "credentials",
		"s3://b?prefix=x":   "write the prefix as the path",
		"s3://b/a//b":       "single slashes",
		"s3://b?colour=red": "colour",
		"file:relative":     "absolute path",
		"file://host/dir":   `host "host"`,
		"file:///dir?x=y":   "a directory has none",
		"file://" + file:    "not a directory",
		missing(s3URL):      "make the bucket",
		missing(gcsURL):     "make the bucket",
	} {
		l, err := Open(context.Background(), url, Options{})
		if err == nil {
			err = l.Prove(context.Background())
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something about %q", url, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "k:s@") {
			t.Errorf("%s: the error shows the password: %v", url, err)
		}
	}
}

func missing(bucketURL string) string {
	scheme, rest, _ := strings.Cut(bucketURL, "://")
	return scheme + "://no-such-" + rest
}

// A lake has one name, without secrets, however its URL is written.
func TestURLIsCanonical(t *testing.T) {
	dir := t.TempDir()
	for url, want := range map[string]string{
		"file://" + dir:            "file://" + dir,
		"file://" + dir + "/x/../": "file://" + dir,
		"s3://b?region=r":          "s3://b",
		"s3://b/":                  "s3://b",
		"s3://b/p/q/?region=r":     "s3://b/p/q",
		"s3://b/p?region=r&endpoint=http://u:secret@h:1/x": "s3://b/p?endpoint=http%3A%2F%2Fh%3A1%2Fx",
	} {
		l, err := Open(context.Background(), url, Options{})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if l.URL() != want {
			t.Errorf("URL of %s = %s, want %s", url, l.URL(), want)
		}
		l.Close()
	}
}

// proxyS3 returns the URL of an empty bucket whose requests go through handle.
func proxyS3(t *testing.T, handle func(w http.ResponseWriter, r *http.Request, pass http.Handler)) string {
	t.Helper()
	u, err := url.Parse(testenv.S3(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	target, err := url.Parse(q.Get("endpoint"))
	if err != nil {
		t.Fatal(err)
	}
	pass := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(w, r, pass) }))
	t.Cleanup(s.Close)
	q.Set("endpoint", s.URL)
	u.RawQuery = q.Encode()
	return u.String()
}

// sign signs a request that was changed on the way.
func sign(t *testing.T, r *http.Request) {
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	credentials := aws.Credentials{AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY")}
	r.URL.Host = r.Host
	hash := r.Header.Get("X-Amz-Content-Sha256")
	if err := signer.SignHTTP(context.Background(), credentials, r, hash, "s3", "us-east-1", time.Now()); err != nil {
		t.Error(err)
	}
}
