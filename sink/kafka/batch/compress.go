package batch

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a compression type, with the number that a batch's attributes carry.
type Codec uint8

// The codecs of Kafka; zstd needs brokers from 2.1 on (KIP-110).
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
)

// ParseCodec reads the configuration's name: none, gzip, snappy, lz4, zstd.
func ParseCodec(name string) (Codec, error) {
	for c := None; c <= Zstd; c++ {
		if name == c.String() {
			return c, nil
		}
	}
	return None, fmt.Errorf("compression %q is unknown: use none, gzip, snappy, lz4 or zstd", name)
}

func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("Codec(%d)", uint8(c))
}

// packer keeps the compressors: their state is large and is used again.
type packer struct {
	gzip *gzip.Writer
	lz4  *lz4.Writer
	zstd *zstd.Encoder
	out  bytes.Buffer
}

func (p *packer) pack(dst, src []byte, c Codec) ([]byte, error) {
	switch c {
	case Snappy:
		at := len(dst)
		dst = append(dst, make([]byte, s2.MaxEncodedLen(len(src)))...)
		return dst[:at+len(s2.EncodeSnappy(dst[at:], src))], nil
	case Zstd:
		if p.zstd == nil {
			// A window of the usual batch's size, and one goroutine: the default keeps 8 MiB for each core.
			w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
				zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
			if err != nil {
				return dst, fmt.Errorf("make a zstd encoder: %w", err)
			}
			p.zstd = w
		}
		return p.zstd.EncodeAll(src, dst), nil
	case Gzip:
		if p.gzip == nil {
			p.gzip = gzip.NewWriter(nil)
		}
		p.out.Reset()
		p.gzip.Reset(&p.out)
		if _, err := p.gzip.Write(src); err != nil {
			return dst, fmt.Errorf("compress with gzip: %w", err)
		}
		if err := p.gzip.Close(); err != nil {
			return dst, fmt.Errorf("compress with gzip: %w", err)
		}
		return append(dst, p.out.Bytes()...), nil
	case LZ4:
		if p.lz4 == nil {
			p.lz4 = lz4.NewWriter(nil)
			// Kafka reads the frame format with independent blocks only (KIP-57).
			if err := p.lz4.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false), lz4.ConcurrencyOption(1)); err != nil {
				return dst, fmt.Errorf("set lz4 up: %w", err)
			}
		}
		p.out.Reset()
		p.lz4.Reset(&p.out)
		if _, err := p.lz4.Write(src); err != nil {
			return dst, fmt.Errorf("compress with lz4: %w", err)
		}
		if err := p.lz4.Close(); err != nil {
			return dst, fmt.Errorf("compress with lz4: %w", err)
		}
		return append(dst, p.out.Bytes()...), nil
	}
	return dst, fmt.Errorf("compress with %v: not a codec", c)
}
