package lint

import zlint "github.com/zmap/zlint/v3/lint"

// Off is a rule that is not run here, and why.
type Off struct {
	Lint string // name of one lint, or of a whole rule book as "source:NAME"
	Why  string
}

// sourcesOff are rule books about other kinds of certificates, or about the
// membership in a program that a private CA has no part in.
var sourcesOff = []struct {
	source zlint.LintSource
	why    string
}{
	{zlint.CABFCSBaselineRequirements, "code signing certificates are not issued"},
	{zlint.CABFSMIMEBaselineRequirements, "e-mail certificates are not issued"},
	{zlint.CABFEVGuidelines, "extended validation is for public CAs"},
	{zlint.EtsiEsi, "European qualified certificates are not issued"},
	{zlint.RFC6962, "certificates are not logged to Certificate Transparency"},
	{zlint.AppleRootStorePolicy, "rules of a public root program: certificate transparency and validity, which the profile sets"},
	{zlint.ChromeRootStorePolicy, "a rule of a public root program: it forbids clientAuth, which private CAs need"},
}

// lintsOff are single rules that can't hold for a private CA, that the profile
// decides, or that are checked elsewhere against the right clock.
var lintsOff = []Off{
	{"e_dnsname_not_valid_tld", "internal names have no public top-level domain"},
	{"e_dnsname_contains_bare_iana_suffix", "which names may be certified is policy, not form; a private CA may own a suffix"},
	{"n_dnsname_wildcard_left_of_public_suffix", "the same: policy"},
	{"n_san_iana_pub_suffix_empty", "the same: policy"},
	{"w_ian_iana_pub_suffix_empty", "the same: policy"},
	{"e_arpa_domain_not_allowed", "reverse zones of private addresses belong to the organisation that runs the CA"},
	{"w_subject_contains_malformed_arpa_ip", "the same"},
	{"e_subject_contains_reserved_arpa_ip", "the same"},
	{"e_ext_san_contains_reserved_ip", "private addresses (RFC 1918) are what internal services have"},
	{"e_subject_contains_reserved_ip", "the same"},
	{"e_ext_nc_intersects_reserved_ip", "the same, in name constraints"},
	{"e_san_dns_name_onion_not_ev_cert", "asks for extended validation, which is for public CAs"},
	{"e_ext_tor_service_descriptor_hash_invalid", "the same"},
	{"w_sub_cert_aia_contains_internal_names", "a private CA publishes on an internal host"},

	{"e_tls_server_cert_valid_time_longer_than_398_days", "the profile limits the validity"},
	{"w_tls_server_cert_valid_time_longer_than_397_days", "the same"},
	{"e_server_cert_valid_time_longer_than_200_days", "the same"},
	{"w_server_cert_valid_time_longer_than_199_days", "the same"},
	{"e_server_cert_valid_time_longer_than_100_days", "the same"},
	{"w_server_cert_valid_time_longer_than_99_days", "the same"},
	{"e_server_cert_valid_time_longer_than_47_days", "the same"},
	{"w_server_cert_valid_time_longer_than_46_days", "the same"},
	{"e_excessively backdated", "the signing core checks notBefore against its own instant; the lint reads the machine's clock"},

	{"e_sub_cert_certificate_policies_missing", "certificate policies are the CA/Browser Forum's; a private CA needs none"},
	{"e_sub_cert_cert_policy_empty", "the same"},
	{"e_sub_ca_certificate_policies_missing", "the same, in CA certificates"},
	{"e_ca_multiple_reserved_policy_oids", "the same"},
	{"e_invalid_ca_certificate_policies", "the same"},
	{"e_ca_country_name_missing", "the name of a private CA has no country to be verified"},
	{"e_sub_cert_country_name_must_appear", "the same"},
	{"n_ca_digital_signature_not_set", "a notice: OCSP responses are signed with the CA's key under cRLSign and keyCertSign, as RFC 6960 section 4.2.2.2 allows"},
	{"e_sub_cert_aia_does_not_contain_ocsp_url", "the profile decides on an OCSP pointer"},
	{"e_missing_crl_distrib_point", "the profile decides on CRL pointers"},
	{"e_sub_cert_aia_missing", "the profile decides on pointers"},
	{"w_sub_cert_aia_does_not_contain_issuing_ca_url", "the same"},
	{"e_sub_cert_eku_check", "the profile decides on the extended key usages: clientAuth alone is possible"},
	{"e_cabf_ecc_allowed_key_usages", "the profile decides on key usages"},
	{"e_public_key_type_not_allowed", "Ed25519 keys are served (RFC 8410)"},
	{"e_signature_algorithm_not_supported", "Ed25519 issuers are served (RFC 8410); the issuer's algorithm is fixed by its key"},
	{"e_algorithm_identifier_improper_encoding", "knows no Ed25519; the encoding is compared octet by octet when a CSR is parsed"},
	{"w_ext_subject_key_identifier_not_recommended_subscriber", "the identifier helps to find certificates, and RFC 5280 section 4.2.1.2 recommends it"},
	{"w_ext_subject_key_identifier_missing_sub_cert", "always there"},
	{"n_subject_common_name_included", "the profile decides on a commonName"},
	{"w_subject_common_name_included", "the same"},

	{"e_rsa_fermat_factorization", "costly, and done when the key is parsed"},
	{"w_rsa_mod_factors_smaller_than_752", "the same"},
}

// Disabled lists what is not run, for the documentation.
func Disabled() []Off {
	var all []Off
	for _, s := range sourcesOff {
		all = append(all, Off{"source:" + string(s.source), s.why})
	}
	return append(all, lintsOff...)
}
