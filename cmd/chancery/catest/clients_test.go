package catest_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"chancery/cmd/chancery/catest"
)

// This file and its neighbors run real ACME clients against Chancery. Each
// obtains, renews and revokes, and then relying parties are asked.

func TestMain(m *testing.M) { catest.Main(m) }

// program finds a program of a Debian package, or says how to get it.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/bin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Fatalf("%s is missing: install the Debian package %s, or run make deps as root", name, pkg)
	}
	return path
}

// programTimeout bounds one run of a client. The slowest, certbot, imports
// Python for some seconds on a busy machine.
const programTimeout = 2 * time.Minute

// command is a client's program with what all its runs have in common.
type command struct {
	t    *testing.T
	path string
	args []string // before those of run
	env  []string
	dir  string
}

// try runs it and returns what it wrote.
func (c *command) try(args ...string) (string, error) {
	cmd := exec.Command(c.path, append(append([]string(nil), c.args...), args...)...)
	cmd.Dir = c.dir
	cmd.Env = append(append(os.Environ(), "LC_ALL=C.UTF-8"), c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(programTimeout, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// run is try that must succeed.
func (c *command) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(c.path), strings.Join(args, " "), err, out)
	}
	return out
}

// fail is try that must not succeed, and must say these words.
func (c *command) fail(words string, args ...string) {
	c.t.Helper()
	out, err := c.try(args...)
	if err == nil || !strings.Contains(out, words) {
		c.t.Errorf("%s %s: %v, want an error with %q in:\n%s", filepath.Base(c.path), strings.Join(args, " "), err, words, out)
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// daemon starts a server program that runs until the test ends, and waits
// until its port is open.
func daemon(t *testing.T, addr, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	var out bytes.Buffer // read only after Wait
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), &out)
		}
	})
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended at once: %v\n%s", filepath.Base(path), err, &out)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen on %s", filepath.Base(path), addr)
		}
	}
}

// nameServer is BIND with one zone that takes updates (RFC 2136) under a key.
type nameServer struct {
	zone, addr string // addr: host:port
	key        string // TSIG secret, base64
	keyFile    string // for nsupdate -k
}

const tsigName = "acme-update"

// startNamed runs BIND for the zone, and the pretend Internet delegates to it.
func startNamed(t *testing.T, n *catest.Internet, zone string) *nameServer {
	t.Helper()
	s := &nameServer{
		zone: zone, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(catest.FreePort(t))),
		key: "c2VjcmV0IG9mIHRoZSB0ZXN0cywga25vd24gdG8gYWxsLiE=",
	}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "zone"), fmt.Sprintf(`$TTL 1
@ IN SOA ns.%[1]s. hostmaster.%[1]s. 1 60 60 60 1
@ IN NS ns.%[1]s.
@ IN A 127.0.0.1
* IN A 127.0.0.1
ns IN A 127.0.0.1
`, zone), 0o600)
	s.keyFile = write(t, filepath.Join(dir, "key"), fmt.Sprintf("key %q { algorithm hmac-sha256; secret %q; };\n", tsigName, s.key), 0o600)
	conf := write(t, filepath.Join(dir, "named.conf"), fmt.Sprintf(`include %[1]q;
options {
	directory %[2]q;
	listen-on port %[3]s { 127.0.0.1; };
	listen-on-v6 { none; };
	pid-file none;
	session-keyfile none;
	recursion no;
	dnssec-validation no;
};
controls { };
zone %[4]q { type master; file "zone"; allow-update { key %[5]q; }; };
`, s.keyFile, dir, port, zone, tsigName), 0o600)
	daemon(t, s.addr, program(t, "named", "bind9"), "-g", "-c", conf, "-p", port, "-n", "1")
	n.Forward(zone, s.addr)
	m := new(dns.Msg).SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	if r, err := dns.Exchange(m, s.addr); err != nil || r.Rcode != dns.RcodeSuccess {
		t.Fatalf("named does not serve %s: %v %v", zone, r, err)
	}
	return s
}

// startNginx runs nginx on 127.0.0.x with the configuration inside its
// server block.
func startNginx(t *testing.T, addr, server string) {
	t.Helper()
	dir := t.TempDir()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;" // the test's folders are closed to others
	}
	conf := write(t, filepath.Join(dir, "nginx.conf"), fmt.Sprintf(`%[1]s
daemon off;
worker_processes 1;
pid %[2]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[2]s/1; proxy_temp_path %[2]s/2; fastcgi_temp_path %[2]s/3; uwsgi_temp_path %[2]s/4; scgi_temp_path %[2]s/5;
	server {
		listen %[3]s;
		%[4]s
	}
}
`, user, dir, addr, server), 0o600)
	host, rest, _ := strings.Cut(addr, " ")
	_ = rest // "ssl" may follow the address
	daemon(t, host, program(t, "nginx", "nginx-light"), "-c", conf, "-p", dir, "-e", "stderr")
}
