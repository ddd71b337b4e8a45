package lake

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSharedWork: who comes while work is under way does not rely on it, since what he
// needs may have been made too late for it. All who wait share the next, and its error.
func TestSharedWork(t *testing.T) {
	var s shared
	var done atomic.Int32
	failure := errors.New("the second fails")
	begun, goOn := make(chan bool, 9), make(chan bool)
	work := func() error {
		begun <- true
		<-goOn
		if done.Add(1) == 2 {
			return failure
		}
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.do(work); err != nil {
			t.Errorf("the first: %v", err)
		}
	})
	<-begun
	for range 4 {
		wg.Go(func() {
			if err := s.do(work); !errors.Is(err, failure) {
				t.Errorf("one who came during the first work: %v", err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // until they wait
	close(goOn)
	wg.Wait()
	if n := done.Load(); n != 2 {
		t.Errorf("work was done %d times for one caller and four during that", n)
	}
}
