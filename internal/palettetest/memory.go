package palettetest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// InMemory lets the stand-in listen in memory instead of on a socket. Its clients reach it through [Dial]. A test in a
// testing/synctest bubble needs it: fake time stands still while a goroutine waits for a socket. TLS works over both.
func InMemory() Option { return func(s *settings) { s.inMemory = true } }

// memory holds the stand-ins of this process that listen in memory, by their addresses.
var memory = struct {
	mu        sync.Mutex
	listeners map[string]*memoryListener
	made      int
}{listeners: make(map[string]*memoryListener)}

// memoryPort is the port of the first listener. No listener on a socket has one as low: Linux takes free ports from
// 32768 on.
const memoryPort = 2000

// memoryPorts is how many addresses there are before the first one comes again.
const memoryPorts = 20000

// memoryListener is a net.Listener whose connections are pipes.
type memoryListener struct {
	address *net.TCPAddr
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// ListenInMemory is a listener that [Dial] reaches, for a server that stands beside the stand-in: a proxy, say.
func ListenInMemory() net.Listener {
	memory.mu.Lock()
	defer memory.mu.Unlock()
	l := &memoryListener{
		address: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: memoryPort + memory.made%memoryPorts},
		conns:   make(chan net.Conn), closed: make(chan struct{}),
	}
	memory.made++
	memory.listeners[l.address.String()] = l
	return l
}

// Accept implements net.Listener.
func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *memoryListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		memory.mu.Lock()
		defer memory.mu.Unlock()
		if key := l.address.String(); memory.listeners[key] == l {
			delete(memory.listeners, key)
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *memoryListener) Addr() net.Addr { return l.address }

// Dial reaches the stand-ins that listen in memory. It is for http.Transport.DialContext, and refuses each other
// address as the system does where nothing listens. As the system does, it reads a port as a number.
func Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil {
		address = net.JoinHostPort(host, strings.TrimLeft(port, "0"))
	}
	memory.mu.Lock()
	l := memory.listeners[address]
	memory.mu.Unlock()
	refused := &net.OpError{Op: "dial", Net: network, Addr: nameOf(address), Err: fmt.Errorf("connect: %w", syscall.ECONNREFUSED)}
	if l == nil {
		return nil, refused
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, refused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func nameOf(address string) net.Addr {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return &net.UnixAddr{Name: address}
	}
	number, _ := strconv.Atoi(port) // 0 where it has a name
	return &net.TCPAddr{IP: net.ParseIP(host), Port: number}
}
