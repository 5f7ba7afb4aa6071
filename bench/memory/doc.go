// Package memory measures the relay's peak resident memory (VmHWM) where it is tempted to grow: through one huge
// transaction, and while the broker is frozen under load. The peak of a full drain comes from package drain.
package memory
