package admin_test

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"chancery/admin"
	"chancery/ca"
)

type blockedKeys = admin.Page[admin.BlockedKey]

// TestBlockedKeys: blocking over the API revokes the certificates of the key;
// what is listed is what was said; wrong bodies change nothing.
func TestBlockedKeys(t *testing.T) {
	w := newWorld(t)
	c := w.register()
	serial := w.obtain(c, "a.example").Certificate
	cert, err := w.db.Certificate(t.Context(), serial)
	must(t, err)
	spki := hex.EncodeToString(cert.SPKI[:])
	const path = "/api/v1/blocked-keys"
	for _, body := range []string{
		"", "{}", `[]`, `{"spki_sha256":1}`, `{"spki_sha256":""}`, `{"spki_sha256":"` + spki[1:] + `"}`, `{"spki_sha256":"` + strings.ToUpper(spki) + `x"}`,
		`{"spki_sha256":"` + spki + `","source":"compromise"}`, `{"spki_sha256":"` + spki + `","spki_sha256":"` + spki + `"}`,
		`{"spki_sha256":"` + spki + `","comment":"a\nb"}`, `{"spki_sha256":"` + spki + `","comment":"\u001b[2J"}`, `{"spki_sha256":"` + spki + `","comment":"` + strings.Repeat("a", 201) + `"}`,
	} {
		w.call(400, "POST", path, body)
	}
	if list := get[blockedKeys](w, path); len(list.Items) != 0 {
		t.Fatalf("%+v", list)
	}
	var made admin.NewBlockedKey
	must(t, json.Unmarshal(w.call(201, "POST", path, `{"spki_sha256":"`+spki+`","comment":"found in a repository"}`), &made))
	if made.Revoked != 1 || made.SPKI != spki || made.Source != "operator" || made.Comment != "found in a repository" || made.BlockedAt.IsZero() {
		t.Errorf("%+v", made)
	}
	if got := get[admin.CertificateDetail](w, "/api/v1/certificates/"+serial.String()); got.Status != "revoked" || got.Reason != "keyCompromise" {
		t.Errorf("%+v", got)
	}
	w.advance(time.Second)
	other := strings.Repeat("5a", 32)
	w.call(201, "POST", path, `{"spki_sha256":"`+other+`"}`)
	list := get[blockedKeys](w, path+"?limit=1")
	if len(list.Items) != 1 || list.Items[0].SPKI != other {
		t.Errorf("%+v", list)
	}
	if list = get[blockedKeys](w, path+"?limit=1&cursor="+list.Next); len(list.Items) != 1 || list.Items[0].SPKI != spki {
		t.Errorf("second page %+v", list)
	}
	for _, query := range []string{"cursor=" + strings.Repeat("0a", 32), "cursor=x", "all=1", "limit=0"} {
		w.call(400, "GET", path+"?"+query, "")
	}
	w.call(200, "POST", path+"/"+other+"/unblock", "")
	w.call(404, "POST", path+"/"+other+"/unblock", "")
	w.call(404, "POST", path+"/"+other[1:]+"/unblock", "")
	events, err := w.db.Events(t.Context(), ca.EventSearch{Object: spki, Limit: 10})
	must(t, err)
	if len(events) != 1 || events[0].Action != "key.block" || events[0].By.Kind != ca.ActorOperator {
		t.Errorf("%+v", events)
	}
	// What the key itself proved, an operator can't take back.
	_, err = w.db.BlockKey(t.Context(), ca.System("test"), ca.BlockedKey{SPKI: cert.SPKI, At: w.now(), Source: ca.BlockedAsCompromised})
	must(t, err)
	w.call(400, "POST", path+"/"+spki+"/unblock", "")
}
