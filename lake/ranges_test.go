package lake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/minio/crc64nvme"
	"pgregory.net/rapid"

	"github.com/afterhours/afterhours"
	"github.com/afterhours/afterhours/internal/testenv"
)

// traffic is what a lake in a bucket was asked for.
type traffic struct {
	mu       sync.Mutex
	kinds    []string // method and kind of each request
	sent     int64    // bytes of bodies
	received int64

	// before may do something before a request is passed on, or answer it itself.
	before func(kind string, w http.ResponseWriter, r *http.Request, pass http.Handler) (answered bool)
}

// requestOf names what a request of S3, or a read or an upload of Google's, does.
func requestOf(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case q.Has("uploadId") && r.Method == http.MethodPut && r.Header.Get("X-Amz-Copy-Source") != "":
		return "copy part"
	case q.Has("uploadId") && r.Method == http.MethodPut:
		return "send part"
	case q.Has("uploadId") && r.Method == http.MethodPost:
		return "complete"
	case q.Has("uploadId") && r.Method == http.MethodDelete:
		return "abort"
	case q.Has("uploads"):
		return "begin"
	}
	return r.Method
}

func (n *traffic) serve(w http.ResponseWriter, r *http.Request, pass http.Handler) {
	kind := requestOf(r)
	n.mu.Lock()
	n.kinds = append(n.kinds, kind)
	if r.ContentLength > 0 {
		n.sent += r.ContentLength
	}
	before := n.before
	n.mu.Unlock()
	if before != nil && before(kind, w, r, pass) {
		return
	}
	pass.ServeHTTP(&counted{w, n}, r)
}

// counted counts what is answered.
type counted struct {
	http.ResponseWriter
	n *traffic
}

func (c *counted) Write(b []byte) (int, error) {
	c.n.mu.Lock()
	c.n.received += int64(len(b))
	c.n.mu.Unlock()
	return c.ResponseWriter.Write(b)
}

// during returns what work causes.
func (n *traffic) during(work func()) (kinds []string, sent, received int64) {
	n.mu.Lock()
	n.kinds, n.sent, n.received = nil, 0, 0
	n.mu.Unlock()
	work()
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.kinds), n.sent, n.received
}

// do has something happen before requests.
func (n *traffic) do(before func(kind string, w http.ResponseWriter, r *http.Request, pass http.Handler) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.before = before
}

// countedS3 is a lake on S3 that has proven what the store can do.
func countedS3(t *testing.T) (*Lake, *traffic) {
	t.Helper()
	n := &traffic{}
	l := openTest(t, proxyS3(t, n.serve))
	prove(t, l)
	if !l.objects.(*bucket).copies.Load() {
		t.Fatal("the gateway did not prove that it copies ranges")
	}
	return l, n
}

func prove(t *testing.T, l *Lake) {
	t.Helper()
	if err := l.Prove(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// countedGCS is a lake on Google Cloud Storage.
func countedGCS(t *testing.T) (*Lake, *traffic) {
	t.Helper()
	name, n := testenv.GCS(t), &traffic{}
	target := &url.URL{Scheme: "http", Host: os.Getenv("STORAGE_EMULATOR_HOST")}
	pass := httputil.NewSingleHostReverseProxy(target)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = target.Host
		n.serve(w, r, pass)
	}))
	t.Cleanup(s.Close)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(s.URL, "http://"))
	return openTest(t, name), n
}

// A rewrite that finds nothing new, and reading all of a small partition, take one
// request.
func TestSmallHoursTakeOneRequest(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (*Lake, *traffic){"s3": countedS3, "gcs": countedGCS} {
		t.Run(name, func(t *testing.T) {
			l, n := open(t)
			mustPublish(t, l, RewriteOptions{}, sample(hour, 50)...)
			for what, work := range map[string]func(){
				"nothing new": func() { mustPublish(t, l, RewriteOptions{}, sample(hour, 50)...) },
				"all rows":    func() { read(t, l, hour) },
			} {
				if kinds, _, _ := n.during(work); !slices.Equal(kinds, []string{http.MethodGet}) {
					t.Errorf("%s: requests %v, want one GET", what, kinds)
				}
			}
		})
	}
}

