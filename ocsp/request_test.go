package ocsp

import (
	"bytes"
	"crypto"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"chancery/ca"

	xocsp "golang.org/x/crypto/ocsp"
)

func TestParseRequest(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	zero, one := int64(0), int64(1)
	null := asn1.NullRawValue
	oidServiceLocator := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 7}
	algorithm := func(a pkix.AlgorithmIdentifier) []byte {
		der, err := asn1.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var many [][]byte
	for n := range maxExtensions + 1 {
		many = append(many, extension(asn1.ObjectIdentifier{1, 2, 3, n}, false, []byte{1}))
	}
	bytesOf := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }
	for name, c := range map[string]struct {
		q  question
		ok bool
	}{
		"plain":                        {question{}, true},
		"SHA-256":                      {question{sha256: true}, true},
		"SHA-256 with NULL":            {question{sha256: true, algorithm: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidSHA256, Parameters: null})}, true},
		"SHA-1 without NULL":           {question{algorithm: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidSHA1})}, true},
		"SHA-1 with odd parameters":    {question{algorithm: algorithm(pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.RawValue{FullBytes: []byte{2, 1, 1}}})}, false},
		"another hash":                 {question{algorithm: algorithm(pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}})}, true},
		"a hash of the wrong length":   {question{name: bytesOf(19)}, false},
		"a key of the wrong length":    {question{sha256: true, key: bytesOf(20)}, false},
		"version spelled out":          {question{version: &zero}, true},
		"version 2":                    {question{version: &one}, false},
		"a requestor":                  {question{requestor: true}, true},
		"no certificate":               {question{copies: -1}, false},
		"two certificates":             {question{copies: 2}, false},
		"nonce of 1":                   {question{nonce: bytesOf(1)}, true},
		"nonce of 16":                  {question{nonce: bytesOf(16)}, true},
		"nonce of 32":                  {question{nonce: bytesOf(32)}, true},
		"nonce of 128":                 {question{nonce: bytesOf(128)}, true},
		"nonce of 0":                   {question{nonce: []byte{}}, false},
		"nonce of 129":                 {question{nonce: bytesOf(129)}, false},
		"nonce without its own tag":    {question{extensions: [][]byte{extension(oidNonce, false, bytesOf(16))}}, false},
		"nonce with more behind":       {question{extensions: [][]byte{extension(oidNonce, false, []byte{4, 1, 1, 0})}}, false},
		"two nonces":                   {question{nonce: bytesOf(16), extensions: [][]byte{extension(oidNonce, false, []byte{4, 1, 1})}}, false},
		"critical nonce":               {question{extensions: [][]byte{extension(oidNonce, true, []byte{4, 1, 1})}}, true},
		"unknown extension":            {question{extensions: [][]byte{extension(oidServiceLocator, false, []byte{1})}}, true},
		"unknown critical extension":   {question{extensions: [][]byte{extension(oidServiceLocator, true, []byte{1})}}, false},
		"an extension twice":           {question{extensions: [][]byte{many[0], many[0]}}, false},
		"as many extensions as may be": {question{extensions: many[:maxExtensions]}, true},
		"too many extensions":          {question{extensions: many}, false},
		"empty extensions":             {question{extensions: [][]byte{}}, false},
		"single extension":             {question{single: many[:1]}, true},
		"critical single extension":    {question{single: [][]byte{extension(oidServiceLocator, true, []byte{1})}}, false},
		"empty single extensions":      {question{single: [][]byte{}}, false},
		"signed":                       {question{signature: []byte{0x30, 0x03, 0x02, 0x01, 0x05}}, true},
		"signature of another type":    {question{signature: []byte{0x04, 0x01, 0x05}}, false},
		"two signatures":               {question{signature: []byte{0x30, 0, 0x30, 0}}, false},
		"something behind":             {question{behind: []byte{0x05, 0x00}}, false},
		"serial 0":                     {question{serial: big.NewInt(0)}, true},
		"negative serial":              {question{serial: big.NewInt(-5)}, true},
		"serial of 21 octets":          {question{serial: new(big.Int).SetBytes(bytesOf(21))}, true},
		"larger than allowed":          {question{serial: new(big.Int).SetBytes(bytesOf(maxRequest))}, false},
	} {
		if c.q.serial == nil {
			c.q.serial = serial.BigInt()
		}
		r, err := ParseRequest(w.ask(c.q))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && !bytes.Equal(r.nonce, c.q.nonce) && c.q.extensions == nil {
			t.Errorf("%s: nonce %x", name, r.nonce)
		}
	}
}

