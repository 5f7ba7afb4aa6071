// Package partition chooses a partition for a key as Kafka's Java clients do, so that topics written by the relay and by
// other producers are partitioned alike.
//
// It keeps no state: the number of partitions is the caller's.
package partition