// An object that is not small, but not large either, takes two.
func TestMiddlingHoursTakeTwoRequests(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (*Lake, *traffic){"s3": countedS3, "gcs": countedGCS} {
		t.Run(name, func(t *testing.T) {
			l, n := open(t)
			mustPublish(t, l, RewriteOptions{}, randomRows(300, 4000)...)
			if kinds, _, _ := n.during(func() { read(t, l, hour) }); !slices.Equal(kinds, []string{http.MethodGet, http.MethodGet}) {
				t.Errorf("requests %v, want two GETs", kinds)
			}
		})
	}
}

// randomRows are manyRows whose payloads cannot be compressed by more than a quarter.
func randomRows(n, size int) []row {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	random := rand.New(rand.NewPCG(1, 2))
	rows := manyRows(n, 0)
	for i := range rows {
		b := make([]byte, 0, size+10)
		for b = append(b, `{"x":"`...); len(b) < size; {
			for bits, k := random.Uint64(), 0; k < 10; k, bits = k+1, bits>>6 {
				b = append(b, letters[bits%64])
			}
		}
		rows[i].e.Payload = append(b, `"}`...)
	}
	return rows
}

// largeRows make 10 blocks of 1.8 MiB. What lies before the block of row 450, and what
// lies behind it and 5 MiB that must be sent, is enough for a part to copy each, and
// together worth copying. Three blocks are too much to be read as a whole, and five to
// be sent in one request.
func largeRows() []row { return slices.Clone(tenBlocks()) }

var tenBlocks = sync.OnceValue(func() []row { return randomRows(1000, 25_000) })

// putLarge puts a partition of the first of largeRows, and returns its bytes. It is
// made once for all tests: to compress it takes longer than what most do with it.
func putLarge(t *testing.T, l *Lake, n int) []byte {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.objects[n] == nil {
		in := openDirTest(t)
		mustPublish(t, in, RewriteOptions{}, largeRows()[:n]...)
		made.objects[n] = objectBytes(t, in, keyOf(hour))
	}
	put(t, l, keyOf(hour), made.objects[n])
	return made.objects[n]
}

var made = struct {
	sync.Mutex
	objects map[int][]byte
}{objects: map[int][]byte{}}

const mib = 1 << 20

// One late row in a large partition downloads the footer, the filters and the block
// that it falls into, and uploads what is new: that block, and what the rules of
// uploads in parts ask for. On Google Cloud Storage, which has no copies of ranges,
// the rest goes through us.
func TestLateRowMovesOneBlock(t *testing.T) {
	t.Run("s3", func(t *testing.T) {
		l, n := countedS3(t)
		rows := largeRows()
		mustPublish(t, l, RewriteOptions{}, rows...)
		for _, late := range []int{450, 3, 999} {
			kinds, sent, received := n.during(func() { mustPublish(t, l, RewriteOptions{}, lateRow(late)) })
			t.Logf("row %d: %d bytes sent, %d received, in %d requests: %v", late, sent, received, len(kinds), kinds)
			if sent > 6*mib || received > 6*mib || !slices.Contains(kinds, "copy part") || slices.Contains(kinds, http.MethodPut) {
				t.Errorf("row %d: %d bytes sent, %d received, by %v; want one block, and at most a part of 5 MiB", late, sent, received, kinds)
			}
		}
		mustHold(t, l, append(rows, lateRow(3), lateRow(450), lateRow(999)))
	})
	t.Run("gcs", func(t *testing.T) {
		l, n := countedGCS(t)
		rows := largeRows()[:300]
		mustPublish(t, l, RewriteOptions{}, rows...)
		kinds, sent, received := n.during(func() { mustPublish(t, l, RewriteOptions{}, lateRow(150)) })
		t.Logf("%d bytes sent, %d received, in %d requests", sent, received, len(kinds))
		if size := int64(len(objectBytes(t, l, keyOf(hour)))); received > size+mib || len(kinds) > 60 {
			t.Errorf("%d bytes received in %d requests, of an object of %d", received, len(kinds), size)
		}
		mustHold(t, l, append(rows, lateRow(150)))
	})
}

// mustHold compares the partition, decoded in full, with the rows that it must have.
func mustHold(t *testing.T, l *Lake, want []row) {
	t.Helper()
	payloads := map[string]string{}
	for _, r := range want {
		payloads[r.e.ID] = string(r.e.Payload)
	}
	got, _ := read(t, l, hour)
	if len(got) != len(payloads) {
		t.Fatalf("%d rows, want %d", len(got), len(payloads))
	}
	for _, r := range got {
		if payloads[r.ID] != string(r.Payload) {
			t.Fatalf("event %q has another payload", r.ID)
		}
	}
}

