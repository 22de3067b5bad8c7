package validate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	systemEvery   = 5 * time.Second // how old our view of the two files may be
	maxSystemFile = 1 << 20         // bytes of each that are read
)

// system is the system's resolver configuration: the nameservers of
// resolv.conf(5) and the names of hosts(5). Search lists and options are not
// used: the names that we look up are whole.
type system struct {
	resolvConf, hostsFile string
	now                   func() time.Time

	mu    sync.Mutex
	read  time.Time
	asked []string
	named map[string][]netip.Addr
}

func newSystem(resolvConf, hosts string, now func() time.Time) *system {
	return &system{resolvConf: resolvConf, hostsFile: hosts, now: now}
}

func (s *system) servers() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.asked
}

func (s *system) hosts(name string) []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refresh()
	return s.named[name]
}

// refresh reads both files anew when it is time. A file that can't be read
// counts as empty, as it does for the system's own resolver.
func (s *system) refresh() {
	now := s.now()
	if !s.read.IsZero() && now.Sub(s.read) < systemEvery {
		return
	}
	s.read = now
	s.asked, s.named = nil, nil
	if f, err := os.Open(s.resolvConf); err == nil {
		s.asked = readServers(f)
		hangUp(f)
	}
	if len(s.asked) == 0 {
		s.asked = []string{"127.0.0.1:53", "[::1]:53"} // resolv.conf(5)
	}
	if f, err := os.Open(s.hostsFile); err == nil {
		s.named = readHosts(f)
		hangUp(f)
	}
}

func readServers(r io.Reader) []string {
	config, err := dns.ClientConfigFromReader(io.LimitReader(r, maxSystemFile))
	if err != nil {
		return nil
	}
	var out []string
	for _, server := range config.Servers {
		out = append(out, net.JoinHostPort(server, "53"))
	}
	return out
}

// readHosts reads "address name name..." lines; what is none is passed over.
func readHosts(r io.Reader) map[string][]netip.Addr {
	named := make(map[string][]netip.Addr)
	lines := bufio.NewScanner(io.LimitReader(r, maxSystemFile))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil {
			continue
		}
		for _, name := range fields[1:] {
			name = canonical(name)
			named[name] = append(named[name], addr.Unmap())
		}
	}
	return named
}

// parseServers gives each configured resolver the form host:port.
func parseServers(in []string) ([]string, error) {
	var out []string
	var faults []error
	for _, s := range in {
		host, port := s, "53"
		if _, err := netip.ParseAddr(s); err != nil { // an IPv6 address has colons of its own
			if h, p, err := net.SplitHostPort(s); err == nil {
				host, port = h, p
			}
		}
		if _, err := netip.ParseAddr(host); err != nil {
			if _, ok := dns.IsDomainName(host); !ok || host == "" || strings.ContainsAny(host, ":[]/ \\") || !printable(host) {
				faults = append(faults, fmt.Errorf("resolver %s: want host or host:port", excerpt(s)))
				continue
			}
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			faults = append(faults, fmt.Errorf("resolver %s: port %s is not 1 to 65535", excerpt(s), excerpt(port)))
			continue
		}
		out = append(out, net.JoinHostPort(host, port))
	}
	return out, errors.Join(faults...)
}
