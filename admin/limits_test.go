package admin_test

import (
	"encoding/json"
	"testing"
	"time"

	"chancery/acme"
	"chancery/acme/limit"
	"chancery/admin"
)

// TestAccountLimits shows how an account stands, and ends its pause.
func TestAccountLimits(t *testing.T) {
	w := newWorld(t)
	w.service.Limits = limit.Default()
	w.service.Limits.Pause = limit.Pause{After: 3, Over: time.Hour}
	w.refuse.Store(true)
	c := w.register()
	w.service.Limits.Overrides = map[string]limit.Override{
		limit.OverrideAccount + c.Account.ID: {Rates: map[limit.Kind]limit.Rate{limit.NewOrdersPerAccount: {Burst: 7, Per: time.Hour}}},
	}
	for range 3 {
		o := w.order(c, "a.example")
		_, err := w.service.Respond(t.Context(), c, o.Authorizations[0].ID, acme.HTTP01)
		must(t, err)
		w.advance(time.Hour)
	}
	path := "/api/v1/accounts/" + c.Account.ID
	l := get[admin.AccountLimits](w, path+"/limits")
	if !l.Enabled || l.Account != c.Account.ID || l.Concurrent != 50 || len(l.Limits) != 3 || len(l.Failing) != 1 {
		t.Fatalf("%+v", l)
	}
	if b := l.Limits[0]; b.Limit != "new_orders_per_account" || b.Rate != "7/1h" || b.Left != 7 || !b.FullAt.IsZero() || b.Scope != "account:"+c.Account.ID {
		t.Errorf("%+v", b)
	}
	if b := l.Limits[2]; b.Limit != "failed_validations_per_name" || b.Name != "a.example" || b.Left != 20 || b.Scope != "" {
		t.Errorf("%+v", b)
	}
	if f := l.Failing[0]; f.Name != "a.example" || f.Failures != 3 || f.PausedAt.IsZero() || !f.Last.Equal(f.PausedAt) || f.Last.Sub(f.Since) != 2*time.Hour {
		t.Errorf("%+v", f)
	}

	w.call(400, "POST", path+"/unpause", `{"name":"no name"}`)
	w.call(400, "POST", path+"/unpause", `{"name":5}`)
	w.call(400, "POST", path+"/unpause", `{"names":"a.example"}`)
	w.call(404, "POST", path+"/unpause", `{"name":"b.example"}`)
	w.call(404, "POST", path+"/unpause", `{"name":"192.0.2.1"}`)
	w.call(404, "POST", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAAA/unpause", `{}`)
	w.call(404, "GET", "/api/v1/accounts/AZmqAAAAAAAAAAAAAAAAAA/limits", "")
	w.call(400, "GET", path+"/limits?limit=1", "")
	w.call(405, "GET", path+"/unpause", "")
	var u admin.Unpaused
	must(t, json.Unmarshal(w.call(200, "POST", path+"/unpause", `{"name":"a.example"}`), &u))
	if u.Account != c.Account.ID || len(u.Names) != 1 || u.Names[0] != "a.example" {
		t.Errorf("%+v", u)
	}
	w.call(404, "POST", path+"/unpause", `{}`)
	if l := get[admin.AccountLimits](w, path+"/limits"); len(l.Failing) != 0 {
		t.Errorf("%+v", l.Failing)
	}
	trail := get[events](w, "/api/v1/audit?action=account.unpause&object="+c.Account.ID)
	if len(trail.Items) != 1 || trail.Items[0].Actor.ID != "token:alice" {
		t.Errorf("%+v", trail)
	}
}
