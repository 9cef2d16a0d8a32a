// Package wan emulates a wide area network on one Linux machine, packet by packet: every [Site] is a network
// namespace of its own whose only way out is a TUN device, and a [Network] in this process carries IPv4
// packets from one TUN device to another with a delay, jitter, loss and bandwidth that can be changed while
// it runs, each direction by itself.
//
// What a TCP proxy can't show happens here as on a real link: a cut drops packets while the sockets on both
// sides stay open, one direction can be dead while the other works, lost packets are sent again by the
// kernel's TCP, and a full queue drops its tail.
//
// Nothing outside the namespaces it makes is touched. They have no name in /run/netns: a namespace belongs to
// a thread of this process and to the processes started in it, so that all of it, devices and addresses
// included, is gone when those are, even if this process was killed. Processes started through a [Site] die
// with this process.
//
// It needs root and /dev/net/tun, and nothing else: no ip(8), no iptables, no tc. [Available] says whether
// they are there. A [Network] and its sites may be used from any goroutine.
package wan
