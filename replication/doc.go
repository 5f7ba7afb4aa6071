// Package replication reads the WAL of one slot and says how far we are. It also looks at slots and publications, and
// makes and drops them for the verbs.
//
//	Connect -> Conn -- CreateSlot
//	            |
//	          Start -> Stream -- Next ...  a message, or a Tick
//	                      |  \-- Wait      the owner has no room: do not read, keep the status going
//	                      |  \-- Confirm   what the next status carries
//	                    Stop               last status, goodbye
//
// One goroutine owns a Conn and its Stream, for reading and for writing (I4); it starts no goroutine, retries nothing, logs
// nothing and counts nothing. Stream.Wake alone may be called by others.
//
// What it promises:
//
//  1. A status update goes out at least every Config.StatusInterval, as long as the owner is inside Next or Wait, or calls
//     one of them again in time, whatever the sink does (I6). A keepalive that asks for a reply is answered before Next
//     returns it.
//  2. The same LSN stands in all three fields of a status. It never falls, it is never 0, and never ahead of what the
//     server has sent (I5, I1).
//  3. Next does not allocate for a message; its Data is valid until the following Next.
//  4. Each error names the slot and says through Class what to do about it.
//
// What it does not do: it does not know what is inside a message (decoder), which LSN is safe to confirm (checkpoint), and
// when to try again (internal/relay).
//
// Protocol: PostgreSQL manual, "Streaming Replication Protocol" and "Message Formats". Positions of logical messages are
// no commit LSNs: see I3.
package replication
