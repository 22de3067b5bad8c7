package ocsp

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chancery/ca"

	xocsp "golang.org/x/crypto/ocsp"
)

// get asks by GET; target is what stands in the request line.
func (w *world) get(target string, header ...string) *httptest.ResponseRecorder {
	return w.do(httptest.NewRequest(http.MethodGet, target, nil), header...)
}

func (w *world) post(body []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
	r.Header.Set("Content-Type", requestType)
	return w.do(r, header...)
}

func (w *world) do(r *http.Request, header ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	out := httptest.NewRecorder()
	w.ServeHTTP(out, r)
	return out
}

// lowerEscapes writes %2F as %2f.
func lowerEscapes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			b.WriteString(strings.ToLower(s[i : i+3]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// awkward finds a request whose base64 has "//", "+" and padding.
func (w *world) awkward(t *testing.T, serial ca.Serial) (der []byte, text string) {
	t.Helper()
	for n := range 1 << 20 {
		nonce := []byte{0xff, 0xff, 0xff, 0xfb, 0xef, 0xbe, byte(n), byte(n >> 8), byte(n >> 16)}[:6+n%4]
		der = w.ask(question{serial: serial.BigInt(), nonce: nonce})
		text = base64.StdEncoding.EncodeToString(der)
		if strings.Contains(text, "//") && strings.Contains(text, "+") && strings.HasSuffix(text, "=") {
			return der, text
		}
	}
	t.Fatal("no such request")
	return nil, ""
}

// Whatever a client or something on the way did to the path (SAFETY I54, row 202).
func TestGETPaths(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	_, text := w.awkward(t, serial)
	escaped := url.QueryEscape(text)
	var all strings.Builder
	for i := range len(text) {
		all.WriteString("%" + strings.ToUpper(hexByte(text[i])))
	}
	for name, path := range map[string]string{
		"as it is":                  "/" + text,
		"escaped":                   "/" + escaped,
		"escaped in lower case":     "/" + lowerEscapes(escaped),
		"only slashes escaped":      "/" + strings.ReplaceAll(text, "/", "%2F"),
		"only the plus escaped":     "/" + strings.ReplaceAll(text, "+", "%2B"),
		"no padding":                "/" + strings.TrimRight(text, "="),
		"escaped without padding":   "/" + strings.TrimSuffix(strings.TrimSuffix(escaped, "%3D"), "%3D"),
		"plus taken for a blank":    "/" + strings.ReplaceAll(text, "+", "%20"),
		"every character escaped":   "/" + all.String(),
		"a slash too many":          "//" + text,
		"an escaped slash too many": "/%2F" + text,
		"with a query":              "/" + text + "?cache=no",
	} {
		out := w.get(Path + path)
		if out.Code != http.StatusOK || w.parse(t, out.Body.Bytes(), serial).Status != xocsp.Good {
			t.Errorf("%s: %d %s", name, out.Code, out.Body)
		}
	}
	for name, c := range map[string]struct {
		path   string
		status int
	}{
		"nothing":               {"", 400},
		"only a slash":          {"/", 400},
		"not base64":            {"/hello!", 400},
		"base64 for URLs":       {"/" + strings.ReplaceAll(text, "/", "_"), 400},
		"cut off":               {"/" + text[:len(text)-4-len(text)%4+1], 400},
		"a line end":            {"/" + text[:40] + "%0A" + text[40:], 400},
		"three times padded":    {"/" + strings.TrimRight(text, "=") + "===", 400},
		"escaped twice":         {"/" + url.QueryEscape(url.QueryEscape(text)), 400},
		"a NUL":                 {"/%00" + text, 400},
		"too long":              {"/" + strings.Repeat("A", maxPath), 414},
		"as long as may be":     {"/" + strings.Repeat("A", maxPath-4), 200}, // malformedRequest
		"another path":          {"x/" + text, 404},
		"bytes that are no DER": {"/AAAA", 200},
	} {
		out := w.get(Path + c.path)
		if out.Code != c.status {
			t.Errorf("%s: %d, want %d", name, out.Code, c.status)
		}
		if r, err := readResponse(out.Body.Bytes()); c.status == 200 && (err != nil || r.status != MalformedRequest) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		if got := out.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, got)
		}
	}
}

