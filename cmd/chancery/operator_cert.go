package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chancery/admin"
	"chancery/ca"
)

func certCommand() *cobra.Command {
	c := &cobra.Command{Use: "cert", Short: "List, show and revoke certificates"}
	c.AddCommand(certListCommand(), certShowCommand(), certRevokeCommand())
	return c
}

func certListCommand() *cobra.Command {
	var l listing
	var name, account, issuer, profile, status, expiring string
	c := &cobra.Command{
		Use: "list", Short: "List certificates, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			before := ""
			if expiring != "" {
				t, err := moment(expiring, time.Now(), 1)
				if err != nil {
					return fmt.Errorf("--expiring: %w", err)
				}
				before = t.UTC().Format(time.RFC3339)
				if status == "" { // what expired already or is revoked needs no renewal
					status = string(ca.CertificateValid)
				}
			}
			q := filters("name", name, "account", account, "issuer", issuer, "profile", profile, "status", status, "expiring_before", before)
			return show(cmd, l, "/certificates", q, certificateColumns)
		},
	}
	l.flags(c)
	f := c.Flags()
	f.StringVar(&name, "name", "", "that have this DNS `NAME` or IP address")
	f.StringVar(&account, "account", "", "of the ACME account with this `ID`")
	f.StringVar(&issuer, "issuer", "", "of the issuer with this `ID`")
	f.StringVar(&profile, "profile", "", "of this `PROFILE`")
	f.StringVar(&status, "status", "", "that are `valid`, revoked, expired or reserved (default all but reserved)")
	f.StringVar(&expiring, "expiring", "", "valid ones that end within this `TIME` (30d, 36h) or before a date")
	return c
}

var certificateColumns = []column[admin.Certificate]{
	{"serial", func(c admin.Certificate) string { return c.Serial }},
	{"names", func(c admin.Certificate) string { return nameList(c.Names) }},
	{"status", func(c admin.Certificate) string { return c.Status }},
	{"not after", func(c admin.Certificate) string { return stamp(c.NotAfter) }},
	{"profile", func(c admin.Certificate) string { return c.Profile }},
	{"account", func(c admin.Certificate) string { return c.Account }},
}

func certShowCommand() *cobra.Command {
	var file string
	var asPEM, asJSON bool
	c := &cobra.Command{
		Use: "show SERIAL | --file cert.pem", Short: "Show one certificate", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			named, err := parseReference(args, file)
			if err != nil {
				return err
			}
			return withDoor(cmd, func(d *door) error {
				found, err := named.find(cmd.Context(), d)
				if err != nil {
					return err
				}
				switch {
				case asPEM:
					var chain []byte
					if err := d.get(cmd.Context(), "/certificates/"+found.Serial+"/chain", nil, &chain); err != nil {
						return err
					}
					_, err := cmd.OutOrStdout().Write(chain)
					return err
				case asJSON:
					return writeJSONLine(cmd.OutOrStdout(), found)
				}
				return certificateSheet(cmd.OutOrStdout(), found)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&file, "file", "", "the certificate in this PEM `FILE`")
	f.BoolVar(&asPEM, "pem", false, "its chain in PEM")
	f.BoolVar(&asJSON, "json", false, "one JSON object")
	c.MarkFlagsMutuallyExclusive("pem", "json")
	return c
}

func certificateSheet(w io.Writer, c *admin.CertificateDetail) error {
	s := sheet{w: w}
	s.fact("Serial", c.Serial)
	s.fact("Names", strings.Join(c.Names, " "))
	s.fact("Status", c.Status)
	if c.Status == string(ca.CertificateRevoked) {
		s.fact("Revoked", stamp(c.RevokedAt)+", "+c.Reason)
	}
	s.fact("Valid from", stamp(c.NotBefore))
	s.fact("Valid to", stamp(c.NotAfter))
	s.fact("Key", c.Key)
	s.fact("Profile", c.Profile)
	s.fact("Issuer", c.Issuer)
	s.fact("Account", c.Account)
	s.fact("Order", c.Order)
	s.fact("SHA-256", c.Fingerprint)
	s.fact("Key SHA-256", c.SPKI)
	return s.err
}

func certRevokeCommand() *cobra.Command {
	var file, reason string
	var yes, asJSON bool
	c := &cobra.Command{
		Use: "revoke SERIAL | --file cert.pem", Short: "Revoke one certificate", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			named, err := parseReference(args, file)
			if err != nil {
				return err
			}
			return withDoor(cmd, func(d *door) error {
				found, err := named.find(cmd.Context(), d)
				if err != nil {
					return err
				}
				question := fmt.Sprintf("Revoke %s (%s, %s) as %s? It can't be undone.", found.Serial, nameList(found.Names), found.Status, reason)
				if err := confirm(cmd, yes, question); err != nil {
					return err
				}
				var revoked admin.CertificateDetail
				if err := d.post(cmd.Context(), "/certificates/"+found.Serial+"/revoke", map[string]string{"reason": reason}, &revoked); err != nil {
					return err
				}
				if asJSON {
					return writeJSONLine(cmd.OutOrStdout(), revoked)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is revoked since %s (%s).\n", revoked.Serial, stamp(revoked.RevokedAt), revoked.Reason)
				return err
			})
		},
	}
	f := c.Flags()
	f.StringVar(&file, "file", "", "the certificate in this PEM `FILE`")
	f.StringVar(&reason, "reason", admin.ReasonName(ca.Unspecified), "why: "+strings.Join(admin.ReasonNames(), ", "))
	f.BoolVar(&yes, "yes", false, "don't ask")
	f.BoolVar(&asJSON, "json", false, "one JSON object")
	return c
}

// reference is the certificate that a command line names.
type reference struct {
	serial      string
	fingerprint string // hexadecimal SHA-256, when a file was given
	file        string
}

func parseReference(args []string, file string) (reference, error) {
	if (len(args) == 1) == (file != "") {
		return reference{}, errors.New("name one certificate: its serial number, or --file with its PEM")
	}
	if file == "" {
		serial, err := normalSerial(args[0])
		return reference{serial: serial}, err
	}
	c, err := readCertificate(file)
	if err != nil {
		return reference{}, err
	}
	serial, ok := ca.SerialFromBig(c.SerialNumber)
	if !ok {
		return reference{}, fmt.Errorf("%s has serial number %x, which Chancery never gave", file, c.SerialNumber)
	}
	sum := sha256.Sum256(c.Raw)
	return reference{serial: serial.String(), fingerprint: hex.EncodeToString(sum[:]), file: file}, nil
}

// find asks for the certificate, and makes sure that the one under that serial
// is the one in the file, not another CA's with the same number.
func (r reference) find(ctx context.Context, d *door) (*admin.CertificateDetail, error) {
	var found admin.CertificateDetail
	if err := d.get(ctx, "/certificates/"+r.serial, nil, &found); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", r.serial, err)
	}
	if r.file != "" && found.Fingerprint != r.fingerprint {
		return nil, fmt.Errorf("%s has the serial number of a certificate of this Chancery, but is another one", r.file)
	}
	return &found, nil
}

const maxCertificateFile = 1 << 20

func readCertificate(file string) (*x509.Certificate, error) {
	f, err := os.Open(file) // #nosec G304 -- the operator's own file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	text, err := io.ReadAll(io.LimitReader(f, maxCertificateFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text) // the first one is the leaf
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s has no certificate in PEM at its beginning", file)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}
