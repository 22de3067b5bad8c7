package api

import "net/http"

// renewalObject is renewal information (RFC 9773 section 4.2).
type renewalObject struct {
	Window struct {
		Start string `json:"start"`
		End   string `json:"end"`
	} `json:"suggestedWindow"`
}

// renewalInfo says when a certificate should be renewed. It is public: who
// knows the certID has seen the certificate (RFC 9773 section 4.1).
func (a *API) renewalInfo(r *request) (*reply, error) {
	info, err := a.service.RenewalInfo(r.ctx(), r.vars["certID"])
	if err != nil {
		return nil, err
	}
	var out renewalObject
	out.Window.Start, out.Window.End = timestamp(info.Start), timestamp(info.End)
	return &reply{status: http.StatusOK, body: out, retryAfter: info.RetryAfter}, nil
}
