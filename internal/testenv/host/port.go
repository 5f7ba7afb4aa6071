package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports returns the first of a run of ports on loopback, of which base+offset is free for each offset given.
//
// They lie below the range from which Linux takes the port of a connecting client (32768 and up). Otherwise a client
// that dials a server that is down may be given that very port and connect to itself, or hold it when the server wants
// to start again.
func Ports(offsets ...int) (base int, err error) {
	const lowest, highest = 12000, 32000
	for range 200 {
		base = lowest + rand.IntN(highest-lowest)
		if free(base, offsets) {
			return base, nil
		}
	}
	return 0, errors.New("find a free port on loopback: 200 guesses were taken")
}

func free(base int, offsets []int) bool {
	var lc net.ListenConfig
	for _, o := range offsets {
		l, err := lc.Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", base+o))
		if err != nil {
			return false
		}
		if err := l.Close(); err != nil {
			return false
		}
	}
	return true
}
