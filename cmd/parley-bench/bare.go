package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// bareRound starts the bare write loop as a process of its own, as the server
// is one, and returns its deliveries a second.
func (b *bench) bareRound(ctx context.Context, dir string, frames [][]byte) (float64, error) {
	path := filepath.Join(dir, "frames")
	if err := writeBatches(path, frames); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, bareCommand, path)
	cmd.SysProcAttr = childAttr()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	exited, err := startProcess(cmd)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stdin.Close(); <-exited }()
	var addr string
	if _, err := fmt.Fscanln(bufio.NewReader(stdout), &addr); err != nil {
		return 0, fmt.Errorf("no address from the write loop: %w", err)
	}
	fleet := newFleet(addr, newKeyring(), names("reader", b.sizes.fanStreams), 1)
	for _, s := range fleet.streams {
		expectFrames(s.ledger, frames[0])
	}
	if _, err := fleet.open(ctx, startLimit); err != nil {
		return 0, err
	}
	defer fleet.cut()
	fleet.messages.expect(int64(len(frames) * len(fleet.streams)))
	start := time.Now()
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		return 0, err
	}
	rate, err := b.deliveries(ctx, fleet, start)
	if err != nil {
		return 0, err
	}
	fleet.cut()
	return rate, fleet.verdict().first
}

// expectFrames makes the ledger begin where recorded frames begin.
func expectFrames(l *ledger, first []byte) {
	f, _ := nextFrame(first)
	conversation, seq, _ := newLedger().read(f.data)
	l.expect(string(conversation), seq)
}

// writeBatches joins frames into what one write takes and leaves them in a file.
func writeBatches(path string, frames [][]byte) error {
	var batches [][]byte
	for i, f := range frames {
		if i%framesPerWrite == 0 {
			batches = append(batches, nil)
		}
		last := len(batches) - 1
		batches[last] = append(batches[last], f...)
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := gob.NewEncoder(out).Encode(batches); err != nil {
		_ = out.Close()
		return err
	}
	return out.Close()
}

// bareCommand makes this program the bare write loop instead.
const bareCommand = "bare"

// bareMain is the least that a server of streams can do: it accepts, answers
// with a head and a ready, and when told to go writes the batches in the file
// to every connection, one goroutine for each processor. It ends with its input.
func bareMain(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	var batches [][]byte
	if err := gob.NewDecoder(in).Decode(&batches); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock() // until it is on the list: who has been greeted must not be passed over
			if err := greet(conn); err == nil {
				conns = append(conns, conn)
			}
			mu.Unlock()
		}
	}()
	input := bufio.NewScanner(os.Stdin)
	for input.Scan() {
		mu.Lock()
		writeAll(conns, batches)
		mu.Unlock()
	}
	return input.Err()
}

func greet(conn net.Conn) error {
	buf := make([]byte, 4096)
	if _, err := conn.Read(buf); err != nil { // loopback brings the request in one piece
		return err
	}
	_, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: ready\ndata: {}\n\n")
	return err
}

func writeAll(conns []net.Conn, batches [][]byte) {
	writers := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for _, batch := range batches {
				for i := w; i < len(conns); i += writers {
					// A reader that left shows in the reader's own count.
					_, _ = conns[i].Write(batch)
				}
			}
		})
	}
	wg.Wait()
}