// Every read of a base but the first is on the condition of its version, and so is
// every copy: what is read after somebody else has published is a conflict, also on a
// store that ignores the condition, and nothing is published or left behind.
func TestBaseReplacedMeanwhileConflicts(t *testing.T) {
	unconditional := func(_ string, _ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method == http.MethodGet && r.Header.Get("If-Match") != "" {
			r.Header.Del("If-Match")
			sign(t, r)
		}
		return false
	}
	for what, before := range map[string]func(string, http.ResponseWriter, *http.Request, http.Handler) bool{"honest": nil, "ignores If-Match": unconditional} {
		t.Run(what, func(t *testing.T) {
			l, n := countedS3(t)
			putLarge(t, l, 1000)
			b, err := l.Base(context.Background(), hour)
			if err != nil {
				t.Fatal(err)
			}
			mustPublish(t, l, RewriteOptions{}, lateRow(7))
			n.do(before)
			if err := b.Verify(); !errors.Is(err, ErrConflict) || errors.Is(err, ErrRefused) {
				t.Errorf("verify: %v, want a conflict", err)
			}
			if _, err := over(t, l, b, RewriteOptions{}, lateRow(450)); !errors.Is(err, ErrConflict) || errors.Is(err, ErrRefused) {
				t.Errorf("publish: %v, want a conflict", err)
			}
			n.do(nil)
			mustHold(t, l, append(largeRows(), lateRow(7)))
			mustHaveNoUploads(t, l)
		})
	}
}

// Only the first read of an object is of whatever version there is.
func TestReadsAreConditional(t *testing.T) {
	for name, c := range map[string]struct {
		open   func(*testing.T) (*Lake, *traffic)
		header string
	}{
		"s3":  {countedS3, "If-Match"},
		"gcs": {countedGCS, "X-Goog-If-Generation-Match"},
	} {
		t.Run(name, func(t *testing.T) {
			l, n := c.open(t)
			putLarge(t, l, 300)
			var reads, conditions atomic.Int64
			n.do(func(kind string, _ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if kind == http.MethodGet {
					reads.Add(1)
					if r.Header.Get(c.header) != "" {
						conditions.Add(1)
					}
				}
				return false
			})
			mustPublish(t, l, RewriteOptions{}, lateRow(150))
			if reads.Load() < 5 || conditions.Load() != reads.Load()-1 {
				t.Errorf("%d reads, %d with a condition", reads.Load(), conditions.Load())
			}
		})
	}
}

// The same on Google Cloud Storage.
func TestGCSBaseReplacedMeanwhileConflicts(t *testing.T) {
	l, _ := countedGCS(t)
	putLarge(t, l, 300)
	b, err := l.Base(context.Background(), hour)
	if err != nil {
		t.Fatal(err)
	}
	mustPublish(t, l, RewriteOptions{}, lateRow(7))
	if err := b.Verify(); !errors.Is(err, ErrConflict) || errors.Is(err, ErrRefused) {
		t.Errorf("verify: %v, want a conflict", err)
	}
}

