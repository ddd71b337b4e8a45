package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// assemble makes everything that runs beside the servers.
func (s *soak) assemble() error {
	topic := &load{ledger: s.ledger, rng: s.rng(1), open: s.open, world: s.world, rate: s.rate}
	inFiles := &load{ledger: s.ledger, rng: s.rng(2), open: s.open, world: s.world}
	s.topic = topic
	s.files = &files{load: inFiles, dir: s.dirOf("files"), every: s.fileEvery, argv: s.ingestFile(), kills: s.isWarm, killed: s.fileKilled}
	s.reader = newReader(s.world.bucket, s.ledger, s.wrong)
	for i := 1; i <= 2; i++ {
		in, err := s.daemon("ingest", i, s.ingest())
		if err != nil {
			return err
		}
		in.env, in.says = s.clocks(i), "msg=ingesting" // every ten seconds
		s.ingests = append(s.ingests, in)
	}
	for i := 1; i <= 3; i++ {
		c, err := s.daemon("compactor", i, nil)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(c.tempDir(), 0o755); err != nil {
			return err
		}
		c.argv, c.says = onSmallDisk(c.tempDir(), s.compactor(c.tempDir())), "serving marks"
		s.compactors = append(s.compactors, c)
	}
	s.third = s.compactors[2]
	s.driver = newDriver(s.rng(3), s.every)
	s.driver.events, s.driver.wrong = s.events, s.wrong
	s.driver.faults, s.driver.mayDo = s.faults(), s.inTime
	return nil
}

func (s *soak) rng(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

func (s *soak) daemon(kind string, number int, argv []string) (*daemon, error) {
	d := &daemon{
		name: kind + "-" + strconv.Itoa(number), kind: kind, argv: argv,
		env: credentials, events: s.events, wrong: s.wrong,
	}
	d.dir = s.dirOf(d.name)
	return d, os.MkdirAll(d.dir, 0o755)
}

// clocks gives every life of an ingest a clock that is off by up to a minute and
// a half, if that is asked for.
func (s *soak) clocks(number int) func() []string {
	rng := s.rng(uint64(10 + number))
	return func() []string {
		if !s.skew {
			return credentials()
		}
		return append(credentials(), skewVariable+"="+strconv.Itoa(rng.IntN(181)-90))
	}
}

func (s *soak) ingest() []string {
	dir := s.bin()
	if s.skew {
		dir = s.skewed()
	}
	argv := []string{filepath.Join(dir, "ingest"), "kafka", "--brokers", s.world.kafka.Door.Front,
		"--topics", sourceTopic, "--group", ingestGroup}
	return append(append(argv, columns...), s.world.flags(s.ttl)...)
}

func (s *soak) ingestFile() []string {
	argv := append([]string{filepath.Join(s.bin(), "ingest"), "file"}, columns...)
	return append(argv, s.world.flags(s.ttl)...)
}

// columns are the typed ones of the events.
var columns = []string{"--column", "user_id=user_id", "--column", "amount=amount:int64"}

// compactor has no sweeps: they would hide that a mark was lost. To it a row is worth so
// little that many rewrites wait beyond the quiet.
func (s *soak) compactor(temp string) []string {
	argv := []string{filepath.Join(s.bin(), "compactor"), "run", "--grace", "0s", "--quiet", "4s", "--age-share", "0",
		"--row-worth", "1KiB", "--max-delay", "10s", "--sweep-every", "0", "--stuck-retry", "5s", "--workers", "2", "--memory", "64MiB", "--temp-dir", temp}
	return append(argv, s.world.flags(s.ttl)...)
}

// onSmallDisk runs a command in a mount namespace of its own, where a directory
// is a small file system. That needs no privileges where users may have
// namespaces, and nothing is left behind.
func onSmallDisk(dir string, argv []string) []string {
	return append([]string{"unshare", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o size=32m soak "$0" && exec "$@"`, dir}, argv...)
}
