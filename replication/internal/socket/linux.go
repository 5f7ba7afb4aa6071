//go:build linux

package socket

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

const canPause = true

// pause sleeps in the kernel. The runtime's own timers cannot: when nothing else runs they wait in epoll_wait, which counts
// in milliseconds, so that a pause of 100 us took 1.1 ms (nanosleep: 0.15).
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early, which does no harm
}

func setUserTimeout(c *net.TCPConn, d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