func mustHaveNoUploads(t *testing.T, l *Lake) {
	t.Helper()
	s := l.objects.(*bucket).provider.(s3)
	out, err := s.client.ListMultipartUploads(context.Background(), &awss3.ListMultipartUploadsInput{Bucket: &s.bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range out.Uploads {
		t.Errorf("an upload of %s was left behind", *u.Key)
	}
}

// attempt is a publish of one late row that something happens to.
type attempt struct {
	*testing.T
	l      *Lake
	r      *Rewrite
	cancel func()
}

// Whatever goes wrong while the store puts an object together, nothing is published
// and nothing left behind; if the object was replaced meanwhile, it is a conflict.
func TestAssemblyFailsWhole(t *testing.T) {
	broken := errors.New("an error that is no conflict")
	for what, c := range map[string]struct {
		at   string // with the first request of this kind
		do   func(a attempt, w http.ResponseWriter, r *http.Request, pass http.Handler) (answered bool)
		want error
		late int // the row that was published, 0 for none
	}{
		"replaced before a copy":         {"copy part", attempt.replace, ErrConflict, 7},
		"replaced before the completion": {"complete", attempt.replace, ErrConflict, 7},
		"other bytes are copied":         {"copy part", attempt.shift, broken, 0},
		"the file is damaged":            {"begin", attempt.damage, broken, 0},
		"a byte is flipped on the way":   {"send part", attempt.flip, broken, 0},
		"forbidden":                      {"copy part", attempt.forbid, broken, 0},
		"called off at a copy":           {"copy part", attempt.callOff, context.Canceled, 0},
		"called off at the completion":   {"complete", attempt.callOff, context.Canceled, 0},
		"the answer is lost":             {"complete", attempt.lose, nil, 450},
	} {
		t.Run(what, func(t *testing.T) {
			l, n := countedS3(t)
			was := putLarge(t, l, 1000)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			b, err := l.Base(ctx, hour)
			if err != nil {
				t.Fatal(err)
			}
			r, err := l.Rewrite(b, RewriteOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := lateRow(450).addTo(r); err != nil {
				t.Fatal(err)
			}
			var happened, aborted atomic.Bool
			n.do(func(kind string, w http.ResponseWriter, req *http.Request, pass http.Handler) bool {
				if kind == "abort" && aborted.CompareAndSwap(false, true) { // as if a part were still being taken
					w.WriteHeader(http.StatusNoContent)
					return true
				}
				return kind == c.at && happened.CompareAndSwap(false, true) && c.do(attempt{t, l, r, cancel}, w, req, pass)
			})
			_, err = r.Publish(ctx)
			if !happened.Load() {
				t.Fatalf("there was no request to %s", c.at)
			}
			if c.want == broken && (err == nil || errors.Is(err, ErrConflict)) || c.want != broken && !errors.Is(err, c.want) {
				t.Errorf("publish: %v, want %v", err, c.want)
			}
			n.do(nil)
			if c.late > 0 {
				mustHold(t, l, append(largeRows(), lateRow(c.late)))
			} else if !bytes.Equal(objectBytes(t, l, keyOf(hour)), was) {
				t.Error("the object was changed")
			}
			mustHaveNoUploads(t, l)
		})
	}
}

// replace publishes something else.
func (a attempt) replace(http.ResponseWriter, *http.Request, http.Handler) bool {
	if _, err := rewrite(a.l, hour, RewriteOptions{}, lateRow(7)); err != nil {
		a.Error(err)
	}
	return false
}

// shift has the store copy other bytes than it was asked for.
func (a attempt) shift(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	const name = "X-Amz-Copy-Source-Range"
	var first, last int64
	if _, err := fmt.Sscanf(r.Header.Get(name), "bytes=%d-%d", &first, &last); err != nil {
		a.Error(err)
	}
	r.Header.Set(name, fmt.Sprintf("bytes=%d-%d", first+1, last+1))
	sign(a.T, r)
	return false
}

// damage flips a bit of the temporary file after it was verified.
func (a attempt) damage(http.ResponseWriter, *http.Request, http.Handler) bool {
	f := a.r.files[len(a.r.files)-1]
	var b [1]byte
	_, err := f.ReadAt(b[:], 1000)
	b[0] ^= 1
	if _, err2 := f.WriteAt(b[:], 1000); err != nil || err2 != nil {
		a.Error(err, err2)
	}
	return false
}

// flip changes a byte of a body, and signs it.
func (a attempt) flip(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		a.Error(err)
	}
	b[len(b)/2] ^= 1
	r.Body = io.NopCloser(bytes.NewReader(b))
	r.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	sign(a.T, r)
	return false
}

func (a attempt) forbid(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
	w.WriteHeader(http.StatusForbidden)
	io.WriteString(w, `<Error><Code>AccessDenied</Code><Message>no</Message></Error>`)
	return true
}

func (a attempt) callOff(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	io.Copy(io.Discard, r.Body) // or the server does not see that the client is gone
	a.cancel()
	<-r.Context().Done()
	return true
}

// lose has the request done, but not answered.
func (a attempt) lose(_ http.ResponseWriter, r *http.Request, pass http.Handler) bool {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// Damage in a block that nothing touches, and so nothing reads before the upload, is
// not copied on, neither by the store nor through us, and refuses the rewrite.
func TestDamageInBucketsIsNotCopied(t *testing.T) {
	for what, c := range map[string]struct {
		open  func(*testing.T) (*Lake, *traffic)
		large int // how many of largeRows, 0 for small ones
	}{
		"s3, by the store": {countedS3, 1000},
		"s3":               {countedS3, 500},
		"s3, small":        {countedS3, 0},
		"gcs":              {countedGCS, 300},
		"gcs, small":       {countedGCS, 0},
	} {
		t.Run(what, func(t *testing.T) {
			l, n := c.open(t)
			if c.large > 0 {
				putLarge(t, l, c.large)
			} else {
				mustPublish(t, l, RewriteOptions{}, manyRows(1000, 10)...)
			}
			p := opened(t, l)
			bad := objectBytes(t, l, keyOf(hour))
			bad[p.starts[1]-p.table.Blocks[0].Filter.Size-1] ^= 1 // the last payload of block 0
			put(t, l, keyOf(hour), bad)
			kinds, _, _ := n.during(func() {
				if _, err := rewrite(l, hour, RewriteOptions{}, lateRow(150)); !errors.Is(err, ErrRefused) {
					t.Errorf("publish: %v, want a refusal", err)
				}
			})
			if slices.Contains(kinds, "complete") != (what == "s3, by the store") {
				t.Errorf("requests %v", kinds)
			}
			if !bytes.Equal(objectBytes(t, l, keyOf(hour)), bad) {
				t.Error("the object was changed")
			}
			if strings.HasPrefix(what, "s3") {
				mustHaveNoUploads(t, l)
			}
		})
	}
}

// A store that copies whatever the condition, or takes any checksum, is not asked to
// copy: the lake works all the same.
func TestProofOfCopies(t *testing.T) {
	for what, c := range map[string]struct{ kind, header string }{
		"a condition that is ignored": {"copy part", "X-Amz-Copy-Source-If-Match"},
		"a checksum that is ignored":  {"complete", "X-Amz-Checksum-Crc64nvme"},
	} {
		t.Run(what, func(t *testing.T) {
			n := &traffic{}
			l := openTest(t, proxyS3(t, n.serve))
			n.do(func(kind string, _ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
				if kind == c.kind && r.Header.Get(c.header) != "" {
					r.Header.Del(c.header)
					sign(t, r)
				}
				return false
			})
			prove(t, l)
			mustBeEmpty(t, l)
			mustHaveNoUploads(t, l)
			if l.objects.(*bucket).copies.Load() {
				t.Fatal("the proof did not find out")
			}
			putLarge(t, l, 1000)
			kinds, _, _ := n.during(func() { mustPublish(t, l, RewriteOptions{}, lateRow(450)) })
			if slices.Contains(kinds, "copy part") {
				t.Errorf("requests %v", kinds)
			}
			mustHold(t, l, append(largeRows(), lateRow(450)))
		})
	}
}

// An empty object, of which a store gives no range, is refused like other rubbish, and
// can be replaced.
func TestEmptyObjectIsRefused(t *testing.T) {
	unsatisfiable := func(_ string, w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodGet || r.Header.Get("Range") == "" {
			return false
		}
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable) // as Amazon and Google do
		io.WriteString(w, `<Error><Code>InvalidRange</Code><Message>no</Message></Error>`)
		return true
	}
	for name, open := range map[string]func(*testing.T) (*Lake, *traffic){"s3": countedS3, "gcs": countedGCS} {
		t.Run(name, func(t *testing.T) {
			l, n := open(t)
			put(t, l, keyOf(hour), nil)
			n.do(unsatisfiable)
			if _, err := l.Base(context.Background(), hour); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "0 bytes") {
				t.Errorf("base: %v, want a refusal", err)
			}
			b, err := l.Unread(context.Background(), hour)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := over(t, l, b, RewriteOptions{Rebuild: true, Discard: true}, sample(hour, 3)...); err != nil {
				t.Errorf("rebuild: %v", err)
			}
		})
	}
}

// What cannot be read for the moment is not taken for damaged.
func TestUnreachableIsNotRefused(t *testing.T) {
	l, n := countedS3(t)
	mustPublish(t, l, RewriteOptions{}, randomRows(300, 4000)...)
	b, err := l.Base(context.Background(), hour)
	if err != nil {
		t.Fatal(err)
	}
	for what, answer := range map[string]func(http.ResponseWriter){
		"forbidden": func(w http.ResponseWriter) { attempt{}.forbid(w, nil, nil) },
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("ETag", b.Version())
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", b.Size()-footerGuess-1, b.Size()))
			w.Header().Set("Content-Length", fmt.Sprint(b.Size()-footerGuess))
			w.WriteHeader(http.StatusPartialContent)
			w.Write(make([]byte, 100))
			panic(http.ErrAbortHandler)
		},
	} {
		b, err := l.Base(context.Background(), hour)
		if err != nil {
			t.Fatal(err)
		}
		n.do(func(_ string, w http.ResponseWriter, _ *http.Request, _ http.Handler) bool { answer(w); return true })
		for how, err := range map[string]error{
			"verify": b.Verify(),
			"rows":   b.Rows(func(afterhours.Copies) error { return nil }),
			"IDs":    b.IDs(func(string) error { return nil }),
		} {
			if err == nil || errors.Is(err, ErrRefused) {
				t.Errorf("%s, %s: %v, want an error that is no refusal", what, how, err)
			}
		}
		if _, err := over(t, l, b, RewriteOptions{}, lateRow(7)); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("%s, publish: %v, want an error that is no refusal", what, err)
		}
		n.do(nil)
	}
}

