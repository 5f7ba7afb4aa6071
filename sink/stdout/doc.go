// Package stdout delivers events as lines of JSON to standard output, or to any io.Writer: to look at what a database
// publishes, and to feed a program at the other end of a pipe. Package line says what a line looks like.
//
//	cdc-relay run | jq -r .value      # with sink: {stdout: {}} in cdc-relay.yaml
//
// All events stand in one order. An event is acknowledged once the operating system has taken its line: a reader that
// dies may lose what the pipe held, so this sink promises less than I1; sink/file is the durable one. A line is never torn
// by a failed write: what is missing of it comes first at the next attempt.
package stdout
