package inbox

import "time"

// Metrics is told what happens. Its methods are called by several goroutines, outside of transactions, and must be quick.
// inboxprom makes the consumer_inbox_ metrics of it. Embed NoMetrics to stay compatible with later versions.
type Metrics interface {
	// Processed: a handler's effect was committed; took is the time from the begin of the transaction to its end.
	Processed(consumer, eventType string, took time.Duration)
	// Duplicate: a message whose event had taken effect, or one too old to know (Expired).
	Duplicate(consumer, eventType string)
	// Retry: something will be tried again; reason is one of handler, panic, retry_after, conflict, connection, batch.
	Retry(consumer, reason string)
	// DeadLetters: so many are there now, those that wait behind one included.
	DeadLetters(consumer string, n int)
	// Lag: so many messages of the partition are not finished.
	Lag(consumer, topic string, partition int32, messages int64)
	// EventAge: between the time of the record and its effect.
	EventAge(consumer string, age time.Duration)
}

// NoMetrics counts nothing.
type NoMetrics struct{}

// Processed does nothing.
func (NoMetrics) Processed(string, string, time.Duration) {}

// Duplicate does nothing.
func (NoMetrics) Duplicate(string, string) {}

// Retry does nothing.
func (NoMetrics) Retry(string, string) {}

// DeadLetters does nothing.
func (NoMetrics) DeadLetters(string, int) {}

// Lag does nothing.
func (NoMetrics) Lag(string, string, int32, int64) {}

// EventAge does nothing.
func (NoMetrics) EventAge(string, time.Duration) {}
