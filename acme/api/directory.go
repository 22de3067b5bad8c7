package api

import (
	"encoding/json"
	"net/http"
	"strings"
)

// directoryObject is the directory (RFC 8555 section 7.1.1, RFC 9773 section 4).
type directoryObject struct {
	NewNonce    string `json:"newNonce"`
	NewAccount  string `json:"newAccount"`
	NewOrder    string `json:"newOrder"`
	NewAuthz    string `json:"newAuthz"`
	RevokeCert  string `json:"revokeCert"`
	KeyChange   string `json:"keyChange"`
	RenewalInfo string `json:"renewalInfo"`
	Meta        Meta   `json:"meta"`
}

func (a *API) makeDirectory() ([]byte, error) {
	return json.MarshalIndent(directoryObject{
		NewNonce: a.url("new-nonce"), NewAccount: a.url("new-account"), NewOrder: a.url("new-order"),
		NewAuthz: a.url("new-authz"), RevokeCert: a.url("revoke-cert"), KeyChange: a.url("key-change"),
		// Clients append "/" and the certID (RFC 9773 section 4.1).
		RenewalInfo: strings.TrimSuffix(a.url("renewal-info", ""), "/"),
		Meta:        a.meta,
	}, "", "  ")
}

func (a *API) directory(*request) (*reply, error) {
	return &reply{status: http.StatusOK, raw: a.directoryJSON}, nil
}

// newNonce answers 200 to HEAD and 204 to GET (RFC 8555 section 7.2).
func (a *API) newNonce(r *request) (*reply, error) {
	re := &reply{status: http.StatusNoContent, nonce: true, noStore: true}
	if r.http.Method == http.MethodHead {
		re.status = http.StatusOK
	}
	return re, nil
}
