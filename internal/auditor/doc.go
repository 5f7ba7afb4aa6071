// Package auditor stands between the relay and Postgres on the wire, and holds the relay to what it promises, from outside: it
// shares no code with what it checks.
//
//	relay -- status -->  auditor  -- status -->  walsender
//	      <-- WAL -----           <-- WAL ------
//	                        |
//	                        +--> Confirmed: these events were confirmed just now; are they in the broker's log?
//
// At each standby status update ('r' in a CopyData message; Postgres manual, 55.4 Streaming Replication Protocol):
//
//   - its three positions are the same, and none is 0;
//   - I5: it is not below the one before, nor does a session start below what an earlier one confirmed;
//   - I3: it is the end LSN of a Commit that the server has sent, a keepalive's position that came between transactions, or
//     where the session started;
//   - I6: the one before is not older than the interval and some slack;
//   - I1: the caller is told which events it confirms for the first time, before the server gets it.
//
// What it does not do: TLS (it says so), and judging what a destination holds: that is the caller's.
package auditor
