package admin

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts what happens, for Prometheus. Its methods are hooks: cheap,
// safe for concurrent use, never failing. Labels hold routes, profiles, error
// types and the like, never names, accounts or addresses; see bounded.
type Metrics struct {
	registry *prometheus.Registry

	requests       *prometheus.CounterVec
	requestSeconds *prometheus.HistogramVec
	problems       *prometheus.CounterVec

	validations       *prometheus.CounterVec
	validationSeconds *prometheus.HistogramVec
	issuances         *prometheus.CounterVec
	issuanceSeconds   *prometheus.HistogramVec
	revocations       *prometheus.CounterVec
	caa               *prometheus.CounterVec

	ocsp          *prometheus.CounterVec
	ocspSeconds   prometheus.Histogram
	adminRequests *prometheus.CounterVec

	labels bounded
}

// Latency buckets in seconds. Requests and OCSP answers take tens of
// microseconds to milliseconds; validations cross a network and end at their
// own bound of some ten seconds.
var (
	fastBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	slowBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 30}
)

// NewMetrics makes a registry of its own with everything in it, process and
// Go runtime included. version is the program's.
func NewMetrics(version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.requests = m.counter("acme_requests_total", "ACME requests answered.", "route", "status")
	m.requestSeconds = m.histogram("acme_request_seconds", "Time to answer an ACME request, bounded waits for its work included.", fastBuckets, "route")
	m.problems = m.counter("acme_problems_total", "ACME requests answered with a problem document, by its type.", "type")
	m.validations = m.counter("validations_total", "Challenges validated, by method and outcome: valid or an ACME error type.", "method", "outcome")
	m.validationSeconds = m.histogram("validation_seconds", "Time of one validation.", slowBuckets, "method", "outcome")
	m.issuances = m.counter("issuances_total", "Certificates asked for by finalize, by profile and outcome: issued or an ACME error type.", "profile", "outcome")
	m.issuanceSeconds = m.histogram("issuance_seconds", "Time from the start of an issuance to the durable certificate.", fastBuckets, "profile")
	m.revocations = m.counter("revocations_total", "Certificates revoked, by reason (RFC 5280 section 5.3.1).", "reason")
	m.caa = m.counter("caa_lookups_total", "Looks at a name's CAA records, by the profile's mode and outcome: allowed or an ACME error type.", "mode", "outcome")
	m.ocsp = m.counter("ocsp_responses_total", "OCSP answers: good, revoked, or the responseStatus of one without a certificate status.", "status")
	m.adminRequests = m.counter("admin_requests_total", "Requests at the operator's door.", "route", "status")
	m.ocspSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "ocsp_response_seconds", Help: "Time to answer an OCSP request.", Buckets: fastBuckets,
	})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "build_info", Help: "Always 1."}, []string{"version", "go"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.ocspSeconds, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

const namespace = "chancery"

func (m *Metrics) counter(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	m.registry.MustRegister(h)
	return h
}

// Request counts one answered ACME request (orders created are new-order with
// status 201, nonces refused are badNonce). route is its name in the route
// table, empty when none matched; problem is the last part of the error type
// ("badNonce"), empty when there was none.
func (m *Metrics) Request(route string, status int, took time.Duration, problem string) {
	route = m.labels.of("route", route)
	m.requests.WithLabelValues(route, statusLabel(status)).Inc()
	m.requestSeconds.WithLabelValues(route).Observe(took.Seconds())
	if problem != "" {
		m.problems.WithLabelValues(m.labels.of("problem", problem)).Inc()
	}
}

// Validated counts one verdict: outcome is "valid" or an error type ("dns").
func (m *Metrics) Validated(method, outcome string, took time.Duration) {
	method, outcome = m.labels.of("method", method), m.labels.of("problem", outcome)
	m.validations.WithLabelValues(method, outcome).Inc()
	m.validationSeconds.WithLabelValues(method, outcome).Observe(took.Seconds())
}

// Issued counts one issuance: outcome is "issued" or an error type. The
// histogram holds only those that were issued.
func (m *Metrics) Issued(profile, outcome string, took time.Duration) {
	profile = m.labels.of("profile", profile)
	m.issuances.WithLabelValues(profile, m.labels.of("problem", outcome)).Inc()
	if outcome == "issued" {
		m.issuanceSeconds.WithLabelValues(profile).Observe(took.Seconds())
	}
}

// Revoked counts one revocation by the reason's name ("keyCompromise").
func (m *Metrics) Revoked(reason string) {
	m.revocations.WithLabelValues(m.labels.of("reason", reason)).Inc()
}

// CAA counts one look at a name's CAA records: outcome is "allowed" or an error
// type ("caa", "dns").
func (m *Metrics) CAA(mode, outcome string) {
	m.caa.WithLabelValues(m.labels.of("mode", mode), m.labels.of("problem", outcome)).Inc()
}

// OCSP counts one OCSP answer. took is 0 when it was not measured.
func (m *Metrics) OCSP(status string, took time.Duration) {
	m.ocsp.WithLabelValues(m.labels.of("ocsp", status)).Inc()
	if took > 0 {
		m.ocspSeconds.Observe(took.Seconds())
	}
}

func (m *Metrics) admin(route string, status int) {
	m.adminRequests.WithLabelValues(m.labels.of("admin", route), statusLabel(status)).Inc()
}

// maxScrapes bounds the scrapes answered at once.
const maxScrapes = 4

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes, Timeout: requestTime, ErrorHandling: promhttp.ContinueOnError,
	})
}

func statusLabel(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status)
}

// Bounds on labels. Each value of each label is a time series here and in
// Prometheus, for ever.
const (
	maxLabelValues = 64
	maxLabelLength = 64
)

// bounded keeps labels few even if a caller errs and passes on what a client
// sent: of each set the first maxLabelValues values stand, all further ones
// are "other".
type bounded struct {
	mu   sync.RWMutex
	sets map[string]map[string]struct{}
}

func (b *bounded) of(set, value string) string {
	if value == "" {
		return "none"
	}
	if len(value) > maxLabelLength || !plain(value) {
		return "other"
	}
	b.mu.RLock()
	_, known := b.sets[set][value]
	b.mu.RUnlock()
	if known {
		return value
	}
	return b.add(set, value)
}

func (b *bounded) add(set, value string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sets == nil {
		b.sets = map[string]map[string]struct{}{}
	}
	if b.sets[set] == nil {
		b.sets[set] = map[string]struct{}{}
	}
	if _, known := b.sets[set][value]; !known && len(b.sets[set]) >= maxLabelValues {
		return "other"
	}
	b.sets[set][value] = struct{}{}
	return value
}

// plain says whether a value has only characters that routes, profiles and
// error types have.
func plain(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == ' ', c == '/':
		default:
			return false
		}
	}
	return true
}
