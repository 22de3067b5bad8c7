package admin

import (
	"encoding/hex"
	"net/http"
	"strings"
	"time"
	"unicode"

	"chancery/ca"
)

// BlockedKey is a key that may not be certified, nor be an account's.
type BlockedKey struct {
	SPKI      string    `json:"spki_sha256"` // 64 lower-case hexadecimal digits
	BlockedAt time.Time `json:"blocked_at"`
	Source    string    `json:"source"` // operator, or compromise: the key itself signed a revocation for keyCompromise
	Comment   string    `json:"comment"`
}

// NewBlockedKey is the answer to blocking one.
type NewBlockedKey struct {
	BlockedKey
	Revoked int `json:"revoked"` // certificates that were revoked for it
}

func showBlockedKey(k *ca.BlockedKey) BlockedKey {
	return BlockedKey{SPKI: hex.EncodeToString(k.SPKI[:]), BlockedAt: k.At.UTC(), Source: string(k.Source), Comment: k.Comment}
}

// spkiHash reads the SHA-256 of a SubjectPublicKeyInfo.
func spkiHash(what, text string) ([32]byte, error) {
	hash, ok := ca.ParseSPKIHash(text)
	if !ok {
		return hash, problemf(http.StatusBadRequest, "%s is %.80q, it must be 64 lower-case hexadecimal digits, the SHA-256 of a SubjectPublicKeyInfo.", what, text)
	}
	return hash, nil
}

func (a *Admin) blockedKeys(r *request) (*reply, error) {
	s := ca.BlockedKeySearch{Limit: r.query.limit()}
	after := r.query.text("cursor")
	if err := r.query.done(); err != nil {
		return nil, err
	}
	var err error
	if after != "" {
		if s.After, err = spkiHash("Parameter cursor", after); err != nil {
			return nil, err
		}
	}
	list, err := a.config.Store.BlockedKeys(r.ctx, s)
	if err != nil {
		return nil, cursorGone(err, after)
	}
	return page(list, s.Limit, showBlockedKey, func(k *ca.BlockedKey) string { return hex.EncodeToString(k.SPKI[:]) }), nil
}

func (a *Admin) blockKey(r *request) (*reply, error) {
	body, err := r.body("spki_sha256", "comment")
	if err != nil {
		return nil, err
	}
	text, err := body.StringOf("spki_sha256")
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
	}
	comment, err := body.OptionalString("comment")
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "The body can't be taken: %s.", err)
	}
	// It is shown on terminals: nothing in it may move the cursor.
	if len(comment) > maxComment || strings.ContainsFunc(comment, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return nil, problemf(http.StatusBadRequest, "The comment is longer than %d octets, or has characters that can't be printed.", maxComment)
	}
	spki, err := spkiHash("spki_sha256", text)
	if err != nil {
		return nil, err
	}
	revoked, err := a.config.Engine.BlockKey(r.ctx, r.by, spki, comment)
	if err != nil {
		return nil, err
	}
	k, err := a.config.Store.BlockedKey(r.ctx, spki)
	if err != nil {
		return nil, err
	}
	return &reply{status: http.StatusCreated, body: NewBlockedKey{BlockedKey: showBlockedKey(k), Revoked: revoked}}, nil
}

const maxComment = 200 // octets

func (a *Admin) unblockKey(r *request) (*reply, error) {
	if _, err := r.body(); err != nil {
		return nil, err
	}
	spki, err := spkiHash("The path's key", r.vars["spki"])
	if err != nil {
		return nil, err
	}
	if err := a.config.Engine.UnblockKey(r.ctx, r.by, spki); err != nil {
		return nil, err
	}
	return ok(map[string]string{"spki_sha256": r.vars["spki"], "status": "unblocked"}), nil
}
