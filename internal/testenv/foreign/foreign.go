package foreign

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/cdc-relay/cdc-relay/internal/testenv/host"
)

// The versions that documentation is tested with.
const (
	Psycopg = "3.3.9"
	JDBC    = "42.7.14"
	NodePG  = "8.23.1"
)

// Python returns an interpreter that knows psycopg. It needs python3 with venv and pip.
func Python(ctx context.Context, w io.Writer) (program string, err error) {
	dir, err := install(w, "psycopg-"+Psycopg, func(dir string) error {
		if err := run(ctx, dir, "python3", "-m", "venv", dir); err != nil {
			return err
		}
		return run(ctx, dir, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "psycopg[binary]=="+Psycopg)
	})
	return filepath.Join(dir, "bin", "python"), err
}

// Java returns a class path with the JDBC driver. It needs a JDK 17 (whose java runs source files) and Maven.
func Java(ctx context.Context, w io.Writer) (classPath string, err error) {
	if _, err := exec.LookPath("java"); err != nil {
		return "", fmt.Errorf("find java: %w", err)
	}
	dir, err := install(w, "jdbc-"+JDBC, func(dir string) error {
		return run(ctx, dir, "mvn", "-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy",
			"-Dartifact=org.postgresql:postgresql:"+JDBC, "-DoutputDirectory="+dir)
	})
	return filepath.Join(dir, "postgresql-"+JDBC+".jar"), err
}

// Node returns a folder node_modules in which pg is. It needs node and npm.
func Node(ctx context.Context, w io.Writer) (modules string, err error) {
	if _, err := exec.LookPath("node"); err != nil {
		return "", fmt.Errorf("find node: %w", err)
	}
	dir, err := install(w, "node-pg-"+NodePG, func(dir string) error {
		return run(ctx, dir, "npm", "install", "--no-save", "--no-audit", "--no-fund", "--silent", "--prefix", dir, "pg@"+NodePG)
	})
	return filepath.Join(dir, "node_modules"), err
}

// install returns the folder of that name and has it filled when it is not whole yet. A virtual environment cannot be moved, so
// a file says when it is whole.
func install(w io.Writer, name string, fill func(dir string) error) (dir string, err error) {
	base, err := host.Dir("foreign")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(base, name)
	whole := filepath.Join(dir, "whole")
	if _, err := os.Stat(whole); err == nil {
		return dir, nil
	}
	unlock, err := host.Lock(filepath.Join(base, name+".lock"), 5*time.Minute)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(whole); err == nil {
		return dir, nil
	}
	fmt.Fprintf(w, "%s: fetching, once\n", name)
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755)); err != nil {
		return "", fmt.Errorf("make a folder for %s: %w", name, err)
	}
	if err := fill(dir); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	return dir, os.WriteFile(whole, nil, 0o644)
}

func run(ctx context.Context, dir, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w\n%s", filepath.Base(program), err, out)
	}
	return nil
}
