package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"chancery/ca"
	"chancery/ca/keystore"
	"chancery/crl"
)

// rootListNotice is how long before its end a start begins to warn of the
// root's list: fetching a key from a safe takes people and dates.
const rootListNotice = 60 * day

// readRootList reads root.crl, the list that says that the issuer is not
// revoked, and checks that it is this root's. nil: there is none, as in a
// hierarchy that was brought along.
func readRootList(dir string, root *x509.Certificate) (*x509.RevocationList, error) {
	path := filepath.Join(dir, rootCRLFile)
	der, err := readBounded(path, maxPEM)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := x509.ParseRevocationList(der)
	if err == nil {
		err = list.CheckSignatureFrom(root)
	}
	if err == nil && list.Number == nil {
		err = errors.New("it has no number")
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no revocation list of the root: %w", path, err)
	}
	return list, nil
}

// rootListWarning says when the root's list has to be made anew, "" before.
func rootListWarning(list *x509.RevocationList, now time.Time) string {
	if list == nil || now.Add(rootListNotice).Before(list.NextUpdate) {
		return ""
	}
	return "the root's revocation list ends on " + list.NextUpdate.UTC().Format(time.DateOnly) +
		": bring the root's key and run `chancery crl root`, or whoever checks the issuer refuses every certificate then"
}

// RenewRootList signs the root's revocation list anew and returns when it
// ends. keyFile is the root's key file, "" for its first place in dir. A list
// with entries is left alone: this one revokes nothing.
func RenewRootList(dir string, set []string, keyFile string, now time.Time) (ends time.Time, err error) {
	c, err := ReadConfig(dir, set, os.Environ())
	if err != nil {
		return ends, err
	}
	passphrase, err := c.Passphrase()
	if err != nil {
		return ends, err
	}
	defer clear(passphrase)
	root, err := readRoot(c.Dir)
	if err != nil {
		return ends, err
	}
	old, err := readRootList(c.Dir, root)
	if err != nil {
		return ends, err
	}
	number := big.NewInt(now.Unix()) // it must be more than that of a list which was lost
	if old != nil {
		number.Add(old.Number, big.NewInt(1))
		if len(old.RevokedCertificateEntries) > 0 {
			return ends, fmt.Errorf("%s revokes %d certificates; lists with entries are not made here, use the tool that made it", rootCRLFile, len(old.RevokedCertificateEntries))
		}
	}
	if !number.IsInt64() {
		return ends, fmt.Errorf("%s has the number %s, after which none fits here", rootCRLFile, old.Number)
	}
	if keyFile == "" {
		keyFile = filepath.Join(c.Dir, rootKeyFile)
	}
	key, err := keystore.Open("file:"+keyFile, passphrase)
	if errors.Is(err, os.ErrNotExist) {
		return ends, fmt.Errorf("the root's key is not at %s; bring it, and name its place with --key", keyFile)
	}
	if err != nil {
		return ends, fmt.Errorf("the root's key: %w", err)
	}
	der, err := ca.RootCRL(root, key, number.Int64(), now, 0)
	if err != nil {
		return ends, err
	}
	made, err := x509.ParseRevocationList(der)
	if err != nil {
		return ends, err
	}
	return made.NextUpdate, writeFile(filepath.Join(c.Dir, rootCRLFile), der, modePublic)
}

// fixedLists is the root's list as metrics show it: its end is a year away,
// and nothing makes it anew by itself.
func fixedLists(list *x509.RevocationList) []crl.List {
	if list == nil {
		return nil
	}
	return []crl.List{{
		Shard: crl.Shard{Issuer: keyID(list.AuthorityKeyId)}, Number: list.Number.Int64(), Entries: len(list.RevokedCertificateEntries),
		ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
	}}
}
