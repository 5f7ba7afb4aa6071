// Package wiring turns a configuration into a relay with its sink and its admin listener: every dependency is chosen here,
// and nowhere else.
package wiring
