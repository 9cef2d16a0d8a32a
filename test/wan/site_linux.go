package wan

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Site is one network namespace: a loopback device, and a TUN device that leads to the other sites.
type Site struct {
	Name string
	Addr netip.Addr // of the TUN device; what listens here is reached by the other sites

	tun  *os.File
	work chan func()   // is done by the namespace's thread, one after the other
	quit chan struct{} // closed to end the thread
	done chan struct{} // closed when it ends
}

const (
	device   = "wan0"
	mtuBytes = 1500
	txQueue  = 10_000 // packets; the emulator decides what is dropped, not the device
)

// openSite makes a namespace. All addresses of the network are in the /16 of addr.
func openSite(name string, addr netip.Addr) (*Site, error) {
	s := &Site{Name: name, Addr: addr, work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error)
	go s.keep(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("%w: namespace of %s: %w", ErrUnavailable, name, err)
	}
	return s, nil
}

// keep is the life of the namespace's thread, which ends with the goroutine because it is never unlocked.
func (s *Site) keep(ready chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The first thread of a process does not end with a goroutine: it would stay in the namespace, and
		// children that are to die with their parent thread would not.
		handed := make(chan error)
		go s.keep(handed)
		err := <-handed
		runtime.UnlockOSThread()
		ready <- err
		return
	}
	defer close(s.done)
	if err := s.enter(); err != nil {
		ready <- err
		return
	}
	ready <- nil
	for {
		select {
		case f := <-s.work:
			f()
		case <-s.quit:
			return
		}
	}
}

// enter moves the calling thread into a new namespace and gives it its devices.
func (s *Site) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(device)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make a TUN device: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	s.tun = os.NewFile(uintptr(fd), s.Name)
	if err := configure("lo", func(ioctl func(uint, func(*unix.Ifreq)) error) error { return up(ioctl) }); err != nil {
		return err
	}
	return configure(device, func(ioctl func(uint, func(*unix.Ifreq)) error) error {
		mask := netip.MustParseAddr("255.255.0.0")
		for _, step := range []struct {
			request uint
			value   func(*unix.Ifreq)
		}{
			{unix.SIOCSIFADDR, func(r *unix.Ifreq) { _ = r.SetInet4Addr(s.Addr.AsSlice()) }}, // four bytes are an address
			{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) { _ = r.SetInet4Addr(mask.AsSlice()) }},
			{unix.SIOCSIFMTU, func(r *unix.Ifreq) { r.SetUint32(mtuBytes) }},
			{unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) { r.SetUint32(txQueue) }},
		} {
			if err := ioctl(step.request, step.value); err != nil {
				return err
			}
		}
		return up(ioctl)
	})
}

func up(ioctl func(uint, func(*unix.Ifreq)) error) error {
	return ioctl(unix.SIOCSIFFLAGS, func(r *unix.Ifreq) { r.SetUint16(unix.IFF_UP) })
}

// configure runs steps on a device of the calling thread's namespace.
func configure(name string, steps func(ioctl func(request uint, set func(*unix.Ifreq)) error) error) error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("configure %s: %w", name, err)
	}
	defer func() { _ = unix.Close(sock) }() // it carried nothing
	return steps(func(request uint, set func(*unix.Ifreq)) error {
		req, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		set(req)
		if err := unix.IoctlIfreq(sock, request, req); err != nil {
			return fmt.Errorf("configure %s (request %#x): %w", name, request, err)
		}
		return nil
	})
}

// Do runs f on the namespace's thread: sockets that f makes are in the namespace. One runs at a time, so f
// must not wait for anything that may take long.
func (s *Site) Do(f func() error) error {
	result := make(chan error, 1)
	select {
	case s.work <- func() { result <- f() }:
		return <-result
	case <-s.done:
		return ErrClosed
	}
}

// Start starts a program in the namespace. The kernel kills it when the site is closed, or when this process
// dies in whatever way.
func (s *Site) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// The signal comes when the thread that started the child ends, and that is the namespace's.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return s.Do(cmd.Start)
}

// DialContext connects to a TCP address of this very site, as a client beside the server would. Another
// site's address may take as long as the network likes, and holds up everybody who wants the site's thread.
func (s *Site) DialContext(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	err = s.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, err
}

// Listen listens in the namespace; the address may be that of the site or a loopback one.
func (s *Site) Listen(network, addr string) (l net.Listener, err error) {
	err = s.Do(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// ListenPacket is Listen for datagrams.
func (s *Site) ListenPacket(network, addr string) (c net.PacketConn, err error) {
	err = s.Do(func() (err error) {
		c, err = net.ListenPacket(network, addr)
		return err
	})
	return c, err
}

// close ends the thread, and with it every process that was started in the namespace.
func (s *Site) close() error {
	close(s.quit)
	<-s.done
	return s.tun.Close()
}
