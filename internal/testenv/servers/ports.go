package servers

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
)

// portTaken recognises the words of the JVM and of Go for a port in use.
func portTaken(err error) bool {
	s := err.Error()
	return strings.Contains(s, "Address already in use") || strings.Contains(s, "address already in use") ||
		strings.Contains(s, "is in use by another process")
}

// freePorts returns n free ports below the range that systems give to outgoing
// connections, where a busy test run would soon take them again.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 15000 + rand.IntN(17000)
		l, err := net.Listen("tcp", local(port))
		if err != nil {
			continue
		}
		defer l.Close() // after the loop, so that no port comes twice
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free port between 15000 and 32000 on 127.0.0.1")
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