// Only what is a block of the base, byte for byte by the table, is left to the store
// unread.
func TestOnlyBlocksOfTheBaseAreLeft(t *testing.T) {
	l := openDirTest(t)
	mustPublish(t, l, RewriteOptions{}, manyRows(1000, 10)...)
	p := opened(t, l)
	const i = 4
	at, size := p.starts[i], p.table.Blocks[i].size()
	for what, c := range map[string]struct {
		from, size int64
		base, want bool
	}{
		"the block":        {at, size, true, true},
		"with the next":    {at, size + 1, true, true},
		"of the file":      {at, size, false, false},
		"another block":    {p.starts[i+1], size, true, false},
		"a byte beside":    {at + 1, size, true, false},
		"behind all":       {p.starts[len(p.table.Blocks)], size, true, false},
		"a byte too short": {at, size - 1, true, false},
	} {
		d := &draft{pieces: []piece{{size: at}, {at: at, size: c.size, from: c.from, base: c.base}, {at: at + c.size, size: 1 << 30}}}
		if got := d.leaves(p, i, p); got != c.want {
			t.Errorf("%s: left to the store: %t", what, got)
		}
	}
}

// The checksum of a whole is that of its parts, wherever it is cut.
func TestChecksumsOfParts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(t, "bytes")
		var sum checksum
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(0, len(rest)).Draw(t, "size")
			sum = sum.then(checksumOf(rest[:n]), int64(n))
			rest = rest[n:]
		}
		if want := checksum(crc64nvme.Update(0, all)); sum != want {
			t.Errorf("sum %x, want %x", sum, want)
		}
	})
	zeros := make([]byte, 1<<20)
	var want, sum checksum
	for range 1 << 12 { // 4 GiB
		want = checksum(crc64nvme.Update(uint64(want), zeros))
	}
	one := checksumOf(zeros)
	for n, size := one, int64(len(zeros)); ; n, size = n.then(n, size), 2*size {
		if sum = n; size == 4<<30 {
			break
		}
	}
	if sum != want {
		t.Errorf("sum of 4 GiB %x, want %x", sum, want)
	}
}

