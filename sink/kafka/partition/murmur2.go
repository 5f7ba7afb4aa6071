package partition

import "encoding/binary"

// Of returns the partition of key among count (> 0): murmur2, made positive by masking the sign, modulo count
// (Kafka's BuiltInPartitioner.partitionForKey).
func Of(key []byte, count int32) int32 { return int32(Murmur2(key)&0x7fffffff) % count }

// Murmur2 is MurmurHash2, 32 bits, with the seed of Kafka's Utils.murmur2.
func Murmur2(data []byte) uint32 {
	const (
		seed = 0x9747b28c
		m    = 0x5bd1e995
		r    = 24
	)
	h := uint32(seed) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		k := binary.LittleEndian.Uint32(data)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(data[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
