// Package inboxprom shows what an inbox does to Prometheus.
//
//	consumer_inbox_processed_total{consumer_name,event_type}               effects committed
//	consumer_inbox_duplicates_total{consumer_name,event_type}              deliveries whose event had taken effect
//	consumer_inbox_processing_duration_seconds{consumer_name,event_type}   begin of the transaction to its end; of a batch, the part of each
//	consumer_inbox_retries_total{consumer_name,reason}                     handler, panic, retry_after, conflict, connection, batch
//	consumer_inbox_dead_letters{consumer_name}                             there now, those that wait behind one included
//	consumer_inbox_lag_messages{consumer_name,topic,partition}             not finished
//	consumer_inbox_event_age_seconds{consumer_name}                        time of the record to its effect
//
// Promises: labels are bounded. event_type is one of a list that the program gives; all others are "other".
package inboxprom
