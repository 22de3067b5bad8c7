package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"chancery/acme/limit"
)

// connect opens a connection to a door from an address of the loopback
// network, and says whether the door kept it.
func connect(t *testing.T, from, to string) (net.Conn, bool) {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, err = c.Read(make([]byte, 1))
	var timeout net.Error
	return c, errors.As(err, &timeout) && timeout.Timeout() // it waits for us to speak
}

// TestRow28: of a thousand connections from one address only so many are
// kept; others come in beside them, and a place that is given back is free.
func TestRow28(t *testing.T) {
	a := open(t, newDir(t), "publish.max_connections_per_ip=5", "acme.max_connections_per_ip=3")
	serve(t, a)
	for _, d := range []struct {
		name string
		most int
	}{{publishDoor, 5}, {acmeDoor, 3}} {
		address := a.address(d.name)
		var held []net.Conn
		for len(held) < d.most {
			c, kept := connect(t, "127.0.0.1", address)
			if !kept {
				t.Fatalf("%s: connection %d was not kept", d.name, len(held)+1)
			}
			held = append(held, c)
		}
		for range 5 {
			if _, kept := connect(t, "127.0.0.1", address); kept {
				t.Errorf("%s: more than %d connections of one address were kept", d.name, d.most)
			}
		}
		if _, kept := connect(t, "127.0.0.2", address); !kept {
			t.Errorf("%s: another address finds no place", d.name)
		}
		held[0].Close()
		free := false
		for range 50 {
			if _, free = connect(t, "127.0.0.1", address); free {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !free {
			t.Errorf("%s: a place that was given back is not free", d.name)
		}
	}
	if code, _, body := get(t, "http://"+a.address(adminDoor)+"/healthz"); code != http.StatusOK {
		t.Errorf("the operator's door answers %d: %s", code, body)
	}
}

// TestFloodOfConnections: a thousand connections from one address that say
// nothing (SAFETY rows 12 and 28) take no place from others.
func TestFloodOfConnections(t *testing.T) {
	a := open(t, newDir(t), "publish.max_connections=200", "publish.max_connections_per_ip=100")
	serve(t, a)
	address := a.address(publishDoor)
	for range 1000 {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 3)}, Timeout: 5 * time.Second}
		c, err := d.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	began := time.Now()
	res, err := http.Get("http://" + address + "/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("status %d, %v", res.StatusCode, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("an honest client waited for %v", took)
	}
}

// TestLimitsAreWired: what is configured holds at the door, with 429 and
// Retry-After (SAFETY row 131).
func TestLimitsAreWired(t *testing.T) {
	for _, c := range []struct {
		says string
		set  []string
		want int
	}{
		{"limited", []string{"limits.new_orders_per_account=2/1h"}, 2},
		{"off as a whole", []string{"limits.new_orders_per_account=2/1h", "limits.enabled=false"}, 5},
		{"the default", nil, 5},
	} {
		t.Run(c.says, func(t *testing.T) {
			a := open(t, newDir(t), c.set...)
			serve(t, a)
			client := acmeClient(t, a)
			client.RetryBackoff = func(int, *http.Request, *http.Response) time.Duration { return -1 }
			if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
				t.Fatal(err)
			}
			got := 0
			for range 5 {
				_, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("a.localhost"))
				if err == nil {
					got++
					continue
				}
				var e *acme.Error
				if !errors.As(err, &e) || e.StatusCode != http.StatusTooManyRequests || e.ProblemType != "urn:ietf:params:acme:error:rateLimited" || e.Header.Get("Retry-After") != "1800" && e.Header.Get("Retry-After") != "1799" {
					t.Errorf("got %v, %+v", err, e)
				}
			}
			if got != c.want {
				t.Errorf("%d orders, want %d", got, c.want)
			}
		})
	}
}

// TestLimitsReference: docs/configuration.md names each limit with its default.
func TestLimitsReference(t *testing.T) {
	text, err := os.ReadFile("../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	r := limit.Default()
	want := map[string]string{
		"concurrent_validations_per_account": strconv.Itoa(r.Concurrent), "concurrent_retries": strconv.Itoa(r.Retries),
		"connections_per_target": strconv.Itoa(defaultLimits().PerTarget), "pause_after": strconv.Itoa(r.Pause.After), "pause_over": limit.Span(r.Pause.Over),
	}
	for k := range limit.Kinds {
		want[k.String()] = r.Rates[k].String()
	}
	for name, value := range want {
		if row := "| `limits." + name + "` | `" + value + "` |"; !strings.Contains(string(text), row) {
			t.Errorf("no row that begins with %s", row)
		}
	}
}

// TestDefaultsAreTheLimits: what is configured when nobody says anything are
// the defaults of package limit.
func TestDefaultsAreTheLimits(t *testing.T) {
	c, err := parseConfig(secretDir(t), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Limits.rules(); r == nil || r.Rates != limit.Default().Rates || r.Pause != limit.Default().Pause || c.Limits.perTarget() == 0 {
		t.Errorf("%+v", r)
	}
	c.Limits.Enabled = false
	if c.Limits.rules() != nil || c.Limits.perTarget() != 0 {
		t.Error("limits that are off limit")
	}
}
