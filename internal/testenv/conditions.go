package testenv

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// conditions stands before fake-gcs-server v1.56.1 and answers 412 where Google
// does but the fake ignores the condition: on reads, deletes, composes (of the
// target and of each source) and rewrites. Whatever changes an object goes
// through one lock, so that nothing happens between a check and its deed.
type conditions struct {
	mu     sync.Mutex
	next   http.Handler
	server *fakestorage.Server
}

// ServeHTTP checks the conditions of one request and passes it on.
func (c *conditions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && !conditional(r) {
		c.next.ServeHTTP(w, r)
		return
	}
	// Bodies are read before the lock is taken: an upload that waits for its
	// sender must not keep others from overtaking it.
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	// For the same reason the answer goes out after the lock.
	answer := httptest.NewRecorder()
	c.mu.Lock()
	if c.met(r, body) {
		c.next.ServeHTTP(answer, r)
	} else {
		refuse(answer)
	}
	c.mu.Unlock()
	for k, v := range answer.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// conditional reports whether a read names a condition, in the query of the
// JSON interface or in the headers of the XML one.
func conditional(r *http.Request) bool {
	for k := range r.URL.Query() {
		if strings.HasPrefix(k, "if") {
			return true
		}
	}
	for k := range r.Header {
		if strings.HasPrefix(k, "X-Goog-If-") {
			return true
		}
	}
	return false
}

// met reports whether the conditions hold that the fake does not look at.
// Uploads are left to it.
func (c *conditions) met(r *http.Request, body []byte) bool {
	bucket, object := target(r)
	if object == "" {
		return true
	}
	q := r.URL.Query()
	if source, rest, ok := cutAny(object, "/rewriteTo/b/", "/copyTo/b/"); ok {
		toBucket, to, _ := strings.Cut(rest, "/o/")
		return c.holds(bucket, source, q.Get("ifSourceGenerationMatch"), q.Get("ifSourceGenerationNotMatch")) &&
			c.holds(toBucket, to, q.Get("ifGenerationMatch"), q.Get("ifGenerationNotMatch"))
	}
	if into, ok := strings.CutSuffix(object, "/compose"); ok && r.Method == http.MethodPost {
		return c.holds(bucket, into, q.Get("ifGenerationMatch"), "") && c.sourcesHold(bucket, body)
	}
	return c.holds(bucket, object,
		q.Get("ifGenerationMatch")+r.Header.Get("X-Goog-If-Generation-Match"),
		q.Get("ifGenerationNotMatch")+r.Header.Get("X-Goog-If-Generation-Not-Match"))
}

// target returns the bucket and object that a request of the JSON or the XML
// interface names, with the object's verb if there is one; an empty object for
// anything else, such as an upload.
func target(r *http.Request) (bucket, object string) {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, "/upload/") || strings.HasPrefix(path, "/_internal/") || strings.HasPrefix(path, "/batch/") {
		return "", ""
	}
	path = strings.TrimPrefix(path, "/download")
	if rest, ok := strings.CutPrefix(path, "/storage/v1/b/"); ok {
		bucket, object, _ = strings.Cut(rest, "/o/")
		return bucket, object
	}
	bucket, object, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return bucket, object
}

// holds compares the generation of an object, in escaped form, with the two
// conditions, each empty if absent. An object that is not there has generation 0.
func (c *conditions) holds(bucket, object, match, notMatch string) bool {
	if match == "" && notMatch == "" {
		return true
	}
	name, err := url.PathUnescape(object)
	if err != nil {
		return false
	}
	return c.generationHolds(bucket, name, match, notMatch)
}

func (c *conditions) generationHolds(bucket, name, match, notMatch string) bool {
	var now int64
	if o, err := c.server.GetObject(bucket, name); err == nil {
		now = o.Generation
	}
	at := strconv.FormatInt(now, 10)
	return (match == "" || match == at) && (notMatch == "" || notMatch != at)
}

// sourcesHold checks the conditions in the body of a compose.
func (c *conditions) sourcesHold(bucket string, body []byte) bool {
	var compose struct {
		SourceObjects []struct {
			Name                string
			ObjectPreconditions struct{ IfGenerationMatch string }
		}
	}
	if json.Unmarshal(body, &compose) != nil {
		return true // the fake says what is wrong with it
	}
	for _, s := range compose.SourceObjects {
		if m := s.ObjectPreconditions.IfGenerationMatch; m != "" && !c.generationHolds(bucket, s.Name, m, "") {
			return false
		}
	}
	return true
}

// refuse answers as Google does when a condition does not hold.
func refuse(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusPreconditionFailed)
	io.WriteString(w, `{"error":{"code":412,"message":"At least one of the pre-conditions you specified did not hold.","errors":[{"reason":"conditionNotMet"}]}}`)
}

func cutAny(s string, seps ...string) (before, after string, found bool) {
	for _, sep := range seps {
		if before, after, found = strings.Cut(s, sep); found {
			return before, after, true
		}
	}
	return s, "", false
}
