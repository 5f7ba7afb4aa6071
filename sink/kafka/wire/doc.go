// Package wire is one connection to a Kafka broker.
//
//	Dial     TCP, TLS, ApiVersions, SASL; tells how far away the broker is and until when the session lasts
//	Conn     Do: one request, its answer. Send and Receive: produce requests in a pipeline, the caller pairs them
//	Produce  a produce request (versions 3 to 8) around batches that are encoded already, and its answer
//	Code     what a broker's error means for who sent the request: his event, his rights, or try again
//
// Produce requests are written and read by hand, without a copy of the batches (writev) nor an allocation; everything
// else goes through kafka-go's protocol package. After Dial, Send may be used by one goroutine and Receive by another.
// Each reply's correlation id is checked by the caller against what it sent.
//
// It keeps no queue, retries nothing and starts no goroutine.
package wire
