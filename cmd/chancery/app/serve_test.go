package app

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

func newRecorder() *httptest.ResponseRecorder { return httptest.NewRecorder() }

func httpsClient(t *testing.T, a *App) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.parts.root)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func acmeClient(t *testing.T, a *App) *acme.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &acme.Client{Key: key, DirectoryURL: a.DirectoryURL(), HTTPClient: httpsClient(t, a)}
}

func get(t *testing.T, url string) (int, http.Header, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, b
}

// TestRestartKeepsAddressesAndAccounts also is the proof that every URL that
// was handed out goes on to work.
func TestRestartKeepsAddressesAndAccounts(t *testing.T) {
	dir := t.TempDir()
	a := open(t, dir)
	if !a.Founded() || !strings.Contains(a.Welcome(true), "Keep a copy of its `passphrase` file") {
		t.Error("the first start did not found, or does not say so")
	}
	fixed := []string{
		"acme.listen=" + a.address(acmeDoor), "acme.url=" + a.parts.urls.acme, "publish.listen=" + a.address(publishDoor),
		"publish.url=" + a.PublishURL(), "admin.listen=" + a.address(adminDoor),
	}
	stop := serve(t, a)
	client := acmeClient(t, a)
	account, err := client.Register(t.Context(), &acme.Account{Contact: []string{"mailto:a@example.com"}}, acme.AcceptTOS)
	if err != nil {
		t.Fatal(err)
	}
	directory, fingerprint := a.DirectoryURL(), a.parts.root.Raw
	stop()

	b, err := Open(t.Context(), Options{Dir: dir, Set: fixed})
	if err != nil {
		t.Fatal(err)
	}
	serve(t, b)
	if b.Founded() || b.DirectoryURL() != directory || string(b.parts.root.Raw) != string(fingerprint) {
		t.Error("another Chancery came up")
	}
	again := &acme.Client{Key: client.Key, DirectoryURL: directory, HTTPClient: httpsClient(t, b)}
	found, err := again.GetReg(t.Context(), "")
	if err != nil || found.URI != account.URI {
		t.Errorf("got %+v, %v, want %s", found, err, account.URI)
	}
}

// TestStopAnswersWhatIsInFlight: a request that waits for its validation when
// the stop comes is answered, and the next one finds nobody.
func TestStopAnswersWhatIsInFlight(t *testing.T) {
	arrived, release := make(chan struct{}, 10), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		http.NotFound(w, r)
	}))
	t.Cleanup(web.Close)
	_, port, err := net.SplitHostPort(web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, newDir(t), "validation.http_port="+port, "acme.wait=5s")
	stop := serve(t, a)
	client := acmeClient(t, a)
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("slow.localhost"))
	if err != nil {
		t.Fatal(err)
	}
	authorization, err := client.GetAuthorization(t.Context(), order.AuthzURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	for _, c := range authorization.Challenges {
		if c.Type == "http-01" {
			go func() {
				got, err := client.Accept(context.Background(), c)
				if err == nil && got.Status == "" {
					err = fmt.Errorf("answered with no status")
				}
				answered <- err
			}()
		}
	}
	<-arrived
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	for deadline := time.Now().Add(5 * time.Second); ; { // until it accepts nothing more
		conn, err := net.DialTimeout("tcp", a.address(acmeDoor), time.Second)
		if err != nil {
			break
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("still accepts connections after the stop")
		}
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case err := <-answered:
		t.Fatalf("answered before the validation came to its end: %v", err)
	default:
	}
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request in flight was lost: %v", err)
	}
	<-stopped
}

