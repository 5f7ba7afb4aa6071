// Package breaker is a circuit breaker: it spares callers the wait for something that has just failed several times.
//
//	closed --failures in a row--> open --cool-down--> half open --the probe succeeds--> closed
//	                                ^------------------the probe fails-----'
//
// Half open lets one call through at a time; the others are told no. It starts no goroutine and keeps no timer.
package breaker