func hexByte(b byte) string {
	const digits = "0123456789abcdef"
	return string([]byte{digits[b>>4], digits[b&15]})
}

func TestHTTPErrors(t *testing.T) {
	w := newWorld(t, "ec256")
	request := w.ask(question{serial: w.issue(t).BigInt()})
	text := Path + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(request))
	big := bytes.Repeat([]byte{0x30}, maxRequest+1)
	chunked := httptest.NewRequest(http.MethodPost, Path, io.MultiReader(bytes.NewReader(big)))
	chunked.ContentLength = -1
	chunked.Header.Set("Content-Type", requestType)
	broken := httptest.NewRequest(http.MethodPost, Path, io.MultiReader(bytes.NewReader(request), failing{}))
	broken.Header.Set("Content-Type", requestType)
	elsewhere := httptest.NewRequest(http.MethodPost, text, bytes.NewReader(request))
	elsewhere.Header.Set("Content-Type", requestType)
	withSlash := httptest.NewRequest(http.MethodPost, Path+"/", bytes.NewReader(request))
	withSlash.Header.Set("Content-Type", requestType)
	for name, c := range map[string]struct {
		out    *httptest.ResponseRecorder
		status int
	}{
		"POST":                       {w.post(request), 200},
		"POST with a parameter":      {w.post(request, "Content-Type", `Application/OCSP-Request; x="y"`), 200},
		"POST with a slash":          {w.do(withSlash), 200},
		"POST, another type":         {w.post(request, "Content-Type", "application/json"), 415},
		"POST, no type":              {w.post(request, "Content-Type", ""), 415},
		"POST, nothing":              {w.post(nil), 200}, // malformedRequest
		"POST, too large":            {w.post(big), 413},
		"POST, too large, unknown":   {w.do(chunked), 413},
		"POST, as large as may be":   {w.post(big[:maxRequest]), 200},
		"POST that breaks off":       {w.do(broken), 400},
		"POST to a GET's path":       {w.do(elsewhere), 404},
		"PUT":                        {w.do(httptest.NewRequest(http.MethodPut, Path, nil)), 405},
		"DELETE":                     {w.do(httptest.NewRequest(http.MethodDelete, text, nil)), 405},
		"GET of something else":      {w.get("/"), 404},
		"GET of a neighbour":         {w.get("/ocspx"), 404},
		"HEAD":                       {w.do(httptest.NewRequest(http.MethodHead, text, nil)), 200},
		"GET with another ETag":      {w.get(text, "If-None-Match", `"x"`), 200},
		"GET with a range of it all": {w.get(text, "Range", "bytes=0-"), 206},
	} {
		if c.out.Code != c.status {
			t.Errorf("%s: %d, want %d: %s", name, c.out.Code, c.status, c.out.Body)
		}
		if c.status == 405 && c.out.Header().Get("Allow") != "GET, HEAD, POST" {
			t.Errorf("%s: Allow %q", name, c.out.Header().Get("Allow"))
		}
		if typ := c.out.Header().Get("Content-Type"); c.status == 200 && typ != responseType {
			t.Errorf("%s: Content-Type %q", name, typ)
		}
		if strings.HasPrefix(name, "POST") && c.out.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, c.out.Header().Get("Cache-Control"))
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// Caches may keep a good answer for seconds; a revocation shows in the very
// next one that is asked for.
func TestCaching(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	text := Path + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(w.ask(question{serial: serial.BigInt()})))
	out := w.get(text)
	good, etag := bytes.Clone(out.Body.Bytes()), out.Header().Get("ETag")
	parsed := w.parse(t, good, serial)
	for name, want := range map[string]string{
		"Cache-Control": "public, max-age=5, must-revalidate, no-transform", "Last-Modified": parsed.ThisUpdate.Format(http.TimeFormat),
		"Expires": w.now.Add(maxAge).Format(http.TimeFormat), "Content-Type": responseType,
	} {
		if got := out.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	w.now = w.now.Add(time.Hour)
	if again := w.get(text); !bytes.Equal(again.Body.Bytes(), good) || again.Header().Get("ETag") != etag {
		t.Error("the same fact was signed anew")
	}
	if again := w.get(text, "If-None-Match", etag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("with its ETag: %d", again.Code)
	}
	if again := w.get(text, "If-Modified-Since", out.Header().Get("Last-Modified")); again.Code != http.StatusNotModified {
		t.Errorf("with its date: %d", again.Code)
	}
	w.revoke(serial, ca.Superseded, w.now)
	for _, header := range [][]string{{}, {"If-None-Match", etag}, {"If-Modified-Since", out.Header().Get("Last-Modified")}} {
		again := w.get(text, header...)
		if again.Code != http.StatusOK || w.parse(t, again.Body.Bytes(), serial).Status != xocsp.Revoked {
			t.Errorf("after the revocation, %v: %d", header, again.Code)
		}
	}
	w.revoke(serial, ca.KeyCompromise, w.now) // I50
	if got := w.parse(t, w.get(text).Body.Bytes(), serial); got.RevocationReason != int(ca.KeyCompromise) {
		t.Errorf("after the second: reason %d", got.RevocationReason)
	}
	first := w.get(text).Body.Bytes()
	w.now = w.now.Add(DefaultValidity / resignShare)
	if got := w.parse(t, w.get(text).Body.Bytes(), serial); !got.NextUpdate.Equal(w.now.Add(DefaultValidity)) {
		t.Errorf("an old answer is not renewed: %v", got.NextUpdate)
	}
	w.now = w.now.Add(-48 * time.Hour)
	if got := w.get(text).Body.Bytes(); bytes.Equal(got, first) || w.parse(t, got, serial).ThisUpdate.After(w.now) {
		t.Error("an answer of the future is given when the clock was set back")
	}
}

