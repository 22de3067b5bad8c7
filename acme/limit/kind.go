package limit

import "time"

// Kind is one of the limits there are.
type Kind int

// The limits. Each name says what takes a token, and whose bucket it is.
const (
	NewAccountsPerIP Kind = iota
	NewOrdersPerAccount
	NewOrdersPerDomain
	DuplicateCertificates
	FailuresPerAccount
	FailuresPerName
	FailuresPerIdentifier
	FailuresPerDomain

	Kinds // how many there are
)

// table is everything that is known of each limit, in the sequence of the
// kinds. docs/configuration.md gives the reasons for the numbers.
var table = [Kinds]struct {
	kind    Kind
	name    string // in the configuration
	says    string // continues "… were reached: 20 "
	initial Rate
}{
	{NewAccountsPerIP, "new_accounts_per_ip", "new accounts from one address (IPv6: one /48)", Rate{1000, time.Hour}},
	{NewOrdersPerAccount, "new_orders_per_account", "new orders of one account", Rate{5000, time.Hour}},
	{NewOrdersPerDomain, "new_orders_per_domain", "new orders below one registered domain", Rate{}},
	{DuplicateCertificates, "duplicate_certificates", "orders of one account for exactly the same names", Rate{1000, 24 * time.Hour}},
	{FailuresPerAccount, "failed_validations_per_account", "failed validations of one account", Rate{1000, time.Hour}},
	{FailuresPerName, "failed_validations_per_name", "failed validations of one name by one account", Rate{20, time.Hour}},
	{FailuresPerIdentifier, "failed_validations_per_identifier", "failed validations of one name by all accounts together", Rate{200, time.Hour}},
	{FailuresPerDomain, "failed_validations_per_domain", "failed validations below one registered domain by all accounts together", Rate{5000, time.Hour}},
}

func (k Kind) String() string { return table[k].name }

// Says is what is counted, in words.
func (k Kind) Says() string { return table[k].says }

// ParseKind finds a limit by its name.
func ParseKind(name string) (Kind, bool) {
	for _, row := range table {
		if row.name == name {
			return row.kind, true
		}
	}
	return 0, false
}

// ofAccount says whether each account has its own buckets of this limit.
func (k Kind) ofAccount() bool {
	switch k {
	case NewOrdersPerAccount, DuplicateCertificates, FailuresPerAccount, FailuresPerName:
		return true
	default:
		return false
	}
}
