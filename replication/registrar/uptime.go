package registrar

import "time"

// Uptime is the operating system's clock of leases, see [Config].
func Uptime() func() time.Duration { return newUptime() }
