package wire

import "fmt"

// Code is an error code of the Kafka protocol (documentation, "Error Codes").
type Code int16

// Codes that callers name.
const (
	OK                   Code = 0
	UnknownTopic         Code = 3
	LeaderNotAvailable   Code = 5
	NotLeader            Code = 6
	MessageTooLarge      Code = 10
	InvalidTopic         Code = 17
	RecordListTooLarge   Code = 18
	TopicAuthorization   Code = 29
	ClusterAuthorization Code = 31
	TopicAlreadyExists   Code = 36
	NotController        Code = 41
	PolicyViolation      Code = 44
	OutOfOrderSequence   Code = 45
	DuplicateSequence    Code = 46
	InvalidProducerEpoch Code = 47
	UnknownProducerID    Code = 59
	InvalidRecord        Code = 87
)

// Class is what an answer to a batch means.
type Class uint8

const (
	Retry       Class = iota // send the same bytes again
	Stored                   // the batch is in the log
	TooLarge                 // refused whole: too large; a part of it may pass
	Refused                  // an event of it is refused for good
	BadTopic                 // the topic's name is refused
	LostState                // the partition does not know where this producer's sequence stands
	StateOfSink              // rights, versions, configuration: nothing that the event could change
)

// Class sorts the answers to a produce request. What it does not know is retried: no event is given up for a code that
// nobody has looked at.
func (c Code) Class() Class {
	switch c {
	case OK, DuplicateSequence:
		return Stored
	case MessageTooLarge, RecordListTooLarge:
		return TooLarge
	case InvalidRecord, PolicyViolation:
		return Refused
	case InvalidTopic:
		return BadTopic
	case OutOfOrderSequence, InvalidProducerEpoch, UnknownProducerID:
		return LostState
	case 21, TopicAuthorization, ClusterAuthorization, 32, 33, 34, 35, 42, 43, 53, 54, 58, 65, 76:
		return StateOfSink
	}
	return Retry
}

// Moved says that the partition's leader may be another broker by now.
func (c Code) Moved() bool {
	switch c {
	case UnknownTopic, LeaderNotAvailable, NotLeader, 8, 9, 13, 56, 72, 74, 75, 100, 103:
		return true
	}
	return false
}

// Label is a short constant for metrics; "" for OK.
func (c Code) Label() string {
	if c == OK {
		return ""
	}
	if l, _ := c.words(); l != "" {
		return l
	}
	return "other"
}

// Error is the code with its name, and what ends the state where a person can.
func (c Code) Error() string {
	label, cure := c.words()
	if label == "" {
		label = "an error this client does not name"
	}
	if cure != "" {
		return fmt.Sprintf("broker answered %d (%s)", int16(c), label) + ": " + cure
	}
	return fmt.Sprintf("broker answered %d (%s)", int16(c), label)
}

// Cure says what a person can do about it, "" when waiting is all.
func (c Code) Cure() string {
	_, cure := c.words()
	return cure
}

func (c Code) words() (label, cure string) {
	switch c {
	case OK:
		return "", ""
	case 2:
		return "corrupt_message", ""
	case UnknownTopic:
		return "unknown_topic_or_partition", ""
	case LeaderNotAvailable:
		return "leader_not_available", ""
	case NotLeader:
		return "not_leader", ""
	case 7:
		return "request_timed_out", ""
	case 8:
		return "broker_not_available", ""
	case 9:
		return "replica_not_available", ""
	case MessageTooLarge:
		return "too_large", ""
	case 13:
		return "network_exception", ""
	case 14, 15, 16:
		return "coordinator_not_available", ""
	case InvalidTopic:
		return "topic_invalid", ""
	case RecordListTooLarge:
		return "record_list_too_large", ""
	case 19:
		return "not_enough_replicas", ""
	case 20:
		return "not_enough_replicas_after_append", ""
	case 21:
		return "invalid_required_acks", "set sink.kafka.acks: all"
	case TopicAuthorization:
		return "topic_authorization_failed", "grant the relay's principal WRITE and DESCRIBE on the topic (kafka-acls.sh --add --producer)"
	case ClusterAuthorization:
		return "cluster_authorization_failed", "brokers before 2.8 need IDEMPOTENT_WRITE on the cluster (KIP-679); grant it to the relay's principal"
	case 32:
		return "invalid_timestamp", "the broker refuses commit times this far from its clock: compare the clocks, or raise the topic's message.timestamp.after.max.ms / before.max.ms"
	case 33:
		return "unsupported_sasl_mechanism", "set sink.kafka.sasl.mechanism to one that the listener has enabled"
	case 34:
		return "illegal_sasl_state", "this listener does not ask for SASL: remove sink.kafka.sasl or use the SASL listener's port"
	case 35:
		return "unsupported_version", "the broker is older than 0.11 or newer than this client: see the supported versions"
	case TopicAlreadyExists:
		return "topic_already_exists", ""
	case 37:
		return "invalid_partitions", "correct sink.kafka.topic_partitions"
	case 38:
		return "invalid_replication_factor", "the cluster has fewer brokers than default.replication.factor"
	case NotController:
		return "not_controller", ""
	case 42:
		return "invalid_request", "the broker's log says what it dislikes"
	case 43:
		return "unsupported_for_message_format", "the topic's message.format.version is older than 0.11: raise it"
	case PolicyViolation:
		return "policy_violation", ""
	case OutOfOrderSequence:
		return "out_of_order_sequence", ""
	case DuplicateSequence:
		return "duplicate_sequence", ""
	case InvalidProducerEpoch:
		return "invalid_producer_epoch", ""
	case 53:
		return "transactional_id_authorization_failed", "grant the relay's principal WRITE and DESCRIBE on the transactional id"
	case 54:
		return "security_disabled", "the broker has no authorizer or SASL set up"
	case 56:
		return "storage_error", ""
	case 58:
		return "sasl_authentication_failed", "correct the user or password"
	case UnknownProducerID:
		return "unknown_producer_id", ""
	case 65:
		return "delegation_token_authorization_failed", "grant the relay's principal the token's rights"
	case 72:
		return "listener_not_found", ""
	case 74:
		return "fenced_leader_epoch", ""
	case 75:
		return "unknown_leader_epoch", ""
	case 76:
		return "unsupported_compression", "this broker or topic does not take the codec: change sink.kafka.compression (zstd needs 2.1)"
	case InvalidRecord:
		return "invalid_record", ""
	case 89:
		return "throttling_quota_exceeded", ""
	}
	return "", ""
}
