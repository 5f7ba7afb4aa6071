// Package socket is the client's side of the socket to Postgres: its liveness options, and reads that are gathered.
//
// The walsender hands each message to the kernel by a write of its own, some 10 microseconds after the one before. A
// reader that is always ready pays a system call and a wake-up for each row. Conn waits a moment (Gap) before a read when
// several small reads have just followed each other (Streak), so that one read brings what came meanwhile:
//
//	server  B I C                 B I I I I I I I I I I I I I I I I I I C          B I C
//	greedy  r r r                 r r r r r r r r r r r r r r r r r r r r          r r r
//	Conn    r r r                 r r r r r r r r        r          r   r          r r r
//
// It promises that what comes after a pause is never delayed. It buffers only for a caller that asks for little (TLS reads
// record by record), and it does not gather before Gather(true): the start of a connection is question and answer.
package socket
