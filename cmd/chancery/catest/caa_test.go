package catest_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-acme/lego/v4/certificate"
	"github.com/miekg/dns"

	"chancery/cmd/chancery/catest"
)

// set puts a record into the zone by a signed update, in place of those of its
// name and type.
func (s *nameServer) set(t *testing.T, line string) {
	t.Helper()
	rr, err := dns.NewRR(line)
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg).SetUpdate(dns.Fqdn(s.zone))
	m.RemoveRRset([]dns.RR{rr})
	m.Insert([]dns.RR{rr})
	m.SetTsig(dns.Fqdn(tsigName), dns.HmacSHA256, 300, time.Now().Unix())
	c := &dns.Client{Net: "tcp", TsigSecret: map[string]string{dns.Fqdn(tsigName): s.key}}
	if r, _, err := c.Exchange(m, s.addr); err != nil || r.Rcode != dns.RcodeSuccess {
		t.Fatalf("named takes no update %s: %v %v", line, r, err)
	}
}

// TestIncident_I02: a CA's look at CAA records was not working at all. Here
// real zones, in BIND, stand before the whole of Chancery and a real client.
func TestIncident_I02(t *testing.T) {
	n := catest.NewInternet(t)
	named := startNamed(t, n, "zone.example")
	// Asked by itself, and once more through the server in front of it.
	for way, resolvers := range map[string]string{"directly": `validation.zones={zone.example: ["` + named.addr + `"]}`, "forwarded": "validation.zones={}"} {
		t.Run(way, func(t *testing.T) {
			c := catest.Start(t, catest.On(n), catest.Set("acme.caa_identities=ca.example", resolvers))
			client := c.Client(catest.Any)
			account := client.Registration.URI
			for i, row := range []struct {
				caa  string // of the name; NAME is the name
				ok   bool
				says string
			}{
				{`NAME 1 CAA 0 issue ";"`, false, `0 issue ";" allows nobody`},
				{`NAME 1 CAA 0 issue "letsencrypt.org"`, false, "add 0 issue \"ca.example\" at NAME"},
				{`NAME 1 CAA 128 tbs "unknown"`, false, "critical"},
				{`NAME 1 CAA 0 issue "ca.example; accounturi=` + account + `0"`, false, "allows only the account"},
				{`NAME 1 CAA 0 issue "ca.example; validationmethods=dns-01"`, false, "validated by http-01"},
				{`NAME 1 CAA 0 issue "ca.example; accounturi=` + account + `; accounturi=` + account + `"`, false, "twice"},
				{`NAME 1 CAA 0 issue "ca.example; accounturi=` + account + `; validationmethods=http-01"`, true, ""},
				{`NAME 1 CAA 0 issue "ca.example"`, true, ""},
				{`NAME 1 CAA 0 issuewild ";"`, true, ""},
				{`NAME 1 CAA 128 iodef "mailto:a@b.example"`, true, ""},
			} {
				name := fmt.Sprintf("n%d.zone.example", i)
				named.set(t, strings.ReplaceAll(row.caa, "NAME", name+"."))
				named.set(t, name+". 1 A 127.0.0.1") // the zone's wildcard does not reach where something is
				named.set(t, "www."+name+". 1 A 127.0.0.1")
				for _, ordered := range []string{name, "www." + name} { // at the name, and above it
					if row.ok {
						client.Obtain(ordered)
						continue
					}
					_, err := client.TryObtain(ordered)
					says := strings.ReplaceAll(row.says, "NAME", name)
					if err == nil || !strings.Contains(err.Error(), "urn:ietf:params:acme:error:caa") || !strings.Contains(err.Error(), "CAA at "+name) || !strings.Contains(err.Error(), says) {
						t.Errorf("%s with %s: got %v", ordered, row.caa, err)
					}
					if got := certificatesFor(c, ordered); got != 0 {
						t.Errorf("%s: %d certificates", ordered, got)
					}
				}
			}
			c.Check()
		})
	}
}

// certificatesFor counts what the operator sees for a name.
func certificatesFor(c *catest.CA, name string) int {
	var list struct {
		Items []struct {
			Serial string `json:"serial"`
		} `json:"items"`
	}
	c.Operator(http.MethodGet, "/api/v1/certificates?name="+name, nil, &list)
	return len(list.Items)
}

// TestCAAProfiles: the same name under profiles that enforce, report and don't
// look; what CAA says is seen by the metrics.
func TestCAAProfiles(t *testing.T) {
	n := catest.NewInternet(t)
	n.AddCAA("a.example", 0, "issue", "other.example")
	c := catest.Start(t, catest.On(n), catest.Set("acme.caa_identities=ca.example", "profiles.report.caa=report", "profiles.silent.caa=off"))
	client := c.Client(catest.Any)
	for profile, ok := range map[string]bool{"server": false, "report": true, "silent": true} {
		_, err := client.Certificate.Obtain(certificate.ObtainRequest{Domains: []string{"a.example"}, Bundle: true, Profile: profile})
		switch {
		case ok && err != nil:
			t.Errorf("%s: %v", profile, err)
		case !ok && (err == nil || !strings.Contains(err.Error(), "urn:ietf:params:acme:error:caa")):
			t.Errorf("%s: got %v", profile, err)
		}
	}
	n.RemoveCAA("a.example")
	client.Obtain("a.example") // the records were corrected: the authorization still holds
	if !slices.Contains(n.Questions(), "CAA a.example") {
		t.Errorf("asked %v", n.Questions())
	}
	answer, err := c.HTTP().Get(c.AdminURL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`chancery_caa_lookups_total{mode="enforce",outcome="caa"} 1`, `chancery_caa_lookups_total{mode="report",outcome="caa"}`} {
		if !strings.Contains(string(metrics), line) {
			t.Errorf("the metrics lack %s", line)
		}
	}
	c.Check()
}
