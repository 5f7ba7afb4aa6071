// Package ends measures what stands at the two ends of the relay: applications that write events, and consumers that take them.
package ends
