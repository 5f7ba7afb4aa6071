// Package traffic is what goes through a lab on schedule, and what is seen of it at the other end.
//
//	Load      rows that are committed when they are due (open loop), and when each commit returned: Commits
//	Produce   the same rows to the broker by a bare client
//	Arrivals  when a reader first saw each row: Consume reads a topic, ReadWAL a slot
//	Proxy     delay between the relay and a broker
//
// All times are of one process's monotonic clock. It judges nothing.
package traffic
