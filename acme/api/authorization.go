package api

import (
	"net/http"

	"chancery/acme"
	"chancery/ca"
)

// authorizationObject is an authorization (RFC 8555 section 7.1.4).
type authorizationObject struct {
	Identifier ca.Identifier      `json:"identifier"`
	Status     acme.Status        `json:"status"`
	Expires    string             `json:"expires"`
	Challenges []*challengeObject `json:"challenges"`
	Wildcard   bool               `json:"wildcard,omitempty"`
}

// challengeObject is a challenge (RFC 8555 sections 7.1.5 and 8).
type challengeObject struct {
	Type      acme.ChallengeType `json:"type"`
	URL       string             `json:"url"`
	Status    acme.Status        `json:"status"`
	Validated string             `json:"validated,omitempty"`
	Error     *acme.Problem      `json:"error,omitempty"`
	Token     string             `json:"token"`
}

func (a *API) challengeObject(z *acme.Authorization, t acme.ChallengeType) *challengeObject {
	out := &challengeObject{
		Type: t, URL: a.url(challengeRoute, z.ID, string(t)), Status: z.ChallengeStatus(t), Token: z.Token(t),
	}
	if z.Attempt == t {
		out.Validated, out.Error = timestamp(z.ValidatedAt), z.Error
	}
	return out
}

// authorizationReply answers with an authorization as it is now. While it is
// pending it shows every challenge that would do, later the one that was
// attempted (RFC 8555 section 7.1.4).
func (a *API) authorizationReply(status int, z *acme.Authorization) *reply {
	out := &authorizationObject{
		Identifier: z.Identifier, Status: z.StatusAt(a.now()), Expires: timestamp(z.ExpiresAt), Wildcard: z.Wildcard,
		Challenges: make([]*challengeObject, 0, len(z.Types)),
	}
	for _, t := range z.Types {
		if out.Status == acme.StatusPending || z.Attempt == "" || z.Attempt == t {
			out.Challenges = append(out.Challenges, a.challengeObject(z, t))
		}
	}
	re := &reply{status: status, body: out}
	if out.Status == acme.StatusPending && z.Attempt != "" {
		re.retryAfter = pollAfter // section 7.5.1
	}
	return re
}

// newAuthorization is pre-authorization (RFC 8555 section 7.4.1).
func (a *API) newAuthorization(r *signed) (*reply, error) {
	in, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	v, err := in.OptionalObject("identifier")
	if err != nil {
		return nil, badPayload(err)
	}
	if v == nil {
		return nil, malformed("The payload is not usable: member \"identifier\" is missing.")
	}
	id, err := readIdentifier(v)
	if err != nil {
		return nil, err
	}
	z, created, err := a.service.NewAuthorization(r.ctx(), r.caller(), id)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	re := a.authorizationReply(status, z)
	re.location = a.url(authorizationRoute, z.ID)
	return re, nil
}

// authorization reads an authorization, or deactivates it (RFC 8555 sections
// 7.5 and 7.5.2).
func (a *API) authorization(r *signed) (*reply, error) {
	id := r.vars["authorization"]
	if r.payload.isGet() {
		z, err := a.service.Authorization(r.ctx(), r.caller(), id)
		if err != nil {
			return nil, err
		}
		return a.authorizationReply(http.StatusOK, z), nil
	}
	in, err := r.payload.object()
	if err != nil {
		return nil, err
	}
	status, err := in.StringOf("status")
	if err != nil {
		return nil, badPayload(err)
	}
	if acme.Status(status) != acme.StatusDeactivated {
		return nil, malformed("The status of an authorization can be changed to \"deactivated\" only, not to %.40q (RFC 8555 section 7.5.2).", status)
	}
	z, err := a.service.DeactivateAuthorization(r.ctx(), r.caller(), id)
	if err != nil {
		return nil, err
	}
	return a.authorizationReply(http.StatusOK, z), nil
}

// challenge reads a challenge by POST-as-GET, or begins its validation (RFC
// 8555 section 7.5.1). The object that begins it is {}; members of older
// drafts (keyAuthorization) are ignored as unknown ones are.
func (a *API) challenge(r *signed) (*reply, error) {
	id, t := r.vars["authorization"], acme.ChallengeType(r.vars["type"])
	var z *acme.Authorization
	var err error
	if r.payload.isGet() {
		z, err = a.service.Challenge(r.ctx(), r.caller(), id, t)
	} else {
		if _, err := r.payload.object(); err != nil {
			return nil, err
		}
		z, err = a.service.Respond(r.ctx(), r.caller(), id, t)
	}
	if err != nil {
		return nil, err
	}
	out := a.challengeObject(z, t)
	re := ok(out)
	re.links = append(re.links, link(a.url(authorizationRoute, z.ID), "up"))
	if out.Status == acme.StatusProcessing {
		re.retryAfter = pollAfter
	}
	return re, nil
}
