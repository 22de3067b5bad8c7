package app

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	xocsp "golang.org/x/crypto/ocsp"
)

// TestRootListIsRenewed: the root's list ends after a year whatever else runs
// on, so it can be made anew with the key brought back, and only with it.
func TestRootListIsRenewed(t *testing.T) {
	dir := newDir(t)
	root, err := readRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := readRootList(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(t.TempDir(), "root.pem")
	if err := os.Rename(filepath.Join(dir, rootKeyFile), away); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Add(300 * day)
	if _, err := RenewRootList(dir, nil, "", now); err == nil {
		t.Error("made without the root's key")
	}
	if _, err := RenewRootList(dir, nil, filepath.Join(dir, "keys/issuer.pem"), now); err == nil {
		t.Error("made with another key than the root's")
	}
	ends, err := RenewRootList(dir, nil, away, now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := readRootList(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	if list.Number.Cmp(old.Number) <= 0 || !list.NextUpdate.Equal(ends) || !ends.After(old.NextUpdate) {
		t.Errorf("number %s after %s, ends %s after %s", list.Number, old.Number, ends, old.NextUpdate)
	}
	if w := rootListWarning(old, old.NextUpdate.Add(-rootListNotice)); !strings.Contains(w, "chancery crl root") {
		t.Errorf("near the end: %q", w)
	}
	if w := rootListWarning(old, old.NextUpdate.Add(-rootListNotice-time.Second)); w != "" {
		t.Errorf("long before the end: %q", w)
	}
	path := filepath.Join(dir, rootCRLFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := RenewRootList(dir, nil, away, now); err != nil {
		t.Errorf("without the old list: %v", err)
	}
	lost, err := readRootList(dir, root)
	if err != nil || lost.Number.Cmp(list.Number) <= 0 {
		t.Errorf("after a loss: number %s does not grow over %s: %v", lost.Number, list.Number, err)
	}
	elsewhere := t.TempDir()
	open(t, elsewhere) // founds another root
	other, err := os.ReadFile(filepath.Join(elsewhere, rootCRLFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, other, modePublic); err != nil {
		t.Fatal(err)
	}
	if _, err := readRootList(dir, root); err == nil {
		t.Error("the list of another root is served")
	}
}

// TestRootListIsServed with Last-Modified, as every list, and its end is a metric.
func TestRootListIsServed(t *testing.T) {
	a := open(t, newDir(t))
	serve(t, a)
	status, head, der := get(t, a.PublishURL()+"/crl/"+keyID(a.parts.root.SubjectKeyId)+".crl")
	made := a.parts.rootList.ThisUpdate.UTC().Format(http.TimeFormat)
	if status != http.StatusOK || head.Get("Last-Modified") != made || head.Get("ETag") == "" || !bytes.Equal(der, a.parts.rootList.Raw) {
		t.Errorf("%d %v", status, head)
	}
	_, _, metrics := get(t, a.AdminURL()+"/metrics")
	if want := `chancery_crl_next_update_timestamp_seconds{issuer="` + keyID(a.parts.root.SubjectKeyId) + `",shard="0"}`; !strings.Contains(string(metrics), want) {
		t.Errorf("no %s in the metrics", want)
	}
}

// TestOCSPTimeIsMeasured: the histogram of OCSP has what was answered.
func TestOCSPTimeIsMeasured(t *testing.T) {
	a := open(t, newDir(t))
	serve(t, a)
	request, err := xocsp.CreateRequest(a.own.current.Load().Leaf, a.parts.issuer.Certificate(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _, _ := get(t, a.PublishURL()+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(request))); status != http.StatusOK {
		t.Fatal(status)
	}
	if _, _, metrics := get(t, a.AdminURL()+"/metrics"); !strings.Contains(string(metrics), "\nchancery_ocsp_response_seconds_count 1\n") {
		t.Error("the answer was not measured")
	}
}

// TestValidationSaysWhoAsks: web servers' logs name the program and its version.
func TestValidationSaysWhoAsks(t *testing.T) {
	agents := make(chan string, 10)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agents <- r.UserAgent()
		http.NotFound(w, r)
	}))
	t.Cleanup(web.Close)
	u, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, newDir(t), "validation.http_port="+u.Port())
	serve(t, a)
	client := acmeClient(t, a)
	if _, err := client.Register(t.Context(), &acme.Account{}, acme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	order, err := client.AuthorizeOrder(t.Context(), acme.DomainIDs("agent.localhost"))
	if err != nil {
		t.Fatal(err)
	}
	authorization, err := client.GetAuthorization(t.Context(), order.AuthzURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range authorization.Challenges {
		if c.Type != "http-01" {
			continue
		}
		if _, err := client.Accept(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := <-agents, "chancery/"+Version(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
