package crl_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"chancery/ca"
	"chancery/crl"
	"chancery/crl/crltest"
)

func ask(h http.Handler, method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func fetch(t testing.TB, p *crl.Publisher, path string) []byte {
	t.Helper()
	w := ask(p.Handler(), http.MethodGet, path)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func TestHandlerList(t *testing.T) {
	b := newBench(t)
	h, path := b.Handler(), crl.Path(b.issuer.ID())
	if w := ask(h, http.MethodGet, path); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("before the first list: %d %v", w.Code, w.Header())
	}
	b.sync(t)
	w := ask(h, http.MethodGet, path)
	list, whole := b.list(t), w.Body.Bytes()
	etag, modified := w.Header().Get("ETag"), w.Header().Get("Last-Modified")
	for name, want := range map[string]string{
		"Content-Type": "application/pkix-crl", "Cache-Control": "public, max-age=5, must-revalidate, no-transform",
		"Last-Modified": list.ThisUpdate.Format(http.TimeFormat), "Content-Length": fmt.Sprint(len(whole)),
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(etag, fmt.Sprintf(`"%d-`, list.Number)) {
		t.Errorf("ETag %s of list %d", etag, list.Number)
	}
	for name, c := range map[string]struct {
		method string
		header []string
		status int
		body   []byte
	}{
		"HEAD":                    {"HEAD", nil, 200, nil},
		"same ETag":               {"GET", []string{"If-None-Match", etag}, 304, nil},
		"weak ETag in a list":     {"GET", []string{"If-None-Match", `"x", W/` + etag}, 304, nil},
		"another ETag":            {"GET", []string{"If-None-Match", `"x"`}, 200, whole},
		"not modified":            {"GET", []string{"If-Modified-Since", modified}, 304, nil},
		"modified":                {"GET", []string{"If-Modified-Since", list.ThisUpdate.Add(-time.Second).Format(http.TimeFormat)}, 200, whole},
		"another ETag, same date": {"GET", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, 200, whole},
		"a range":                 {"GET", []string{"Range", "bytes=10-19"}, 206, whole[10:20]},
		"a range of another list": {"GET", []string{"Range", "bytes=10-19", "If-Range", `"x"`}, 200, whole},
		"a range beyond":          {"GET", []string{"Range", "bytes=1000000-"}, 416, nil},
		"POST":                    {"POST", nil, 405, nil},
		"DELETE":                  {"DELETE", nil, 405, nil},
	} {
		w := ask(h, c.method, path, c.header...)
		if w.Code != c.status || c.body != nil && !bytes.Equal(w.Body.Bytes(), c.body) {
			t.Errorf("%s: %d with %d octets", name, w.Code, w.Body.Len())
		}
		if (c.status == 304 || c.method == "HEAD") && w.Body.Len() != 0 {
			t.Errorf("%s: a body of %d octets", name, w.Body.Len())
		}
		if c.status == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: Allow %q", name, w.Header().Get("Allow"))
		}
	}
	// A new list is a new ETag and a new date, however soon.
	serial := crltest.Issue(t, b.store, b.shard(), b.now, b.now.Add(time.Hour))
	crltest.Revoke(t, b.store, serial, ca.Superseded, b.now)
	b.now = b.now.Add(crl.MinInterval)
	b.sync(t)
	for _, header := range [][]string{{"If-None-Match", etag}, {"If-Modified-Since", modified}} {
		if w := ask(h, http.MethodGet, path, header...); w.Code != http.StatusOK {
			t.Errorf("after a revocation, %v: %d", header, w.Code)
		}
	}
}

func TestHandlerFiles(t *testing.T) {
	b := newBench(t)
	made := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	h := b.Handler(
		crl.File{Path: "/issuer/abc.der", Type: crl.TypeCertificate, Content: []byte("certificate"), Made: made},
		crl.File{Path: "/root.pem", Type: crl.TypePEM, Content: []byte("root")},
	)
	w := ask(h, "GET", "/issuer/abc.der")
	if w.Code != 200 || w.Body.String() != "certificate" || w.Header().Get("Content-Type") != "application/pkix-cert" ||
		w.Header().Get("Last-Modified") != made.Format(http.TimeFormat) || !strings.Contains(w.Header().Get("Cache-Control"), "max-age=3600") {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
	if w := ask(h, "GET", "/issuer/abc.der", "If-None-Match", w.Header().Get("ETag")); w.Code != 304 {
		t.Errorf("with its ETag: %d", w.Code)
	}
	if w := ask(h, "HEAD", "/root.pem"); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Last-Modified") != "" {
		t.Errorf("HEAD: %d %v", w.Code, w.Header())
	}
	for _, path := range []string{"/", "/crl/", "/crl/other.crl", "/crl", "/issuer/", "/root.pem/", "//root.pem", "/crl/../root.pem", "/ROOT.PEM"} {
		if w := ask(h, "GET", path); w.Code != 404 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	if w := ask(h, "PUT", "/root.pem"); w.Code != 405 {
		t.Errorf("PUT: %d", w.Code)
	}
}
