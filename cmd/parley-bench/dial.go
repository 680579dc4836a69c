package main

import (
	"context"
	"net"
	"time"
)

// sources is how many loopback addresses connections come from: each has its
// own range of ports, so thousands of connections that were just cut do not
// use up those of the next wave.
const sources = 16

// dialFrom connects to addr from the loopback address that number picks.
func dialFrom(ctx context.Context, addr string, number int) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1, Control: bindWithoutPort}
	if manySources {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+number%sources))}
	}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// cut ends a connection without a farewell and without leaving its port in TIME_WAIT.
func cut(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}
