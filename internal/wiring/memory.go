package wiring

import (
	"os"
	"runtime/debug"
)

// limitMemory keeps the collector's headroom small while the window is full: left alone, it lets the heap grow to twice what
// lives, and an outage that is worked off took 90 MiB where the window holds 32. A GOMEMLIMIT in the environment stands.
// What it returns undoes it.
func limitMemory(window int) (undo func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(memoryLimit(int64(window)))
	return func() { debug.SetMemoryLimit(before) }
}

// memoryLimit is the window, a quarter of it for the events' own records and the slack of their blocks, and what is needed
// however small the window is: batches under way, buffers, stacks.
func memoryLimit(window int64) int64 { return window + window/4 + 8<<20 }
