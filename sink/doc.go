// Package sink is the port between the relay and whatever takes its events: events go in, acks come out.
//
//	             Publish(events)                       a write
//	relay  ----------------------->  lane lane lane  ----------->  destination
//	       <-----------------------                  <-----------
//	         Ack  Divert  Reject                        answers
//	         Attempted  Notice
//
// A sink puts each event into its lane, an ordered queue that all events with the same topic and key share. While a write
// of a lane is under way the next batch gathers behind it. Two machines stand behind the port: sink/kafka brings its own;
// sink/lanes turns a synchronous write into the port for everything else.
//
// What every sink promises, and sinktest.Run proves:
//
//  1. An ack means that the destination holds the event durably (I1).
//  2. Events with one topic and key arrive in the order of Publish (I2). One may arrive twice, never out of order at
//     first sight.
//  3. What failed is sent again, for ever, with the same bytes (I9); a lane that retries holds back only itself.
//  4. Each event is acknowledged, diverted or rejected exactly once, unless the sink is closed first.
//  5. Publish never waits for the destination, and Close never waits for it to come back.
//
// What a sink does not do: it knows no LSN and no ticket, so it can confirm nothing; it neither logs nor counts (the
// Receiver is told); it does not bound what it holds (the caller's window does, I8); it decides about no rejected event.
package sink
