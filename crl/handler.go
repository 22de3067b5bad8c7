package crl

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// The media types of RFC 2585 section 4.
const (
	TypeCRL         = "application/pkix-crl"
	TypeCertificate = "application/pkix-cert"
	TypePEM         = "application/x-pem-file"
)

const (
	// listMaxAge is how long a cache may answer without asking: a revocation
	// has to show within seconds, and asking with an ETag costs next to nothing.
	listMaxAge = 5 * time.Second
	// fileMaxAge is the same for what changes only when a CA certificate does.
	fileMaxAge = time.Hour
	// noListRetry is when to come back before the first list was made.
	noListRetry = 5 * time.Second
)

// Path is where the list of an issuer is served.
func Path(issuer string) string { return "/crl/" + issuer + ".crl" }

// File is a file that is served beside the lists and never changes while the
// process runs: an issuer's certificate (AIA caIssuers), the root, the root's CRL.
type File struct {
	Path    string // "/issuer/….der"
	Type    string // media type
	Content []byte
	Made    time.Time // Last-Modified; zero: none
}

// Handler serves the lists, and the files, by GET and HEAD. It answers from
// memory, so it needs no database.
func (p *Publisher) Handler(files ...File) http.Handler {
	h := &handler{lists: make(map[string]*shard), files: make(map[string]file)}
	for _, f := range files {
		h.files[f.Path] = file{f, etag(0, f.Content)}
	}
	for _, s := range p.shards {
		h.lists[Path(s.id.Issuer)] = s
	}
	return h
}

type file struct {
	File
	etag string
}

type handler struct {
	lists map[string]*shard
	files map[string]file
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	list, isList := h.lists[r.URL.Path]
	file, isFile := h.files[r.URL.Path]
	switch {
	case !isList && !isFile:
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "There is no such file here.", http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "This can only be read, by GET or HEAD.", http.StatusMethodNotAllowed)
	case isList:
		serveList(w, r, list)
	default:
		answer(w, r, body{file.Type, file.etag, fileMaxAge, file.Made, file.Content})
	}
}

func serveList(w http.ResponseWriter, r *http.Request, s *shard) {
	v := s.served.Load()
	if v == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Retry-After", fmt.Sprint(int(noListRetry.Seconds())))
		http.Error(w, "The first list is being made; come back in a moment.", http.StatusServiceUnavailable)
		return
	}
	answer(w, r, body{TypeCRL, v.etag, listMaxAge, v.list.ThisUpdate, v.list.DER})
}

type body struct {
	typ     string
	etag    string
	maxAge  time.Duration
	made    time.Time
	content []byte
}

// answer leaves conditions (RFC 9110 section 13) and ranges (section 14) to
// net/http.
func answer(w http.ResponseWriter, r *http.Request, b body) {
	h := w.Header()
	h.Set("Content-Type", b.typ)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("ETag", b.etag)
	// no-transform: it is signed. must-revalidate: never served stale.
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d, must-revalidate, no-transform", int(b.maxAge.Seconds())))
	http.ServeContent(w, r, "", b.made, bytes.NewReader(b.content))
}

// etag is strong: the number is for people, the hash makes it true.
func etag(number int64, content []byte) string {
	sum := sha256.Sum256(content)
	if number == 0 {
		return `"` + hex.EncodeToString(sum[:12]) + `"`
	}
	return fmt.Sprintf(`"%d-%x"`, number, sum[:12])
}
