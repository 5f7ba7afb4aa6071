package config

import "time"

// SinkKinds lists what may stand under `sink`, with the reason why it may not yet.
func SinkKinds() []SinkKindInfo {
	return []SinkKindInfo{
		{Name: SinkKafka, Doc: "Kafka, and what speaks its protocol."},
		{Name: SinkStdout, Doc: "A JSON object a line on standard output; it has no settings: `sink: {stdout: {}}`."},
		{Name: SinkFile, Doc: "A JSON object a line, appended to a file."},
		{Name: "nats", Later: true},
		{Name: "rabbitmq", Later: true},
		{Name: "redis", Later: true},
		{Name: "http", Later: true},
	}
}

// SinkKindInfo is one kind of sink.
type SinkKindInfo struct {
	Name  string
	Doc   string
	Later bool // the name is known, this version does not have it
}

func sinkRows() []Field {
	return append(kafkaRows(),
		Field{
			Path: "sink.file.path", Unset: "required with `sink.file`", Example: "/var/lib/cdc-relay/events.jsonl", Doc: "File that events are appended to; an acknowledgement follows fsync.",
			at: func(c *Config, _ int) any { return &c.Sink.File.Path },
		})
}

func kafkaRows() []Field {
	rows := []Field{
		{
			Path: "sink.kafka.brokers", Unset: "required with `sink.kafka`", Example: "localhost:9092", Doc: "Bootstrap brokers, `host:port`.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.Brokers },
		},
		{
			Path: "sink.kafka.client_id", Default: DefaultClientID, Doc: "How the relay calls itself in the broker's logs and quotas.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.ClientID },
		},
		{
			Path: "sink.kafka.acks", Default: "all", Enum: []string{"all", "1", "0"}, Doc: "Replicas that must have a batch before it counts. Less than `all` can lose events, needs `sink.kafka.unsafe_acks: true` and switches idempotence off.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.Acks },
		},
		{
			Path: "sink.kafka.unsafe_acks", Default: false, Doc: "Says that losing events is acceptable.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.UnsafeAcks },
		},
		{
			Path: "sink.kafka.compression", Default: "none", Enum: []string{"none", "gzip", "snappy", "lz4", "zstd"}, Doc: "Codec of batches.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.Compression },
		},
		{
			Path: "sink.kafka.batch_bytes", Default: DefaultBatchBytes, Min: KiB, Max: 64 * MiB, Doc: "Largest batch before compression; keep it below the broker's `message.max.bytes`. A larger record travels alone.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.BatchBytes },
		},
		{
			Path: "sink.kafka.exactly_once", Default: false, Later: "the sink is idempotent; transactions come later", Doc: "Publish in Kafka transactions.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.ExactlyOnce },
		},
		{
			Path: "sink.kafka.transactional_id", Unset: "`cdc-relay-<system identifier>-<slot>`", Doc: "Name of the producer for `exactly_once`; two databases must not share one.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TransactionalID },
		},
		{
			Path: "sink.kafka.max_requests_in_flight", Default: Auto{Auto: true}, Min: Auto{N: 1}, Max: Auto{N: 20}, Doc: "Produce requests under way for each broker. `auto`: one to a near broker, more when the way takes milliseconds. A partition never has more than five batches under way.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.MaxRequestsInFlight },
		},
		{
			Path: "sink.kafka.topic_create", Default: false, Doc: "Make topics that are missing.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TopicCreate },
		},
		{
			Path: "sink.kafka.topic_partitions", Default: Auto{Auto: true}, Min: Auto{N: 1}, Max: Auto{N: 100_000}, Doc: "Partitions of topics that `topic_create` makes; `auto`: the broker's `num.partitions`.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TopicPartitions },
		},
		{
			Path: "sink.kafka.topic_missing_timeout", Default: DefaultTopicMissingTimeout, Min: time.Second, Max: 24 * time.Hour, Doc: "How long an event waits for its topic before it is rejected.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TopicMissingTimeout },
		},
	}
	return append(rows, kafkaSecurityRows()...)
}

func kafkaSecurityRows() []Field {
	return []Field{
		{
			Path: "sink.kafka.tls.enabled", Default: false, Doc: "Speak TLS; `tls: true` is short for it. Certificates are always verified.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TLS.Enabled },
		},
		{
			Path: "sink.kafka.tls.ca_file", Unset: "the system's roots", Doc: "Certificates to trust, PEM.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TLS.CAFile },
		},
		{
			Path: "sink.kafka.tls.cert_file", Unset: "none", Doc: "The relay's own certificate (mTLS), PEM; goes with `key_file`.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TLS.CertFile },
		},
		{
			Path: "sink.kafka.tls.key_file", Unset: "none", Doc: "Its private key, PEM.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TLS.KeyFile },
		},
		{
			Path: "sink.kafka.tls.server_name", Unset: "the broker's host name", Doc: "Name that the broker's certificate must carry.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.TLS.ServerName },
		},
		{
			Path: "sink.kafka.sasl.mechanism", Default: "off", Enum: []string{"off", "plain", "scram-sha-256", "scram-sha-512", "oauthbearer"}, Doc: "How the relay authenticates; upper case as in Kafka's own documents is accepted.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.Mechanism },
		},
		{
			Path: "sink.kafka.sasl.username", Unset: "required with plain and scram", Doc: "User.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.Username },
		},
		{
			Path: "sink.kafka.sasl.password", Secret: true, Unset: "required with plain and scram", Doc: "Password.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.Password },
		},
		{
			Path: "sink.kafka.sasl.token", Secret: true, Unset: "fetched from `token_url`", Doc: "Ready-made bearer token, mostly as a file that somebody renews.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.Token },
		},
		{
			Path: "sink.kafka.sasl.token_url", Unset: "none", Example: "https://login.example.com/oauth2/token", Doc: "Endpoint that grants tokens for client credentials.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.TokenURL },
		},
		{
			Path: "sink.kafka.sasl.client_id", Unset: "required with `token_url`", Doc: "Client of that endpoint.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.ClientID },
		},
		{
			Path: "sink.kafka.sasl.client_secret", Secret: true, Unset: "required with `token_url`", Doc: "Its secret.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.ClientSecret },
		},
		{
			Path: "sink.kafka.sasl.scopes", Unset: "none", Doc: "Scopes to ask for.",
			at: func(c *Config, _ int) any { return &c.Sink.Kafka.SASL.Scopes },
		},
	}
}
