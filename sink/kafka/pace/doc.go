// Package pace decides how many produce requests are under way to one broker, and how far apart they leave.
//
//	near (an answer within 1.5 ms)   1: while it is under way the next one gathers; more made the tail longer
//	some milliseconds                one for each millisecond of the way, 2 to 20, spread evenly over it
//
// It is a plain value without a clock or a lock of its own.
package pace
