// Package host is what test servers need from the machine they run on: a place that outlives a test run, locks between
// processes, ports that stay free while their server is down, and processes that are still the ones we started.
//
//	Dir       where downloads, shared servers and private ones live ($CDC_RELAY_CACHE, else the user's cache)
//	Lock      one process at a time, for as long as it holds the file; freed by the kernel when it dies
//	Ports     free ones outside the range from which the kernel takes a client's
//	Process   a pid together with its start time, so that a recycled pid or a zombie is nobody of ours
//
// It promises that nothing started through Detach dies with its starter or by a signal to the starter's group. It does
// not know what a server is: packages postgres and kafka beside it do.
package host
