package api

import (
	"net/http"
	"strconv"
)

// certificate is the download of a certificate's chain, POST-as-GET (RFC 8555
// section 7.4.2): the default one, or the alternate that the path names.
func (a *API) certificate(r *signed) (*reply, error) {
	serial, chain := r.vars["serial"], 0
	if n, alternate := r.vars["chain"]; alternate {
		var err error
		// One spelling only: "01" and "+1" are no resources, 0 is the default's own URL.
		if chain, err = strconv.Atoi(n); err != nil || chain < 1 || strconv.Itoa(chain) != n {
			return nil, notFound()
		}
	}
	pem, chains, err := a.service.Certificate(r.ctx(), r.caller(), serial, chain)
	if err != nil {
		return nil, err
	}
	re := &reply{status: http.StatusOK, contentType: "application/pem-certificate-chain", raw: pem}
	for n := range chains {
		if n != chain {
			re.links = append(re.links, link(a.certificateURL(serial, n), "alternate"))
		}
	}
	return re, nil
}

func (a *API) certificateURL(serial string, chain int) string {
	if chain == 0 {
		return a.url(certificateRoute, serial)
	}
	return a.url(alternateRoute, serial, strconv.Itoa(chain))
}