// What has a nonce, or may change at once, is for nobody else.
func TestNotCached(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	for name, q := range map[string]question{
		"nonce": {serial: serial.BigInt(), nonce: []byte("0123456789abcdef")}, "unknown": {serial: new(ca.Serial{1, 2, 3}).BigInt()},
	} {
		text := Path + "/" + url.QueryEscape(base64.StdEncoding.EncodeToString(w.ask(q)))
		out := w.get(text)
		if out.Code != 200 || out.Header().Get("Cache-Control") != "no-store" || out.Header().Get("ETag") != "" {
			t.Errorf("%s: %d %v", name, out.Code, out.Header())
		}
		w.now = w.now.Add(time.Second)
		if bytes.Equal(w.get(text).Body.Bytes(), out.Body.Bytes()) {
			t.Errorf("%s: the answer was remembered", name)
		}
	}
	if len(w.memory.kept) != 0 {
		t.Errorf("%d answers are kept", len(w.memory.kept))
	}
}

func TestMemoryIsBounded(t *testing.T) {
	var m memory
	for n := range maxRemembered + 100 {
		m.put([]byte{byte(n), byte(n >> 8), byte(n >> 16)}, &signed{resignAt: start.Add(time.Hour)})
	}
	if len(m.kept) != maxRemembered {
		t.Errorf("%d are kept", len(m.kept))
	}
}

func TestOutcomes(t *testing.T) {
	w := newWorld(t, "ec256")
	plain, bad := w.issue(t), w.issue(t)
	w.revoke(bad, ca.Superseded, w.now)
	ask := func(n ca.Serial) []byte { return w.ask(question{serial: n.BigInt()}) }
	w.post(ask(plain))
	w.post(ask(bad))
	w.post(ask(ca.Serial{15: 9}))
	w.post(nil)
	w.post(w.ask(question{serial: plain.BigInt(), key: make([]byte, 20)}))
	w.store.fault = errors.New("no database")
	w.post(ask(plain))
	if !slices.Equal(w.seen, Outcomes) {
		t.Errorf("observed %v, want %v", w.seen, Outcomes)
	}
}

