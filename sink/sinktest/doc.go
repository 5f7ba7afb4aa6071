// Package sinktest proves that a sink keeps the promises of package sink, and lends the parts that other tests need.
//
//	Run        the conformance suite: what every sink passes, against its real destination
//	Harness    how the suite makes destinations, opens a sink to one and reads back what it holds
//	Events     valid events to publish, with rising tokens and positions
//	Receiver   what a sink reports to: it records, checks each report against the contract, and can be waited on
//	Faulty     a destination in memory with faults by script, for the tests of the loop; works in a synctest bubble
//
// A sink's test is short:
//
//	func TestConformance(t *testing.T) {
//		sinktest.Run(t, sinktest.Harness{Destination: func(t *testing.T) sinktest.Destination {
//			server := start(t)
//			return sinktest.Destination{Open: server.open, Stored: server.read, Outage: server.stop}
//		}})
//	}
//
// What a destination cannot do (reject an event, fail on demand) it leaves nil; the subtests that need it are skipped by
// name. Nothing here sleeps: waits are for reports, with a deadline.
package sinktest
