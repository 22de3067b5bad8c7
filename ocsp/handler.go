package ocsp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Path is where the responder is served: POST to it, GET below it. It must be
// mounted so that nothing cleans the path first: in base64, "//" means
// something.
const Path = "/ocsp"

const (
	requestType  = "application/ocsp-request"  // RFC 6960 appendix C.1
	responseType = "application/ocsp-response" // appendix C.2
	// maxPath bounds the escaped path of a GET. RFC 5019 section 5 has clients
	// use POST beyond 255 octets; a nonce of 128, all escaped, still fits.
	maxPath = 2048
	// maxAge is how long a cache may answer without asking. RFC 5019 section
	// 6.2 would allow until nextUpdate, but a revocation has to show within
	// seconds.
	maxAge = 5 * time.Second
)

// ServeHTTP answers at Path. What goes wrong in HTTP is said in HTTP's
// statuses, what goes wrong in OCSP in an OCSPResponse with HTTP 200.
func (r *Responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	rest, ok := strings.CutPrefix(q.URL.EscapedPath(), Path)
	if !ok || rest != "" && rest[0] != '/' {
		refuse(w, http.StatusNotFound, "The OCSP responder is at "+Path+".")
		return
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		r.get(w, q, rest)
	case http.MethodPost:
		if strings.Trim(rest, "/") != "" {
			refuse(w, http.StatusNotFound, "POST an OCSP request to "+Path+".")
			return
		}
		r.post(w, q)
	default:
		w.Header().Set("Allow", "GET, HEAD, POST")
		refuse(w, http.StatusMethodNotAllowed, "OCSP requests come by GET or POST.")
	}
}

// refuse answers with an HTTP error.
func refuse(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// get answers a GET (RFC 6960 appendix A.1).
func (r *Responder) get(w http.ResponseWriter, q *http.Request, escaped string) {
	if len(escaped) > maxPath {
		refuse(w, http.StatusRequestURITooLong, fmt.Sprintf("The path is longer than %d octets; use POST.", maxPath))
		return
	}
	der, err := decodePath(escaped)
	if err != nil {
		refuse(w, http.StatusBadRequest, "The path below "+Path+"/ is not an OCSP request in base64.")
		return
	}
	reply := r.serve(q.Context(), der)
	h := w.Header()
	h.Set("Content-Type", responseType)
	if !reply.cache {
		h.Set("Cache-Control", "no-store")
		write(w, reply.der)
		return
	}
	// RFC 5019 section 6.2, but see maxAge.
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d, must-revalidate, no-transform", int(maxAge.Seconds())))
	h.Set("Expires", r.Now().Add(maxAge).UTC().Format(http.TimeFormat))
	h.Set("ETag", reply.etag)
	http.ServeContent(w, q, "", reply.thisUpdate, bytes.NewReader(reply.der))
}

// post answers a POST. Nothing caches those.
func (r *Responder) post(w http.ResponseWriter, q *http.Request) {
	if t, _, err := mime.ParseMediaType(q.Header.Get("Content-Type")); err != nil || t != requestType {
		refuse(w, http.StatusUnsupportedMediaType, "The Content-Type of an OCSP request is "+requestType+".")
		return
	}
	if q.ContentLength > maxRequest {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("The request is longer than %d octets.", maxRequest))
		return
	}
	der, err := io.ReadAll(io.LimitReader(q.Body, maxRequest+1))
	if err != nil {
		refuse(w, http.StatusBadRequest, "The request did not arrive whole.")
		return
	}
	if len(der) > maxRequest {
		refuse(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("The request is longer than %d octets.", maxRequest))
		return
	}
	reply := r.serve(q.Context(), der)
	w.Header().Set("Content-Type", responseType)
	w.Header().Set("Cache-Control", "no-store")
	write(w, reply.der)
}

func write(w http.ResponseWriter, der []byte) {
	w.Header().Set("Content-Length", fmt.Sprint(len(der)))
	_, _ = w.Write(der) // the client is gone if this fails
}

var errPath = errors.New("not base64")

// decodePath decodes the part of a URL's path behind Path, as it came over the
// wire. Escaping is undone once and nothing is cleaned: "/" and "+" mean
// themselves, escaped in either case or not. Leading slashes are no part of a
// request, whose base64 begins with "M". A blank stands for a "+" that
// something on the way took for one; padding may be missing.
func decodePath(escaped string) ([]byte, error) {
	text, err := url.PathUnescape(escaped)
	if err != nil {
		return nil, errPath
	}
	text = strings.ReplaceAll(strings.TrimLeft(text, "/"), " ", "+")
	// At most two, and only at the end; the decoder checks the rest.
	for range 2 {
		text = strings.TrimSuffix(text, "=")
	}
	// The decoder skips line ends, which are none of base64's letters.
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errPath
	}
	der, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errPath
	}
	return der, nil
}