// What crypto/ocsp asks, this understands as it was meant.
func TestParseRequestOfStandardLibrary(t *testing.T) {
	w := newWorld(t, "rsa2048")
	serial := w.issue(t)
	template := *w.root
	template.SerialNumber = serial.BigInt()
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384} {
		der, err := xocsp.CreateRequest(&template, w.issuer.Certificate(), &xocsp.RequestOptions{Hash: hash})
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseRequest(der)
		if err != nil {
			t.Fatalf("%v: %v", hash, err)
		}
		if r.serial != serial || !r.possible || !bytes.Contains(der, r.certID) {
			t.Errorf("%v: %+v", hash, r)
		}
		if known := w.find(r) != nil; known != (hash != crypto.SHA384) {
			t.Errorf("%v: issuer known: %v", hash, known)
		}
	}
}

// Only serial numbers of our form can be in the store.
func TestPossibleSerials(t *testing.T) {
	w := newWorld(t, "ec256")
	serial := w.issue(t)
	for _, c := range []struct {
		n    *big.Int
		want bool
	}{
		{serial.BigInt(), true},
		{new(big.Int).Neg(serial.BigInt()), false},
		{new(big.Int).Rsh(serial.BigInt(), 8), false},
		{new(big.Int).Lsh(serial.BigInt(), 1), true}, // 0x02…
		{new(big.Int).Lsh(serial.BigInt(), 7), false},
		{new(big.Int).Lsh(serial.BigInt(), 8), false},
		{big.NewInt(1), false},
		{big.NewInt(0), false},
		{big.NewInt(-1), false},
	} {
		r, err := ParseRequest(w.ask(question{serial: c.n}))
		if err != nil {
			t.Fatalf("%x: %v", c.n, err)
		}
		if r.possible != c.want || c.want && r.serial.BigInt().Cmp(c.n) != 0 {
			t.Errorf("%x: possible %v, serial %s", c.n, r.possible, r.serial)
		}
	}
}

// Not one octet may be missing or too many, and BER is no DER.
func TestParseRequestStrict(t *testing.T) {
	w := newWorld(t, "ec256")
	der := w.ask(question{serial: w.issue(t).BigInt(), nonce: bytes.Repeat([]byte{1}, 16)})
	for n := range der {
		if _, err := ParseRequest(der[:n]); err == nil {
			t.Errorf("the first %d of %d octets are accepted", n, len(der))
		}
	}
	if _, err := ParseRequest(append(slices.Clone(der), 0)); err == nil {
		t.Error("an octet behind it is accepted")
	}
	if der[1] >= 0x80 {
		t.Fatalf("the request is longer than thought: %x", der[:4])
	}
	if _, err := ParseRequest(append([]byte{0x30, 0x81, der[1]}, der[2:]...)); err == nil {
		t.Error("a length that is not in its shortest form is accepted")
	}
	if _, err := ParseRequest(append(append([]byte{0x30, 0x80}, der[2:]...), 0, 0)); err == nil {
		t.Error("an indefinite length is accepted")
	}
	padded := w.ask(question{serial: big.NewInt(0x0102)})
	at := bytes.LastIndex(padded, []byte{0x02, 0x02, 0x01, 0x02})
	padded[at+2] = 0x00
	if _, err := ParseRequest(padded); err == nil {
		t.Error("an INTEGER with a needless zero is accepted")
	}
}

// FuzzParseRequest: no octets from outside make it panic, and what it accepts
// it can answer.
func FuzzParseRequest(f *testing.F) {
	w := newWorld(f, "ed25519")
	serial := w.issue(f)
	for _, q := range []question{
		{},
		{sha256: true, nonce: []byte("0123456789abcdef")},
		{requestor: true, signature: []byte{0x30, 0}},
		{extensions: [][]byte{extension(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{1})}},
		{copies: 2},
		{serial: big.NewInt(-1)},
	} {
		if q.serial == nil {
			q.serial = serial.BigInt()
		}
		f.Add(w.ask(q))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if err != nil {
			return
		}
		if len(r.nonce) > maxNonce || r.possible && r.serial == (ca.Serial{}) || !bytes.Contains(der, r.certID) {
			t.Fatalf("%+v", r)
		}
		// Whatever the CertID is, a response that echoes it can be read.
		response, err := w.issuers[0].respond(answer{
			certID: r.certID, status: status{kind: unknown}, nonce: r.nonce,
			thisUpdate: start, nextUpdate: start.Add(1), producedAt: start,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readResponse(response); err != nil {
			t.Fatalf("%v: %x", err, response)
		}
	})
}

// FuzzPath: the path of a GET.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/MFQw", "/a%2Fb+c%2b%3D", "//MAA=", "/%4d%41==", "/a b", "/%", "/\n", "/====", "/-_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		der, err := decodePath(path)
		if err == nil && (len(der) == 0 || len(der) > len(path)) {
			t.Fatalf("%d octets of a path of %d", len(der), len(path))
		}
	})
}
