package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the environment variable of every flag: --log-format is
// AFTERHOURS_LOG_FORMAT. A flag that may be repeated has one value a line there.
const envPrefix = "AFTERHOURS_"

// Global are the flags every command has.
type Global struct {
	Data      string
	Store     string
	Dirty     string
	Lake      string
	Config    string
	LogFormat string
	LogLevel  string

	Logger *slog.Logger // set once the flags are read
}

// sections are the parts of a configuration file that belong to one program.
var sections = []string{"ingest", "compactor", "afterhours"}

// NewRoot returns a program's root command with the global flags. Before any of
// its commands runs, flags that were not given are taken from the environment,
// then from the configuration file.
func NewRoot(name, short, long, example string) (*cobra.Command, *Global) {
	g := &Global{}
	root := &cobra.Command{Use: name, Short: short, Long: long, Example: example}
	f := root.PersistentFlags()
	f.StringVar(&g.Data, "data", "./afterhours-data", "root `DIR` of the embedded backends and their lake")
	f.StringVar(&g.Store, "store", "", "where events are kept: cassandra://host1,host2/keyspace or pebble:///dir, with ?ttl=720h to say how long (default: embedded, below --data)")
	f.StringVar(&g.Dirty, "dirty", "", "queue of dirty hours: kafka://broker1,broker2/topic or pebble:///dir (default: embedded, below --data)")
	f.StringVar(&g.Lake, "lake", "", "where partitions are published: s3://bucket/prefix, gs://bucket/prefix or file:///dir (default: below --data)")
	f.StringVar(&g.Config, "config", "", "YAML `FILE` with flags by name, those of one program under its name")
	f.StringVar(&g.LogFormat, "log-format", "text", "log lines as text or json")
	f.StringVar(&g.LogLevel, "log-level", "info", "least important log lines to write: debug, info, warn or error")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := configure(cmd); err != nil {
			return Usage(err)
		}
		return g.LogTo(cmd.ErrOrStderr())
	}
	return Grouping(root), g
}

// LogTo makes the logger, which writes to w as the flags say.
func (g *Global) LogTo(w io.Writer) error {
	l, err := newLogger(w, g.LogFormat, g.LogLevel)
	if err != nil {
		return err
	}
	g.Logger = l
	// Libraries that write to the standard log say nothing that is not also in
	// an error.
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(l)
	return nil
}

// configure sets the flags that were not given on the command line.
func configure(cmd *cobra.Command) error {
	given := map[string]bool{}
	cmd.Flags().Visit(func(f *pflag.Flag) { given[f.Name] = true })
	var errs []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		v, ok := os.LookupEnv(envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_")))
		if !ok || given[f.Name] {
			return
		}
		if err := setFromText(cmd.Flags(), f, v); err != nil {
			errs = append(errs, fmt.Errorf("environment: %w", err))
		}
		given[f.Name] = true
	})
	path := cmd.Flag("config").Value.String()
	if path != "" {
		errs = append(errs, configureFromFile(cmd, path, given))
	}
	return errors.Join(errs...)
}

// setFromText gives a flag the value of its variable. A flag that may be repeated
// takes one from each line: the values may have commas in them.
func setFromText(flags *pflag.FlagSet, f *pflag.Flag, text string) error {
	values := []string{text}
	if _, list := f.Value.(pflag.SliceValue); list {
		values = strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	}
	for _, v := range values {
		if err := flags.Set(f.Name, v); err != nil {
			return err
		}
	}
	return nil
}

// configureFromFile reads a file such as
//
//	store: cassandra://db1,db2/afterhours
//	ingest:
//	  id-field: id
//	  column: [user_id=user.id, amount=order.amount:double]
//
// Every key is a flag's name; an unknown one is an error with its line.
func configureFromFile(cmd *cobra.Command, path string, given map[string]bool) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("--config %s: no such file", path)
	}
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var doc yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	switch err := in.Decode(&doc); {
	case err == io.EOF:
		return nil // an empty file
	case err != nil:
		return fmt.Errorf("--config %s: %w", path, err)
	}
	if err := in.Decode(new(yaml.Node)); err != io.EOF {
		return fmt.Errorf("--config %s: want one YAML document, and nothing after it", path)
	}
	c := fileConfig{cmd: cmd, path: filepath.Clean(path), given: given}
	return c.mapping(doc.Content[0], cmd.Root().PersistentFlags().Lookup, true)
}

// fileConfig is a configuration file being applied to a command.
type fileConfig struct {
	cmd   *cobra.Command
	path  string
	given map[string]bool
}

// mapping applies the keys of one level of the file; known finds the flag a key
// may name there.
func (c fileConfig) mapping(n *yaml.Node, known func(string) *pflag.Flag, top bool) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("%s line %d: want NAME: VALUE pairs", c.path, n.Line)
	}
	var errs []error
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		twice := seen[key.Value]
		seen[key.Value] = true
		switch {
		case twice:
			errs = append(errs, fmt.Errorf("%s line %d: key %q is there twice", c.path, key.Line, key.Value))
		case top && key.Value == c.cmd.Root().Name():
			errs = append(errs, c.mapping(value, c.anyFlag, false))
		case top && slices.Contains(sections, key.Value): // another program's
		case known(key.Value) == nil || key.Value == "config":
			errs = append(errs, fmt.Errorf("%s line %d: unknown key %q", c.path, key.Line, key.Value))
		default:
			errs = append(errs, c.set(key.Value, value))
		}
	}
	return errors.Join(errs...)
}

// anyFlag finds a flag of the program, whichever of its commands has it.
func (c fileConfig) anyFlag(name string) *pflag.Flag {
	for _, sub := range c.cmd.Root().Commands() {
		if f := sub.Flags().Lookup(name); f != nil {
			return f
		}
	}
	return c.cmd.Root().PersistentFlags().Lookup(name)
}

// set gives a flag its value, or the values of a list, unless it has one from
// the command line or the environment, or the command does not have the flag.
func (c fileConfig) set(name string, value *yaml.Node) error {
	values := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		values = value.Content
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return fmt.Errorf("%s line %d: %s: want a value or a list of values", c.path, v.Line, name)
		}
		if c.given[name] || c.cmd.Flag(name) == nil {
			continue
		}
		if err := c.cmd.Flags().Set(name, v.Value); err != nil {
			return fmt.Errorf("%s line %d: %w", c.path, v.Line, err)
		}
	}
	return nil
}
