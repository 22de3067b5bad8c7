package validate

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"os"
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
	asked []upstream
	named map[string][]netip.Addr
}

func newSystem(resolvConf, hosts string, now func() time.Time) *system {
	return &system{resolvConf: resolvConf, hostsFile: hosts, now: now}
}

func (s *system) servers() []upstream {
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
		s.asked = []upstream{{network: "udp", addr: "127.0.0.1:53"}, {network: "udp", addr: "[::1]:53"}} // resolv.conf(5)
	}
	if f, err := os.Open(s.hostsFile); err == nil {
		s.named = readHosts(f)
		hangUp(f)
	}
}

func readServers(r io.Reader) []upstream {
	config, err := dns.ClientConfigFromReader(io.LimitReader(r, maxSystemFile))
	if err != nil {
		return nil
	}
	var out []upstream
	for _, server := range config.Servers {
		out = append(out, upstream{network: "udp", addr: net.JoinHostPort(server, "53")})
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
