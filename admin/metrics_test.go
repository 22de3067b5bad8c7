package admin

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestMetricsHooks calls each hook once and reads what Prometheus would.
func TestMetricsHooks(t *testing.T) {
	m := NewMetrics("v1.2.3")
	m.Request("newOrder", 201, 3*time.Millisecond, "")
	m.Request("newOrder", 400, time.Millisecond, "badNonce")
	m.Request("", 9999, time.Millisecond, "malformed")
	m.Validated("http-01", "valid", 20*time.Millisecond)
	m.Validated("dns-01", "dns", time.Second)
	m.Issued("server", "issued", 5*time.Millisecond)
	m.Issued("server", "badCSR", time.Millisecond)
	m.Revoked("keyCompromise")
	m.OCSP("good", time.Millisecond)
	m.OCSP("revoked", 0)
	m.admin("certificates", 200)
	text := scrape(t, m)
	for _, want := range []string{
		`chancery_acme_requests_total{route="newOrder",status="201"} 1`,
		`chancery_acme_requests_total{route="none",status="other"} 1`,
		`chancery_acme_request_seconds_count{route="newOrder"} 2`,
		`chancery_acme_problems_total{type="badNonce"} 1`,
		`chancery_validations_total{method="http-01",outcome="valid"} 1`,
		`chancery_validation_seconds_bucket{method="dns-01",outcome="dns",le="1"} 1`,
		`chancery_issuances_total{outcome="issued",profile="server"} 1`,
		`chancery_issuances_total{outcome="badCSR",profile="server"} 1`,
		`chancery_issuance_seconds_count{profile="server"} 1`,
		`chancery_revocations_total{reason="keyCompromise"} 1`,
		`chancery_ocsp_responses_total{status="good"} 1`,
		`chancery_ocsp_response_seconds_count 1`,
		`chancery_admin_requests_total{route="certificates",status="200"} 1`,
		`version="v1.2.3"} 1`,
		`process_resident_memory_bytes`,
		`go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the scrape", want)
		}
	}
}

// TestLabelsAreBounded: whatever callers pass on, neither the number of time
// series nor their labels' content is in the hands of clients.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics("test")
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				m.Request(fmt.Sprintf("route%d-%d", g, i), 200, 0, fmt.Sprintf("type%d", i))
			}
		})
	}
	wg.Wait()
	for _, hostile := range []string{"a\nb", `a"b`, "a{b}", strings.Repeat("x", 65), "é", "\x00", "a,b", "user@example.com"} {
		m.Validated(hostile, hostile, 0)
	}
	text := scrape(t, m)
	if n := strings.Count(text, "chancery_acme_requests_total{"); n > maxLabelValues+1 {
		t.Errorf("%d series of requests", n)
	}
	if n := strings.Count(text, "chancery_acme_problems_total{"); n > maxLabelValues+1 {
		t.Errorf("%d series of problems", n)
	}
	if !strings.Contains(text, `chancery_validations_total{method="other",outcome="other"} 8`) {
		t.Error("hostile labels are not `other`")
	}
}

func TestLabelSetsAreApart(t *testing.T) {
	var b bounded
	for i := range maxLabelValues {
		b.of("route", fmt.Sprint(i))
	}
	for value, want := range map[string]string{"7": "7", "new": "other", "": "none"} {
		if got := b.of("route", value); got != want {
			t.Errorf("route %q is %q, want %q", value, got, want)
		}
	}
	if got := b.of("profile", "new"); got != "new" {
		t.Errorf("a full set fills another: %q", got)
	}
}
