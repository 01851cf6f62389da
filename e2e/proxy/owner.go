package proxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ownerOf returns the id of the process on this machine whose TCP socket has an
// IPv4 address, 0 if there is none any more. The kernel lists sockets by inode, and
// a process's open files name the inodes (proc(5)).
func ownerOf(local net.Addr) (pid int) {
	inode := inodeOf(local)
	if inode == "" {
		return 0
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well formed
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == "socket:["+inode+"]" {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err == nil {
				return pid
			}
		}
	}
	return 0
}

func inodeOf(local net.Addr) string {
	tcp, ok := local.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer file.Close()
	// The address stands there as a number in the machine's byte order.
	want := fmt.Sprintf("%08X:%04X", binary.NativeEndian.Uint32(tcp.IP.To4()), tcp.Port)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 9 && f[1] == want && f[9] != "0" {
			return f[9]
		}
	}
	return ""
}
