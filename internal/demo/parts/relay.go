package parts

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// Relay is the real program as a process of its own, started again when it dies.
type Relay struct{ *Process }

// Build builds ./cmd/cdc-relay of the module that we are run in.
func Build(ctx context.Context, dir string) (program string, err error) {
	program = filepath.Join(dir, "cdc-relay")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/cdc-relay/cdc-relay/cmd/cdc-relay")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the relay (run the demo in the project's folder, or name a program by --relay): %w\n%s", err, out)
	}
	return program, nil
}

// NewRelay prepares a relay from one to the other; its log goes into dir.
func NewRelay(program, dir string, d *Database, b *Broker) (*Relay, error) {
	port, err := host.Ports(0)
	if err != nil {
		return nil, fmt.Errorf("find a port for the relay: %w", err)
	}
	return &Relay{&Process{Name: "the relay", Program: program, Args: []string{"run"}, Log: filepath.Join(dir, "relay.log"), Env: append(
		host.Environ(),
		"CDC_RELAY_DATABASE_URL="+d.url,
		"CDC_RELAY_REPLICATION_SLOT="+d.name,
		"CDC_RELAY_REPLICATION_PUBLICATION="+d.name,
		"CDC_RELAY_SINK_KAFKA_BROKERS="+strings.Join(b.addrs, ","),
		"CDC_RELAY_ADMIN_LISTEN=127.0.0.1:"+strconv.Itoa(port),
		"CDC_RELAY_LOG_FORMAT=json",
	)}}, nil
}

// Migrate makes tables, functions and the publication.
func (r *Relay) Migrate(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, r.Program, "migrate", "up")
	cmd.Env, cmd.Dir = r.Env, filepath.Dir(r.Log) // a cdc-relay.yaml where we are run is none of its business
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run cdc-relay migrate up: %w\n%s", err, out)
	}
	return nil
}
