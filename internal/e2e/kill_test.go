package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// kills is how often each command is killed.
const kills = 10

// TestKill9 kills ingest and the compactor at random moments, ten times each,
// and then lets them run: the rows are those of a run that nobody disturbed.
func TestKill9(t *testing.T) {
	for _, b := range allBackends()[:2] {
		t.Run(b.name, func(t *testing.T) {
			s := b.open(t)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			ingest := append(append(append([]string{"file"}, mapping...), s.flags...), commits)
			once := append([]string{"once"}, s.flags...)
			usual := map[string]time.Duration{"ingest": time.Second, "compactor": 4 * time.Second}
			killed := map[string]int{}
			for killed["ingest"] < kills || killed["compactor"] < kills {
				for name, args := range map[string][]string{"ingest": ingest, "compactor": once} {
					if killed[name] == kills {
						continue
					}
					after := time.Duration(rng.Int64N(int64(usual[name])))
					if kill(t, name, args, after) {
						killed[name]++
					} else {
						usual[name] = after // it was done before: kill earlier
					}
				}
			}
			s.ingest(t, commits)
			t.Log(s.compactor(t, "once"))
			sameRows(t, s.lake(t))
			t.Log(s.compactor(t, "verify"))
		})
	}
}

// kill starts a command and kills it after a while. It reports false if the
// command came to its end before.
func kill(t *testing.T, name string, args []string, after time.Duration) bool {
	t.Helper()
	cmd := command(t, name, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%s, before it was killed: %v", name, err)
		}
		return false
	case <-time.After(after):
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	return true
}
