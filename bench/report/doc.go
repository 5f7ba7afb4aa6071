// Package report is what the benchmark hands back: figures beside what they should reach, as an aligned table or as JSON.
//
//	Report   the machine, the versions, the figures in the order in which they were measured
//	Figure   one line: what, reach, measured, verdict, and the numbers behind them
//	Samples  durations of one measurement: percentiles
//
// It measures nothing.
package report
