package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The services are this program again.
func TestMain(m *testing.M) {
	if text := os.Getenv(specEnv); text != "" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		os.Exit(runService(ctx, text))
	}
	os.Exit(m.Run())
}

// Refusals, answers that never come, services that kill themselves in each step and random kills of services and relays: every saga
// ends, and each effect stands in the databases once.
func TestSagaEndsWithZeros(t *testing.T) {
	t.Parallel()
	var out, words bytes.Buffer
	args := strings.Fields("--for 6s --rate 40 --patience 8s --fail payment=15%,shipping=10%,timeout=8% --crash --kill -o json")
	code := run(t.Context(), args, &out, &words, false)
	var v verdict
	if err := json.Unmarshal(out.Bytes(), &v); err != nil {
		t.Fatalf("got %q, %v\n%s", out.String(), err, words.String())
	}
	if code != 0 || !v.ok() {
		t.Errorf("exit code %d, %+v, want zeros\n%s", code, v, words.String())
	}
	if v.Completed == 0 || v.Compensated == 0 || v.TimedOut == 0 || v.Kills < 20 {
		t.Errorf("got %+v, want sagas that completed, were compensated and had no answer, and 20 deaths at least: nothing was proved", v)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--fail payment", "--fail payment=120%", "--fail weather=1%", "--rate 0", "-o xml", "more", "--for -1s"} {
		if code := run(t.Context(), strings.Fields(args), &bytes.Buffer{}, &bytes.Buffer{}, false); code != 2 {
			t.Errorf("%s: exit code %d, want 2", args, code)
		}
	}
}

// The audit is worth nothing if it forgives.
func TestHistoriesThatGoBackwards(t *testing.T) {
	t.Parallel()
	for history, want := range map[string]bool{
		"placed reserve.done charge.done dispatch.done":                                                true,
		"placed reserve.refused":                                                                       true,
		"placed reserve.done charge.refused reserve.undone":                                            true,
		"placed reserve.done charge.done dispatch.refused charge.undone reserve.undone":                true,
		"placed reserve.done charge.done timeout dispatch.undone charge.undone reserve.undone":         true,
		"placed timeout reserve.undone":                                                                true,
		"placed reserve.done charge.done dispatch.refused reserve.undone charge.undone":                false,
		"placed reserve.done charge.done timeout reserve.undone":                                       false,
		"placed reserve.done charge.done timeout dispatch.undone charge.undone":                        false,
		"placed charge.done reserve.done dispatch.done":                                                false,
		"placed reserve.done reserve.done charge.done dispatch.done":                                   false,
		"placed timeout reserve.undone reserve.undone":                                                 false,
		"placed reserve.done charge.done dispatch.refused charge.undone reserve.undone reserve.undone": false,
	} {
		if got := backwards(strings.Fields(history)); got != want {
			t.Errorf("%s: got %v, want %v", history, got, want)
		}
	}
}

// What the tutorial shows must be possible for everyone: the services import nothing internal.
func TestServicesImportPublicPackagesOnly(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("services/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("/internal/")) {
			t.Errorf("%s imports what is internal", file)
		}
	}
}