// An upload is divided into what the store takes: parts in order without gaps, of
// which all but the last have 5 MiB, and what is copied is what the pieces say.
func TestPartsAreWhatStoresTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &draft{}
		var local, base int64
		for i := range rapid.IntRange(1, 9).Draw(t, "pieces") {
			size := int64(rapid.SampledFrom([]int{4, 1000, minPart - 1, minPart, 7 << 20, 20 << 20, 300 << 20, 3 << 30}).Draw(t, "size"))
			p := piece{at: d.size, size: size, from: local, base: i%2 == 1}
			if p.base {
				base += int64(rapid.SampledFrom([]int{4, 1000, 50 << 20}).Draw(t, "skipped"))
				p.from = base
				base += size
			} else {
				local += size
			}
			d.pieces = append(d.pieces, p)
			d.size += size
		}
		parts := d.parts()
		var at, copied int64
		for i, p := range parts {
			if p.at != at || p.size < 1 || i+1 < len(parts) && p.size < minPart || p.size > 2*copyPart || !p.base && p.size >= 2*sentPart && p.size > minPart {
				t.Fatalf("part %d: %+v, behind %d", i, p, at)
			}
			at += p.size
			if !p.base {
				continue
			}
			copied += p.size
			in := d.pieces[d.piece(p.end()-1)]
			if !in.base || p.from-p.at != in.from-in.at || p.at < in.at && (p.at != 0 || in.at != int64(len(parquetMark)) || p.from != 0) {
				t.Fatalf("part %d: %+v, is not of the piece %+v", i, p, in)
			}
		}
		if parts != nil && (at != d.size || copied < copyWorth) || len(parts) > 10_000 {
			t.Fatalf("%d parts of %d bytes, %d copied, want %d", len(parts), at, copied, d.size)
		}
	})
}