// TestPublishedFiles: what certificates point to is there.
func TestPublishedFiles(t *testing.T) {
	a := open(t, t.TempDir())
	serve(t, a)
	issuer, leaf := a.parts.issuer.Certificate(), a.own.current.Load().Leaf
	for _, url := range append(issuer.IssuingCertificateURL, leaf.IssuingCertificateURL...) {
		status, _, der := get(t, url)
		if _, err := x509.ParseCertificate(der); status != http.StatusOK || err != nil {
			t.Errorf("%s: %d %v", url, status, err)
		}
	}
	for _, url := range append(issuer.CRLDistributionPoints, leaf.CRLDistributionPoints...) {
		status, _, der := get(t, url)
		list, err := x509.ParseRevocationList(der)
		if status != http.StatusOK || err != nil || time.Now().After(list.NextUpdate) {
			t.Errorf("%s: %d %v", url, status, err)
		}
	}
	if len(issuer.IssuingCertificateURL) == 0 || len(issuer.CRLDistributionPoints) == 0 || len(leaf.OCSPServer) == 0 {
		t.Errorf("a certificate points to nothing: %q %q %q", issuer.IssuingCertificateURL, issuer.CRLDistributionPoints, leaf.OCSPServer)
	}
	if status, _, b := get(t, a.PublishURL()+"/root.pem"); status != http.StatusOK || !strings.HasPrefix(string(b), "-----BEGIN CERT") {
		t.Errorf("root.pem: %d %s", status, b)
	}
	for _, path := range []string{"/", "/crl/", "/chancery.yaml", "/../passphrase", "/keys/root.pem", "//root.pem", "/ocspx"} {
		if status, _, _ := get(t, a.PublishURL()+path); status != http.StatusNotFound {
			t.Errorf("%s: got %d, want 404", path, status)
		}
	}
	// SAFETY I54: a path with "//" in its base64 reaches the responder, without
	// a redirect to another path.
	noise := base64.StdEncoding.EncodeToString([]byte{0x30, 0x04, 0x0f, 0xff, 0xf0, 0x00})
	if !strings.Contains(noise, "//") {
		t.Fatal("no // in", noise)
	}
	if status, head, _ := get(t, a.PublishURL()+"/ocsp/"+noise); status != http.StatusOK || head.Get("Content-Type") != "application/ocsp-response" {
		t.Errorf("/ocsp/%s: %d %q", noise, status, head.Get("Content-Type"))
	}
}

// TestFrontDoorTLS: TLS 1.2 and up, HTTP/1.1 only (SAFETY rows 29 and 30).
func TestFrontDoorTLS(t *testing.T) {
	a := open(t, newDir(t))
	serve(t, a)
	roots := x509.NewCertPool()
	roots.AddCert(a.parts.root)
	for _, c := range []struct {
		most  uint16
		works bool
	}{{tls.VersionTLS11, false}, {tls.VersionTLS12, true}, {tls.VersionTLS13, true}} {
		conn, err := tls.Dial("tcp", a.address(acmeDoor), &tls.Config{
			RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: c.most, NextProtos: []string{"h2", "http/1.1"},
		})
		if (err == nil) != c.works {
			t.Errorf("TLS %x: %v", c.most, err)
		}
		if err == nil {
			if p := conn.ConnectionState().NegotiatedProtocol; p != "http/1.1" {
				t.Errorf("speaks %q", p)
			}
			_ = conn.Close()
		}
	}
	if status, _, _ := get(t, "http://"+a.address(acmeDoor)+"/acme/directory"); status != http.StatusBadRequest {
		t.Errorf("plain HTTP at the TLS door: %d", status)
	}
}

// TestDoorsBoundHeaders: SAFETY rows 12 and A2, on every door.
func TestDoorsBoundHeaders(t *testing.T) {
	a := open(t, newDir(t))
	serve(t, a)
	for _, name := range []string{publishDoor, adminDoor} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", a.address(name))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 2*maxHeader)); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, "431") {
				t.Errorf("got %q, %v", line, err)
			}
			slow, err := net.Dial("tcp", a.address(name))
			if err != nil {
				t.Fatal(err)
			}
			defer slow.Close()
			began := time.Now()
			if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: lo"); err != nil {
				t.Fatal(err)
			}
			if err := slow.SetReadDeadline(began.Add(2 * readHeaderTime)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, slow); err != nil {
				t.Errorf("a slow header is not cut off: %v", err)
			}
			if took := time.Since(began); took < readHeaderTime/2 {
				t.Errorf("cut off after %s already", took)
			}
		})
	}
}

func TestWelcome(t *testing.T) {
	a := open(t, newDir(t), "validation.http_port=5002")
	text := a.Welcome(false)
	for _, want := range []string{
		a.DirectoryURL(), fingerprint(a.parts.root.Raw), "sudo env REQUESTS_CA_BUNDLE=" + a.RootPath() + " certbot certonly --standalone",
		"-d my-first.localhost --http-01-port 5002\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(a.Welcome(true), "sudo") {
		t.Error("root needs no sudo")
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{"/a/b.pem": "/a/b.pem", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "[x]": "'[x]'"} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

func TestReach(t *testing.T) {
	for in, want := range map[string]string{":1": "127.0.0.1:1", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1", "127.0.0.1:1": "127.0.0.1:1", "10.0.0.1:2": "10.0.0.1:2"} {
		if got := (AdminConfig{Listen: in}).Reach(); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestDemo(t *testing.T) {
	var out strings.Builder
	if err := Demo(t.Context(), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	if !strings.Contains(out.String(), "All of it was so") {
		t.Errorf("got\n%s", &out)
	}
}
