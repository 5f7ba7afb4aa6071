// Package postgres runs real Postgres servers, 14 to 18, that nobody has installed.
//
//	Install   fetches one major version and unpacks it, once for each machine
//	Create    makes a cluster (initdb) in a folder; Open finds one that another process made
//	Server    Start, Stop, Kill9, Freeze, Thaw, Restart; URL(database)
//
// The binaries come from github.com/fergusstrange/embedded-postgres; starting is ours, because a server here outlives
// its test, runs as an unprivileged user when we are root, is killed and frozen on purpose, and must come back on the
// same port. Stop and Kill9 return when the last process of the server is gone: a child that outlives its postmaster
// holds the shared memory and would make the next start fail.
//
// It knows no *testing.T: the demo and the benchmark use it as well. It makes no database, role or slot.
package postgres
