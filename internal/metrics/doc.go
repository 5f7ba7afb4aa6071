// Package metrics holds every metric of the relay, registered in a registry of its own. docs/metrics.md lists them from
// here, and a test holds the two together.
//
// Counters and histograms are written where things happen; gauges are set by the relay once a second, or when the state
// changes. Labels are bounded: shards, states, topics that events were really published to, and reasons from fixed lists.
package metrics
