package admin

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"chancery/acme"
	"chancery/ca"
)

// ExternalKey is a key for external account binding (RFC 8555 section 7.3.4).
type ExternalKey struct {
	ID        string    `json:"id"`     // the kid that the client sends
	Status    string    `json:"status"` // usable, used, expired or revoked
	Label     string    `json:"label"`
	Reusable  bool      `json:"reusable"`
	Uses      int       `json:"uses"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

// NewExternalKey is the answer to creating one: the only time that the secret
// is shown.
type NewExternalKey struct {
	ExternalKey
	Secret string `json:"secret"` // base64url, as ACME clients take it
}

func showExternalKey(k *acme.ExternalKey, now time.Time) ExternalKey {
	out := ExternalKey{
		ID: k.ID, Label: k.Label, Reusable: k.Reusable, Uses: k.Uses, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: k.ExpiresAt.UTC(), UsedAt: k.UsedAt.UTC(), RevokedAt: k.RevokedAt.UTC(),
	}
	switch {
	case !k.RevokedAt.IsZero():
		out.Status = "revoked"
	case k.UsableAt(now):
		out.Status = "usable"
	case !k.Reusable && k.Uses > 0:
		out.Status = "used"
	default:
		out.Status = "expired"
	}
	return out
}

func (a *Admin) externalKeys(r *request) (*reply, error) {
	limit, after := r.query.limit(), r.query.id("cursor")
	if err := r.query.done(); err != nil {
		return nil, err
	}
	keys, err := a.config.Engine.ExternalKeys(r.ctx) // newest first, a bounded number
	if err != nil {
		return nil, err
	}
	if after != "" {
		i := slices.IndexFunc(keys, func(k *acme.ExternalKey) bool { return k.ID == after })
		if i < 0 {
			return nil, cursorGone(ca.ErrNotFound, after)
		}
		keys = keys[i+1:]
	}
	return page(keys[:min(limit, len(keys))], limit,
		func(k *acme.ExternalKey) ExternalKey { return showExternalKey(k, r.now) },
		func(k *acme.ExternalKey) string { return k.ID }), nil
}

func (a *Admin) createExternalKey(r *request) (*reply, error) {
	body, err := r.body("label", "reusable", "expires_at")
	if err != nil {
		return nil, err
	}
	label, labelErr := body.OptionalString("label")
	reusable, reusableErr := body.OptionalBool("reusable")
	expires, expiresErr := body.OptionalString("expires_at")
	for _, err := range []error{labelErr, reusableErr, expiresErr} {
		if err != nil {
			return nil, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
		}
	}
	// A label is shown on terminals and may reach logs: nothing in it may pass
	// for another line or move the cursor. Its length is the engine's to check.
	if strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return nil, problemf(http.StatusBadRequest, "The label has characters that can't be printed.")
	}
	w := acme.NewExternalKey{Label: label, Reusable: reusable}
	if expires != "" {
		if w.Expires, err = time.Parse(time.RFC3339, expires); err != nil {
			return nil, problemf(http.StatusBadRequest, "expires_at is %.40q, it must be a time as RFC 3339 writes it (2026-11-22T10:00:00Z).", expires)
		}
	}
	k, secret, err := a.config.Engine.CreateExternalKey(r.ctx, r.by, w)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusCreated, body: NewExternalKey{
		ExternalKey: showExternalKey(k, r.now), Secret: base64.RawURLEncoding.EncodeToString(secret),
	}}, nil
}

func (a *Admin) revokeExternalKey(r *request) (*reply, error) {
	if _, err := r.body(); err != nil {
		return nil, err
	}
	id := r.vars["id"]
	if !acme.ValidID(id) {
		return nil, problemf(http.StatusBadRequest, "%.40q is no ID.", id)
	}
	if err := a.config.Engine.RevokeExternalKey(r.ctx, r.by, id); err != nil {
		return nil, err
	}
	return ok(map[string]string{"id": id, "status": "revoked"}), nil
}