// Without its store it says tryLater, and logs that at a bounded pace.
func TestStoreAway(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	request := w.ask(question{serial: serial.BigInt()})
	w.post(request)
	w.store.fault = errors.New("no database at 10.1.2.3")
	for range 100 {
		out := w.post(request)
		r, err := readResponse(out.Body.Bytes())
		if out.Code != 200 || err != nil || r.status != TryLater || strings.Contains(out.Body.String(), "10.1.2.3") {
			t.Fatalf("%d %v %+v", out.Code, err, r)
		}
		w.now = w.now.Add(time.Second)
	}
	if n := strings.Count(w.log.String(), "no database"); n != 10 {
		t.Errorf("logged %d times in 100 seconds", n)
	}
	w.store.fault = nil
	if got := w.parse(t, w.post(request).Body.Bytes(), serial); got.Status != xocsp.Good {
		t.Error("it did not recover")
	}
	// A client that goes away is no trouble.
	w.now = w.now.Add(time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	before := w.log.Len()
	w.answer(ctx, w.ask(question{serial: serial.BigInt(), nonce: []byte("x")}))
	if w.log.Len() != before {
		t.Errorf("logged %s", w.log.String()[before:])
	}
}

// A key store that is stuck, or fails, ends in tryLater for all.
func TestSignerTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "ec256")
		w.now = start
		serial := w.issue(t)
		request := w.ask(question{serial: serial.BigInt()})
		sign, release := w.issuers[0].sign, make(chan struct{})
		w.issuers[0].sign = func(tbs []byte) ([]byte, error) { <-release; return sign(tbs) }
		w.Observe = func(string, time.Duration) {}
		replies := make(chan *reply, 2*signers)
		for range cap(replies) {
			go func() { replies <- w.answer(t.Context(), request) }()
		}
		time.Sleep(signWait + time.Second)
		late := 0
		for len(replies) > 0 {
			if (<-replies).outcome == "try-later" {
				late++
			}
		}
		if late != signers {
			t.Errorf("%d were turned away, want %d", late, signers)
		}
		close(release)
		synctest.Wait()
		for len(replies) > 0 {
			if r := <-replies; r.outcome != "good" {
				t.Errorf("one that had its turn got %s", r.outcome)
			}
		}
		w.issuers[0].sign = func([]byte) ([]byte, error) { return nil, errors.New("no key") }
		w.memory = memory{}
		if r := w.answer(t.Context(), request); r.outcome != "try-later" {
			t.Errorf("without a key: %s", r.outcome)
		}
	})
}

// TestObserveIsToldTheTime: metrics have how long an answer took, by GET and by
// POST, also when the answer is an error.
func TestObserveIsToldTheTime(t *testing.T) {
	w := newWorld(t, "ec256")
	const tick = 3 * time.Millisecond
	w.Now = func() time.Time { w.now = w.now.Add(tick); return w.now }
	request := w.ask(question{serial: w.issue(t).BigInt()})
	for name, ask := range map[string]func(){
		"GET":   func() { w.get(Path + "/" + url.PathEscape(base64.StdEncoding.EncodeToString(request))) },
		"POST":  func() { w.post(request) },
		"noise": func() { w.post([]byte("noise")) },
	} {
		w.took = 0
		if ask(); w.took < tick {
			t.Errorf("%s: told %v, want at least %v", name, w.took, tick)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	w := newWorld(t, "ec256")
	for name, change := range map[string]func(*Config){
		"no store":       func(c *Config) { c.Store = nil },
		"no issuer":      func(c *Config) { c.Issuers = nil },
		"a nil issuer":   func(c *Config) { c.Issuers = []*ca.Issuer{nil} },
		"short validity": func(c *Config) { c.Validity = time.Hour },
		"long validity":  func(c *Config) { c.Validity = 11 * 24 * time.Hour },
	} {
		c := Config{Store: w.store, Issuers: []*ca.Issuer{w.issuer}}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	for _, kind := range keyKinds {
		w := newWorld(b, kind)
		w.Observe = func(string, time.Duration) {}
		serial := w.issue(b)
		b.Run(kind+"/remembered", func(b *testing.B) {
			request := w.ask(question{serial: serial.BigInt()})
			for b.Loop() {
				w.answer(b.Context(), request)
			}
		})
		b.Run(kind+"/signed", func(b *testing.B) {
			request := w.ask(question{serial: serial.BigInt(), nonce: []byte("0123456789abcdef")})
			for b.Loop() {
				w.answer(b.Context(), request)
			}
		})
	}
}
