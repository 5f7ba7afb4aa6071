package kafka

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// DefaultVersion is the Kafka that is started unless KAFKA_VERSION names another.
const DefaultVersion = "4.3.1"

// ErrNoJava means that no JDK, or no Maven to fetch the jars with, is in the path: install them, or name a running Kafka.
var ErrNoJava = errors.New("no java or no mvn in the path (install a JDK 17 or later and Maven)")

//go:embed kafka.sh
var script []byte

//go:embed pom.xml
var pom []byte

// Cluster is one to three brokers in a folder. Its methods may be used by several goroutines.
type Cluster struct {
	Dir     string       `json:"-"`       // holds the brokers' folders, kafka.sh and cluster.json
	Version string       `json:"version"` // of Kafka
	Port    int          `json:"port"`    // of the first broker, on 127.0.0.1; the next ones follow
	Size    int          `json:"size"`    // brokers
	Extra   string       `json:"extra"`   // more server properties, one a line
	Owner   host.Process `json:"owner"`   // whose death makes it an orphan; zero: nobody's
}

// Shared returns the one-broker Kafka that all test processes of this machine share, started by whoever comes first; one
// that is dead or does not answer is made anew. It stays up for those who come later.
func Shared(ctx context.Context, w io.Writer) (*Cluster, error) {
	version := cmp.Or(os.Getenv("KAFKA_VERSION"), DefaultVersion)
	dir, err := host.Dir("shared")
	if err != nil {
		return nil, err
	}
	home := filepath.Join(dir, "kafka-"+version)
	unlock, err := host.Lock(home+".lock", 10*time.Minute)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if c, err := Open(home); err == nil {
		if c.Ping(ctx) == nil {
			return c, nil
		}
		if err := c.Remove(); err != nil {
			return nil, err
		}
	}
	return create(ctx, &Cluster{Dir: home, Version: version, Size: 1}, w)
}

// Private starts a cluster of size brokers, with more server properties (one a line, the last one wins), that belongs to
// the calling process: whoever calls Reap after its death ends it.
func Private(ctx context.Context, size int, extra string, w io.Writer) (*Cluster, error) {
	dir, err := host.Dir("private")
	if err != nil {
		return nil, err
	}
	Reap()
	return create(ctx, &Cluster{
		Dir: filepath.Join(dir, "kafka-"+host.Random()), Size: size, Extra: extra, Owner: host.Self(),
		Version: cmp.Or(os.Getenv("KAFKA_VERSION"), DefaultVersion),
	}, w)
}

func create(ctx context.Context, c *Cluster, w io.Writer) (*Cluster, error) {
	if err := fetch(ctx, c.Version, w); err != nil {
		return nil, err
	}
	var err error
	if c.Port, err = host.Ports(0, 1, 2, 101, 102, 103); err != nil {
		return nil, err
	}
	about, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("remember cluster: %w", err)
	}
	if err := errors.Join(os.MkdirAll(c.Dir, 0o755), os.WriteFile(filepath.Join(c.Dir, "cluster.json"), about, 0o644)); err != nil {
		return nil, fmt.Errorf("make the cluster's folder: %w", err)
	}
	if _, err := c.run(ctx, "up", strconv.Itoa(c.Size)); err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

// Fetch fetches the jars of the version that would be started, once for each machine. Progress goes to w.
func Fetch(ctx context.Context, w io.Writer) error {
	return fetch(ctx, cmp.Or(os.Getenv("KAFKA_VERSION"), DefaultVersion), w)
}

// fetch writes the script to where it can be run and has it fetch the jars, one process at a time.
func fetch(ctx context.Context, version string, w io.Writer) error {
	dir, err := host.Dir("kafka")
	if err != nil {
		return err
	}
	unlock, err := host.Lock(filepath.Join(dir, "fetch.lock"), 10*time.Minute)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := exec.LookPath("java"); err != nil {
		return ErrNoJava
	}
	if err := errors.Join(put(filepath.Join(dir, scriptName()), script), put(filepath.Join(dir, "pom.xml"), pom)); err != nil {
		return fmt.Errorf("write kafka.sh: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "lib-"+version)); err == nil {
		return nil
	}
	if _, err := exec.LookPath("mvn"); err != nil {
		return ErrNoJava
	}
	fmt.Fprintf(w, "Kafka %s: fetching its jars (54 MB), once\n", version)
	begun := time.Now()
	if _, err := (&Cluster{Dir: dir, Version: version, Port: 1}).run(ctx, "jars"); err != nil {
		return err
	}
	fmt.Fprintf(w, "Kafka %s: fetched in %.1f s\n", version, time.Since(begun).Seconds())
	return nil
}

// scriptName is the script's name in the cache, by its content: test programs of another state of the tree use their own.
func scriptName() string { return fmt.Sprintf("kafka-%.4x.sh", sha256.Sum256(script)) }

// put writes a file by renaming: another process may be running the old one.
func put(file string, content []byte) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
		return nil
	}
	tmp := file + "." + host.Random()
	return errors.Join(os.WriteFile(tmp, content, 0o755), os.Rename(tmp, file))
}

// Open returns the cluster that was made in dir, running or not.
func Open(dir string) (*Cluster, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	c := &Cluster{Dir: dir}
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("open cluster in %s: %w", dir, err)
	}
	return c, nil
}

// run runs kafka.sh for this cluster and returns its standard output.
func (c *Cluster) run(ctx context.Context, args ...string) (string, error) {
	jars, err := host.Dir("kafka")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "bash", append([]string{filepath.Join(jars, scriptName())}, args...)...)
	cmd.Env = append(os.Environ(), "KAFKA_JARS="+jars, "KAFKA_RUN="+c.Dir, "KAFKA_VERSION="+c.Version,
		"KAFKA_PORT="+strconv.Itoa(c.Port), "KAFKA_EXTRA="+c.Extra)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("run kafka.sh %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(words.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Brokers returns the addresses of all brokers, also of those that are down.
func (c *Cluster) Brokers() []string {
	var all []string
	for n := range c.Size {
		all = append(all, fmt.Sprintf("127.0.0.1:%d", c.Port+n))
	}
	return all
}

// Kill ends broker n (from 1) with SIGKILL and waits until it is gone.
func (c *Cluster) Kill(ctx context.Context, n int) error { return c.verb(ctx, "kill", n) }

// Stop freezes broker n with SIGSTOP: its connections stay open and it does not answer.
func (c *Cluster) Stop(ctx context.Context, n int) error { return c.verb(ctx, "stop", n) }

// Cont lets a frozen broker n go on.
func (c *Cluster) Cont(ctx context.Context, n int) error { return c.verb(ctx, "cont", n) }

// Start starts broker n again and waits until it serves.
func (c *Cluster) Start(ctx context.Context, n int) error { return c.verb(ctx, "start", n) }

func (c *Cluster) verb(ctx context.Context, verb string, n int) error {
	_, err := c.run(ctx, verb, strconv.Itoa(n))
	return err
}

// Tool runs a class of Kafka's jars, such as org.apache.kafka.tools.TopicCommand, and returns what it printed.
func (c *Cluster) Tool(ctx context.Context, class string, args ...string) (string, error) {
	return c.run(ctx, append([]string{"tool", class}, args...)...)
}

// Remove kills all brokers and deletes the cluster's folder.
func (c *Cluster) Remove() error {
	_, err := c.run(context.Background(), "down")
	return err
}
