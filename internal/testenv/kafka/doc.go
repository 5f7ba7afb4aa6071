// Package kafka runs a real Apache Kafka on loopback: one broker that all test processes share, or a cluster of one's
// own whose brokers are killed and frozen.
//
//	kafka.sh   does the work, and can be used by hand (see its first lines); pom.xml names the jars
//	Shared     the broker that stays up; Private a cluster of 1 to 3 with properties of its own
//	Cluster    Brokers, Kill, Stop, Cont, Start, Tool; Remove
//
// It needs a JDK 17 or later, and Maven once for the jars; ErrNoJava says that there is none. It makes no topic and
// promises nothing about data after Remove. It knows no *testing.T: the benchmark uses it as well.
package kafka
