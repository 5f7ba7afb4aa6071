//go:build !linux

package socket

import (
	"net"
	"time"
)

// Without a sleep finer than the runtime's timers, gathering would delay more than it saves.
const canPause = false

func pause(time.Duration) {}

func setUserTimeout(*net.TCPConn, time.Duration) {}
